"""T3: pages, services and jobs hold to the table of what may be done with own and with managed devices.

The table itself is looked at in ``test_services``.
"""

from __future__ import annotations

import html
from typing import Any

import pytest
from django_scopes import scopes_disabled

from devices import bulk
from devices.models import Device
from downlinks import services
from downlinks.models import Downlink
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def both(cast: Cast) -> tuple[Device, Device]:
    """An own and a managed device, in one Flow and on the network."""
    flow = factories.flow(cast.project)
    kind = factories.own_type(
        cast.project,
        encoders=["raw-lora", "commands"],
        commands=[{"name": "on", "way": {"by": "bytes", "fport": 5, "template": "01"}}],
    )
    own = factories.lora_device(cast.project, kind.slug, in_flow=flow)
    return own, factories.lora_device(cast.project, "kpn-locationtag-ii", in_flow=flow)


def get(cast: Cast, url: str) -> str:
    response = cast.client(cast.operator).get(url)
    return html.unescape(response.content.decode())


def test_pages_offer_what_the_table_says(cast: Cast, both: tuple[Device, Device]) -> None:
    for device, own in zip(both, (True, False), strict=True):
        base = f"/devices/{device.pk}/"
        assert (f'href="{base}delete/"' in get(cast, f"{base}device/")) == own
        assert 'name="name"' in get(cast, f"{base}device/")
        assert f"{base}deactivate/" in get(cast, f"{base}device/")
        send = get(cast, f"{base}send/")
        assert 'name="command"' in send
        assert ('name="payload"' in send) == own
        assert ("Add a property" in get(cast, f"{base}twin/")) == own
        assert ('class="tip lock"' in get(cast, f"{base}device/")) != own


@pytest.mark.parametrize(
    ("rest", "data"),
    [
        ("delete/", {"typed": "name"}),
        ("network/", {"dev_eui": "70B3D57ED0001A2B", "app_eui": "70B3D57ED0000001", "app_key": "00" * 16}),
        ("send/", {"encoder": "raw-lora", "fport": "1", "payload": "01"}),
    ],
)
def test_forged_requests_on_a_managed_device_change_nothing(
    cast: Cast, both: tuple[Device, Device], rest: str, data: dict[str, Any]
) -> None:
    managed = both[1]
    cast.client(cast.operator).post(f"/devices/{managed.pk}/{rest}", data | {"typed": managed.name})
    with scopes_disabled():
        again = Device.objects.get(pk=managed.pk)
    assert (again.identifier, again.connection_status) == (managed.identifier, managed.connection_status)
    assert not Downlink.objects.exists()


def test_services_hold_to_the_table(cast: Cast, both: tuple[Device, Device]) -> None:
    """What every way in goes through: page, jobs over many, API."""
    for device, own in zip(both, (True, False), strict=True):
        facts: dict[str, Any] = {"devices": [device], "fport": 9, "payload": b"\x01", "actor": None}
        with scopes_disabled():
            assert bool(services.request_many(encoder="raw-lora", **facts).made) == own
            assert services.request_many(encoder="commands", **facts).made


def test_jobs_over_many_leave_out_what_the_table_forbids(cast: Cast, both: tuple[Device, Device]) -> None:
    managed = both[1]
    with scopes_disabled():
        for action in ("delete", "instruction"):
            asked = bulk.Asked(parameters={"encoder": "raw-lora"}, actor=cast.operator, job_id=1)
            found = bulk.by_slug(action)
            assert found
            refusals = found.refusals(asked)
            assert Device.objects.filter(refusals[0].condition, pk=managed.pk).exists(), action
