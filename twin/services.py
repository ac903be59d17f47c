"""The only writer of the Device Twin: reported values, many devices in one statement (W2)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from django.db import connection
from psycopg.types.json import Jsonb

from codec.measurements import Measurement

# One row version per device and batch. A value only replaces one that is not newer: messages may come late.
MERGE = """
INSERT INTO twin_twin AS twin (device_id, reported, version, updated_at)
SELECT device_id, reported, 1, %(now)s
FROM unnest(%(devices)s::bigint[], %(values)s::jsonb[]) AS new (device_id, reported)
ORDER BY device_id
ON CONFLICT (device_id) DO UPDATE SET
    reported = twin.reported || (
        SELECT coalesce(jsonb_object_agg(new.key, new.value), '{}')
        FROM jsonb_each(excluded.reported) AS new
        WHERE NOT twin.reported ? new.key
            OR (new.value ->> 't')::float8 >= (twin.reported -> new.key ->> 't')::float8
    ),
    version = twin.version + 1,
    updated_at = excluded.updated_at
WHERE EXISTS (
    SELECT FROM jsonb_each(excluded.reported) AS new
    WHERE NOT twin.reported ? new.key
        OR new.value <> twin.reported -> new.key
            AND (new.value ->> 't')::float8 >= (twin.reported -> new.key ->> 't')::float8
)
RETURNING device_id
"""


def reported_value(measurement: Measurement) -> dict[str, Any]:
    """The stored form: ``{"v", "u", "t"}``; bytes as base64 with ``"b": true``."""
    value = measurement.value
    if isinstance(value, bytes):
        return {
            "v": base64.b64encode(value).decode(),
            "u": measurement.unit,
            "t": measurement.time,
            "b": True,
        }
    return {"v": value, "u": measurement.unit, "t": measurement.time}


def newest(measurements: Iterable[Measurement]) -> dict[str, dict[str, Any]]:
    """By name the newest value; of two at the same moment the later in the message."""
    values: dict[str, dict[str, Any]] = {}
    for measurement in measurements:
        held = values.get(measurement.name)
        if held is None or measurement.time >= held["t"]:
            values[measurement.name] = reported_value(measurement)
    return values


def update_reported(batch: Mapping[int, Sequence[Measurement]], now: datetime) -> set[int]:
    """Merge the measurements of the devices into their twins; gives the devices whose twin changed.

    One statement for the batch. Doing it again changes nothing: a value of the same moment and content is none.
    """
    devices = sorted(device_id for device_id, measurements in batch.items() if measurements)
    if not devices:
        return set()
    values = [Jsonb(newest(batch[device_id]), dumps=orjson.dumps) for device_id in devices]
    with connection.cursor() as cursor:
        cursor.execute(MERGE, {"now": now, "devices": devices, "values": values})
        return {row[0] for row in cursor.fetchall()}
