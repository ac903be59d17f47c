"""How long an instruction may take, by device type (S3): adjusted by a Project's administrators, within limits."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices.models import Category, Device, DeviceType
from downlinks import execution
from tests import factories
from tests.cast import Cast
from tests.devices.test_types_view import page, post, text_of
from tests.downlinks.conftest import again, ask, at, device, network

__all__ = ["device", "network"]

pytestmark = pytest.mark.django_db


def form(kind: DeviceType, **changes: Any) -> dict[str, Any]:
    return {"name": kind.name, "key_source": "customer", "raw": "on", "version": str(kind.version)} | changes


@pytest.mark.parametrize(
    ("written", "seconds", "read"), [("90 min", 5400, "1 h 30 min"), ("2 d", 172_800, "2 d"), ("60 s", 60, "1 min")]
)
def test_administrator_sets_it_and_reads_it_again(cast: Cast, written: str, seconds: int, read: str) -> None:
    kind = factories.own_type(cast.project)
    assert "as for all such devices" in page(cast, f"/types/{kind.pk}/")
    assert post(cast, f"/types/{kind.pk}/edit/", form(kind, timeout=written)).status_code == 302
    kind.refresh_from_db()
    assert kind.downlink_timeout_seconds == seconds
    assert f"<dd>{read}</dd>" in page(cast, f"/types/{kind.pk}/")
    assert f'value="{read}"' in page(cast, f"/types/{kind.pk}/edit/")
    with scopes_disabled():
        assert AuditEntry.objects.get(action="type.changed").after["downlink_timeout_seconds"] == seconds
    assert post(cast, f"/types/{kind.pk}/edit/", form(kind, timeout="")).status_code == 302
    kind.refresh_from_db()
    assert kind.downlink_timeout_seconds is None


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("59 s", "Between 1 minute and 30 days."),
        ("31 d", "Between 1 minute and 30 days."),
        ("soon", "Write a time such as 90 s"),
    ],
)
def test_limits_are_said_and_nothing_is_kept(cast: Cast, written: str, says: str) -> None:
    kind = factories.own_type(cast.project)
    response = post(cast, f"/types/{kind.pk}/edit/", form(kind, timeout=written))
    assert response.status_code == 422
    assert says in text_of(response)
    kind.refresh_from_db()
    assert kind.downlink_timeout_seconds is None


def test_others_do_not_set_it(cast: Cast) -> None:
    kind = factories.own_type(cast.project)
    response = post(cast, f"/types/{kind.pk}/edit/", form(kind, timeout="2 d"), person="operator")
    assert response.status_code == 403


def test_support_staff_set_it_for_managed_types_within_the_same_limits(cast: Cast) -> None:
    kind = DeviceType.objects.filter(category=Category.MANAGED).first()
    assert kind
    staff = factories.user("staff@example.com", is_staff=True, is_superuser=True)
    client = cast.client(staff)
    address = f"/admin/devices/devicetype/{kind.pk}/change/"
    asked = client.get(address).context["adminform"].form
    for seconds, status in (("5", 200), ("7200", 302)):
        response = client.post(address, plain(asked) | {"downlink_timeout_seconds": seconds})
        assert response.status_code == status, response.context["errors"]
    kind.refresh_from_db()
    assert kind.downlink_timeout_seconds == 7200


def plain(asked: Any) -> dict[str, Any]:
    """What the admin's form sends when nothing is changed."""
    sent = {name: asked[name].value() for name in asked.fields}
    return {name: value for name, value in sent.items() if value not in (None, False)}


def test_instruction_of_the_type_fails_after_its_time(cast: Cast, device: Device) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(downlink_timeout_seconds=60)
    asked = ask(device)
    execution.run(device.pk, now=at(0))
    execution.sweep(at(59))
    assert again(asked).state == "executing"
    execution.sweep(at(61))
    assert again(asked).state == "failed"
