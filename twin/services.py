"""The only writer of the Device Twin: reported, desired, metadata; many devices in one statement (W2, W3, W6, W7).

Whoever writes twins takes their rows in the order of the devices, and only then rows of DeviceState, whose count
``out_of_sync`` follows the twin in the same transaction.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled
from psycopg.types.json import Jsonb

from accounts import audit
from accounts.models import User
from codec.measurements import Measurement
from devices import capabilities, live
from devices.capabilities import ALLOWED, Capability, NotAllowedForType
from devices.models import Device, ValueSource

from . import columns, content, samples, sync
from .errors import ChangedMeanwhile, TwinFull
from .models import Twin

# One row version per device and batch. A value only replaces one that is not newer: messages may come late. Where none
# does, as nearly always, the values are taken as they are: to pick them costs a third of the statement.
MERGE = """
INSERT INTO twin_twin AS twin (device_id, reported, version, reported_version, updated_at)
SELECT device_id::bigint, reported, 1, 1, %(now)s
FROM jsonb_each(%(values)s::jsonb) AS new (device_id, reported)
ORDER BY device_id::bigint
ON CONFLICT (device_id) DO UPDATE SET
    reported = twin.reported || CASE WHEN (
        SELECT bool_and((new.value ->> 't')::float8 >= (twin.reported -> new.key ->> 't')::float8)
        FROM jsonb_each(excluded.reported) AS new
    ) THEN excluded.reported ELSE (
        SELECT coalesce(jsonb_object_agg(new.key, new.value), '{}')
        FROM jsonb_each(excluded.reported) AS new
        WHERE NOT twin.reported ? new.key
            OR (new.value ->> 't')::float8 >= (twin.reported -> new.key ->> 't')::float8
    ) END,
    version = twin.version + 1,
    reported_version = twin.reported_version + 1,
    updated_at = excluded.updated_at
WHERE EXISTS (
    SELECT FROM jsonb_each(excluded.reported) AS new
    WHERE NOT twin.reported ? new.key
        OR new.value <> twin.reported -> new.key
            AND (new.value ->> 't')::float8 >= (twin.reported -> new.key ->> 't')::float8
)
RETURNING device_id, desired <> '{}'
"""

# Twins that are not there yet, so that their rows can be held.
PREPARE = """
INSERT INTO twin_twin (device_id, reported, version)
SELECT id, '{}', 0 FROM unnest(%s::bigint[]) AS id ORDER BY id
ON CONFLICT DO NOTHING
"""

# A key gets a new entry only where its value differs, or ``again`` says that the moment alone is news.
CHANGE = """
WITH held AS (
    SELECT device_id, {part} AS before FROM twin_twin
    WHERE device_id = ANY(%(devices)s) ORDER BY device_id FOR NO KEY UPDATE
), made AS (
    SELECT device_id, before, (before - %(gone)s::text[]) || (
        SELECT coalesce(jsonb_object_agg(new.key, new.value), '{{}}') FROM jsonb_each(%(entries)s) AS new
        WHERE %(again)s OR before -> new.key -> 'v' IS DISTINCT FROM new.value -> 'v'
    ) AS after
    FROM held
)
UPDATE twin_twin AS twin
SET {part} = after, version = version + 1, {part}_version = {part}_version + 1, updated_at = %(now)s
FROM made
WHERE twin.device_id = made.device_id AND after <> before
RETURNING twin.device_id,
    (SELECT count(*) FROM jsonb_object_keys(after)) > %(most_keys)s OR octet_length(after::text) > %(most_bytes)s,
    (SELECT jsonb_agg(jsonb_build_array(name, before -> name -> 'v', after -> name -> 'v') ORDER BY name)
        FROM unnest(%(names)s::text[]) AS name WHERE before -> name IS DISTINCT FROM after -> name)
"""

# Nothing where no value is reported: the second of two who clear writes no version.
CLEAR = """
UPDATE twin_twin SET reported = '{}', version = version + 1, reported_version = reported_version + 1,
    updated_at = %(now)s
