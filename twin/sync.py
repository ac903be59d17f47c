"""The way of a desired value as others drive it: what its instruction meets, and what the device reports (W4).

Rows are taken in the order of the house: device, twin, the queue of instructions, an instruction, and only then a
:class:`DesiredValue`; the count in DeviceState comes last. Whoever changes the generation of a row or the instruction
that it names holds the device's twin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from django.db import connection, models
from django.utils.translation import gettext_lazy

from common import doorbell
from common.states import StateConflict
from devices import live
from devices.controls import Control, ControlError, controls_of
from devices.models import DeviceType
from downlinks.models import Downlink, State

from .models import SYNC_ALLOWED, UNDER_WAY, DesiredValue, Sync

# After an instruction has failed: how long until the next one is made.
AGAIN: Final = tuple(timedelta(seconds=seconds) for seconds in (30, 120, 600, 1800))
# A report can overtake the news of its own instruction: a row that has moved meanwhile is read again this often.
READINGS: Final = 3


class Cause(models.TextChoices):
    """The portal's own codes, with the sentence where it is always the same; a network's code is kept as it came."""

    NOT_NOW = "portal:not-now", gettext_lazy("The device cannot take it now.")
    CODEC = "portal:codec", gettext_lazy("There is no instruction for this value.")
    NO_CONTROL = "portal:no-control", gettext_lazy("The device type does not have this control any more.")
    CANCELLED = "portal:cancelled", gettext_lazy("Its instruction was cancelled.")
    NO_REPORT = "portal:no-report", gettext_lazy("The device did not report the value in time.")
    GIVEN_UP = "portal:given-up", gettext_lazy("The time for it is over.")


def move(row: DesiredValue, to: str, **changes: Any) -> bool:
    """Move the row as it was read to a state, its own included; False where somebody else was first."""
    if to != row.state and to not in SYNC_ALLOWED[row.state]:
        raise StateConflict(f"no way from {row.state!r} to {to!r}")
    rows = DesiredValue.objects.filter(device_id=row.device_id, name=row.name, generation=row.generation)
    return rows.filter(state=row.state, downlink=row.downlink).update(state=to, **changes) == 1


def control_of(device_type: DeviceType, name: str) -> Control | None:
    """None where the type has no such control, or none that can be read."""
    for described in device_type.controls if isinstance(device_type.controls, list) else []:
        if isinstance(described, dict) and described.get("name") == name:
            return _read(json.dumps(described))
    return None


@lru_cache(maxsize=512)
def _read(described: str) -> Control | None:
    try:
        return controls_of([json.loads(described)])[0]
    except ControlError:
        return None


# --- what becomes of the instruction ---


def follow(device_id: int, number: int) -> None:
    """Bring the desired value up to date with the instruction that carries it; in the transaction of its news."""
    from . import tasks

    for _reading in range(READINGS):
        rows = DesiredValue.objects.select_related("device__type").filter(device_id=device_id, downlink=number)
        row = rows.first()
        # An instruction that a newer request has overtaken is nobody's.
        if row is None:
            return
        downlink = Downlink.objects.get(device_id=device_id, number=number)
        to, changes = _led_to(row, downlink)
        if not changes:
            return
        if move(row, to, **changes):
            live.changed(device_id, "twin")
            # Only where nothing is to be waited for: a report or the next try has its time, and the sweeper.
            if downlink.state == State.DELIVERED and changes.get("due_at") == downlink.finished_at:
                doorbell.ring(tasks.run_desired, device_id)
            return


def _led_to(row: DesiredValue, downlink: Downlink) -> tuple[str, dict[str, Any]]:
    """The state that the instruction's facts lead to, and what is to be written; nothing where that stands there."""
    facts: dict[str, Any] = {}
    if downlink.sent_at and row.on_air_at is None:
        facts["on_air_at"] = downlink.sent_at
    # A device that fetches has it when it comes back: nothing else would say so.
    fetched = downlink.fport is None and downlink.state == State.DELIVERED
    arrived = downlink.acknowledged_at or (downlink.finished_at if fetched else None)
    if arrived and row.acknowledged_at is None:
        facts["acknowledged_at"] = arrived
    if row.state not in UNDER_WAY or row.state == Sync.REQUESTED:
        return row.state, facts
    control = control_of(row.device.type, row.name)
    match downlink.state:
        case State.CANCELLED:
            return Sync.FAILED, ended(Cause.CANCELLED, downlink.finished_at)
        case State.FAILED:
            return _after_failure(row, control, downlink, facts)
        case State.EXECUTING if downlink.sent_at and row.state == Sync.QUEUED:
            return Sync.ON_AIR, facts
        case State.DELIVERED if row.state == Sync.QUEUED or (arrived and row.state == Sync.ON_AIR):
            to = Sync.ACKNOWLEDGED if arrived else Sync.ON_AIR
            return to, facts | {"due_at": _report_due(row, control, downlink)}
    return row.state, facts


def _report_due(row: DesiredValue, control: Control | None, downlink: Downlink) -> datetime | None:
    """The wait for the report begins when the portal learns of the delivery. With no report to wait for, it is looked
    at now."""
    delivered: datetime = downlink.finished_at  # type: ignore[assignment] # final rows have it
    if control is None or not control.reported:
        return delivered
    return min(delivered + control.wait, row.given_up_at or delivered)


