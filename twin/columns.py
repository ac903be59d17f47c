"""Twin values as columns of All Devices (D11): read for a page, and indexed where they are sorted or filtered by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from django.db import connection
from django.db.models import F

from common.arrays import array
from common.written import unit_of
from devices.asked import ValueKey
from devices.cells import value_label
from devices.models import DeviceState, ValueColumn, ValueSource
from devices.values import Cell, Known, Provider

from .reading import reading

# Of so many devices, those heard last, the values are offered to choose from.
SAMPLE: Final = 200
MOST_KNOWN: Final = 300
PARTS: Final = tuple(ValueSource.values)

# A number, or a text that reads as one, is kept as a number, all else as text in lower case: what "batch = 7" finds
# does not depend on how it was written. Beyond what a double holds there is none.
INDEX: Final = """
INSERT INTO devices_columnvalue AS held (device_id, column_id, number, text)
SELECT device_id, column_id, number, CASE WHEN number IS NULL THEN left(lower(said), 200) END
FROM (
    SELECT twin.device_id, kept.id AS column_id, entry ->> 'v' AS said,
        CASE WHEN entry ->> 'v'
            ~ '^\\s*[-+]?([0-9]{{1,30}}([.,][0-9]{{0,30}})?|[.,][0-9]{{1,30}})([eE][-+]?[0-9]{{1,2}})?\\s*$'
            THEN replace(entry ->> 'v', ',', '.')::float8 END AS number
    FROM {twins}
    JOIN devices_device AS device ON device.id = twin.device_id
    JOIN devices_valuecolumn AS kept ON {kept} AND kept.project_id = device.project_id
    CROSS JOIN LATERAL (SELECT CASE kept.source
        WHEN 'reported' THEN twin.reported WHEN 'desired' THEN twin.desired ELSE twin.metadata END -> kept.key
    ) AS part (entry)
    WHERE jsonb_typeof(entry -> 'v') IN ('number', 'string', 'boolean')
) AS new
ORDER BY device_id, column_id
ON CONFLICT (device_id, column_id) DO UPDATE SET number = excluded.number, text = excluded.text
WHERE (held.number, held.text) IS DISTINCT FROM (excluded.number, excluded.text)
"""
CHANGED: Final = INDEX.format(
    twins="(SELECT * FROM twin_twin WHERE device_id = ANY(%(devices)s::bigint[])) AS twin",
    kept="kept.source = ANY(%(parts)s)",
)
# A row that a batch is writing is waited for and read again: it may not have seen that the column is there.
FILL: Final = INDEX.format(
    twins="(SELECT * FROM twin_twin WHERE device_id > %(after)s AND device_id <= %(up_to)s"
    " AND device_id IN (SELECT id FROM devices_device WHERE project_id = %(project)s"
    " AND id > %(after)s AND id <= %(up_to)s) FOR SHARE) AS twin",
    kept="kept.id = %(column)s",
)
GONE: Final = """
DELETE FROM devices_columnvalue AS held USING devices_valuecolumn AS kept, twin_twin AS twin
WHERE held.device_id = ANY(%(devices)s::bigint[]) AND kept.id = held.column_id AND twin.device_id = held.device_id
    AND coalesce(jsonb_typeof(CASE kept.source
        WHEN 'reported' THEN twin.reported WHEN 'desired' THEN twin.desired ELSE twin.metadata END -> kept.key -> 'v'
    ), '') NOT IN ('number', 'string', 'boolean')
"""


def follow(device_ids: Sequence[int], *, parts: Sequence[str] = PARTS, removed: bool = False) -> None:
    """Bring the indexes up to date with ``parts`` of twins that this transaction has changed; one statement, and one
    more where values may have gone (``removed``)."""
    if not device_ids:
        return
    with connection.cursor() as cursor:
        devices = array(device_ids)
        cursor.execute(CHANGED, {"devices": devices, "parts": list(parts)})
        if removed:
            cursor.execute(GONE, {"devices": devices})


def fill(column_id: int, after: int, up_to: int) -> None:
    """Index a column for the devices with ids in (after, up_to]; in the caller's transaction."""
    project = ValueColumn.objects.filter(pk=column_id).values_list("project_id", flat=True).get()
    with connection.cursor() as cursor:
        cursor.execute(FILL, {"column": column_id, "project": project, "after": after, "up_to": up_to})


def read(ids: Sequence[int], keys: Sequence[ValueKey]) -> dict[int, dict[ValueKey, Cell]]:
    """The cells of the devices, in one query that reads only the values asked for."""
    parts = ", ".join(f"{_part(key)} -> %s" for key in keys)
    found: dict[int, dict[ValueKey, Cell]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT device_id, {parts} FROM twin_twin WHERE device_id = ANY(%s)",
            [*(key.key for key in keys), list(ids)],
        )
        for device_id, *entries in cursor.fetchall():
            found[device_id] = {key: _cell(key, entry) for key, entry in zip(keys, entries, strict=True) if entry}
    return found


def _part(key: ValueKey) -> str:
    if key.source not in PARTS:
        raise ValueError(key.source)
    return key.source


def _cell(key: ValueKey, entry: Any) -> Cell:
    entry = orjson.loads(entry) if isinstance(entry, str) else entry
    value = entry.get("v")
    if isinstance(value, list | dict):
        return Cell(value, orjson.dumps(value).decode(), at=_moment(entry))
    one = reading(key.key, entry)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(value, one.text, one.unit, one.at, number)


def _moment(entry: dict[str, Any]) -> datetime | None:
    seconds = entry.get("t")
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None


KNOWN: Final = """
SELECT source, key, max(unit) FROM (
    SELECT reported, desired, metadata FROM twin_twin WHERE device_id = ANY(%(devices)s)
) AS twin CROSS JOIN LATERAL (
    SELECT 'reported', key, value ->> 'u' FROM jsonb_each(reported)
    UNION ALL SELECT 'desired', key, NULL FROM jsonb_each(desired)
    UNION ALL SELECT 'metadata', key, NULL FROM jsonb_each(metadata)
) AS said (source, key, unit)
GROUP BY source, key ORDER BY source, key LIMIT %(most)s
"""


def known(projects: Iterable[int]) -> list[Known]:
    """The values of the devices heard last, and those that are indexed already: enough to choose from, and bounded."""
    projects = list(projects)
    devices: list[int] = []
    for project in projects[:SAMPLE]:
        rows = DeviceState.objects.filter(project_id=project)
        newest = rows.order_by(F("last_message_at").desc(nulls_last=True), "device_id").values_list(
            "device_id", flat=True
        )
        devices += newest[: max(1, SAMPLE // len(projects))]
    with connection.cursor() as cursor:
        cursor.execute(KNOWN, {"devices": devices, "most": MOST_KNOWN})
        found = {ValueKey(source, key): unit for source, key, unit in cursor.fetchall()}
    for source, key in ValueColumn.objects.filter(project_id__in=projects).values_list("source", "key"):
        found.setdefault(ValueKey(source, key), None)
    return [Known(key, value_label(key), unit_of(unit) if unit else "") for key, unit in sorted(found.items())]


PROVIDER: Final = Provider(read=read, fill=fill, known=known, follow=follow)
