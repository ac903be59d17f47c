"""One message of the LoRa data history: its page and its opened row (L4)."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from devices.models import Device, DeviceType, FlowLink
from downlinks.models import Downlink
from lora.models import FrameKind
from lora.search import Cursor
from tests import factories
from tests.cast import Cast
from tests.lora_frames import DOWN, HTMX, UP, frame, get, keys, url
from things_portal.environment import Tiles

# --- one frame ---

DETAIL = {
    "receptions": [
        {"gateway": "FF0109E8", "rssi": -107.0, "snr": 3.0, "esp": -108.76},
        {"gateway": "FF010A11", "rssi": -118.5, "snr": -4.25, "esp": -124.2},
    ]
}


def open_frame(device: Device, now: datetime, seq: int = 1, **values: Any) -> Cursor:
    return frame(
        device, now, seq,
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


def test_signal_has_bandwidth_data_rate_and_airtime(cast: Cast, device: Device, now: datetime) -> None:
    told = DETAIL | {"bandwidth_khz": 125}
    page = get(cast, url(device, f"{open_frame(device, now, payload=bytes(49), detail=told)}/"))
    for text in ("125 kHz", "DR0 · SF12/125 kHz · 250 bit/s", "2957.3 ms", "coding rate 4/5", "with CRC"):
        assert text in page, text
    assert "does not tell it" not in page
    page = get(cast, url(device, f"{open_frame(device, now, seq=2)}/"))
    assert "as usual; the network does not tell it" in page


def test_gateways_stand_in_a_table_with_their_distance(cast: Cast, device: Device, now: datetime) -> None:
    near = {"gateway": "FF0109E8", "rssi": -107.0, "snr": 3.0, "latitude": 51.9325, "longitude": 4.47917}
    told = {"receptions": [near, {"gateway": "FF010A11", "rssi": -118.5, "snr": -4.25, "esp": -124.2}]}
    page = get(cast, url(device, f"{open_frame(device, now, detail=told)}/"))
    first, second = re.findall(r'<tr><td class="right num m-lead">\d</td>.*?</tr>', page)
    for text in (">1<", "FF0109E8", "-107 dBm", "3 dB", ">-109 dBm<", ">1.1 km<"):
        assert text in first, text
    for text in (">2<", "FF010A11", "-118.5 dBm", "-4.3 dB", ">-124 dBm<", ">–<"):
        assert text in second, text


@pytest.mark.parametrize(
    ("payload", "text"), [(b"Hello, 21 C", "Hello, 21 C"), (b"\x01Hello", ""), (b"caf\xc3\xa9", ""), (b"", "")]
)
def test_payload_that_is_text_is_shown_as_text(
    cast: Cast, device: Device, now: datetime, payload: bytes, text: str
) -> None:
    page = get(cast, url(device, f"{open_frame(device, now, payload=payload)}/"))
    assert (f"<dt>As text</dt><dd><code>{text}</code></dd>" in page) is bool(text)
    assert ("As text" in page) is bool(text)
    assert (f"{len(payload)} bytes" in page) is bool(payload)


def test_flags_say_what_they_mean(cast: Cast, device: Device, now: datetime) -> None:
    page = get(cast, url(device, f"{open_frame(device, now, detail=DETAIL | {'class_b': True})}/"))
    for flag, meaning in (
        ("ACK", "The device acknowledges the last downlink."),
        ("ADRACKReq", "know that the network still hears it"),
        ("ClassB", "listens in ping slots"),
    ):
        assert re.search(rf'>{flag}</span><span class="tip-body" role="tooltip">[^<]*{meaning}', page), flag
    down = open_frame(device, now, seq=2, direction=DOWN, fpending=True, adr_ack_req=False, detail={})
    page = get(cast, url(device, f"{down}/"))
    assert "The network acknowledges the uplink." in page and "The network has more for the device" in page
    assert "ClassB" not in page


def test_downlink_tells_window_gateway_and_air(cast: Cast, device: Device, now: datetime) -> None:
    told = {"window": "RX2", "gateway": "FF0109E8", "bandwidth_khz": 125}
    values = {"direction": DOWN, "frequency_hz": 869_525_000, "channel": "RX2", "detail": told, "latitude": None}
    page = get(cast, url(device, f"{open_frame(device, now, **values)}/"))
    assert re.search(r"<dt>Receive window</dt><dd>RX2 [^\n]*869\.525 MHz · DR0 · SF12/125 kHz · 250 bit/s", page)
    assert re.search(r"<dt>Gateway</dt><dd>[^\n]*FF0109E8", page)
    assert "<dt>On air</dt><dd>Yes</dd>" in page and "without CRC" in page
    assert "Geolocation" not in page and "RSSI" not in page


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("DA", "The duty cycle of the network was used up. (DA)"),
        ("b0", "The downlink reached the gateway too late. (b0)"),
        ("odd", "<dd>odd</dd>"),
        ("", "The network does not say why."),
    ],
)
def test_failure_is_said_in_words(cast: Cast, device: Device, now: datetime, cause: str, words: str) -> None:
    cursor = frame(device, now, direction=DOWN, delivered=False, cause=cause)
    assert words in get(cast, url(device, f"{cursor}/"))


def test_downlink_leads_to_the_instruction_that_it_carries(cast: Cast, device: Device, now: datetime) -> None:
    correlation = uuid4()
    cursor = frame(device, now, direction=DOWN, correlation_id=correlation)
    assert "<dt>Instruction</dt>" not in get(cast, url(device, f"{cursor}/"))
    with scopes_disabled():
        Downlink.objects.create(
            device=device, number=3, correlation_id=correlation, encoder="lora", label="Interval 5 min"
        )
    page = get(cast, url(device, f"{cursor}/"))
    assert f'<a href="/devices/{device.pk}/send/?before=4#downlink-3">Instruction 3: Interval 5 min</a>' in page


def test_instruction_of_another_device_is_not_told(cast: Cast, device: Device, now: datetime) -> None:
    correlation = uuid4()
    cursor = frame(device, now, direction=DOWN, correlation_id=correlation)
    other = factories.lora_device(cast.elsewhere)
    with scopes_disabled():
        Downlink.objects.create(device=other, number=1, correlation_id=correlation, encoder="lora", label="Secret")
    page = get(cast, url(device, f"{cursor}/"))
    assert "Secret" not in page and "<dt>Instruction</dt>" not in page


# --- position ---


def test_position_is_told_and_drawn(cast: Cast, device: Device, now: datetime) -> None:
    near = {"gateway": "FF0109E8", "rssi": -107.0, "snr": 3.0, "latitude": 51.9325, "longitude": 4.47917}
    told = {
        "receptions": [near, {"gateway": "FF010A11"}],
        "location_method": "TDOA",
        "location_solved": "2026-02-01T10:00:00+00:00",
    }
    page = get(cast, url(device, f"{open_frame(device, now, detail=told)}/"))
    for text in ("51.922500, 4.479170", "within 118 m", "theoretical inaccuracy", "arrival time", "1 Feb 2026"):
        assert text in page, text
    (drawing,) = drawings(page)
    assert drawing.count('class="reach"') == 1 and drawing.count('class="here"') == 1
    assert drawing.count('class="gateway"') == 1 and "<title>FF0109E8</title>" in drawing
    assert "500 m</text>" in drawing and ">N</text>" in drawing
    # Without tiles of a server nothing leads to one.
    assert "data-map" not in page and "leaflet" not in page and "map.js" not in page


def drawings(page: str) -> list[str]:
    return [part.split("</svg>")[0] for part in page.split('<svg viewBox="0 0 480 320"')[1:]]


def test_small_radius_is_drawn_again_from_nearer(cast: Cast, device: Device, now: datetime) -> None:
    told = {"receptions": [{"gateway": "FF0109E8", "latitude": 52.0, "longitude": 4.47917}]}
    page = get(cast, url(device, f"{open_frame(device, now, detail=told)}/"))
    whole, nearer = drawings(page)
    assert "2 km</text>" in whole and 'class="gateway"' in whole
    assert nearer.count('class="reach"') == 1 and 'class="gateway"' not in nearer and "100 m</text>" in nearer
    assert "The second drawing shows the radius from nearer." in page


def test_position_without_radius_or_gateways(cast: Cast, device: Device, now: datetime) -> None:
    page = get(cast, url(device, f"{open_frame(device, now, radius=0.0)}/"))
    assert re.search(r"<dt>Radius</dt><dd><span class=\"none\">The network does not tell it", page)
    assert 'class="reach"' not in page and 'class="here"' in page and 'class="gateway"' not in page


def test_numbers_of_the_drawing_keep_their_point_in_dutch(cast: Cast, device: Device, now: datetime) -> None:
    cast.viewer.language = "nl"
    cast.viewer.save(update_fields=["language"])
    cursor = open_frame(device, now, detail={"receptions": [{"gateway": "A", "latitude": 51.93, "longitude": 4.5}]})
    page = get(cast, url(device, f"{cursor}/"))
    assert 'lang="nl"' in page
    drawing = "".join(drawings(page))
    assert re.search(r'class="reach" cx="[\d.]+" cy="[\d.]+" r="[\d.]+"', drawing)
    assert not re.search(r'="[-\d]*,', drawing)


@pytest.mark.parametrize(
    ("values", "normal"),
    [
        ({"latitude": None, "longitude": None, "radius": None}, True),
        ({"latitude": None, "longitude": None, "direction": DOWN}, False),
        ({"latitude": None, "longitude": None, "kind": FrameKind.JOIN_REQUEST}, False),
        ({}, False),
    ],
)
def test_no_position_is_normal_and_said_so(
    cast: Cast, device: Device, now: datetime, values: dict[str, Any], normal: bool
) -> None:
    page = get(cast, url(device, f"{open_frame(device, now, **values)}/"))
    assert ("not every uplink gives one. Too few gateways" in page) is normal


def test_map_is_offered_where_there_are_tiles(cast: Cast, device: Device, now: datetime, settings: Any) -> None:
    settings.MAP_TILES = Tiles("https://t.example/{z}/{x}/{y}.png", "https://t.example", "© <a href='/x'>Makers</a>")
    told = {"receptions": [{"gateway": "<b>GW", "latitude": 51.93, "longitude": 4.5}]}
    cursor = open_frame(device, now, detail=told)
    response = cast.client(cast.viewer).get(url(device, f"{cursor}/"))
    raw = response.content.decode()
    found = re.search(r'data-map="([^"]+)" data-tiles="([^"]+)" data-attribution="([^"]+)"', raw)
    assert found
    shown, template, attribution = (html.unescape(part) for part in found.groups())
    assert json.loads(shown) == {
        "position": [51.9225, 4.47917],
        "radius": 118.4,
        "gateways": [{"number": 1, "name": "<b>GW", "at": [51.93, 4.5]}],
    }
    assert (template, attribution) == ("https://t.example/{z}/{x}/{y}.png", "© <a href='/x'>Makers</a>")
    assert "portal/js/map.js" in raw and "<b>GW" not in raw
    # The drawing stays: for those without script, and where no tile comes.
    assert 'class="here"' in raw


# --- the rest of a page ---


def test_raw_json_holds_everything_and_can_be_copied(cast: Cast, device: Device, now: datetime) -> None:
    cursor = open_frame(device, now)
    response = cast.client(cast.viewer).get(url(device, f"{cursor}/"))
    found = re.search(r'<div class="code-box mt-2">.*?data-copy="([^"]+)".*?<pre class="code">(.*?)</pre>',
                      response.content.decode(), re.DOTALL)  # fmt: skip
    assert found
    copied, shown = (json.loads(html.unescape(part)) for part in found.groups())
    assert copied == shown
    assert datetime.fromisoformat(shown["received_at"]) == now
    for name, value in {
        "direction": "uplink", "kind": "data", "fcnt": 7, "fport": 10, "payload": "0167DEAD", "mac": "030706FF0A",
        "spreading_factor": 12, "rssi": -107.0, "latitude": 51.9225, "adr_ack_req": True, "detail": DETAIL,
    }.items():  # fmt: skip
        assert shown[name] == value, name


def test_previous_and_next_message(cast: Cast, device: Device, now: datetime) -> None:
    at = [open_frame(device, now - timedelta(minutes=5), 1), open_frame(device, now, -7), open_frame(device, now, 4)]
    frame(factories.lora_device(cast.project), now, 0)
    for index, cursor in enumerate(at):
        page = get(cast, url(device, f"{cursor}/"))
        for rel, other in (("prev", index - 1), ("next", index + 1)):
            link = re.search(rf'rel="{rel}" href="([^"]+)"', page)
            wanted = url(device, f"{at[other]}/") if 0 <= other < len(at) else None
            assert (link and link[1]) == wanted, (index, rel)


def test_previous_message_is_none_that_the_history_does_not_keep(
    cast: Cast, device: Device, now: datetime, settings: Any
) -> None:
    frame(device, now - timedelta(days=3), 1)
    cursor = frame(device, now, 2)
    settings.FRAME_RETENTION_DAYS = 2
    assert 'rel="prev"' not in get(cast, url(device, f"{cursor}/"))


def test_a_message_has_an_address_for_colleagues(cast: Cast, device: Device, now: datetime) -> None:
    cursor = open_frame(device, now)
    address = url(device, f"{cursor}/")
    for part in (True, False):
        page = get(cast, address, part=part)
        assert f'href="http://testserver{address}"' in page and f'data-copy="http://testserver{address}"' in page
    assert cast.client(cast.operator).get(address).status_code == 200
    assert cast.client(cast.stranger).get(address).status_code == 404
    assert cast.client(cast.stranger).get(address, headers=HTMX).status_code == 404


def test_a_message_costs_as_many_queries_with_one_gateway_as_with_twenty(
    cast: Cast, device: Device, now: datetime
) -> None:
    counts = []
    client = cast.client(cast.viewer)
    for seq, gateways in enumerate((1, 1, 20)):
        told = {"receptions": [{"gateway": f"G{n}", "latitude": 51.9, "longitude": 4.4} for n in range(gateways)]}
        cursor = open_frame(device, now, seq=seq, detail=told, mac=b"\x02" * gateways)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device, f"{cursor}/")).status_code == 200
        counts.append(len(queries))
    assert counts[1] == counts[2]


@pytest.mark.parametrize("seed", range(40))
def test_any_frame_has_a_page(cast: Cast, device: Device, now: datetime, seed: int) -> None:
    """Whatever a network tells, in any combination, the page stands."""
    rng = Random(seed)

    def maybe(*values: Any) -> Any:
        return rng.choice([None, *values])

    told = {
        "receptions": [
            {name: value for name, value in (
                ("gateway", maybe("G1", "")), ("rssi", maybe(-100.0)), ("snr", maybe(3.5)), ("esp", maybe(-101.0)),
                ("latitude", maybe(51.9)), ("longitude", maybe(4.4)),
            ) if value is not None}
            for _number in range(rng.randrange(4))
        ],
        "location_method": maybe("TDOA", "other"), "location_solved": maybe("2026-02-01T10:00:00Z", "soon"),
        "window": maybe("RX1"), "bandwidth_khz": maybe(125, 250, 500), "dev_nonce": maybe(0), "mic": maybe("00AA"),
    }  # fmt: skip
    cursor = frame(
        device, now, seed, direction=rng.choice([UP, DOWN]), kind=rng.choice(list(FrameKind)),
        fcnt=maybe(0, 2**32 - 1), fport=maybe(0, 1, 255), payload=rng.randbytes(rng.choice([0, 1, 242])),
        mac=rng.randbytes(rng.choice([0, 3, 15])), spreading_factor=maybe(5, 7, 12), frequency_hz=maybe(0, 868_100_000),
        rssi=maybe(-100.0), snr=maybe(-3.0), esp=maybe(-103.0), latitude=maybe(90.0, -51.5), longitude=maybe(180.0),
        radius=maybe(0.0, 80.0), delivered=rng.random() < 0.5, cause=rng.choice(["", "DA", "x"]), detail=told,
        correlation_id=maybe(uuid4()),
    )  # fmt: skip
    assert "Everything that is kept" in get(cast, url(device, f"{cursor}/"))


def test_mac_commands_are_explained_one_by_one(cast: Cast, device: Device, now: datetime) -> None:
    page = get(cast, url(device, f"{open_frame(device, now)}/"), part=True)
    for text in ("030706FF0A", "LinkADRAns", ">03 07<", "DevStatusAns", ">06 FF 0A<", "Battery and reception"):
        assert text in page
    for label, text in (("Channels", "accepted"), ("Battery", "the device cannot measure it"), ("Margin", "10 dB")):
        assert re.search(rf'<dt>{label}</dt><dd class="num">{text}</dd>', page), label
    assert "LoRaWAN 1.0.2 means" not in page


def test_refused_and_old_and_unreadable_commands_stand_out(cast: Cast, device: Device, now: datetime) -> None:
    cursor = open_frame(device, now, mac=bytes.fromhex("0306105306FF"))
    page = get(cast, url(device, f"{cursor}/"), part=True)
    assert '<dt>Channels</dt><dd class="num bad">refused</dd>' in page
    assert "A device of LoRaWAN 1.0.2 means by it: Every: 32 s; Data rate: DR3" in page
    assert '<strong class="bad">Not readable</strong>' in page
    assert "2 bytes: DevStatusAns begins, and its end is missing." in page


def test_mac_commands_of_a_downlink_are_read_as_such(cast: Cast, device: Device, now: datetime) -> None:
    cursor = open_frame(device, now, direction=DOWN, mac=bytes.fromhex("03520402110680"), detail={})
    page = get(cast, url(device, f"{cursor}/"), part=True)
    assert "LinkADRReq" in page and "DR5 · SF7/125 kHz · 5470 bit/s" in page and "DevStatusReq" in page
    assert "Not readable" in page and ">80<" in page
    assert "best gateway" not in page and "Received by" not in page


def test_failed_downlink_and_join_request_tell_what_the_network_told(cast: Cast, device: Device, now: datetime) -> None:
    told = {"window": "RX2", "gateway": "FF0109E8", "dev_addr": "2601A3F0", "mic": "DEADBEEF"}
    failed = frame(device, now, 1, direction=DOWN, delivered=False, cause="duty cycle", detail=told)
    page = get(cast, url(device, f"{failed}/"))
    for text in ("RX2", "FF0109E8", "2601A3F0", "DEADBEEF", "duty cycle"):
        assert text in page
    assert re.search(r'<dt>On air</dt><dd><span class="bad">No</span>', page)
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
    assert "This message could not be read." in shown
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


def test_built_in_decoders_read_what_no_codec_does(cast: Cast, device: Device, now: datetime) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(decoders=["cayenne-lpp"])
    cursor = frame(device, now, fport=1, payload=bytes.fromhex("01670110"))
    shown = get(cast, url(device, f"{cursor}/"))
    assert "<h3" in shown and "Values by CayenneLPP" in shown
    assert re.search(r'<dd class="value">27.2 <span class="quiet">°C</span>', shown)
    wrong = frame(device, now, 2, fport=1, payload=bytes.fromhex("01FF"))
    shown = get(cast, url(device, f"{wrong}/"))
    assert "Values by CayenneLPP" in shown and "This message could not be read." in shown


def test_decoder_of_the_flow_counts_and_raw_ones_repeat_nothing(cast: Cast, device: Device, now: datetime) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(decoders=["raw-lora", "cayenne-lpp"])
    cursor = frame(device, now, fport=1, payload=bytes.fromhex("01670110"))
    assert "Values by" not in get(cast, url(device, f"{cursor}/"))
    with scopes_disabled():
        FlowLink.objects.create(device=device, flow=factories.flow(cast.project, decoder="cayenne-lpp"))
    assert "Values by CayenneLPP" in get(cast, url(device, f"{cursor}/"))


def test_decoder_reads_what_the_codec_could_not(cast: Cast, device: Device, now: datetime) -> None:
    factories.codec(cast.project, CODEC, of=device.type)
    DeviceType.objects.filter(pk=device.type_id).update(decoders=["cayenne-lpp"])
    cursor = frame(device, now, fport=3, payload=bytes.fromhex("FF670110"))
    shown = get(cast, url(device, f"{cursor}/"))
    assert "Too hot." in shown and "Values by CayenneLPP" in shown


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
