"""What the forms of Send instruction tell while they are written (S2): bytes, places of errors, room, validity."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from devices.models import Device
from downlinks.forms import RawLoraForm
from downlinks.models import Downlink
from lora.events import Uplink
from lora.frames import store
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def post(cast: Cast, device: Device, *, status: int = 200, part: bool = True, **data: Any) -> str:
    """The page, with tags left out, after a look (or with show="" after sending)."""
    asked = {"encoder": "raw-lora", "show": "1"} | data
    asked = {key: value for key, value in asked.items() if value != "" or key == "payload"}
    response = cast.client(cast.operator).post(f"/devices/{device.pk}/send/", asked, headers=HTMX if part else {})
    assert response.status_code == status
    words = re.sub(r"<[^>]*>", " ", re.sub(r"</?mark>", "", response.content.decode()))
    return html.unescape(re.sub(r"\s+", " ", words))


# --- raw LoRa ---


@pytest.mark.parametrize("written", ["01 0A FF", "0x01,0x0a,0xFF", "010aff", " 01:0A-ff "])
@pytest.mark.parametrize("part", [True, False])
def test_bytes_are_shown_in_any_spacing_and_nothing_is_asked(
    cast: Cast, device: Device, written: str, part: bool
) -> None:
    said = post(cast, device, part=part, fport="10", payload=written)
    assert "3 bytes 01 0A FF ..." in said
    assert not Downlink.objects.exists()


def test_printable_bytes_are_shown_as_text_sixteen_in_a_line(cast: Cast, device: Device) -> None:
    said = post(cast, device, fport="10", payload=(b"hello, device 17" + b"\x00!").hex())
    assert "18 bytes 0000 68 65 6C 6C 6F 2C 20 64 65 76 69 63 65 20 31 37 hello, device 17 0010 00 21 .!" in said


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("01 0G", "Here 01 0G Character 5: “G” is not a hexadecimal digit"),
        ("  01 0G", "Character 7: “G”"),
        ("01 0", "Character 4: Write each byte with two digits"),
        ("01 2 03", "Character 4: Write each byte"),
        ("0x", "Character 2: Write each byte"),
        ("00" * 52, "The payload has 52 bytes; at the device's present data rate at most 51 fit."),
        ("00" * 243, "The payload has 243 bytes; at most 242 fit in a LoRa message."),
    ],
)
def test_error_names_the_character_or_the_size(cast: Cast, device: Device, written: str, says: str) -> None:
    assert says in post(cast, device, fport="10", payload=written)


def test_what_is_not_written_yet_is_no_error(cast: Cast, device: Device) -> None:
    response = cast.client(cast.operator).post(
        f"/devices/{device.pk}/send/", {"encoder": "raw-lora", "show": "1", "payload": "", "fport": ""}, headers=HTMX
    )
    assert b'class="bad"' not in response.content
    assert "FPort" not in post(cast, device, payload="01")
    assert "greater than or equal to 1" in post(cast, device, payload="01", fport="0")


def test_confirmed_and_unconfirmed_say_what_they_mean(cast: Cast, device: Device) -> None:
    assert "a gateway has sent it" in post(cast, device, fport="1", payload="01")
    assert "the device acknowledged it" in post(cast, device, fport="1", payload="01", confirmed="on")


def test_room_is_that_of_the_last_uplink(cast: Cast, device: Device, network: RecordedNetwork) -> None:
    assert "Nothing was heard of it yet; at the slowest data rate: 51 bytes fit." in post(cast, device, payload="01")
    now = timezone.now()
    for minutes, factor in ((9, 12), (3, 9)):
        at = now - timedelta(minutes=minutes)
        store([(device.pk, Uplink(dev_eui=device.identifier, at=at, fcnt=9, mic="00", spreading_factor=factor))])
    network.room = 115
    said = post(cast, device, payload="01")
    assert re.search(r"SF9 at the last uplink of .*: 115 bytes fit\. No data rate takes more than 242\.", said)


# --- SenML ---


def test_senml_is_shown_as_the_device_gets_it(cast: Cast, fetching: Device) -> None:
    said = post(cast, fetching, encoder="raw-senml", payload='[{"n": "setpoint", "u": "Cel", "v": 21.5}]')
    with scopes_disabled():
        name = fetching.internet.base_name
    assert f'[ {{"bn": "{name}", "n": "setpoint", "u": "Cel", "v": 21.5}} ]' in said
    sent = json.dumps([{"bn": name, "n": "setpoint", "u": "Cel", "v": 21.5}], separators=(",", ":"))
    assert f"The device gets {len(sent)} bytes" in said
    assert not Downlink.objects.exists()


def test_senml_tells_all_errors_with_their_lines(cast: Cast, fetching: Device) -> None:
    written = '[{"n": "a", "v": 1,\n "vs": "x"},\n{"n": "b"}]'
    said = post(cast, fetching, encoder="raw-senml", payload=written)
    assert "Line 2, record 1, “vs”: A record must have one value, not v and vs." in said
    assert "Line 3, record 2: The record has no value" in said
    assert "The device gets" not in said
    page = post(cast, fetching, encoder="raw-senml", payload=written, show="", part=False, status=422)
    assert "Line 2, record 1" in page
    assert "Line 3, record 2" in page


def test_unknown_unit_warns_and_is_sent(cast: Cast, fetching: Device) -> None:
    written = '[{"n": "a", "v": 1, "u": "furlong"}]'
    said = post(cast, fetching, encoder="raw-senml", payload=written)
    assert "Line 1, record 1, “u”: The unit furlong is in no register. It is sent as it is" in said
    post(cast, fetching, encoder="raw-senml", payload=written, show="", part=False, status=302)
    assert Downlink.objects.count() == 1


# --- valid until ---


def send(cast: Cast, device: Device, *, status: int = 302, **data: Any) -> str:
    return post(cast, device, show="", part=False, status=status, fport="1", payload="01", **data)


def test_without_a_choice_there_is_no_limit(cast: Cast, device: Device) -> None:
    send(cast, device)
    assert Downlink.objects.get().valid_until is None


@pytest.mark.parametrize("hours", [1, 24, 168])
def test_an_hour_a_day_a_week(cast: Cast, device: Device, hours: int) -> None:
    send(cast, device, valid_until=str(hours * 3600))
    valid = Downlink.objects.get().valid_until
    assert valid
    assert abs(valid - timezone.now() - timedelta(hours=hours)) < timedelta(seconds=30)


def test_a_moment_is_in_the_zone_of_the_person(cast: Cast, device: Device) -> None:
    zone = timezone.get_current_timezone()
    wanted = (timezone.now() + timedelta(days=2)).astimezone(zone).replace(second=0, microsecond=0)
    with timezone.override(zone):
        send(cast, device, valid_until="at", valid_at=wanted.strftime("%Y-%m-%dT%H:%M"))
    valid = Downlink.objects.get().valid_until
    assert valid
    assert abs(valid - wanted) <= timedelta(hours=3), "in the zone of the person, not of the server"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"valid_until": "at"}, "Choose a moment."),
        ({"valid_until": "at", "valid_at": "2020-01-01T00:00"}, "Choose a moment that is still to come."),
        ({"valid_until": "at", "valid_at": "2999-01-01T00:00"}, "Choose a moment within a year."),
        ({"valid_until": "at", "valid_at": "soon"}, "Enter a valid date/time."),
        ({"valid_until": "5"}, "Select a valid choice."),
    ],
)
def test_wrong_moment_is_said(cast: Cast, device: Device, data: dict[str, str], says: str) -> None:
    assert says in send(cast, device, status=422, **data)
    assert not Downlink.objects.exists()


def test_moment_that_is_not_chosen_is_not_looked_at(cast: Cast, device: Device) -> None:
    send(cast, device, valid_at="soon")
    assert Downlink.objects.get().valid_until is None


def test_sent_twice_with_a_limit_is_one_instruction(cast: Cast, device: Device) -> None:
    token, shown = str(uuid4()), str(int(timezone.now().timestamp()) - 5)
    for _turn in range(2):
        send(cast, device, token=token, shown=shown, valid_until="3600")
    assert Downlink.objects.count() == 1


@pytest.mark.parametrize("shown", ["", "x", "9" * 11, "1", "-5"])
def test_limit_counts_from_now_where_the_page_says_nothing_sensible(cast: Cast, device: Device, shown: str) -> None:
    send(cast, device, shown=shown, valid_until="3600")
    valid = Downlink.objects.get().valid_until
    assert valid
    assert timedelta(minutes=59) < valid - timezone.now() <= timedelta(hours=1)


def test_size_is_told_by_the_same_rule_as_sending(cast: Cast, device: Device) -> None:
    for size, problems in ((51, 0), (52, 1)):
        form = RawLoraForm({"payload": "00" * size, "fport": "1"}, device=device)  # type: ignore[arg-type]
        form.is_valid()
        assert len(form.problems) == problems