def _after_failure(
    row: DesiredValue, control: Control | None, downlink: Downlink, facts: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Sent again after a while, or failed with what the network said."""
    at: datetime = downlink.finished_at  # type: ignore[assignment] # final rows have it
    said = facts | {"cause": downlink.cause, "reason": downlink.reason}
    again = at + AGAIN[min(max(row.attempts, 1), len(AGAIN)) - 1]
    if control is None:
        return Sync.FAILED, facts | ended(Cause.NO_CONTROL, at)
    if row.attempts >= control.tries or (row.given_up_at and again >= row.given_up_at):
        return Sync.FAILED, said | {"finished_at": at, "due_at": None}
    return Sync.REQUESTED, said | {"due_at": again}


def ended(cause: Cause, at: datetime | None, reason: str = "") -> dict[str, Any]:
    """What a row that has failed holds."""
    return {"finished_at": at, "due_at": None, "cause": cause.value, "reason": (reason or str(cause.label))[:300]}


# --- what the device reports ---

# What the devices of a batch report of the values that are desired of them. A type's controls are a short list.
ANSWERS: Final = """
SELECT way.device_id, way.name, way.value, way.state, way.generation, way.requested_at, way.on_air_at, control::text,
    twin.reported -> (control ->> 'reported')
FROM twin_desiredvalue AS way
JOIN twin_twin AS twin ON twin.device_id = way.device_id
JOIN devices_device AS device ON device.id = way.device_id
JOIN devices_devicetype AS type ON type.id = device.type_id
CROSS JOIN LATERAL jsonb_array_elements(
    CASE jsonb_typeof(type.controls) WHEN 'array' THEN type.controls ELSE '[]' END) AS control
WHERE way.device_id = ANY(%s) AND control ->> 'name' = way.name AND twin.reported ? (control ->> 'reported')
"""

# In sync from any state, and from there on to "differs".
DECIDE: Final = """
UPDATE twin_desiredvalue AS way
SET state = new.state, finished_at = new.at, due_at = NULL, cause = '', reason = ''
FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::text[], %s::timestamptz[])
    AS new (device_id, name, generation, state, at)
WHERE way.device_id = new.device_id AND way.name = new.name AND way.generation = new.generation
    AND (way.state = 'in_sync') = (new.state = 'differs')
"""

# Where the value has a way, its state decides. Else equal as JSON: 21 and 21.0 are, 1 and true are not, arrays as a
# whole.
COUNT: Final = """
WITH held AS (
    SELECT device_id FROM devices_devicestate WHERE device_id = ANY(%(devices)s) ORDER BY device_id FOR NO KEY UPDATE
), counted AS (
    SELECT device_id, (
        SELECT count(*) FROM jsonb_each(desired) AS wanted
        LEFT JOIN twin_desiredvalue AS way ON way.device_id = twin.device_id AND way.name = wanted.key
        WHERE CASE WHEN way.state IS NULL THEN reported -> wanted.key -> 'v' IS DISTINCT FROM wanted.value -> 'v'
            ELSE way.state <> 'in_sync' END
    ) AS number
    FROM twin_twin AS twin JOIN held USING (device_id)
)
UPDATE devices_devicestate AS state SET out_of_sync = counted.number
FROM counted
WHERE state.device_id = counted.device_id AND state.out_of_sync <> counted.number
"""


def hear(device_ids: Sequence[int]) -> None:
    """Compare what the devices report now with what is desired of them, and count; their twins' rows are held.

    Two statements, and a third where something is in sync now or is not any more.
    """
    if not device_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(ANSWERS, [list(device_ids)])
        decided = [made for row in cursor.fetchall() if (made := _decided(*row))]
        if decided:
            cursor.execute(DECIDE, [list(column) for column in zip(*sorted(decided), strict=True)])
    count(device_ids)


def count(device_ids: Sequence[int]) -> None:
    """Bring DeviceState up to date with twins whose rows this transaction holds."""
    if device_ids:
        with connection.cursor() as cursor:
            cursor.execute(COUNT, {"devices": list(device_ids)})


def _decided(
    device_id: int,
    name: str,
    value: str,
    state: str,
    generation: int,
    requested_at: datetime,
    on_air_at: datetime | None,
    described: str,
    reported: str,
) -> tuple[int, str, int, str, datetime] | None:
    control = _read(described)
    entry = json.loads(reported)
    if control is None or entry.get("b"):
        return None
    # What was measured before the instruction went out cannot be its answer, however late it comes. Before it goes
    # out, the device may have been set by hand since the request. What was in sync differs with any newer report.
    settled = state in {Sync.IN_SYNC, Sync.DIFFERS}
    since = on_air_at or (None if settled else requested_at)
    if since is not None and entry["t"] <= since.timestamp():
        return None
    if control.answered_by(json.loads(value), entry["v"]):
        to = Sync.IN_SYNC
    elif state == Sync.IN_SYNC:
        to = Sync.DIFFERS
    else:
        return None
    if to == state:
        return None
    return device_id, name, generation, to.value, datetime.fromtimestamp(entry["t"], UTC)
