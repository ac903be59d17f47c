"""The search of the LoRa data history (L5): each filter, what is wrong with one, and how much is looked at."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from common import partitions
from devices.models import Device
from lora import history
from lora.history import AHEAD, SCANNED, page_of
from lora.models import FrameKind
from lora.search import Asked, Cursor
from tests.cast import Cast
from tests.lora_frames import DOWN, HTMX, frame, get, keys, url

JOIN = {"kind": FrameKind.JOIN_REQUEST, "payload": b"", "fcnt": None}
ACCEPT = {"kind": FrameKind.JOIN_ACCEPT, "payload": b"", "fcnt": None, "direction": DOWN}

# Seq and what is different about it, each once.
STORED: dict[int, dict[str, Any]] = {
    1: {"fport": 1},
    2: {"fport": 2, "fcnt": 7, "confirmed": True},
    3: {"direction": DOWN, "fcnt": 7, "ack": True, "payload": b""},
    4: JOIN,
    5: ACCEPT,
    6: {"mac": b"\x02", "fcnt": 65_600},
    7: {"direction": DOWN, "delivered": False, "fcnt": 8},
    8: {"detail": {"unreadable": "Line 1: The codec threw"}},
    9: {"latitude": 51.9, "longitude": 4.5},
}


@pytest.fixture
def stored(device: Device, now: datetime) -> dict[int, str]:
    return {seq: str(frame(device, now - timedelta(minutes=seq), seq, **of)) for seq, of in STORED.items()}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("direction=up", [1, 2, 4, 6, 8, 9]),
        ("direction=down", [3, 5, 7]),
        ("kind=join", [4, 5]),
        ("kind=join-request", [4]),
        ("kind=join-accept", [5]),
        ("kind=data", [1, 2, 3, 6, 7, 8, 9]),
        ("kind=confirmed", [2]),
        ("kind=unconfirmed&direction=down", [3, 7]),
        ("kind=ack", [3]),
        ("port=2", [2]),
        ("up_from=7&up_to=8", [2, 8]),
        ("up_from=65600", [6]),
        ("down_to=7", [3]),
        ("up_from=7&up_to=7&down_from=8&down_to=8", [2, 7]),
        ("mac=1", [6]),
        ("errors=1", [7, 8]),
        ("errors=1&direction=up", [8]),
        ("located=1", [9]),
        ("kind=no-such&direction=sideways", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("port=3", []),
    ],
)
def test_filter_finds_these(cast: Cast, device: Device, stored: dict[int, str], query: str, found: list[int]) -> None:
    page = get(cast, url(device, f"?{query}"))
    assert keys(page) == [stored[seq] for seq in found]
    assert ("No messages found" in page) is (not found)


def test_filters_stand_in_the_form_and_as_chips_that_come_off(cast: Cast, device: Device, now: datetime) -> None:
    typed = f"{now:%Y-%m-%dT%H:%M}"
    page = get(cast, url(device, f"?direction=up&port=2&up_from=1&up_to=9&mac=1&errors=1&until={typed}"))
    chips = re.findall(r'<a class="chip" href="([^"]+)".*?</a>', page, re.DOTALL)
    assert len(chips) == 6
    without = url(device, f"?direction=up&port=2&mac=1&errors=1&until={typed.replace(':', '%3A')}")
    assert without in chips  # FCntUp: both ends of the range at once
    for shown in ('name="port"', 'value="2"', 'name="up_to"', 'value="up" selected', 'name="mac" value="1" checked'):
        assert shown in page
    assert f'href="{url(device)}?port=2&up_from=1&up_to=9&mac=1&errors=1&until=' in page  # "All" keeps the others


def test_form_without_its_empty_fields_is_the_address(cast: Cast, device: Device) -> None:
    response = cast.client(cast.viewer).get(url(device, "?until=&direction=&kind=join&port=&up_from="), headers=HTMX)
    assert response["HX-Push-Url"] == url(device, "?kind=join")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("port=x", "This is not a whole number from 0 to 255."),
        ("port=256", "This is not a whole number from 0 to 255."),
        ("port=²", "This is not a whole number from 0 to 255."),
        ("up_from=-1", "This is not a whole number from 0 to 4294967295."),
        ("down_to=4294967296", "This is not a whole number from 0 to 4294967295."),
        ("up_from=9&up_to=2", "The first number is higher than the last."),
        ("up_from=9&direction=down", "FCntUp counts uplinks, and only downlinks are asked for."),
        ("down_to=9&direction=up", "FCntDown counts downlinks, and only uplinks are asked for."),
        ("until=soon", "This is not a date and time, such as 2026-02-28 14:30."),
        ("until=2001-01-01T00:00", "Messages are kept for 31 days: choose a later moment."),
    ],
)
def test_search_that_cannot_be_says_why(
    cast: Cast, device: Device, stored: dict[int, str], query: str, sentence: str
) -> None:
    for part in ({}, HTMX):
        response = cast.client(cast.viewer).get(url(device, f"?{query}"), headers=part)
        page = response.content.decode()
        assert response.status_code == 422 and sentence in page
        assert keys(page) == [] and "No messages" not in page and 'aria-invalid="true"' in page


def test_day_alone_means_all_of_that_day(cast: Cast, device: Device, now: datetime) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"  # UTC+5:45
    cast.viewer.save(update_fields=["time_zone"])
    day = (now - timedelta(days=3)).replace(hour=0, minute=0, second=0, microsecond=0)
    end = day + timedelta(hours=18, minutes=15)
    inside, outside = frame(device, end - timedelta(milliseconds=1), 1), frame(device, end, 2)
    page = get(cast, url(device, f"?until={day:%Y-%m-%d}"))
    assert keys(page) == [str(inside)] and str(outside) not in page


def test_jumps_go_a_day_or_a_week_and_not_beyond_what_is_kept(cast: Cast, device: Device, now: datetime) -> None:
    def jumps(query: str) -> dict[str, str]:
        found = re.search(r'id="frames-jump".*?</details>', get(cast, url(device, query)), re.DOTALL)
        assert found
        return {label: address for address, label in re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', found[0])}

    assert list(jumps("")) == ["Day earlier", "Week earlier"]
    back = f"{now - timedelta(days=29):%Y-%m-%dT%H:%M:%S}"
    offered = jumps(f"?kind=join&until={back}")
    assert list(offered) == ["Day earlier", "Day later"]
    assert "kind=join" in offered["Day later"]
    assert f"{now - timedelta(days=28):%Y-%m-%d}" in offered["Day later"]


# --- how much is looked at ---


def fill(device: Device, now: datetime, amount: int, every: str = "1 minute") -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lora_frame (device_id, received_at, seq, direction, kind, fcnt, fport, payload)"
            " SELECT %s, %s - n * %s::interval, n, 0, 2, n, 1, '\\x01' FROM generate_series(1, %s) AS n",
            [device.pk, now, every, amount],
        )


def test_rare_filter_stops_tells_how_far_and_goes_on(
    cast: Cast, device: Device, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SCANNED", 100)
    monkeypatch.setattr(history.read, "__kwdefaults__", {"scanned": 100})
    fill(device, now, 250)
    rare = frame(device, now - timedelta(minutes=220), 0, mac=b"\x02")
    address, seen, stops = url(device, "?mac=1"), [], 0
    for _step in range(5):
        page = get(cast, address)
        seen += keys(page)
        more = re.search(r'id="frames-older-link" href="([^"]+)"', page)
        if more is None:
            break
        stops += 1
        assert "Searched back to" in page and "Go on searching" in page
        address = more[1]
    assert (seen, stops) == ([str(rare)], 2)


def test_month_of_a_busy_device_is_searched_in_bounded_steps(device: Device, now: datetime) -> None:
    """45,000 frames, and a filter that finds none: two queries of few milliseconds, whatever is asked."""
    partitions.maintain(now)
    fill(device, now, 44_600)
    for query in ({"mac": "1"}, {"port": "200"}, {"up_from": "4000000"}, {"kind": "ack"}):
        asked = Asked.from_query(query, now)
        began = time.perf_counter()
        with CaptureQueriesContext(connection) as queries:
            found = page_of(device, asked, now)
        spent = time.perf_counter() - began
        assert found.rows == [] and found.given_up and found.end is not None
        assert found.end.at == now - timedelta(minutes=SCANNED)
        assert len(queries) == 2 and spent < 0.5, spent


@pytest.fixture
def several_days(device: Device, now: datetime) -> Iterator[Device]:
    """Among ten others that send as much: a table in which reading all of it would not be cheaper."""
    partitions.maintain(now)
    fill(device, now, 3_000, "10 minutes")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lora_frame (device_id, received_at, seq, direction, kind, fcnt, payload)"
            " SELECT other, received_at, seq, direction, kind, fcnt, payload"
            " FROM lora_frame, generate_series(1000001, 1000010) AS other"
        )
        cursor.execute("ANALYZE lora_frame")
    yield device


def scanned_rows(node: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    if "Relation Name" in node:
        yield node["Node Type"], node["Relation Name"], node["Actual Rows"] * node["Actual Loops"]
    for child in node.get("Plans", []):
        yield from scanned_rows(child)


def plans(device: Device, asked: Asked, now: datetime) -> list[list[tuple[str, str, int]]]:
    with CaptureQueriesContext(connection) as queries:
        page_of(device, asked, now)
    found = []
    for query in queries:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query["sql"].replace("%", "%%"))
            told = cursor.fetchone()[0]
        plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        found.append(list(scanned_rows(plan)))
    return found


def test_first_page_reads_the_newest_days_alone_by_the_primary_key(several_days: Device, now: datetime) -> None:
    [scans] = plans(several_days, Asked(), now)
    assert {kind for kind, _table, _rows in scans} <= {"Index Scan", "Index Only Scan"}
    assert sum(rows for _kind, _table, rows in scans) <= history.PAGE + 1
    assert not any(table.endswith("_default") for _kind, table, _rows in scans)


def test_joins_and_errors_are_found_wherever_they_are_by_an_index_of_them(several_days: Device, now: datetime) -> None:
    """A few in a month of others: none of the others is looked at, and the search ends at the end of what is kept."""
    far = [now - timedelta(days=20, minutes=minute) for minute in range(3)]
    joins = [frame(several_days, at, n, kind=kind) for n, (at, kind) in enumerate(zip(far, (0, 1, 0), strict=True))]
    failed = frame(several_days, far[0] - timedelta(days=1), 1, direction=1, delivered=False)
    unread = frame(several_days, far[0] - timedelta(days=2), 1, detail={"unreadable": "1"})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE lora_frame")
        cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM lora_frame")
        filled = {table for (table,) in cursor.fetchall()}
    for query, expected in (
        ({"kind": "join"}, joins),
        ({"kind": "join-request"}, joins[::2]),
        ({"kind": "join-accept"}, joins[1:2]),
        ({"errors": "1"}, [failed, unread]),
        ({"errors": "1", "direction": "down"}, [failed]),
        ({"errors": "1", "kind": "join"}, []),
    ):
        asked = Asked.from_query(query, now)
        found = page_of(several_days, asked, now)
        assert [row.cursor for row in found.rows] == expected and found.end is None and not found.given_up, query
        for scans in plans(several_days, asked, now):
            ways = {kind for kind, table, _rows in scans if table in filled}
            assert ways <= {"Index Scan", "Index Only Scan"}, scans
            assert sum(rows for _kind, _table, rows in scans) <= 3


def test_filter_is_a_range_of_the_primary_key(several_days: Device, now: datetime) -> None:
    for query in ({"mac": "1"}, {"port": "9"}, {"up_from": "9999"}, {"kind": "ack"}):
        for scans in plans(several_days, Asked.from_query(query, now), now):
            assert {kind for kind, _table, _rows in scans} <= {"Index Scan", "Index Only Scan"}
            assert sum(rows for _kind, _table, rows in scans) <= SCANNED


def test_moment_far_ahead_is_now(device: Device) -> None:
    now = timezone.now()
    ahead = frame(device, now + timedelta(hours=23), 1)
    asked = Asked(until=now + 100 * AHEAD)
    assert [row.cursor for row in page_of(device, asked, now).rows] == [Cursor(ahead.at, 1)]
