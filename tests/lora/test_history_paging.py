"""Reading on and live rows together (L5, L7): nothing twice, nothing left out, whatever arrives meanwhile.

A model of a person's page: its rows, what "load more" brings below, what comes live, as history.js puts it in place.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.models import Device
from lora import history
from lora.history import LATE, Found, newer_than, page_of
from lora.search import Asked, Cursor
from tests.lora_frames import frame

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE = 4


def place(cursor: Cursor) -> tuple[datetime, int]:
    return cursor.at, cursor.seq


class PersonsPage:
    """The rows on a person's page, newest first, and where it goes on."""

    def __init__(self, device: Device, query: dict[str, str], now: datetime) -> None:
        self.device, self.query = device, query
        self.asked = Asked.from_query(query, now)
        self.read_again(now)

    def read_again(self, now: datetime) -> None:
        found = page_of(self.device, self.asked, now)
        self.rows = [row.cursor for row in found.rows]
        self.end, self.newest = found.end, found.newest

    def load_more(self, now: datetime) -> None:
        if self.end is None:
            return
        found = page_of(self.device, Asked.from_query(self.query | {"before": str(self.end)}, now), now)
        self.rows += [row.cursor for row in found.rows]
        self.end = found.end

    def arrives(self, now: datetime) -> None:
        assert self.newest is not None
        found = newer_than(self.device, self.asked, self.newest, now)
        if found is None:
            self.read_again(now)
            return
        self.newest = found.newest
        self._put(found)

    def _put(self, found: Found) -> None:
        for row in found.rows:
            if row.cursor in self.rows:
                continue
            below = [n for n, each in enumerate(self.rows) if place(each) < place(row.cursor)]
            if below:
                self.rows.insert(below[0], row.cursor)
            elif self.end is None:
                self.rows.append(row.cursor)


# What happens: a frame that was on air some seconds ago (0: the same moment as others), or the person or the page acts.
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.integers(0, 100), st.booleans()),
        st.just(("more", 0, False)),
        st.just(("live", 0, False)),
        st.just(("later", 20, False)),
    ),
    max_size=40,
)
FIRST = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=15)


@pytest.mark.parametrize("query", [{}, {"mac": "1"}])
@given(first=FIRST, moves=MOVES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_twice_and_nothing_left_out(
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
    query: dict[str, str],
    first: list[tuple[int, bool]],
    moves: list[tuple[str, int, bool]],
) -> None:
    monkeypatch.setattr(history, "PAGE", PAGE)
    monkeypatch.setattr(history.read, "__kwdefaults__", {"scanned": 6})
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM lora_frame WHERE device_id = %s", [device.pk])
    now, seq = NOW, 0
    kept: list[Cursor] = []

    def store(at: datetime, mac: bool) -> None:
        nonlocal seq
        seq += 1
        made = frame(device, at, seq * 7919 % 1000, mac=b"\x02" if mac else b"")
        if mac or not query:
            kept.append(made)

    for minutes, mac in first:
        store(now - timedelta(minutes=minutes), mac)
    page = PersonsPage(device, query, now)
    for move, seconds, mac in moves:
        if move == "frame":
            store(now - timedelta(seconds=seconds), mac)
        elif move == "more":
            page.load_more(now)
        elif move == "live":
            page.arrives(now)
        else:
            now += timedelta(seconds=seconds)
            page.arrives(now)
        assert len(set(page.rows)) == len(page.rows)
        assert page.rows == sorted(page.rows, key=place, reverse=True)
    page.arrives(now)
    while page.end is not None:
        page.load_more(now)
    page.arrives(now)
    assert page.rows == sorted(kept, key=place, reverse=True)


def test_frames_of_the_model_are_never_later_than_what_is_looked_back() -> None:
    assert timedelta(seconds=100) < LATE


@pytest.mark.parametrize("far", [0, 1, 2, 50])
@pytest.mark.parametrize("near", [0, 1, 49, 50, 51])
def test_days_that_are_near_and_those_behind_make_whole_pages(
    device: Device, now: datetime, near: int, far: int
) -> None:
    """Two looks, of which neither repeats or leaves out a frame; one lies on the border itself."""
    moments = [now - timedelta(minutes=n) for n in range(near)] + [
        now - history.NEAR - timedelta(hours=n) for n in range(far)
    ]
    written = [frame(device, at, seq=-n) for n, at in enumerate(moments)]
    read, end, pages = [], None, 0
    while pages == 0 or end is not None:
        found = page_of(device, Asked(before=end), now)
        read += [row.cursor for row in found.rows]
        end, pages = found.end, pages + 1
    assert (read, pages) == (written, max(-(-len(written) // history.PAGE), 1))
