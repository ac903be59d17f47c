"""A device's queue: one lock, one head, one way to finish and to let the next one go first.

The head is the instruction that is executing or next to execute. Whoever adds, cancels or finishes holds the
device's lock, so that "the last one has just finished while another is added" cannot leave a queue without head.
Claiming needs no lock: it changes the head only, in one conditional statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from common import doorbell
from devices import live

from .models import Downlink, Event, Source, State

# A head whose ring was not heard after this long is rung again by the sweeper.
GRACE: Final = timedelta(seconds=3)
RUNG_TOGETHER: Final = 100
ANY: Final = Q()
# Told that an instruction which carries a desired value has moved to an end, or what is new of it on air (handed over,
# sent, acknowledged): device id and number, in the same transaction, after the rows of this app were written.
on_desired: list[Callable[[int, int], None]] = []


def lock(*device_ids: int) -> None:
    """Wait for the queues of the devices and hold them until the transaction ends. Take them before any of their
    rows, and those of many at once: they are taken in one order, so that two sets cannot wait for each other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('downlinks', id)) FROM unnest(%s::bigint[]) AS id",
            [sorted(device_ids)],
        )


# By index: a device may have any number of instructions.
ENDS = """
SELECT id,
    coalesce((SELECT number FROM downlinks_downlink WHERE device_id = id ORDER BY number DESC LIMIT 1), 0),
    (SELECT head FROM downlinks_downlink WHERE device_id = id AND head LIMIT 1) IS NOT NULL
FROM unnest(%s::bigint[]) AS id
"""


def ends(device_ids: Iterable[int]) -> dict[int, tuple[int, bool]]:
    """Of each queue, the last number and whether it has a head. Call it under the locks."""
    with connection.cursor() as cursor:
        cursor.execute(ENDS, [list(device_ids)])
        return {device_id: (number, has_head) for device_id, number, has_head in cursor.fetchall()}


def head_of(device_id: int) -> QuerySet[Downlink]:
    """The head of one queue. Not ordered by the whole key, of which the planner would read all that is finished."""
    return Downlink.objects.filter(device_id=device_id, head=True).order_by("device_id")


def ring(*device_ids: int) -> None:
    """One is rung for at once; many with one ring for a hundred, behind whatever else the workers have to do."""
    from . import tasks

    if len(device_ids) == 1:
        doorbell.ring(tasks.run_downlink, *device_ids)
        return
    for first in range(0, len(device_ids), RUNG_TOGETHER):
        doorbell.ring(tasks.run_downlinks, list(device_ids[first : first + RUNG_TOGETHER]), priority=doorbell.LAST)


def release(device_ids: Sequence[int]) -> None:
    """Ring for the heads of devices that are active now and have one that nobody has taken yet."""
    heads = Downlink.objects.filter(device_id__in=device_ids, head=True, accepted_at=None)
    ring(*heads.values_list("device_id", flat=True))


def promote(device_id: int, now: datetime) -> None:
    """Make the oldest pending instruction the head and ring for it. Call it under the lock, with no head there."""
    pending = Downlink.objects.filter(device_id=device_id, state=State.PENDING)
    number = pending.order_by("number").values_list("number", flat=True).first()
    if number is not None and pending.filter(number=number, head=False).update(head=True, due_at=now + GRACE):
        ring(device_id)


def tell(device_id: int, number: int, source: str) -> None:
    """Instructions of another source than a desired value cost nothing here: nobody is asked about them."""
    if source == Source.DESIRED:
        for hear in on_desired:
            hear(device_id, number)


def forget(device_id: int) -> None:
    """Remove the instructions of a device that is being removed. They go before what hangs on them: whoever is told of
    an instruction holds its row."""
    Downlink.objects.filter(device_id=device_id).delete()


def finish(
    device_id: int, number: int, event: Event, now: datetime, *, source: str, only: Q = ANY, **facts: Any
) -> bool:
    """Move to the final state that the event leads to, write the facts, let the next one go first, and tell of it, in
    one transaction. False where the instruction was not in a state that the event starts from, or not as ``only`` says.
    """
    with transaction.atomic():
        lock(device_id)
        rows = Downlink.objects.filter(only, device_id=device_id, number=number)
        if not _end(rows, event, now, facts):
            return False
        _follow(device_id, {number: source}, now)
    return True


def finish_pending(device_id: int, event: Event, now: datetime, **facts: Any) -> list[int]:
    """:func:`finish` for all that are pending; their numbers, in order."""
    with transaction.atomic():
        lock(device_id)
        rows = Downlink.objects.filter(device_id=device_id, state=State.PENDING)
        # Held against whoever claims the first of them: those that are told of are those that end.
        ended = dict(rows.select_for_update().order_by("number").values_list("number", "source"))
        if ended:
            _end(rows, event, now, facts)
            _follow(device_id, ended, now)
    return list(ended)


def _end(rows: QuerySet[Downlink], event: Event, now: datetime, facts: Mapping[str, Any]) -> int:
    rows = rows.filter(state__in=event.sources)
    return rows.update(state=event.target, head=False, due_at=None, finished_at=now, **facts)


def _follow(device_id: int, ended: Mapping[int, str], now: datetime) -> None:
    """What follows on an end. ``ended``: by number, the source of the instruction."""
    if not head_of(device_id).exists():
        promote(device_id, now)
    for number, source in ended.items():
        tell(device_id, number, source)
    live.changed(device_id, "downlinks")


def note(device_id: int, number: int, fact: str, *, source: str = "", **facts: Any) -> bool:
    """Keep facts of an instruction that executes or is finished, where ``fact`` is not known yet; no state changes.

    One that executes is from then on the network's: it is looked at again at its deadline. With ``source``, call it in
    a transaction: it is told of.
    """
    rows = Downlink.objects.filter(device_id=device_id, number=number, **{fact: None})
    noted = rows.filter(state=State.EXECUTING).update(due_at=F("deadline"), **facts) or rows.filter(
        state__in=[State.DELIVERED, State.FAILED]
    ).update(**facts)
    if noted:
        tell(device_id, number, source)
        live.changed(device_id, "downlinks")
    return bool(noted)
