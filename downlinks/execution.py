"""Carrying instructions out: claim the head, give it to the connectivity, look after what was left behind (S4, S5).

The row is the queue, Celery the doorbell. A worker that dies leaves a row whose lease runs out; it is sent again
under the same correlation id, and connectivities send one id once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Least
from django.utils import timezone
from django_scopes import scopes_disabled

from devices import connectivity, live
from devices.connectivity import Instruction
from devices.errors import NetworkRefused, NetworkUnavailable
from devices.models import Connection, Device, Processing

from . import queue
from .models import Cause, Downlink, Event, State

logger = logging.getLogger(__name__)

# A worker has this long to send; every network client gives up well before it.
LEASE: Final = timedelta(seconds=30)
BACKOFF: Final = (2, 5, 15, 60, 300)
# The sweeper rings again for a head that no worker has taken after this long.
RING_AGAIN: Final = timedelta(seconds=10)
# A round of the sweeper: so many at most, and of those that fail, which takes longer, a tenth of it.
SWEEP_LIMIT: Final = 10_000
FAIL_LIMIT: Final = 1_000
# Heads that the workers send in a second at the least: so many more are rung for again later.
SENT_A_SECOND: Final = 500

# Two ways of taking the head. Both require that the device is active in the portal and on its network and that the
# time is not over. What concerns the row stands on the row itself: of two at once, the second sees what the first did.
CLAIM: Final = """
UPDATE downlinks_downlink AS d
SET state = 'executing', executing_at = COALESCE(d.executing_at, %(now)s), attempts = d.attempts + 1,
    deadline = COALESCE(d.deadline, a.deadline), due_at = LEAST(%(now)s + %(lease)s, d.deadline, a.deadline)
FROM (
    SELECT v.id, %(now)s + make_interval(
        secs => COALESCE(t.downlink_timeout_seconds, (%(timeouts)s::jsonb ->> t.connectivity)::int)) AS deadline
    FROM devices_device AS v JOIN devices_devicetype AS t ON t.id = v.type_id
    WHERE v.id = %(device_id)s AND v.processing_status = 'active' AND v.connection_status = 'active'
) AS a
WHERE d.device_id = %(device_id)s AND d.head AND d.accepted_at IS NULL
    AND (d.state = 'pending' OR d.state = 'executing' AND d.due_at <= %(now)s AND d.deadline > %(now)s)
