"""One message of the LoRa data history: its page and its opened row (L4)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from django_scopes import scopes_disabled

from devices.models import Device, DeviceType
from lora.history import Cursor
from lora.models import FrameKind
from tests import factories
from tests.cast import Cast
from tests.lora_frames import DOWN, HTMX, frame, get, keys, url

# --- one frame ---

DETAIL = {
    "receptions": [
        {"gateway": "FF0109E8", "rssi": -107.0, "snr": 3.0, "esp": -108.76},
        {"gateway": "FF010A11", "rssi": -118.5, "snr": -4.25, "esp": -124.2},
    ]
}


def open_frame(device: Device, now: datetime, **values: Any) -> Cursor:
    return frame(
        device, now,
        **{
            "fcnt": 7, "fport": 10, "payload": bytes.fromhex("0167DEAD"), "spreading_factor": 12,
            "frequency_hz": 868_300_000, "channel": "LC2", "rssi": -107.0, "snr": 3.0, "esp": -108.76,
            "gateway_count": 2, "ack": True, "adr": True, "adr_ack_req": True, "latitude": 51.9225,
            "longitude": 4.47917, "radius": 118.4, "mac": bytes.fromhex("030706FF0A"), "detail": DETAIL,
        }
        | values,
    )  # fmt: skip


@pytest.mark.parametrize("part", [True, False])
def test_opened_frame_tells_all(cast: Cast, device: Device, now: datetime, part: bool) -> None:
    page = get(cast, url(device, f"{open_frame(device, now)}/"), part=part)
    for text in (
        "SF12", "LC2 · 868.3 MHz", ">2<", "-107 dBm", "3 dB", "-108.8 dBm", ">10<", "0167DEAD", ">ACK<", ">ADR<",
        ">ADRACKReq<", "51.922500, 4.479170", "within 118 m", "FF0109E8", "FF010A11", "-118.5",
    ):  # fmt: skip
        assert text in page, text
    assert ">FPending<" not in page
    assert ("<html" in page) is not part


def test_mac_commands_are_explained_one_by_one(cast: Cast, device: Device, now: datetime) -> None:
    page = get(cast, url(device, f"{open_frame(device, now)}/"), part=True)
    for text in ("030706FF0A", "LinkADRAns", ">03 07<", "DevStatusAns", ">06 FF 0A<", "Battery and reception"):
        assert text in page
    assert "channel mask ok yes" in page and "battery not known" in page


def test_mac_commands_of_a_downlink_are_read_as_such(cast: Cast, device: Device, now: datetime) -> None:
    cursor = open_frame(device, now, direction=DOWN, mac=bytes.fromhex("03520402110680"), detail={})
    page = get(cast, url(device, f"{cursor}/"), part=True)
    assert "LinkADRReq" in page and "data rate 5" in page and "DevStatusReq" in page
    assert "Not readable" in page and ">80<" in page
    assert "best gateway" not in page and "Received by" not in page


def test_failed_downlink_and_join_request_tell_what_the_network_told(cast: Cast, device: Device, now: datetime) -> None:
    told = {"window": "RX2", "gateway": "FF0109E8", "dev_addr": "2601A3F0", "mic": "DEADBEEF"}
    failed = frame(device, now, 1, direction=DOWN, delivered=False, cause="duty cycle", detail=told)
    page = get(cast, url(device, f"{failed}/"))
    for text in ("RX2", "FF0109E8", "2601A3F0", "DEADBEEF", "duty cycle"):
        assert text in page
    told = {"app_eui": "70B3D57ED0000009", "dev_nonce": 0}
    request = frame(device, now, 2, kind=FrameKind.JOIN_REQUEST, payload=b"", detail=told)
    page = get(cast, url(device, f"{request}/"))
    assert "70B3D57ED0000009" in page and "<dt>DevNonce</dt><dd>0</dd>" in page


def test_opened_row_stays_in_its_place_and_closes(cast: Cast, device: Device, now: datetime) -> None:
    cursor = open_frame(device, now)
    opened = get(cast, url(device, f"{cursor}/"), part=True)
    assert keys(opened) == [str(cursor)] and f'<tr class="detail" id="d-{cursor}">' in opened
    assert 'aria-expanded="true"' in opened and f"{cursor}/?close" in opened
    closed = get(cast, url(device, f"{cursor}/?close"), part=True)
    assert f'<tr id="d-{cursor}" hx-swap-oob="delete">' in closed and 'aria-expanded="false"' in closed
    assert "Spreading factor" not in closed


@pytest.mark.parametrize("rest", ["1-1/", "99999999999999999999999-1/", "1-99999999999999999999/", "1-x/", "1--1/"])
def test_frame_that_does_not_exist_is_404(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.viewer).get(url(device, rest)).status_code == 404


# --- values by the codec of the device type (T5) ---

CODEC = """function decodeUplink(input) {
  console.log('port', input.fPort);
  if (input.bytes[0] > 200) throw new Error('Too hot.');
  return {data: {temperature: input.bytes[0] / 10, on: true, ok: null}, warnings: ['Old <b>firmware</b>.']};
}
function decodeDownlink(input) {
  return {data: {interval: input.bytes[0]}};
}"""


def test_message_shows_the_values_by_the_codec(cast: Cast, device: Device, now: datetime) -> None:
    factories.codec(cast.project, CODEC, of=device.type)
    DeviceType.objects.update(measurements=[{"name": "temperature", "unit": "Cel"}])
    cursor = frame(device, now, fport=3, payload=b"\xc8")
    for part in (False, True):
        response = cast.client(cast.viewer).get(url(device, f"{cursor}/"), headers=HTMX if part else {})
        shown = response.content.decode()
        assert re.search(r'<dt>temperature</dt><dd class="value">20 <span class="quiet">°C</span>', shown)
        assert '<dt>on</dt><dd class="value">true</dd>' in shown
        assert "Old &lt;b&gt;firmware&lt;/b&gt;." in shown
        assert "1 line that the codec printed" in shown
        assert "port 3" in shown


def test_message_shows_where_the_codec_failed(cast: Cast, device: Device, now: datetime) -> None:
    factories.codec(cast.project, CODEC, of=device.type)
    cursor = frame(device, now, fport=3, payload=b"\xff")
    shown = get(cast, url(device, f"{cursor}/"))
    assert "The codec could not read this message." in shown
    assert re.search(r"Line 3, column \d+: The codec threw: Error: Too hot\.", shown)
    assert "port 3" in shown


def test_downlink_is_read_by_the_codec_where_it_can(cast: Cast, device: Device, now: datetime) -> None:
    made = factories.codec(cast.project, CODEC, of=device.type)
    cursor = frame(device, now, direction=DOWN, fport=3, payload=b"\x0a")
    assert "<dt>interval</dt>" in get(cast, url(device, f"{cursor}/"))
    newer = made.versions.create(number=2, source="function decodeUplink() {}")
    with scopes_disabled():
        type(made).objects.filter(pk=made.pk).update(in_use=newer)
    assert "by the codec" not in get(cast, url(device, f"{cursor}/"))


@pytest.mark.parametrize("fields", [{"fport": 0}, {"fport": None}, {"fport": 3, "payload": b""}])
def test_message_without_data_of_the_application_asks_no_codec(
    cast: Cast, device: Device, now: datetime, fields: dict[str, Any]
) -> None:
    factories.codec(cast.project, CODEC, of=device.type)
    cursor = frame(device, now, **fields)
    assert "by the codec" not in get(cast, url(device, f"{cursor}/"))


def test_stopped_codec_is_told_of(cast: Cast, device: Device, now: datetime) -> None:
    made = factories.codec(cast.project, CODEC, of=device.type)
    made.versions.update(stopped_at=now)
    cursor = frame(device, now, fport=3)
    assert "The codec was stopped" in get(cast, url(device, f"{cursor}/"))
