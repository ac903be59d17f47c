"""The LoRa data history (L3, L4, L5, L7) and the LoRa tab (L2)."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from devices.models import Category, Connection, Device, DeviceType
from lora.history import Cursor
from lora.models import Direction, FrameKind, LoraIdentity
from tests import factories
from tests.cast import Cast

HTMX = {"HX-Request": "true"}
UP, DOWN = Direction.UPLINK, Direction.DOWNLINK


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, app_key=bytes.fromhex("0F" * 16))


@pytest.fixture
def now() -> datetime:
    return timezone.now().replace(microsecond=123_000)


def frame(device: Device, at: datetime, seq: int = 1, **values: Any) -> Cursor:
    """Put a frame into the table, an unconfirmed uplink with data unless said otherwise."""
    row: dict[str, Any] = {
        "device_id": device.pk, "received_at": at, "seq": seq, "direction": UP, "kind": FrameKind.DATA, "fcnt": seq,
        "payload": b"\x01\x67", "detail": {},
    } | values  # fmt: skip
    row["detail"] = json.dumps(row["detail"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO lora_frame ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values())
        )
    return Cursor(at, seq)


def url(device: Device, rest: str = "") -> str:
    return f"/devices/{device.pk}/lora/history/{rest}"


def get(cast: Cast, address: str, *, part: bool = False) -> str:
    response = cast.client(cast.viewer).get(address, headers=HTMX if part else {})
    assert response.status_code == 200, response.status_code
    return html.unescape(response.content.decode())


def row_of(page: str, cursor: Cursor) -> str:
    found = re.search(rf'<tr id="f-{cursor}">.*?</tr>', page, re.DOTALL)
    assert found, f"no row {cursor}"
    return found[0]


def keys(page: str) -> list[str]:
    return re.findall(r'<tr id="f-([\d-]+)">', page)


# --- who gets in ---


@pytest.mark.parametrize("rest", ["", "newer/", "1-1/"])
def test_history_is_hidden_from_strangers(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.stranger).get(url(device, rest)).status_code == 404
    assert cast.client(cast.stranger).get(f"/devices/{device.pk}/lora/").status_code == 404


@pytest.mark.parametrize("rest", ["", "newer/", "1-1/"])
def test_history_refuses_other_methods(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.operator).post(url(device, rest)).status_code == 405


def test_history_shows_only_frames_of_its_device(cast: Cast, device: Device, now: datetime) -> None:
    other = factories.lora_device(cast.project)
    mine, theirs = frame(device, now, 1), frame(other, now, 2)
    assert keys(get(cast, url(device))) == [str(mine)]
    assert cast.client(cast.viewer).get(url(device, f"{theirs}/")).status_code == 404


# --- rows ---


def test_row_of_an_uplink_tells_all(cast: Cast, device: Device, now: datetime) -> None:
    at = frame(
        device, now, fcnt=4211, spreading_factor=9, rssi=-107.0, snr=3.0, esp=-108.8, gateway_count=4, mac=b"\x02",
        latitude=51.92, longitude=4.48, radius=120.0,
    )  # fmt: skip
    row = row_of(get(cast, url(device)), at)
    for text in ("Uplink", 'data-tone="up"', "Unconfirmed", ">data<", ">MAC<", "Geolocation found", ">4211<", "SF9"):
        assert text in row
    for text in (">-107<", ">3<", "-109 dBm", 'data-bars="4"', ">4<", 'title="FCntUp"'):
        assert text in row
    assert ">ACK<" not in row


def test_moments_have_milliseconds_in_the_persons_zone(cast: Cast, device: Device, now: datetime) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"  # UTC+5:45, all year
    cast.viewer.save(update_fields=["time_zone"])
    at = frame(device, now)
    local = now + timedelta(hours=5, minutes=45)
    assert f'<span class="clock">{local:%H:%M:%S}.123</span>' in row_of(get(cast, url(device)), at)


@pytest.mark.parametrize(
    ("values", "shown", "hidden"),
    [
        ({"kind": FrameKind.JOIN_REQUEST, "payload": b""}, ["Uplink", "Join request"], [">data<", "Unconfirmed"]),
        ({"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN, "payload": b""}, ["Downlink", "Join accept"], [">data<"]),
        ({"confirmed": True}, ["Confirmed"], ["Unconfirmed", ">ACK<"]),
        ({"direction": DOWN, "ack": True, "payload": b""}, ['data-tone="down"', ">ACK<", "FCntDown"], [">data<"]),
        ({"direction": DOWN, "delivered": False}, ["not sent"], []),
        ({"payload": b"", "mac": b"\x06\xff\x0a"}, [">MAC<"], [">data<", "Geolocation"]),
    ],
)
def test_row_says_what_kind_of_message_it_is(
    cast: Cast, device: Device, values: dict[str, Any], shown: list[str], hidden: list[str]
) -> None:
    at = frame(device, timezone.now(), **values)
    row = row_of(get(cast, url(device)), at)
    assert [text for text in shown if text not in row] == []
    assert [text for text in hidden if text in row] == []


# --- paging, search, filter ---


def test_history_is_newest_first_and_loads_older(cast: Cast, device: Device, now: datetime) -> None:
    # Three frames share each moment: the sequence number orders them and no page border loses one.
    made = [str(frame(device, now - timedelta(minutes=n // 3), seq=60 - n)) for n in range(120)]
    seen: list[str] = []
    address = url(device)
    for _page in range(3):
        page = get(cast, address)
        seen += keys(page)
        older = re.search(r'id="frames-older".*?href="([^"]+)"', page, re.DOTALL)
        address = older[1] if older else ""
    assert seen == made and address == ""


def test_older_rows_come_alone_for_htmx(cast: Cast, device: Device, now: datetime) -> None:
    for n in range(60):
        frame(device, now - timedelta(minutes=n), seq=n)
    page = get(cast, url(device))
    older = re.search(r'hx-get="([^"]+before=[^"]+)"', page)
    assert older
    part = get(cast, older[1], part=True)
    assert part.strip().startswith("<tr id=") and len(keys(part)) == 10
    assert "frames-newer" not in part and "Load older" not in part and "<table" not in part


def test_search_to_a_moment_of_the_persons_clock(cast: Cast, device: Device) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"
    cast.viewer.save(update_fields=["time_zone"])
    noon = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
    early, exact, late = (frame(device, noon + timedelta(seconds=s), seq=n) for n, s in enumerate((-1, 0, 1)))
    typed = f"{noon + timedelta(hours=5, minutes=45):%Y-%m-%dT%H:%M}"
    page = get(cast, url(device, f"?until={typed}"))
    assert keys(page) == [str(exact), str(early)] and str(late) not in page
    assert f'value="{typed}"' in page and "Back to now" in page
    assert 'id="frames-newer"' not in page


@pytest.mark.parametrize("typed", ["yesterday", "2026-13-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"])
def test_search_to_an_impossible_moment_is_no_error_of_ours(cast: Cast, device: Device, typed: str) -> None:
    status = cast.client(cast.viewer).get(url(device, f"?until={typed}")).status_code
    assert status == (422 if typed in {"yesterday", "2026-13-01T00:00", "0001-01-01T00:00"} else 200)


@pytest.mark.parametrize(
    "cursor", ["x", "1", "-1", "1-", "99999999999999999999-1", "1-99999999999", "²-1", "1-²", "1-2147483648", "1-1\n"]
)
def test_cursor_of_an_impossible_shape_is_no_cursor(cast: Cast, device: Device, cursor: str) -> None:
    assert cast.client(cast.viewer).get(url(device, f"?before={cursor}")).status_code == 200
    assert Cursor.parse(cursor) is None


def test_filter_on_kind_and_its_links_keep_each_other(cast: Cast, device: Device, now: datetime) -> None:
    up, down = frame(device, now, 1), frame(device, now, 2, direction=DOWN)
    request = frame(device, now, 3, kind=FrameKind.JOIN_REQUEST)
    accept = frame(device, now, 4, kind=FrameKind.JOIN_ACCEPT, direction=DOWN)
    expected = {"uplink": [request, up], "downlink": [accept, down], "join": [accept, request], "no-such": [accept]}
    for kind, cursors in expected.items():
        found = keys(get(cast, url(device, f"?kind={kind}")))
        assert found[: len(cursors)] == [str(cursor) for cursor in cursors]
        assert kind == "no-such" or len(found) == len(cursors)
    typed = f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M}"
    page = get(cast, url(device, f"?kind=join&until={typed}"))
    assert 'name="kind" value="join"' in page and f"?kind=uplink&until={typed.replace(':', '%3A')}" in page


def test_history_asks_the_same_number_of_queries_for_2_and_for_50(cast: Cast, device: Device, now: datetime) -> None:
    client = cast.client(cast.viewer)
    counts = []
    for amount in (2, 50):
        for n in range(amount):
            frame(device, now - timedelta(hours=amount, seconds=n), seq=n, mac=b"\x02")
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device)).status_code == 200
        counts.append(len(queries))
        over_frames = [query["sql"] for query in queries if "lora_frame" in query["sql"]]
        assert len(over_frames) == 1 and "received_at" in over_frames[0].partition("WHERE")[2]
    assert counts[0] == counts[1]


def test_frames_past_the_retention_are_gone(cast: Cast, device: Device, now: datetime) -> None:
    old = frame(device, now - timedelta(days=settings.FRAME_RETENTION_DAYS, minutes=1))
    assert keys(get(cast, url(device))) == []
    assert cast.client(cast.viewer).get(url(device, f"{old}/")).status_code == 404


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


# --- live ---


def test_newer_frames_come_on_top_and_the_cursor_moves(cast: Cast, device: Device, now: datetime) -> None:
    old = frame(device, now - timedelta(minutes=2), 1)
    page = get(cast, url(device))
    ask = re.search(r'id="frames-newer" hidden hx-get="([^"]+)" hx-trigger="sse:frames', page)
    assert ask and ask[1].endswith(f"after={old}")
    new = [frame(device, now - timedelta(minutes=1), 2), frame(device, now, 3)]
    part = get(cast, ask[1], part=True)
    assert keys(part) == [str(new[1]), str(new[0])]
    assert part.strip().startswith('<tr id="frames-newer" hidden') and f"after={new[1]}" in part
    again = re.search(r'hx-get="([^"]+after[^"]+)"', part)
    assert again and keys(get(cast, again[1], part=True)) == []


def test_newer_frames_follow_the_filter(cast: Cast, device: Device, now: datetime) -> None:
    frame(device, now - timedelta(minutes=2), 1, kind=FrameKind.JOIN_REQUEST)
    ask = re.search(r'id="frames-newer" hidden hx-get="([^"]+)"', get(cast, url(device, "?kind=join")))
    assert ask and "kind=join" in ask[1]
    frame(device, now - timedelta(minutes=1), 2)
    join = frame(device, now, 3, kind=FrameKind.JOIN_ACCEPT, direction=DOWN)
    assert keys(get(cast, ask[1], part=True)) == [str(join)]


def test_more_new_frames_than_a_page_read_the_list_again(cast: Cast, device: Device, now: datetime) -> None:
    first = frame(device, now - timedelta(hours=3), 1)
    for n in range(51):
        frame(device, now - timedelta(minutes=n), n)
    response = cast.client(cast.viewer).get(url(device, f"newer/?after={first}"), headers=HTMX)
    assert response["HX-Retarget"] == "#frames" and len(keys(response.content.decode())) == 50


def test_newer_without_htmx_leads_to_the_history(cast: Cast, device: Device) -> None:
    assert cast.client(cast.viewer).get(url(device, "newer/?after=1-1"))["Location"] == url(device)


# --- nothing there ---


def test_empty_history_of_a_registered_device_tells_what_to_check(cast: Cast, device: Device) -> None:
    page = get(cast, url(device))
    for text in ("No messages seen yet", "DevEUI", "default LoRaWAN channels", "SF12", "window"):
        assert text in page
    assert 'hx-trigger="sse:frames' in page  # the first message shows by itself


def test_empty_history_of_an_unregistered_device_leads_to_registration(cast: Cast) -> None:
    loose = factories.device(cast.project, "own-lora")
    page = get(cast, url(loose))
    assert "Not registered on the LoRa network" in page and f'href="/devices/{loose.pk}/lora/"' in page


def test_search_that_finds_nothing_says_so(cast: Cast, device: Device) -> None:
    assert "No messages found" in get(cast, url(device, "?kind=join"))


# --- the LoRa tab ---


def tab(cast: Cast, device: Device, who: Any = None) -> str:
    response = cast.client(who or cast.operator).get(f"/devices/{device.pk}/lora/")
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def test_tab_shows_the_identity_and_never_the_key(cast: Cast, device: Device) -> None:
    LoraIdentity.objects.filter(device=device).update(registered_at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    identity = LoraIdentity.objects.select_related("network").get(device=device)
    page = tab(cast, device)
    for text in (identity.dev_eui, identity.app_eui, identity.network.name, "1 Mar 2026", "No join request seen"):
        assert text in page
    assert "0F0F0F" not in page.upper().replace(" ", "")
    assert bytes(identity.app_key).hex().upper() not in page.upper()


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        ([{"kind": FrameKind.JOIN_REQUEST}], "Join request not answered"),
        (
            [{"kind": FrameKind.JOIN_REQUEST}, {"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN}],
            "Join accepted, no message since",
        ),
        ([{"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN}, {"direction": DOWN}], "Join accepted, no message since"),
        ([{"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN}, {}, {"direction": DOWN}], "Joined"),
    ],
)
def test_tab_tells_where_the_join_stands(
    cast: Cast, device: Device, now: datetime, frames: list[dict[str, Any]], word: str
) -> None:
    for n, values in enumerate(frames):
        frame(device, now + timedelta(seconds=n - 10), n, **values)
    assert f">{word}</span>" in tab(cast, device)


@pytest.mark.parametrize("status", list(Connection))
def test_registration_is_offered_to_operators_where_there_is_none(
    cast: Cast, device: Device, status: Connection
) -> None:
    update(device, connection_status=status)
    offered = status in {Connection.NOT_LINKED, Connection.FAILED, Connection.INVENTORY}
    assert ("Register device on network" in main(tab(cast, device))) is offered
    assert "Register device on network" not in main(tab(cast, device, cast.viewer))


def test_registration_is_not_offered_for_a_managed_device(cast: Cast, device: Device) -> None:
    update(device, connection_status=Connection.FAILED)
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    assert "Register device on network" not in main(tab(cast, device))


def update(device: Device, **values: Any) -> None:
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(**values)


def main(page: str) -> str:
    return page.split('aria-labelledby="lora-network"')[1]


def test_tab_of_a_device_without_network_info(cast: Cast) -> None:
    loose = factories.device(cast.project, "own-lora")
    page = tab(cast, loose)
    assert "No network info yet" in page and f'href="/devices/{loose.pk}/network/"' in page
    assert "Register device on network" not in main(tab(cast, loose, cast.viewer))


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