RETURNING d.number, d.attempts, d.source, d.correlation_id, d.encoder, d.payload, d.fport, d.confirmed"""

# For many devices at once: whoever has one of the rows is at it, so the others need not wait for it.
CLAIM_MANY: Final = """
WITH held AS MATERIALIZED (
    SELECT d.device_id, d.number FROM downlinks_downlink AS d
    WHERE d.device_id = ANY(%(device_id)s) AND d.head FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE downlinks_downlink AS d
SET state = 'executing', executing_at = COALESCE(d.executing_at, %(now)s), attempts = d.attempts + 1,
    deadline = COALESCE(d.deadline, a.deadline), due_at = LEAST(%(now)s + %(lease)s, d.deadline, a.deadline)
FROM (
    SELECT h.device_id, h.number, %(now)s + make_interval(
        secs => COALESCE(t.downlink_timeout_seconds, (%(timeouts)s::jsonb ->> t.connectivity)::int)) AS deadline
    FROM held AS h JOIN devices_device AS v ON v.id = h.device_id JOIN devices_devicetype AS t ON t.id = v.type_id
    WHERE v.processing_status = 'active' AND v.connection_status = 'active'
) AS a
WHERE d.device_id = a.device_id AND d.number = a.number AND d.head AND d.accepted_at IS NULL
    AND (d.state = 'pending' OR d.state = 'executing' AND d.due_at <= %(now)s AND d.deadline > %(now)s)
RETURNING d.device_id, d.number, d.attempts, d.source, d.correlation_id, d.encoder, d.payload, d.fport, d.confirmed"""

# Not for LoRa: its instructions have an FPort and go through their network.
HAND_OVER: Final = """
UPDATE downlinks_downlink AS d
SET state = 'executing', executing_at = COALESCE(d.executing_at, %(now)s), attempts = d.attempts + 1,
    deadline = COALESCE(d.deadline, a.deadline), due_at = COALESCE(d.deadline, a.deadline),
    accepted_at = COALESCE(d.accepted_at, %(now)s), sent_at = COALESCE(d.sent_at, %(now)s), cause = '', reason = ''
FROM (
    SELECT v.id, %(now)s + make_interval(
        secs => COALESCE(t.downlink_timeout_seconds, (%(timeouts)s::jsonb ->> t.connectivity)::int)) AS deadline
    FROM devices_device AS v JOIN devices_devicetype AS t ON t.id = v.type_id
    WHERE v.id = %(device_id)s AND v.processing_status = 'active' AND v.connection_status = 'active'
) AS a
WHERE d.device_id = %(device_id)s AND d.head AND d.fport IS NULL
    AND (d.state = 'pending' OR d.state = 'executing' AND d.deadline > %(now)s)
RETURNING d.number, d.attempts, d.source, d.correlation_id, d.encoder, d.payload, d.fport, d.confirmed"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A claimed instruction. ``attempts`` counts the claims, this one included."""

    number: int
    attempts: int
    source: str
    instruction: Instruction


def take(statement: str, device_id: int, now: datetime) -> Taken | None:
    """Run CLAIM or HAND_OVER; the instruction that the caller has now, or None."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters(device_id, now))
        row = cursor.fetchone()
    if row is None:
        return None
    live.changed(device_id, "downlinks")
    return read(row)


def read(row: Sequence[Any]) -> Taken:
    """What the two ways of taking return, from the number on."""
    number, attempts, source, correlation_id, encoder, payload, fport, confirmed = row
    return Taken(
        number,
        attempts,
        source,
        Instruction(correlation_id=UUID(str(correlation_id)), encoder=encoder, payload=bytes(payload), fport=fport,
                    confirmed=confirmed),
    )  # fmt: skip


def parameters(device_id: int | list[int], now: datetime) -> dict[str, Any]:
    timeouts = {each.slug: int(each.downlink_timeout.total_seconds()) for each in connectivity.all_registered()}
    return {"device_id": device_id, "now": now, "lease": LEASE, "timeouts": json.dumps(timeouts)}


def run(device_id: int, *, now: datetime | None = None) -> bool:
    """Send the head of the device's queue if it may be sent and nobody else is at it. True where it was claimed."""
    with scopes_disabled():
        taken = take(CLAIM, device_id, now or timezone.now())
        if taken is None:
            return False
        device = Device.objects.select_related("type", "project").filter(pk=device_id).first()
        if device is None:
            return False
        # Deactivated since the claim: nothing is sent. The lease runs out, and it is claimed when it is active again.
        if in_use(device):
            _send(device, taken, now)
        return True


def in_use(device: Device) -> bool:
    return (device.processing_status, device.connection_status) == (Processing.ACTIVE, Connection.ACTIVE)


def _send(device: Device, taken: Taken, now: datetime | None) -> None:
    accepted = attempt(device, taken, now)
    if accepted:
        queue.note(device.pk, taken.number, "accepted_at", accepted_at=now or timezone.now(), cause="", reason="")
    elif accepted is not None:
        _mine(device, taken).update(due_at=F("deadline"))
    live.changed(device.pk, "downlinks")


def attempt(device: Device, taken: Taken, now: datetime | None) -> bool | None:
    """Give the instruction to the device's connectivity. Its answer, to be noted; None where it refused or is not to be
    reached, which is written down here."""
    try:
        return connectivity.of(device).send(device, taken.instruction)
    except NetworkRefused as error:
        facts = {"cause": "refused", "reason": str(error)[:300]}
        queue.finish(device.pk, taken.number, Event.REFUSED, now or timezone.now(), source=taken.source, **facts)
    except NetworkUnavailable as error:
        _later(_mine(device, taken), taken, str(error), now or timezone.now())
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # an error of our own must not lose the row: it is tried again later
        logger.exception("instruction %s of device %s", taken.number, device.pk)
        _later(_mine(device, taken), taken, type(error).__name__, now or timezone.now())
    return None


def _mine(device: Device, taken: Taken) -> QuerySet[Downlink]:
    return Downlink.objects.filter(device_id=device.pk, number=taken.number, state=State.EXECUTING, accepted_at=None)


def _later(rows: QuerySet[Downlink], taken: Taken, error: str, now: datetime) -> None:
    """Try again after a while, unless another worker has claimed it meanwhile."""
    wait = BACKOFF[min(taken.attempts, len(BACKOFF)) - 1]
    rows.filter(attempts=taken.attempts).update(
        due_at=Least(F("deadline"), now + timedelta(seconds=wait)), cause="network", reason=error[:300]
    )


def sweep(now: datetime, limit: int = SWEEP_LIMIT) -> int:
    """Fail what is past its deadline; ring for heads whose ring, worker or wait is over. How many were touched.

    Pending heads of devices that are not active stay as they are, and are rung for when they are active again.
    """
    active = Q(
        device__processing_status=Processing.ACTIVE, device__connection_status=Connection.ACTIVE, accepted_at=None
    )
    due = Downlink.objects.filter(head=True, due_at__lte=now).filter(active | Q(deadline__lte=now))
    with scopes_disabled():
        rows = list(due.order_by("due_at").values("device_id", "number", "state", "deadline")[:limit])
        over = [row for row in rows if row["deadline"] is not None and row["deadline"] <= now]
        rung = [row["device_id"] for row in rows if row["deadline"] is None or row["deadline"] > now]
        for row in over[:FAIL_LIMIT]:
            time_out(row["device_id"], row["number"], now)
        # Before the ring: a worker that claims at once finds its row as it left it.
        later = now + RING_AGAIN + timedelta(seconds=len(rung) // SENT_A_SECOND)
        Downlink.objects.filter(device_id__in=rung, head=True, state=State.PENDING).update(due_at=later)
        queue.ring(*rung)
    return len(rung) + len(over[:FAIL_LIMIT])


def time_out(device_id: int, number: int, now: datetime) -> bool:
    """Failed, with the reason that the facts give."""
    row = Downlink.objects.filter(device_id=device_id, number=number, deadline__lte=now).first()
    if row is None:
        return False
    if row.fport is None:
        cause = Cause.NOT_BACK if row.sent_at else Cause.NOT_FETCHED
    elif row.sent_at:
        cause = Cause.NO_ACK
    else:
        cause = Cause.NOT_ON_AIR if row.accepted_at else Cause.NOT_TAKEN
    return queue.finish(
        device_id, number, Event.TIMED_OUT, now, source=row.source, cause=cause, reason=str(cause.label)
    )
