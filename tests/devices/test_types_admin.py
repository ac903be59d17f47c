"""P4, T2, T3: support staff edit device types with the same checks as Projects, and add managed devices."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, User
from devices.models import Category, Codec, Connection, Device, DeviceType
from lora.models import LoraIdentity
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.django_db
KEYS = {"dev_eui": "70B3D57ED0001A2B", "app_eui": "70B3D57ED0000001", "app_key": "2B7E151628AED2A6ABF7158809CF4F3C"}


@pytest.fixture
def support(cast: Cast) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("support@example.com", None))
    return client


def managed() -> DeviceType:
    return DeviceType.objects.get(slug="kpn-filltag")


def posted(kind: DeviceType, **changes: Any) -> dict[str, Any]:
    fields = ("slug", "name", "description", "category", "connectivity", "key_source", "project_id", "codec_id")
    data = {field.removesuffix("_id"): getattr(kind, field) or "" for field in fields} | {"addable": "on"}
    lists = ("decoders", "encoders", "measurements", "commands", "controls")
    data |= {field: json.dumps(getattr(kind, field)) for field in lists}
    return data | {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}


def save(support: Client, kind: DeviceType, **changes: Any) -> HttpResponse:
    return support.post(f"/admin/devices/devicetype/{kind.pk}/change/", posted(kind, **changes))


def text_of(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


# --- types ---


def test_support_edits_a_managed_type(support: Client) -> None:
    kind = managed()
    page = text_of(support.get(f"/admin/devices/devicetype/{kind.pk}/change/"))
    assert '"name": "batteryLevelLow"' in page
    measurements = [*kind.measurements, {"name": "tilt", "unit": "deg"}]
    assert save(support, kind, name="Bin tag", measurements=measurements).status_code == 302
    kind = managed()
    assert (kind.name, kind.version, kind.measurements[-1]["name"]) == ("Bin tag", 2, "tilt")
    assert kind.commands, "the rest stays"


INTERVAL: dict[str, Any] = {"name": "interval", "kind": "number", "way": {"by": "bytes", "fport": 10}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"commands": {"name": "x"}}, "A list is wanted."),
        ({"commands": [{"name": "x"}]}, "Number 1, way: Say how a value becomes an instruction."),
        ({"controls": [INTERVAL]}, "Number 1, template: Write the bytes that are sent."),
        ({"controls": [{"name": "x", "kind": "text", "way": {"by": "senml"}}]}, "made by the codec or is fixed bytes"),
        ({"controls": [{"name": "x", "kind": "text", "way": {"by": "codec"}}]}, "Choose a codec for the type first."),
        ({"measurements": [{"name": "a"}, {"name": "a"}]}, "Measurement 2: a name of its own"),
        ({"measurements": [{"name": "a", "unit": "x" * 21}]}, "20 characters at most"),
        ({"decoders": ["senml"]}, "Such decoders do not fit: senml."),
        ({"encoders": ["raw-senml"]}, "Choose from: commands, raw-lora."),
        ({"commands": "[1"}, "Enter a valid JSON."),
    ],
)
def test_what_cannot_be_read_is_refused_beside_its_field(support: Client, changes: Any, says: str) -> None:
    response = save(support, managed(), **changes)
    assert response.status_code == 200
    assert says in text_of(response)
    assert managed().version == 1


def test_codec_of_a_project_stays_in_it(support: Client, cast: Cast) -> None:
    with scopes_disabled():
        codec = Codec.objects.create(project=cast.project, name="Theirs")
    assert "belongs to another Project" in text_of(save(support, managed(), codec=str(codec.pk)))


def test_connectivity_stays_where_there_are_devices(support: Client, cast: Cast) -> None:
    kind = managed()
    factories.device(cast.project, kind.slug)
    changes = {"connectivity": "m2m", "decoders": ["senml"], "commands": [], "controls": []}
    assert "they are registered with it" in text_of(save(support, kind, **changes))


def test_change_of_a_projects_type_is_in_its_audit_trail(support: Client, cast: Cast) -> None:
    kind = factories.own_type(cast.project, "Ours")
    assert save(support, kind, name="Ours, mended").status_code == 302
    with scopes_disabled():
        entry = AuditEntry.objects.get(action="type.changed")
    assert (entry.project_id, entry.target) == (cast.project.pk, "Ours, mended")
    assert (entry.before, entry.after) == ({"name": "Ours"}, {"name": "Ours, mended"})


# --- devices ---


def add(support: Client, cast: Cast, kind: DeviceType, **changes: Any) -> HttpResponse:
    data = {"project": cast.project.pk, "type": kind.pk, "name": "Bin 12"} | changes
    return support.post("/admin/devices/device/add/", data)


def test_support_adds_a_managed_device_with_its_network_info(
    support: Client, cast: Cast, django_capture_on_commit_callbacks: Any
) -> None:
    assert "Managed: FillTag" in text_of(support.get("/admin/devices/device/add/"))
    response = add(support, cast, managed())
    with scopes_disabled():
        device = Device.objects.select_related("type").get(name="Bin 12")
    assert (device.type.category, device.project_id) == (Category.MANAGED, cast.project.pk)
    assert response["Location"] == f"/admin/devices/device/{device.pk}/network/"
    assert 'name="dev_eui"' in text_of(support.get(response["Location"]))
    wrong = support.post(response["Location"], KEYS | {"dev_eui": "12"})
    assert wrong.status_code == 422
    assert "16 hexadecimal digits; this has 2" in text_of(wrong)
    assert support.post(response["Location"], KEYS).status_code == 302
    with scopes_disabled():
        device.refresh_from_db()
        assert device.connection_status == Connection.PENDING_CREATE
        assert LoraIdentity.objects.get(device=device).dev_eui == KEYS["dev_eui"]
        assert AuditEntry.objects.filter(device_id=device.pk, actor_label="support@example.com").count() == 2
    assert support.get(response["Location"]).status_code == 404, "it has network info now"


def test_project_sees_the_lock_and_cannot_see_the_keys(support: Client, cast: Cast) -> None:
    add(support, cast, managed())
    with scopes_disabled():
        device = Device.objects.get(name="Bin 12")
    client = cast.client(cast.operator)
    assert "Managed by" in text_of(client.get("/devices/"))
    assert client.get(f"/devices/{device.pk}/network/").status_code == 302


def test_devices_are_not_changed_or_deleted_past_their_services(support: Client, cast: Cast) -> None:
    device = factories.device(cast.project, name="Stays")
    base = f"/admin/devices/device/{device.pk}"
    assert support.post(f"{base}/change/", {"name": "Other"}).status_code == 403
    assert support.post(f"{base}/delete/", {"post": "yes"}).status_code == 403
    with scopes_disabled():
        assert Device.objects.get(pk=device.pk).name == "Stays"


def test_type_of_another_project_is_refused(support: Client, cast: Cast) -> None:
    response = add(support, cast, factories.own_type(cast.elsewhere, "Theirs"))
    assert response.status_code == 422
    assert "belongs to another Project" in text_of(response)


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_people_of_projects_do_not_get_in(cast: Cast, who: str) -> None:
    client = cast.client(getattr(cast, who))
    device = factories.device(cast.project)
    for url in ("/admin/devices/device/add/", f"/admin/devices/device/{device.pk}/network/"):
        assert client.get(url)["Location"].startswith("/admin/login/")


def test_staff_without_the_permission_add_nothing(cast: Cast) -> None:
    client = Client()
    client.force_login(factories.user("intern@example.com", is_staff=True))
    device = factories.device(cast.project)
    for url in ("/admin/devices/device/add/", f"/admin/devices/device/{device.pk}/network/"):
        assert client.get(url).status_code == 403
