"""The metadata on the Device Twin tab (W6): added, edited where it stands, removed, by one person and by two."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices.models import Category, Device, DeviceType
from tests import factories
from tests.cast import Cast
from twin.models import Twin
from twin.services import set_metadata

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SEEN = repr(NOW.timestamp())
HTMX = {"HX-Request": "true"}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project)


def put(device: Device, now: datetime = NOW, /, **changes: str | None) -> None:
    with scopes_disabled():
        set_metadata([device.pk], changes, actor=None, now=now)


def texts(device: Device) -> dict[str, str]:
    with scopes_disabled():
        held = Twin.objects.filter(device=device).values_list("metadata", flat=True).first() or {}
    return {key: entry["v"] for key, entry in held.items()}


def url(device: Device, rest: str = "") -> str:
    return f"/devices/{device.pk}/twin/{rest}"


def save(cast: Cast, device: Device, /, htmx: bool = False, **fields: Any) -> HttpResponse:
    client = cast.client(cast.operator)
    return client.post(url(device, "metadata/"), fields, headers=HTMX if htmx else {})


def page(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def test_metadata_is_shown_by_key_with_its_moment(cast: Cast, device: Device) -> None:
    put(device, room="12", Building="B")
    shown = page(cast.client(cast.viewer).get(url(device)))
    panel = shown.split('id="twin-metadata"')[1].split("</section>")[0]
    assert re.findall(r"<span>(\w+)</span>", panel) == ["Building", "room"]
    assert "1 Mar 2026" in panel
    assert '<span class="value">12</span>' in panel


def test_metadata_is_not_to_be_changed_by_a_read_only_account(cast: Cast, device: Device) -> None:
    put(device, room="12")
    client = cast.client(cast.viewer)
    panel = page(client.get(url(device, "?edit=room"))).split('id="twin-metadata"')[1].split("</section>")[0]
    assert "<form" not in panel and "<a " not in panel
    assert client.post(url(device, "metadata/"), {"key": "a", "value": "b"}).status_code == 403
    assert client.post(url(device, "metadata/remove/"), {"key": "room", "seen": SEEN}).status_code == 403
    assert cast.client(cast.stranger).post(url(device, "metadata/"), {"key": "a", "value": "b"}).status_code == 404
    assert texts(device) == {"room": "12"}


@pytest.mark.parametrize("htmx", [False, True])
def test_property_is_added(cast: Cast, device: Device, htmx: bool) -> None:
    client = cast.client(cast.operator)
    fields = {"key": " room ", "value": " 12 "}
    response = client.post(url(device, "metadata/"), fields, headers=HTMX if htmx else {})
    assert texts(device) == {"room": "12"}
    if htmx:
        assert response.status_code == 200
        assert page(response).strip().startswith('<section class="panel" id="twin-metadata"')
        assert re.search(r'<input[^>]*name="key"[^>]*autofocus', page(response))
    else:
        assert response["Location"] == f"{url(device)}#twin-metadata"
        assert "“room” is saved." in page(client.get(url(device)))
    with scopes_disabled():
        assert AuditEntry.objects.get(action="twin.metadata_changed").actor == cast.operator


def test_property_opens_where_it_stands(cast: Cast, device: Device) -> None:
    put(device, **{"a b&c": "12", "other": "x"})
    client = cast.client(cast.operator)
    link = re.search(r'hx-get="([^"]*metadata/\?edit=[^"]*)"', client.get(url(device)).content.decode())
    assert link is not None
    part = page(client.get(html.unescape(link[1]), headers=HTMX))
    assert part.strip().startswith('<div id="metadata-rows"')
    assert re.search(r'<input type="text" name="value" value="12"[^>]*autofocus', part)
    assert f'name="seen" value="{SEEN}"' in part and 'name="key" value="a b&c"' in part
    # While somebody types, nothing that arrives takes the field away.
    assert "sse:twin" not in part
    closed = page(client.get(url(device, "metadata/?closed=other"), headers=HTMX))
    assert "sse:twin" in closed
    assert re.findall(r"autofocus>(\w+)</a>", closed) == ["x"], "the focus goes back to where it was"


def test_property_opens_without_htmx_on_the_tab(cast: Cast, device: Device) -> None:
    put(device, room="12")
    client = cast.client(cast.operator)
    assert 'id="edit-value"' in page(client.get(url(device, "?edit=room")))
    assert 'id="edit-value"' not in page(client.get(url(device, "?edit=cellar")))
    assert client.get(url(device, "metadata/?edit=room"))["Location"] == f"{url(device)}#twin-metadata"


def test_text_of_several_lines_keeps_them(cast: Cast, device: Device) -> None:
    put(device, note="one\ntwo")
    assert "<textarea" in page(cast.client(cast.operator).get(url(device, "metadata/?edit=note"), headers=HTMX))


@pytest.mark.parametrize("htmx", [False, True])
def test_value_is_edited(cast: Cast, device: Device, htmx: bool) -> None:
    put(device, room="12", floor="1")
    response = save(cast, device, htmx=htmx, edit="room", key="room", value="13", seen=SEEN)
    assert response.status_code == (200 if htmx else 302)
    assert texts(device) == {"room": "13", "floor": "1"}


@pytest.mark.parametrize("htmx", [False, True])
def test_second_of_two_who_edit_is_told_and_sees_both_values(cast: Cast, device: Device, htmx: bool) -> None:
    put(device, room="12")
    put(device, NOW + timedelta(seconds=1), room="theirs")
    response = save(cast, device, htmx=htmx, edit="room", key="room", value="mine", seen=SEEN)
    assert response.status_code == 422
    shown = page(response)
    assert "“theirs” meanwhile" in shown and 'name="value" value="mine"' in shown
    assert texts(device) == {"room": "theirs"}
    seen = re.search(r'name="seen" value="([^"]+)"', shown)
    assert seen is not None
    save(cast, device, htmx=htmx, edit="room", key="room", value="mine", seen=seen[1])
    assert texts(device) == {"room": "mine"}


def test_adding_a_property_that_is_there_opens_it_and_asks(cast: Cast, device: Device) -> None:
    put(device, room="theirs")
    response = save(cast, device, key="room", value="mine")
    assert response.status_code == 422
    assert "“theirs” meanwhile" in page(response) and 'id="edit-value"' in page(response)
    assert texts(device) == {"room": "theirs"}


def test_value_that_was_removed_meanwhile_can_be_brought_back(cast: Cast, device: Device) -> None:
    response = save(cast, device, edit="room", key="room", value="mine", seen=SEEN)
    assert response.status_code == 422
    shown = page(response)
    assert "removed it meanwhile" in shown and 'value="mine"' in shown
    assert not re.search(r'name="seen" value="[^"]', shown)
    save(cast, device, edit="room", key="room", value="mine", seen="")
    assert texts(device) == {"room": "mine"}


@pytest.mark.parametrize(
    "fields", [{"key": "", "value": "x"}, {"key": "a", "value": ""}, {"key": "a\tb", "value": "x"},
               {"key": "k" * 101, "value": "x"}, {"key": "a", "value": "x" * 1001}, {"key": "\x00", "value": "\x00"}]
)  # fmt: skip
@pytest.mark.parametrize("edit", ["", "a"])
def test_property_that_cannot_be_kept_is_shown_again(
    cast: Cast, device: Device, fields: dict[str, str], edit: str
) -> None:
    response = save(cast, device, edit=edit, **fields)
    assert response.status_code == 422
    assert "errorlist" in page(response)
    assert texts(device) == {}


def test_full_device_says_so(cast: Cast, device: Device) -> None:
    put(device, **{f"k{index}": "x" for index in range(100)})
    response = save(cast, device, key="one more", value="x")
    assert response.status_code == 422 and "at most 100 properties" in page(response)


@pytest.mark.parametrize("htmx", [False, True])
def test_property_is_removed(cast: Cast, device: Device, htmx: bool) -> None:
    put(device, room="12", floor="1")
    response = cast.client(cast.operator).post(
        url(device, "metadata/remove/"), {"key": "room", "seen": SEEN}, headers=HTMX if htmx else {}
    )
    assert response.status_code == (200 if htmx else 302)
    assert texts(device) == {"floor": "1"}


@pytest.mark.parametrize("fields", [{"key": "room", "seen": "1.0"}, {"key": "room", "seen": "x"}, {}])
def test_property_that_was_changed_meanwhile_is_not_removed(cast: Cast, device: Device, fields: dict[str, str]) -> None:
    put(device, room="12")
    response = cast.client(cast.operator).post(url(device, "metadata/remove/"), fields, headers=HTMX)
    assert '"tone": "warn"' in response["HX-Trigger"]
    assert texts(device) == {"room": "12"}


def test_managed_device_has_no_metadata(cast: Cast, device: Device) -> None:
    managed = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer"
    )
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(type=managed)
    shown = page(cast.client(cast.operator).get(url(device)))
    assert "keeps no metadata for a managed device" in shown and 'id="add-key"' not in shown
    response = save(cast, device, htmx=True, key="room", value="12")
    assert "not available for this kind of device" in response["HX-Trigger"]
    assert texts(device) == {}


def test_keys_and_values_are_escaped(cast: Cast, device: Device) -> None:
    put(device, **{"<b>k": "<script>", "line": "<i>\n<u>"})
    shown = cast.client(cast.operator).get(url(device)).content.decode()
    assert not any(text in shown for text in ("<b>k", "<script>", "<i>", "<u>"))
    assert "&lt;i&gt;<br>&lt;u&gt;" in shown


def test_number_of_queries_does_not_grow_with_the_properties(cast: Cast, device: Device) -> None:
    client, counts = cast.client(cast.operator), []
    for amount in (2, 100):
        put(device, **{f"k{index}": "x" for index in range(amount)})
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device, "metadata/"), headers=HTMX).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


def test_timeline_tells_keys_in_peoples_own_words(cast: Cast, device: Device) -> None:
    put(device, id="7", name="x")
    shown = page(cast.client(cast.viewer).get(f"/devices/{device.pk}/device/"))
    assert "Metadata changed" in shown and "id: <ins>7</ins>" in shown