FROM (SELECT device_id, reported AS before FROM twin_twin WHERE device_id = %(device)s FOR NO KEY UPDATE) AS held
WHERE twin_twin.device_id = held.device_id AND before <> '{}'
RETURNING (SELECT count(*) FROM jsonb_object_keys(before))
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

    One statement for the batch, one for the columns that people search, one for the history of values, and two or
    three more where a changed twin has desired values. Call it in a transaction. Doing it again changes nothing: a
    value of the same moment and content is none.
    """
    devices = sorted(device_id for device_id, measurements in batch.items() if measurements)
    if not devices:
        return set()
    # One text for all: the driver would look at each character of each of many.
    values = orjson.dumps({str(device_id): newest(batch[device_id]) for device_id in devices}).decode()
    with connection.cursor() as cursor:
        cursor.execute(MERGE, {"now": now, "values": values})
        changed = dict(cursor.fetchall())
    sync.hear([device_id for device_id, has_desired in changed.items() if has_desired])
    columns.follow(sorted(changed), parts=[ValueSource.REPORTED])
    samples.keep(batch, now)
    return set(changed)


class Part(NamedTuple):
    """A part of the twin that people write. ``again``: the same value once more is a change, for its moment is."""

    column: str
    capability: Capability
    action: str
    again: bool


METADATA: Final = Part("metadata", Capability.TWIN_METADATA, "twin.metadata_changed", again=False)
DESIRED: Final = Part("desired", Capability.TWIN_DESIRED, "twin.desired_changed", again=True)


def set_metadata(
    device_ids: Iterable[int], changes: Mapping[str, str | None], *, actor: User | None, now: datetime | None = None
) -> set[int]:
    """Set and (None) remove metadata of the devices; gives those whose metadata changed. A text that stands there
    already is no change. Raises TwinRefused, TwinFull (nothing is changed then), NotAllowedForType."""
    content.check_texts(changes)
    return _change(METADATA, device_ids, changes, actor, now or timezone.now())


def set_desired(
    device_ids: Iterable[int], changes: Mapping[str, Any], *, actor: User | None, now: datetime | None = None
) -> set[int]:
    """Set and (None) remove desired values, JSON, of the devices; gives those whose twin changed. It sends nothing:
    values of controls are asked for through :mod:`twin.loop`.

    The same value again is a new request with its own moment. Raises TwinRefused, TwinFull, NotAllowedForType.
    """
    with transaction.atomic():
        changed = write_desired(device_ids, changes, actor=actor, now=now or timezone.now())
        sync.count(sorted(changed))
    return changed


def write_desired(
    device_ids: Iterable[int], changes: Mapping[str, Any], *, actor: User | None, now: datetime
) -> set[int]:
    """:func:`set_desired` without the count, which the caller brings up to date before the transaction ends."""
    content.check_values(changes)
    return _change(DESIRED, device_ids, changes, actor, now)


@transaction.atomic
def edit_metadata(
    *,
    device: Device,
    key: str,
    text: str | None,
    seen: float | None,
    actor: User | None,
    now: datetime | None = None,
) -> bool:
    """Set or (None) remove one property as a person saw it: ``seen`` is the moment (``"t"``) of the value that was
    shown, None for a property that was not there. True where it changed.

    Raises ChangedMeanwhile where another value stands there now, and what :func:`set_metadata` raises.
    """
    with connection.cursor() as cursor:
        cursor.execute(PREPARE, [[device.pk]])
    rows = Twin.objects.select_for_update(no_key=True).filter(device=device)
    held = (rows.values_list("metadata", flat=True).first() or {}).get(key)
    there = held["v"] if held else None
    if there != text and (held["t"] if held else None) != seen:
        raise ChangedMeanwhile(held)
    return bool(set_metadata([device.pk], {key: text}, actor=actor, now=now))


@transaction.atomic
def clear_reported(*, device: Device, actor: User | None, now: datetime | None = None) -> int:
    """Remove the reported values (W7); gives how many there were. Desired values, metadata and the history stay.

    Raises NotAllowedForType.
    """
    capabilities.require(device, Capability.TWIN_CLEAR)
    with connection.cursor() as cursor:
        cursor.execute(CLEAR, {"device": device.pk, "now": now or timezone.now()})
        row = cursor.fetchone()
    if row is None:
        return 0
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action="twin.measurements_cleared",
        target=device.name,
        device_id=device.pk,
        before={"values": row[0]},
    )
    sync.count([device.pk])
    columns.follow([device.pk], removed=True)
    live.changed(device.pk, "twin")
    return int(row[0])


@transaction.atomic
def _change(
    part: Part, device_ids: Iterable[int], changes: Mapping[str, Any], actor: User | None, now: datetime
) -> set[int]:
    wanted = {key: value for key, value in changes.items() if value is not None}
    devices = _allowed(part.capability, device_ids)
    if not devices or not changes:
        return set()
    ids = sorted(devices)
    values: dict[str, Any] = {
        "devices": ids,
        "names": list(changes),
        "gone": [key for key in changes if key not in wanted],
        "entries": Jsonb({key: {"v": value, "t": now.timestamp()} for key, value in wanted.items()}),
        "again": part.again,
        "now": now,
        "most_keys": content.MOST_KEYS,
        "most_bytes": content.MOST_BYTES,
    }
    with connection.cursor() as cursor:
        if wanted:
            cursor.execute(PREPARE, [ids])
        cursor.execute(CHANGE.format(part=part.column), values)
        rows = cursor.fetchall()
    full = {device_id for device_id, too_much, _changed in rows if too_much}
    if full:
        raise TwinFull(
            _("A device has at most %(keys)d properties and %(size)d KB of them.")
            % {"keys": content.MOST_KEYS, "size": content.MOST_BYTES // 1024},
            full,
        )
    told = [_told(device_id, *devices[device_id], json.loads(text)) for device_id, _full, text in sorted(rows)]
    audit.record_many(told, actor=actor, action=part.action)
    changed = sorted(device_id for device_id, *_rest in rows)
    columns.follow(changed, removed=bool(values["gone"]))
    if changed:
        transaction.on_commit(lambda: live.publish((device_id, ("twin",)) for device_id in changed))
    return set(changed)


def _told(device_id: int, project_id: int, name: str, values: Sequence[tuple[str, Any, Any]]) -> audit.Change:
    """``values``: (key, value before, value after); one that is None was not or is no more there."""
    return audit.Change(
        project_id,
        name,
        device_id,
        before={key: before for key, before, _after in values if before is not None},
        after={key: after for key, _before, after in values if after is not None},
    )


def _allowed(capability: Capability, device_ids: Iterable[int]) -> dict[int, tuple[int, str]]:
    """By id the Project and name of the devices that are still there. Raises NotAllowedForType (T3)."""
    with scopes_disabled():
        rows = list(
            Device.objects.filter(pk__in=set(device_ids)).values_list("pk", "project_id", "name", "type__category")
        )
    if any(category not in ALLOWED[capability] for *_rest, category in rows):
        raise NotAllowedForType(capability)
    return {pk: (project_id, name) for pk, project_id, name, _category in rows}


def remove(device_id: int) -> None:
    """The twin of a device that is being removed, in the caller's transaction."""
    Twin.objects.filter(pk=device_id).delete()
