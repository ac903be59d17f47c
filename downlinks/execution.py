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
from django.utils.translation import gettext as _
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

# Takes the head of a device that is active in the portal and on its network. What concerns the row stands on the row
# itself: of two at once, the second sees what the first did. Clocks are looked at before a row is waited for: it begins
# no sooner than the one before it has ended.
TAKE: Final = """
{held}UPDATE downlinks_downlink AS d
SET state = '{target}', executing_at = COALESCE(d.executing_at, GREATEST(%(now)s, (
        SELECT b.finished_at FROM downlinks_downlink AS b WHERE b.device_id = d.device_id AND b.number = d.number - 1
    ))), attempts = d.attempts + 1,
    deadline = COALESCE(d.deadline, a.deadline), {facts}
FROM (
    SELECT v.id, %(now)s + make_interval(
        secs => COALESCE(t.downlink_timeout_seconds, (%(timeouts)s::jsonb ->> t.connectivity)::int)) AS deadline
    FROM devices_device AS v JOIN devices_devicetype AS t ON t.id = v.type_id
    WHERE v.id = {devices} AND v.processing_status = 'active' AND v.connection_status = 'active'
) AS a
WHERE d.device_id = {devices} AND d.device_id = a.id AND d.head AND d.state IN ({sources})
    AND (d.deadline > %(now)s) IS NOT FALSE
    AND ((d.valid_until > %(now)s) IS NOT FALSE OR d.accepted_at IS NOT NULL) AND {only}
RETURNING d.device_id, d.number, d.attempts, d.source, d.correlation_id, d.encoder, d.payload, d.fport, d.confirmed"""


# Of many devices at once: whoever holds one of the rows is at it, and the others do not wait for it.
HELD: Final = """
WITH held AS MATERIALIZED (
    SELECT h.device_id, h.number FROM downlinks_downlink AS h
    WHERE h.device_id = ANY(%(device_id)s) AND h.head FOR NO KEY UPDATE SKIP LOCKED
)
"""


def _taking(event: Event, *, facts: str, only: str, many: bool = False) -> str:
    sources = ", ".join(f"'{state.value}'" for state in event.sources)
    devices = "ANY(%(device_id)s)" if many else "%(device_id)s"
    only += " AND (d.device_id, d.number) IN (SELECT device_id, number FROM held)" if many else ""
    return TAKE.format(
        held=HELD if many else "",
        target=event.target.value,
        sources=sources,
        devices=devices,
        facts=facts,
        only=only,
    )


CLAIM_FACTS: Final = "due_at = LEAST(%(now)s + %(lease)s, d.deadline, a.deadline)"
CLAIM_ONLY: Final = "d.accepted_at IS NULL AND (d.state = 'pending' OR d.due_at <= %(now)s)"
CLAIM: Final = _taking(Event.CLAIM, facts=CLAIM_FACTS, only=CLAIM_ONLY)
CLAIM_MANY: Final = _taking(Event.CLAIM, facts=CLAIM_FACTS, only=CLAIM_ONLY, many=True)
# Not for LoRa: its instructions have an FPort and go through their network.
HAND_OVER: Final = _taking(
    Event.HAND_OVER,
    facts="due_at = COALESCE(d.deadline, a.deadline), accepted_at = COALESCE(d.accepted_at, %(now)s),"
    " sent_at = COALESCE(d.sent_at, %(now)s), cause = '', reason = ''",
    only="d.fport IS NULL",
)


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
    """What the ways of taking return."""
    _device_id, number, attempts, source, correlation_id, encoder, payload, fport, confirmed = row
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


def hold_reason(device: Device) -> str:
    """Why nothing leaves to this device now, as a sentence; "" where nothing holds its queue. As CLAIM asks it."""
    if device.processing_status == Processing.DEACTIVATED:
        return _("The device is deactivated: its instructions wait until it is activated.")
    if device.processing_status != Processing.ACTIVE:
        return _("The device is in no Flow: its instructions wait until it is linked to one.")
    if device.connection_status == Connection.DEACTIVATED:
        return _("The connectivity is deactivated: instructions wait until it is activated.")
    if device.connection_status != Connection.ACTIVE:
        return _("The device is not active on its network: its instructions wait until it is.")
    return ""


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
        _mine(device, taken).update(due_at=Least(F("deadline"), F("valid_until")))
    live.changed(device.pk, "downlinks")


def attempt(device: Device, taken: Taken, now: datetime | None) -> bool | None:
    """Give the instruction to the device's connectivity. Its answer, to be noted; None where it refused or is not to be
    reached, which is written down here."""
    network = connectivity.of(device)
    try:
        # An earlier try may have come to the network without its answer coming back.
        held = taken.attempts > 1 and network.has(device, taken.instruction.correlation_id)
        return held or network.send(device, taken.instruction)
    except NetworkRefused as error:
        facts: dict[str, Any] = {"cause": "refused", "reason": str(error)[:300]}
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
        due_at=Least(F("deadline"), F("valid_until"), now + timedelta(seconds=wait)),
        cause="network",
        reason=error[:300],
    )


def sweep(now: datetime, limit: int = SWEEP_LIMIT) -> int:
    """Fail what is past its deadline or its validity; ring for heads whose ring, worker or wait is over. How many were
    touched.

    Pending heads of devices that are not active stay as they are, and are rung for when they are active again.
    """
    with scopes_disabled():
        over = _expired(now, min(limit, FAIL_LIMIT))
        active = Q(
            device__processing_status=Processing.ACTIVE, device__connection_status=Connection.ACTIVE, accepted_at=None
        )
        due = Downlink.objects.filter(due_at__lte=now)
        due = due.filter(active | Q(deadline__lte=now) | Q(valid_until__lte=now, accepted_at=None))
        rung = []
        rows = due.order_by("due_at").values_list("device_id", "number", "deadline", "valid_until", "accepted_at")
        ended = []
        for device_id, number, deadline, valid_until, accepted_at in list(rows[:limit]):
            if deadline is not None and deadline <= now:
                ended.append((time_out, device_id, number))
            elif valid_until is not None and valid_until <= now and accepted_at is None:
                ended.append((expire, device_id, number))
            else:
                rung.append(device_id)
        over += sum(end(device_id, number, now) for end, device_id, number in ended[:FAIL_LIMIT])
        # Before the ring: a worker that claims at once finds its row as it left it.
        later = now + RING_AGAIN + timedelta(seconds=len(rung) // SENT_A_SECOND)
        Downlink.objects.filter(device_id__in=rung, head=True, state=State.PENDING).update(due_at=later)
        queue.ring(*rung)
    return over + len(rung)


def _expired(now: datetime, limit: int) -> int:
    """Fail what is not valid any more while it waits, wherever it stands."""
    pending = Downlink.objects.filter(state=State.PENDING, valid_until__lte=now).order_by("valid_until")
    rows = list(pending.values_list("device_id", "number")[:limit])
    return sum(expire(device_id, number, now) for device_id, number in rows)


def expire(device_id: int, number: int, now: datetime) -> bool:
    """Failed, where it is not valid any more and neither a network nor the device has it; a worker that is about to
    send it has its lease first."""
    rows = Downlink.objects.filter(device_id=device_id, number=number, valid_until__lte=now, accepted_at=None)
    source = rows.values_list("source", flat=True).first()
    return source is not None and queue.finish(
        device_id,
        number,
        Event.EXPIRED,
        now,
        source=source,
        only=Q(accepted_at=None) & (Q(state=State.PENDING) | Q(due_at__lte=now)),
        cause=Cause.EXPIRED,
        reason=str(Cause.EXPIRED.label),
    )


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
