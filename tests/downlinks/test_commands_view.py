"""Predefined commands on the Send instruction tab (S2, T5): what is offered, the bytes before sending, the table."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse
from django_scopes import scopes_disabled

from devices.models import Category, Device, DeviceType
from downlinks.models import Downlink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
MODE: dict[str, Any] = {
    "name": "mode",
    "label": "Mode",
    "help": "How it behaves.",
    "choices": [{"label": "Normal", "value": 0}, {"label": "Lost", "value": 1, "bytes": "AA FF"}],
    "way": {"by": "bytes", "fport": 11, "template": "01{value:u8}", "confirmed": True},
}
BLINK = {"name": "blink", "label": "Blink", "way": {"by": "bytes", "fport": 12, "template": "07"}}
CODEC = {"name": "colour", "label": "Colour", "choices": [{"value": "red"}], "way": {"by": "codec"}}


def device_with(cast: Cast, *commands: dict[str, Any], category: str = Category.OWN, **fields: Any) -> Device:
    kind = factories.own_type(
        cast.project, commands=list(commands), encoders=["raw-lora", "commands"], category=category, **fields
    )
    return factories.lora_device(cast.project, kind.slug, in_flow=factories.flow(cast.project))


def url(device: Device) -> str:
    return f"/devices/{device.pk}/send/"


def text_of(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def get(cast: Cast, device: Device, person: str = "operator") -> str:
    response = cast.client(getattr(cast, person)).get(url(device))
    assert response.status_code == 200
    return text_of(response)


def post(cast: Cast, device: Device, *, part: bool = False, person: str = "operator", **data: object) -> HttpResponse:
    data = {"encoder": "commands", "command": "0", "token": str(uuid4())} | data
    return cast.client(getattr(cast, person)).post(url(device), data, headers=HTMX if part else {})


@pytest.fixture
def device(cast: Cast, network: RecordedNetwork) -> Device:
    return device_with(cast, MODE, BLINK)


@pytest.mark.parametrize(("person", "status"), [("stranger", 404), ("viewer", 403)])
def test_only_operators_send_commands_or_see_their_bytes(cast: Cast, device: Device, person: str, status: int) -> None:
    for show in ({}, {"show": "1"}):
        assert post(cast, device, person=person, **show).status_code == status
    assert not Downlink.objects.exists()


def test_read_only_sees_no_commands(cast: Cast, device: Device) -> None:
    assert 'name="command"' not in get(cast, device, "viewer")


def test_several_commands_have_radios_and_one_has_none(cast: Cast, device: Device) -> None:
    page = get(cast, device)
    assert len(re.findall(r'<input type="radio"[^>]*name="command"', page)) == 2
    assert re.findall(r'<option value="(\d)"[^>]*>(\w+)</option>', page)[:2] == [("0", "Normal"), ("1", "Lost")]
    assert "How it behaves." in page
    page = get(cast, device_with(cast, MODE))
    assert 'type="radio"' not in page
    assert '<input type="hidden" name="command" value="0">' in page


@pytest.mark.parametrize(("category", "raw"), [("own", True), ("supported", True), ("managed", False)])
def test_managed_devices_take_commands_and_never_raw_bytes(
    cast: Cast, network: RecordedNetwork, category: str, raw: bool
) -> None:
    """T3, its rows "raw payload" and "commands", also where a managed type says otherwise by mistake."""
    device = device_with(cast, MODE, category=category)
    page = get(cast, device)
    assert 'name="command"' in page
    assert ('name="payload"' in page) == raw
    response = post(cast, device, encoder="raw-lora", fport=1, payload="01")
    assert response.status_code == 302
    assert Downlink.objects.count() == raw
    assert post(cast, device, **{"value-0": "1"}).status_code == 302
    assert Downlink.objects.filter(encoder="commands").count() == 1


def test_every_managed_type_offers_its_commands(cast: Cast, network: RecordedNetwork) -> None:
    flow = factories.flow(cast.project)
    for kind in DeviceType.objects.filter(category=Category.MANAGED, connectivity="lora"):
        page = get(cast, factories.lora_device(cast.project, kind.slug, in_flow=flow))
        assert "Sending interval" in page
        assert 'name="payload"' not in page


@pytest.mark.parametrize(
    ("data", "sent", "label"),
    [
        ({"value-0": "0"}, (11, b"\x01\x00", True), "Mode: Normal"),
        ({"value-0": "1"}, (11, b"\xaa\xff", True), "Mode: Lost"),
        ({"command": "1"}, (12, b"\x07", False), "Blink"),
    ],
)
def test_command_is_sent_and_named_in_the_table(
    cast: Cast, device: Device, data: dict[str, str], sent: tuple[int, bytes, bool], label: str
) -> None:
    assert post(cast, device, **data).status_code == 302
    row = Downlink.objects.get()
    assert (row.fport, bytes(row.payload), row.confirmed) == sent
    assert (row.label, row.encoder, row.requested_by_id) == (label, "commands", cast.operator.pk)
    found = re.search(r'<tr id="downlink-1">.*?</tr>', get(cast, device), re.DOTALL)
    assert found
    assert label in found[0]
    assert sent[1].hex(" ").upper() in found[0]


def test_same_page_twice_sends_once(cast: Cast, device: Device) -> None:
    token = str(uuid4())
    for _turn in range(2):
        post(cast, device, token=token, **{"value-0": "1"})
    assert Downlink.objects.count() == 1


@pytest.mark.parametrize("part", [False, True])
def test_bytes_are_shown_before_anything_is_sent(cast: Cast, device: Device, part: bool) -> None:
    response = post(cast, device, part=part, show="1", **{"value-0": "1"})
    assert response.status_code == 200
    page = text_of(response)
    assert "AA FF" in page
    assert "FPort 11" in page
    assert page.lstrip().startswith('<div class="sent" id="command-bytes"') == part
    if not part:
        assert re.search(r'<option value="1" selected>Lost', page), "what was chosen stays"
    assert not Downlink.objects.exists()


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"value-0": "7"}, "Select a valid choice. 7"),
        ({}, "Choose one of the values."),
        ({"command": "9"}, "Select a valid choice. 9"),
    ],
)
def test_wrong_choice_is_said_and_nothing_is_sent(
    cast: Cast, device: Device, data: dict[str, str], says: str, part: bool
) -> None:
    response = post(cast, device, part=part, **data)
    assert response.status_code == 422
    assert says in text_of(response)
    assert says in text_of(post(cast, device, part=part, show="1", **data))
    assert not Downlink.objects.exists()


def test_codec_that_has_no_version_in_use_is_said(cast: Cast, network: RecordedNetwork) -> None:
    device = device_with(cast, CODEC)
    response = post(cast, device, **{"value-0": "red"})
    assert response.status_code == 422
    assert "no version in use" in text_of(response)


def test_internet_device_gets_a_senml_record(cast: Cast) -> None:
    command = MODE | {"way": {"by": "senml"}, "choices": [{"label": "Lost", "value": True}]}
    kind = factories.own_type(
        cast.project, connectivity="internet", decoders=["senml"], encoders=["commands"], commands=[command]
    )
    device = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(type=kind)
        name = device.internet.base_name
    shown = text_of(post(cast, device, part=True, show="1", **{"value-0": "true"}))
    assert '[{"n": "mode", "vb": true}]' in shown
    assert "FPort" not in shown
    assert post(cast, device, **{"value-0": "true"}).status_code == 302
    row = Downlink.objects.get()
    assert json.loads(bytes(row.payload)) == [{"bn": name, "n": "mode", "vb": True}]


def test_type_with_the_encoder_and_no_commands_offers_none(cast: Cast, network: RecordedNetwork) -> None:
    page = get(cast, device_with(cast))
    assert 'name="command"' not in page
    assert 'name="payload"' in page
