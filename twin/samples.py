"""The history of reported values as it is written (W8): every value as it came, many devices in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from codec.measurements import Measurement, Value
from common.arrays import array

from .models import Sample, SampleKind

# Asked of the enumeration once, and not with every value.
NUMBER, BOOLEAN, TEXT = (kind.value for kind in (SampleKind.NUMBER, SampleKind.BOOLEAN, SampleKind.TEXT))
LONGEST_NAME: Final = 200
LONGEST_TEXT: Final = 200
# Ways in believe no clock that is further ahead; partitions are made for a week.
AHEAD: Final = timedelta(days=1)
# Names that this process remembers; with more of them it begins again.
MOST_NAMES: Final = 50_000

# In the order of the key: of two batches with the same samples, one waits for the other. The texts may be fewer:
# the others have none.
KEEP: Final = """
INSERT INTO twin_sample (device_id, name_id, at, kind, number, text)
SELECT device_id, name_id, to_timestamp(at), kind, number, text
FROM unnest(%s::bigint[], %s::int[], %s::float8[], %s::smallint[], %s::float8[], %s::varchar[])
    AS new (device_id, name_id, at, kind, number, text)
ORDER BY device_id, name_id, at
"""
KEEP_MISSING: Final = f"{KEEP}ON CONFLICT DO NOTHING"

# A name that another has written meanwhile is waited for; this statement does not see it, the next one does.
NAMES: Final = """
WITH held AS (
    SELECT id, name FROM twin_valuename WHERE name = ANY(%(names)s)
), made AS (
    INSERT INTO twin_valuename (name)
    SELECT name FROM unnest(%(names)s::varchar[]) AS name WHERE name NOT IN (SELECT name FROM held) ORDER BY name
    ON CONFLICT DO NOTHING
    RETURNING id, name
)
SELECT name, id FROM held UNION ALL SELECT name, id FROM made
"""

# Numbers of names, of committed rows only: those rows never change and never go.
_numbers: dict[str, int] = {}


class Content(NamedTuple):
    """A value as its sample holds it."""

    kind: int
    number: float | None
    text: str | None


def oldest_kept(now: datetime) -> datetime:
    """The first moment of the oldest day that is kept: the lower bound of whatever is written and read."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=settings.VALUE_RETENTION_DAYS)


def content(value: Value) -> Content | None:
    """None for bytes, of which no history is kept."""
    match value:
        case bool():
            return Content(BOOLEAN, float(value), None)
        case int() | float():
            return Content(NUMBER, float(value), None)
        case str():
            return Content(TEXT, None, value[:LONGEST_TEXT])
    return None


def keep(batch: Mapping[int, Sequence[Measurement]], now: datetime) -> None:
    """Keep the measurements of the devices, in one statement, another where some are kept already, and one more where
    a name is new to this process.

    Call it in the transaction of the twins, after them. Doing it again changes nothing. Moments that no day's
    partition is there for are left out; of two values of a name at one moment the later in the message stays.
    """
    first, last = oldest_kept(now).timestamp(), (now + AHEAD).timestamp()
    names = {each.name for measurements in batch.values() for each in measurements if first <= each.time <= last}
    numbers = name_numbers({name for name in names if len(name) <= LONGEST_NAME})
    # Texts first: the statement counts them off.
    texts: list[tuple[int, int, float, int, None]] = []
    others: list[tuple[int, int, float, int, float | None]] = []
    said: list[str] = []
    for device_id, measurements in batch.items():
        for (name, at), value in {(each.name, each.time): each.value for each in measurements}.items():
            number = numbers.get(name)
            if number is None or not first <= at <= last:
                continue
            # Nearly all are numbers, and a batch has tens of thousands.
            if type(value) is float:
                others.append((device_id, number, at, NUMBER, value))
            elif (kept := content(value)) is not None and kept.text is not None:
                texts.append((device_id, number, at, kept.kind, None))
                said.append(kept.text)
            elif kept is not None:
                others.append((device_id, number, at, kept.kind, kept.number))
    rows = texts + others
    if not rows:
        return
    columns: list[Any] = [*map(array, zip(*rows, strict=True)), said]
    with connection.cursor() as cursor:
        # Nearly always none of them is there: to ask so of each row costs as much as half of writing it.
        try:
            with transaction.atomic():
                cursor.execute(KEEP, columns)
        except IntegrityError:
            cursor.execute(KEEP_MISSING, columns)


def name_numbers(names: Iterable[str]) -> dict[str, int]:
    """The numbers of the names; new names are written, in the caller's transaction."""
    found = {name: number for name in names if (number := _numbers.get(name)) is not None}
    missing = sorted(set(names) - found.keys())
    asked = missing
    while asked:
        with connection.cursor() as cursor:
            cursor.execute(NAMES, {"names": asked})
            found |= dict(cursor.fetchall())
        asked = [name for name in asked if name not in found]
    if missing:
        told = {name: found[name] for name in missing}
        # A row of a transaction that is undone is none.
        transaction.on_commit(lambda: _remember(told))
    return found


def _remember(told: Mapping[str, int]) -> None:
    if len(_numbers) + len(told) > MOST_NAMES:
        _numbers.clear()
    _numbers.update(told)


def remove(device_id: int) -> None:
    """The history of a device that is being removed (D9), in the caller's transaction."""
    Sample.objects.filter(device_id=device_id).delete()
