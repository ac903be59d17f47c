"""LoRa frames in the database: stored once, found by key and page, places put on them (L3, L4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from codec.lorawan import eu868
from devices.models import Device
from lora import frames
from lora.events import DownlinkSent, JoinAccept, JoinRequest, Located, Location, Reception, Uplink
from lora.frames import Place, key_of, locate, store
from lora.models import Direction, Frame, FrameKind
from lora.registration import Lora
from tests import factories
from tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
NOW = datetime.now(UTC).replace(microsecond=0)
EUI = "0059AC000017338B"


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project)


def minutes(number: float) -> datetime:
    return NOW - timedelta(hours=2) + timedelta(minutes=number)


def uplink(minute: float, fcnt: int = 1, **fields: Any) -> Uplink:
    values: dict[str, Any] = {"mic": f"{fcnt:08x}", "fport": 1, "payload": b"\x01"} | fields
    return Uplink(dev_eui=EUI, at=minutes(minute), fcnt=fcnt, **values)


def located(minute: float, latitude: float, fcnt: int | None = 1, *, solved: float | None = None) -> Located:
    moment = None if solved is None else minutes(solved)
    place = Location(latitude=latitude, longitude=4.0, radius=85.0, method="TDOA", solved_at=moment)
    return Located(dev_eui=EUI, at=minutes(minute), location=place, fcnt=fcnt)


def kept(device: Device) -> list[Frame]:
    return list(Frame.objects.filter(device_id=device.pk).order_by("received_at", "seq"))


# --- keys ---


def test_key_follows_from_the_frame() -> None:
    same = {"frequency_hz": 868_100_000, "receptions": (Reception(gateway="A", rssi=-1.0, snr=1.0),)}
    assert key_of(1, uplink(0)) == key_of(1, uplink(0, mic="00000001", **same))
    assert key_of(1, uplink(0, mic="0000ABCD")) == key_of(1, uplink(0, mic="0000abcd"))
    # Another number after an update would store again what comes again.
    assert key_of(1, uplink(0)).seq == key_of(2, uplink(5)).seq == 1842802073


def test_different_frames_of_one_moment_have_different_keys() -> None:
    at = minutes(0)
    different = [
        uplink(0, 1),
        uplink(0, 2),
        uplink(0, 1, mic="ffffffff"),
        uplink(0, 1, mic="", payload=b"\x02"),
        uplink(0, 1, mic="", payload=b"\x03"),
        JoinRequest(dev_eui=EUI, at=at, mic="00000001"),
        JoinAccept(dev_eui=EUI, at=at),
        DownlinkSent(dev_eui=EUI, at=at, fcnt=1, mic="00000001"),
    ]
    keys = {key_of(1, event) for event in different}
    assert len(keys) == len(different)
    assert all(0 <= key.seq < 2**31 for key in keys)


# --- store ---


def test_store_gives_the_new_ones(device: Device) -> None:
    first, second = (device.pk, uplink(0, 1)), (device.pk, uplink(1, 2))
    assert store([first, first]) == {key_of(*first)}
    assert store([first, second]) == {key_of(*second)}
    assert store([second, first]) == set() == store([])
    assert [row.fcnt for row in kept(device)] == [1, 2]


def test_first_report_of_a_frame_stands(device: Device) -> None:
    store([(device.pk, uplink(0, channel="LC1")), (device.pk, uplink(0, channel="LC2"))])
    store([(device.pk, uplink(0, channel="LC3"))])
    assert [row.channel for row in kept(device)] == ["LC1"]


def test_store_takes_the_same_statements_for_any_number(device: Device) -> None:
    def statements(number: int) -> int:
        batch = [(device.pk, uplink(index / 1000, number * 1000 + index)) for index in range(number)]
        with CaptureQueriesContext(connection) as queries:
            assert len(store(batch)) == number
        return len(queries)

    assert statements(2) == statements(300) == 4


def test_every_column_of_an_uplink(device: Device) -> None:
    best = Reception(gateway="A", rssi=-100.0, snr=5.0, esp=-101.5, latitude=52.0, longitude=4.0)
    other = Reception(gateway="B", rssi=-120.0, snr=-10.0)
    event = uplink(
        0, 70_000, fport=200, payload=b"\x00\xff", mac=b"\x02", confirmed=True, ack=True, adr=True, adr_ack_req=True,
        spreading_factor=9, bandwidth_khz=125, frequency_hz=867_100_000, channel="LC4", dev_addr="14C4CC04",
        receptions=(best, other), gateway_count=5,
        location=Location(latitude=51.9, longitude=4.5, radius=85.0, method="RSSI", solved_at=minutes(-1)),
    )  # fmt: skip
    store([(device.pk, event)])
    (row,) = kept(device)
    assert (row.direction, row.kind, row.fcnt, row.fport) == (Direction.UPLINK, FrameKind.DATA, 70_000, 200)
    assert (bytes(row.payload), bytes(row.mac)) == (b"\x00\xff", b"\x02")
    assert (row.confirmed, row.ack, row.adr, row.adr_ack_req, row.fpending) == (True, True, True, True, False)
    assert (row.spreading_factor, row.frequency_hz, row.channel) == (9, 867_100_000, "LC4")
    assert (row.rssi, row.snr, row.esp, row.gateway_count) == (-100.0, 5.0, -101.5, 5)
    assert (row.latitude, row.longitude, row.radius) == (51.9, 4.5, 85.0)
    assert row.detail == {
        "mic": "00011170",
        "dev_addr": "14C4CC04",
        "bandwidth_khz": 125,
        "location_method": "RSSI",
        "location_solved": minutes(-1).isoformat(),
        "receptions": [
            {"gateway": "A", "rssi": -100.0, "snr": 5.0, "esp": -101.5, "latitude": 52.0, "longitude": 4.0},
            {"gateway": "B", "rssi": -120.0, "snr": -10.0},
        ],
    }


def test_esp_is_computed_where_it_is_missing(device: Device) -> None:
    store([(device.pk, uplink(0, receptions=(Reception(gateway="A", rssi=-100.0, snr=-3.0),)))])
    assert kept(device)[0].esp == pytest.approx(eu868.esp(-100.0, -3.0))
    store([(device.pk, uplink(1, 2))])
    assert kept(device)[1].esp is None


def test_downlinks_and_joins(device: Device) -> None:
    name = UUID(int=7)
    events = [
        JoinRequest(dev_eui=EUI, at=minutes(0), app_eui="70B3D57ED0000001", dev_nonce=0),
        JoinAccept(dev_eui=EUI, at=minutes(1), window="RX1", gateway="A"),
        DownlinkSent(dev_eui=EUI, at=minutes(2), fcnt=0, fport=2, payload=b"\x01", fpending=True, window="RX2",
                     correlation_id=str(name), delivered=False, cause="D0"),
        DownlinkSent(dev_eui=EUI, at=minutes(3), correlation_id="0123456789abcdef"),
    ]  # fmt: skip
    store([(device.pk, event) for event in events])
    request, accept, refused, sent = kept(device)
    assert (request.direction, request.kind, request.fcnt) == (0, FrameKind.JOIN_REQUEST, None)
    assert request.detail == {"app_eui": "70B3D57ED0000001", "dev_nonce": 0}
    assert (accept.direction, accept.kind, accept.detail) == (
        1,
        FrameKind.JOIN_ACCEPT,
        {"window": "RX1", "gateway": "A"},
    )
    assert (refused.direction, refused.kind, refused.delivered, refused.cause) == (1, FrameKind.DATA, False, "D0")
    assert (refused.correlation_id, refused.fpending, refused.detail) == (name, True, {"window": "RX2"})
    # Another network's own word for an instruction of its own.
    assert (sent.correlation_id, sent.delivered) == (None, True)


def test_frame_older_than_all_days_is_kept(device: Device) -> None:
    event = Uplink(dev_eui=EUI, at=datetime(2018, 10, 19, tzinfo=UTC), fcnt=1)
    assert len(store([(device.pk, event)])) == 1
    assert store([(device.pk, event)]) == set()


# --- places ---


def test_place_goes_to_the_frame_with_its_counter(device: Device) -> None:
    store([(device.pk, uplink(minute, minute)) for minute in range(1, 4)])
    assert locate([(device.pk, located(9, 52.0, 2))]) == [Place.NEW]
    assert [row.latitude for row in kept(device)] == [None, 52.0, None]
    row = kept(device)[1]
    assert (row.longitude, row.radius, row.detail["location_method"], row.detail["mic"]) == (
        4.0,
        85.0,
        "TDOA",
        "00000002",
    )
    assert locate([(device.pk, located(9, 52.0, 2))]) == [Place.HELD]


def test_place_goes_to_the_nearest_in_time(device: Device) -> None:
    """The counter starts again after a join."""
    store([(device.pk, uplink(0, 1)), (device.pk, uplink(60, 1, mic="ffffffff"))])
    locate([(device.pk, located(50, 52.0)), (device.pk, located(110, 53.0, solved=1))])
    assert [row.latitude for row in kept(device)] == [53.0, 52.0]


def test_place_without_counter_goes_to_the_uplink_of_the_hour(device: Device) -> None:
    sent = DownlinkSent(dev_eui=EUI, at=minutes(21), fcnt=1)
    store([(device.pk, uplink(0, 1)), (device.pk, uplink(20, 2)), (device.pk, sent)])
    assert locate([(device.pk, located(22, 52.0, None)), (device.pk, located(90, 53.0, None))]) == [
        Place.NEW,
        Place.NO_FRAME,
    ]
    assert [row.latitude for row in kept(device)] == [None, 52.0, None]


def test_place_finds_no_frame_of_another_device_or_day(cast: Cast, device: Device) -> None:
    store([(device.pk, uplink(0, 1))])
    other = factories.lora_device(cast.project)
    late = Located(dev_eui=EUI, at=minutes(0) + timedelta(hours=25), location=located(0, 52.0).location, fcnt=1)
    assert (
        locate([(other.pk, located(0, 52.0)), (device.pk, late), (device.pk, located(0, 52.0, 7))])
        == [Place.NO_FRAME] * 3
    )
    assert locate([]) == []


@pytest.mark.parametrize("order", [1, -1])
def test_last_solution_stands_whatever_the_order(device: Device, order: int) -> None:
    store([(device.pk, uplink(0))])
    places = [(device.pk, located(9, 52.0, solved=1)), (device.pk, located(9, 53.0, solved=2))][::order]
    locate(places)
    for one in places:
        assert locate([one]) == [Place.HELD]
    assert kept(device)[0].latitude == 53.0


# --- reading ---


def test_pages_newest_first_without_gap_or_overlap(cast: Cast, device: Device) -> None:
    other = factories.lora_device(cast.project)
    store([(device.pk, uplink(index // 3, index)) for index in range(20)] + [(other.pk, uplink(0, 99))])
    seen: list[Frame] = []
    before: tuple[datetime, int] | None = None
    while rows := frames.page(device.pk, before=before, limit=6):
        seen += rows
        before = (rows[-1].received_at, rows[-1].seq)
    keys = [(row.received_at, row.seq) for row in seen]
    assert keys == sorted(keys, reverse=True)
    assert {row.fcnt for row in seen} == set(range(20))


def test_page_stops_at_the_retention(device: Device, settings: Any) -> None:
    days = [timedelta(days=settings.FRAME_RETENTION_DAYS, seconds=seconds) for seconds in (-3600, 60)]
    store([(device.pk, Uplink(dev_eui=EUI, at=NOW - age, fcnt=index)) for index, age in enumerate(days)])
    assert [row.fcnt for row in frames.page(device.pk)] == [0]
    assert len(frames.page(device.pk, since=NOW - timedelta(days=90))) == 2
    assert frames.page(device.pk, since=NOW) == []


def test_last_with_data_leaves_out_mac_downlinks_joins_and_what_is_too_old(device: Device, settings: Any) -> None:
    store(
        [
            (device.pk, uplink(0, 1)),
            (device.pk, uplink(1, 2, payload=b"\x02")),
            (device.pk, uplink(2, 3, fport=0)),
            (device.pk, uplink(3, 4, fport=None, payload=b"")),
            (device.pk, JoinRequest(dev_eui=EUI, at=minutes(4), app_eui="", dev_nonce="", mic="01")),
            (device.pk, DownlinkSent(dev_eui=EUI, at=minutes(5), fcnt=1, fport=1, payload=b"\x03", mic="02")),
            (device.pk, uplink(6, 5, payload=b"\x04", fport=9)),
        ]
    )
    found = Lora().recent_messages(device, 10)
    assert [(one.payload, one.fport) for one in found] == [(b"\x04", 9), (b"\x02", 1), (b"\x01", 1)]
    assert found[0].at == minutes(6)
    assert len(Lora().recent_messages(device, 2)) == 2
    settings.FRAME_RETENTION_DAYS = 0
    assert Lora().recent_messages(device, 10) == []


def test_one_by_its_key(device: Device) -> None:
    (key,) = store([(device.pk, uplink(0, 5))])
    found = frames.one(*key)
    assert found is not None
    assert found.fcnt == 5
    assert frames.one(key.device_id, key.received_at, key.seq + 1) is None
    assert frames.one(key.device_id + 1, key.received_at, key.seq) is None


@pytest.mark.parametrize(("spreading_factor", "size"), [(12, 51), (10, 51), (9, 115), (8, 242), (7, 242), (None, 51)])
def test_largest_payload_follows_the_last_uplink(device: Device, spreading_factor: int | None, size: int) -> None:
    store([(device.pk, uplink(0, 1, spreading_factor=7))] if spreading_factor else [])
    store([(device.pk, uplink(1, 2, spreading_factor=spreading_factor))])
    store([(device.pk, DownlinkSent(dev_eui=EUI, at=minutes(2), spreading_factor=12))])
    assert frames.largest_payloads([device.pk]) == {device.pk: size}


# --- beside a frame ---


def test_neighbours_are_the_frames_before_and_behind(device: Device) -> None:
    store([(device.pk, uplink(minute, fcnt)) for fcnt, minute in enumerate((0, 5, 5, 9))])
    rows = [(row.received_at, row.seq) for row in kept(device)]
    assert len(rows) == 4
    for index, row in enumerate(rows):
        older, newer = frames.neighbours(device.pk, *row, since=minutes(-60))
        assert older == (rows[index - 1] if index else None)
        assert newer == (rows[index + 1] if index < 3 else None)
    assert frames.neighbours(device.pk, *rows[1], since=rows[1][0])[0] is None


def test_neighbours_are_found_by_the_primary_key(device: Device) -> None:
    store([(device.pk, uplink(minute, minute)) for minute in range(3)])
    with CaptureQueriesContext(connection) as queries:
        frames.neighbours(device.pk, minutes(1), 0, since=minutes(-60))
    assert len(queries) == 2
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in queries.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Index Only Scan" in plan and "Sort  (" not in plan and "Seq Scan" not in plan, plan


def test_class_b_bit_is_kept_where_it_is_set(device: Device) -> None:
    store([(device.pk, uplink(0, 1, class_b=True)), (device.pk, uplink(1, 2))])
    assert [row.detail.get("class_b") for row in kept(device)] == [True, None]
