"""The history of one reported value as it is read (W8): reduced in the database, so that a page never gets more
points than it draws.

Numbers come as they are while they are few, else in spans of time with lowest, highest, average and count. Booleans,
texts and enumerations come as changes. Every query is bounded in time and goes by the primary key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection

from common.spans import midnight, width_of

from .models import Sample, SampleKind
from .samples import AHEAD, oldest_kept

# Rows of a file that are read at once.
CHUNK: Final = 5000

_OF: Final = """
FROM twin_sample
WHERE device_id = %(device)s AND name_id = (SELECT id FROM twin_valuename WHERE name = %(name)s)
    AND at >= %(since)s AND at < %(until)s
"""
NEWEST: Final = f"SELECT at, kind, number, text {_OF} ORDER BY at DESC LIMIT %(limit)s"
SPANS: Final = f"""
SELECT date_bin(%(width)s, at, %(origin)s) AS span, min(number), max(number), avg(number), count(*) {_OF}
    AND kind = {SampleKind.NUMBER.value}
GROUP BY span ORDER BY span
"""
# Only where the value is another than just before; and how many values there were in all.
CHANGES: Final = f"""
SELECT at, kind, number, text, number_of
FROM (
    SELECT at, kind, number, text, count(*) OVER () AS number_of,
        (kind, number, text) IS DISTINCT FROM (lag(kind) OVER place, lag(number) OVER place, lag(text) OVER place)
            AS changed
    {_OF}
    WINDOW place AS (ORDER BY at)
) AS every
WHERE changed ORDER BY at LIMIT %(limit)s
"""
# Where there are more changes than can be shown: the last value of each span, where that is another.
LASTS: Final = f"""
SELECT at, kind, number, text, number_of
FROM (
    SELECT at, kind, number, text, sum(number_of) OVER () AS number_of,
        (kind, number, text) IS DISTINCT FROM (lag(kind) OVER place, lag(number) OVER place, lag(text) OVER place)
            AS changed
    FROM (
        SELECT DISTINCT ON (span) at, kind, number, text, count(*) OVER (PARTITION BY span) AS number_of
        FROM (SELECT at, kind, number, text, date_bin(%(width)s, at, %(origin)s) AS span {_OF}) AS placed
        ORDER BY span, at DESC
    ) AS last
    WINDOW place AS (ORDER BY at)
) AS every
WHERE changed ORDER BY at
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers of a span of time, or one number: then ``low``, ``high`` and ``average`` are the same."""

    at: datetime
    low: float
    high: float
    average: float
    count: int


@dataclass(frozen=True, slots=True)
class Change:
    """The value from ``at`` on."""

    at: datetime
    value: float | bool | str


@dataclass(frozen=True, slots=True)
class Series:
    """``spans`` of numbers, or ``changes``, oldest first, in [since, until); the first change may be the state that the
    range began with. ``width``: of a span; None where each point is one value, and where all changes are there.
    ``count``: values in the range; ``last``: moment of the newest."""

    since: datetime
    until: datetime
    spans: list[Span] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    width: timedelta | None = None
    count: int = 0
    last: datetime | None = None

    @property
    def low(self) -> float:
        return min(span.low for span in self.spans)

    @property
    def high(self) -> float:
        return max(span.high for span in self.spans)

    @property
    def average(self) -> float:
        return sum(span.average * span.count for span in self.spans) / self.count


def series(device_id: int, name: str, since: datetime, until: datetime, points: int, *, enum: bool = False) -> Series:
    """The values named ``name`` of the device in [since, until), as about ``points`` points at most. ``enum``: numbers
    stand for states. What the newest value is decides what is read: numbers, or changes."""
    since = max(since, oldest_kept(until))
    asked: dict[str, Any] = {"device": device_id, "name": name, "since": since, "until": until, "limit": points + 1}
    newest = _rows(NEWEST, asked)
    if not newest:
        return Series(since, until)
    last = newest[0][0]
    asked |= {"width": width_of(until - since, points), "origin": midnight(since)}
    if enum or newest[0][1] != SampleKind.NUMBER:
        return _changes(asked, last)
    if len(newest) <= points:
        spans = [
            Span(at, number, number, number, 1)
            for at, kind, number, _text in reversed(newest)
            if kind == SampleKind.NUMBER
        ]
        return Series(since, until, spans=spans, count=len(spans), last=last)
    spans = [Span(*row) for row in _rows(SPANS, asked)]
    count = sum(span.count for span in spans)
    return Series(since, until, spans=spans, width=asked["width"], count=count, last=last)


def _changes(asked: dict[str, Any], last: datetime) -> Series:
    since, until = asked["since"], asked["until"]
    rows, width = _rows(CHANGES, asked), None
    if len(rows) == asked["limit"]:
        rows, width = _rows(LASTS, asked), asked["width"]
    changes = [Change(at, value_of(kind, number, text)) for at, kind, number, text, _count in rows]
    # A state lasts until another is reported: the range begins with that from before it.
    before = _rows(NEWEST, asked | {"since": oldest_kept(until), "until": since, "limit": 1})
    if before:
        held = Change(since, value_of(*before[0][1:]))
        changes = [held, *(changes[1:] if held.value == changes[0].value else changes)]
    return Series(since, until, changes=changes, width=width, count=int(rows[0][-1]), last=last)


def value_of(kind: int, number: float | None, text: str | None) -> float | bool | str:
    if kind == SampleKind.TEXT:
        return text or ""
    return bool(number) if kind == SampleKind.BOOLEAN else number or 0.0


def has_any(device_id: int, name: str, now: datetime) -> bool:
    """Whether anything is kept of a value of this name."""
    asked = {"device": device_id, "name": name, "since": oldest_kept(now), "until": now + AHEAD, "limit": 1}
    return bool(_rows(NEWEST, asked))


def every(device_id: int, name: str, since: datetime, until: datetime) -> Iterator[tuple[datetime, Any]]:
    """Every value in [since, until) with its moment, oldest first; read as it is taken."""
    rows = Sample.objects.filter(device_id=device_id, at__lt=until).extra(
        where=["name_id = (SELECT id FROM twin_valuename WHERE name = %s)"], params=[name]
    )
    rows = rows.order_by("at")
    place = {"at__gte": max(since, oldest_kept(until))}
    while found := list(rows.filter(**place).values_list("at", "kind", "number", "text")[:CHUNK]):
        yield from ((at, value_of(kind, number, text)) for at, kind, number, text in found)
        place = {"at__gt": found[-1][0]}


def _rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


# --- the last day of many values: sparklines ---

SPARK_SLOTS: Final = 40
SPARK_SPAN: Final = timedelta(hours=24)
MOST_SPARKS: Final = 100

# The last number of each slot: so many look-ups in the index and no more, however often the device reports.
SPARKS: Final = f"""
SELECT kept.name, found.at, found.number
FROM twin_valuename AS kept
CROSS JOIN generate_series(0, {SPARK_SLOTS - 1}) AS slot
CROSS JOIN LATERAL (
    SELECT at, number FROM twin_sample
    WHERE device_id = %(device)s AND name_id = kept.id
        AND at >= %(since)s AND at < %(until)s
        AND at >= %(since)s::timestamptz + slot * %(width)s::interval
        AND at < %(since)s::timestamptz + (slot + 1) * %(width)s::interval
        AND kind = {SampleKind.NUMBER.value}
    ORDER BY at DESC LIMIT 1
) AS found
WHERE kept.name = ANY(%(names)s)
ORDER BY kept.name, found.at
"""


def sparks(device_id: int, names: Sequence[str], now: datetime) -> dict[str, list[tuple[datetime, float]]]:
    """By name, up to SPARK_SLOTS numbers of the last day with their moments, oldest first. One query."""
    since = now - SPARK_SPAN
    asked = {
        "device": device_id,
        "names": list(names[:MOST_SPARKS]),
        "since": since,
        "until": now,
        "width": SPARK_SPAN / SPARK_SLOTS,
    }
    found: dict[str, list[tuple[datetime, float]]] = {}
    for name, at, number in _rows(SPARKS, asked) if names else []:
        found.setdefault(name, []).append((at.astimezone(UTC), number))
    return found
