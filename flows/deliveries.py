"""What is to be delivered, what became of it, and what is tried next (F5).

The row is the queue. A device's messages to a destination go one after another: the oldest that waits is the only one
that is tried. A destination that fails several times in a row is left alone for a while (its circuit is open), then
asked with one message. What could not be delivered for a day is given up, kept, and can be sent again.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import redis
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Min, Q
from django.db.models.functions import Least
from django.utils.translation import gettext as _

from codec import senml
from codec.measurements import Measurement

from .models import Delivery, DeliveryState, Destination, FlowDestination, delivery_id
from .senders import Outcome

# Seconds until the next try, by the number of tries so far; then every four hours, until a day is over. A message that
# comes late by itself has as many tries.
BACKOFF: Final = (5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400)
GIVE_UP: Final = timedelta(hours=24)
# So many failures in a row, and nothing is tried for these seconds: the first time, the second, …
CIRCUIT: Final = 5
CIRCUIT_BACKOFF: Final = (10, 30, 60, 120, 300)
# Whoever delivers holds the destination for so long, and longer while the process lives.
LEASE: Final = timedelta(seconds=15)
BELL: Final = "flows:deliveries"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that was processed. ``key`` names it among all messages of its moment: a stream entry, a frame."""

    device_id: int
    at: datetime
    key: str
    base_name: str
    measurements: Sequence[Measurement]

    @property
    def identifier(self) -> str:
        """DevEUI, IMEI or DvnUUID: the last part of the base name (urn:dev:<kind>:<identifier>:)."""
        return self.base_name.rstrip(":").rpartition(":")[2]


ENQUEUE: Final = """
INSERT INTO flows_delivery (device_id, created_at, destination_id, seq, due_at, identifier, body)
SELECT device_id, created_at, destination_id, seq, %(now)s, identifier, body
FROM unnest(%(devices)s::bigint[], %(moments)s::timestamptz[], %(destinations)s::bigint[], %(seqs)s::int[],
    %(identifiers)s::varchar[], %(bodies)s::bytea[])
    AS new (device_id, created_at, destination_id, seq, identifier, body)
ORDER BY device_id, created_at, destination_id, seq
ON CONFLICT DO NOTHING
"""


def enqueue(messages: Sequence[Outgoing], now: datetime) -> int:
    """One delivery for each destination of the enabled Flows that the device is in; how many. Call it in the
    transaction of the messages: doing it again changes nothing. Two statements, one where no Flow has a destination."""
    messages = [message for message in messages if message.measurements]
    wanted = _destinations({message.device_id for message in messages}) if messages else {}
    rows = [
        (message.device_id, message.at, pk, zlib.crc32(message.key.encode()) & 0x7FFFFFFF, message.identifier,
         _body(message, layout))
        for message in messages
        for pk, layout in wanted.get(message.device_id, ())
    ]  # fmt: skip
    if not rows:
        return 0
    names = ("devices", "moments", "destinations", "seqs", "identifiers", "bodies")
    with connection.cursor() as cursor:
        cursor.execute(ENQUEUE, {"now": now} | dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    transaction.on_commit(ring)
    return len(rows)


def _destinations(device_ids: Collection[int]) -> dict[int, list[tuple[int, str]]]:
    """By device its destinations and their layout, each once, however many Flows lead there."""
    links = FlowDestination.objects.filter(flow__enabled=True, destination__enabled=True)
    found: dict[int, dict[int, str]] = defaultdict(dict)
    rows = links.filter(flow__device_links__device__any_of=device_ids)
    for device_id, pk, layout in rows.values_list(
        "flow__device_links__device_id", "destination_id", "destination__layout"
    ):
        found[device_id][pk] = layout
    return {device_id: sorted(each.items()) for device_id, each in found.items()}


def _body(message: Outgoing, layout: str) -> bytes:
    base_time = min(each.time for each in message.measurements)
    return senml.dump_json(
        message.measurements,
        base_name=message.base_name,
        base_time=base_time,
        layout="legacy" if layout == "legacy" else "merged",
    )


def test(destination: Destination, now: datetime) -> UUID:
    """A message of no device, so that a person sees whether it arrives; its id."""
    example = [Measurement(name="test", value=True, time=now.timestamp())]
    base_name = f"urn:dev:DVNUUID:{destination.uuid}:"
    body = _body(Outgoing(0, now, "", base_name, example), destination.layout)
    seq = random.getrandbits(31)
    Delivery.objects.create(
        device_id=0, created_at=now, destination_id=destination.pk, seq=seq, due_at=now, body=body,
        identifier=str(destination.uuid),
    )  # fmt: skip
    transaction.on_commit(ring)
    return delivery_id(destination.pk, 0, now.timestamp(), seq)


def ring() -> None:
    """Wake a deliverer; a ring that nobody hears is made up for by its next look."""
    try:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
        with client.pipeline(transaction=False) as pipeline:
            pipeline.lpush(BELL, "1")
            pipeline.ltrim(BELL, 0, 8)
            pipeline.execute()
    except redis.RedisError:
        return


# --- the deliverer's side ---

DUE: Final = """
UPDATE flows_destination AS d SET leased_until = %(until)s
WHERE d.id IN (
    SELECT id FROM flows_destination
    WHERE enabled AND (open_until IS NULL OR open_until <= %(now)s)
        AND (leased_until IS NULL OR leased_until <= %(now)s) AND NOT id = ANY(%(busy)s)
        AND EXISTS (SELECT FROM flows_delivery AS x
            WHERE x.destination_id = flows_destination.id AND x.state = 0 AND x.due_at <= %(now)s
                AND x.created_at > %(oldest)s)
    ORDER BY leased_until NULLS FIRST LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING d.id
"""


def lease_due(now: datetime, *, busy: Iterable[int], limit: int) -> list[int]:
    """Destinations that have something to deliver now, held for this process until :data:`LEASE` is over."""
    values: dict[str, Any] = {
        "now": now,
        "until": now + LEASE,
        "busy": list(busy),
        "limit": limit,
        "oldest": oldest(now),
    }
    with connection.cursor() as cursor:
        cursor.execute(DUE, values)
        return [row[0] for row in cursor.fetchall()]


def keep_leases(destination_ids: Collection[int], now: datetime) -> None:
    """Hold them for longer; one that was released meanwhile stays so."""
    rows = Destination.objects.filter(pk__in=destination_ids, leased_until__isnull=False)
    rows.update(leased_until=now + LEASE)


def release(destination_id: int) -> None:
    Destination.objects.filter(pk=destination_id).update(leased_until=None)


def oldest(now: datetime) -> datetime:
    return now - timedelta(days=settings.DELIVERY_RETENTION_DAYS)


def waiting_since(destination_id: int, now: datetime) -> datetime | None:
    """A moment before which nothing waits for the destination, None where nothing does. With it the queries that follow
    are planned for a few days of the table, and not for all."""
    rows = Delivery.objects.filter(
        destination_id=destination_id, state=DeliveryState.WAITING, created_at__gt=oldest(now)
    )
    first: datetime | None = rows.aggregate(first=Min("created_at"))["first"]
    # What is taken in now may have been accepted a little earlier.
    return min(first, now) - timedelta(hours=1) if first else None


# One step in an index for each device that has something waiting, and never one for each message that waits: a
# device with a day's messages behind one that fails costs no more than any other.
HEADS: Final = """
WITH RECURSIVE waiting AS (
    (SELECT device_id FROM flows_delivery
     WHERE destination_id = %(destination)s AND state = 0 AND created_at BETWEEN %(since)s AND %(until)s
        AND device_id > %(after)s
     ORDER BY device_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT x.device_id FROM flows_delivery AS x
        WHERE x.destination_id = %(destination)s AND x.state = 0 AND x.created_at BETWEEN %(since)s AND %(until)s
            AND x.device_id > w.device_id
        ORDER BY x.device_id LIMIT 1
    ) FROM waiting AS w WHERE w.device_id IS NOT NULL
), due AS (
    SELECT w.device_id FROM waiting AS w CROSS JOIN LATERAL (
        SELECT x.due_at FROM flows_delivery AS x
        WHERE x.destination_id = %(destination)s AND x.device_id = w.device_id AND x.state = 0
            AND x.created_at BETWEEN %(since)s AND %(until)s
        ORDER BY x.created_at, x.seq LIMIT 1
    ) AS head
    WHERE head.due_at <= %(now)s LIMIT %(limit)s
)
SELECT x.device_id, x.created_at, x.seq, x.attempts, x.identifier, x.body
FROM due CROSS JOIN LATERAL (
    SELECT * FROM flows_delivery AS x
    WHERE x.destination_id = %(destination)s AND x.device_id = due.device_id AND x.state = 0
        AND x.created_at BETWEEN %(since)s AND %(until)s
    ORDER BY x.created_at, x.seq LIMIT %(each)s
) AS x
"""


@dataclass(frozen=True, slots=True)
class Head:
    """A waiting message of a device to a destination: the oldest, or one that goes right behind it."""

    device_id: int
    created_at: datetime
    seq: int
    attempts: int
    identifier: str
    body: bytes


def heads(
    destination_id: int, now: datetime, limit: int, *, since: datetime, each: int = 1, after: int = -1
) -> list[list[Head]]:
    """Of what was accepted since then, for up to ``limit`` devices behind ``after`` whose oldest waiting message is
    due: their ``each`` oldest ones, in the order in which they go out."""
    values: dict[str, Any] = {
        "destination": destination_id,
        "now": now,
        "since": since,
        "until": now + timedelta(days=1),
        "limit": limit,
        "each": each,
        "after": after,
    }
    found: dict[int, list[Head]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(HEADS, values)
        for device_id, created_at, seq, attempts, identifier, body in cursor.fetchall():
            found[device_id].append(Head(device_id, created_at, seq, attempts, identifier, bytes(body)))
    return list(found.values())


RECORD: Final = """
UPDATE flows_delivery AS x
SET state = new.state, attempts = x.attempts + 1, due_at = new.due_at, status = new.status, error = new.error,
    milliseconds = new.milliseconds, finished_at = CASE WHEN new.state <> 0 THEN %(now)s::timestamptz END
FROM unnest(%(devices)s::bigint[], %(moments)s::timestamptz[], %(seqs)s::int[], %(states)s::smallint[],
    %(dues)s::timestamptz[], %(statuses)s::smallint[], %(errors)s::varchar[], %(times)s::int[])
    AS new (device_id, created_at, seq, state, due_at, status, error, milliseconds)
WHERE x.device_id = new.device_id AND x.created_at = new.created_at AND x.destination_id = %(destination)s
    AND x.seq = new.seq AND x.state = 0 AND x.created_at BETWEEN %(first)s AND %(last)s
"""


def record(
    destination_id: int, tried: Sequence[tuple[Head, Outcome, int]], now: datetime, chance: random.Random
) -> bool:
    """Keep what became of the tries (head, outcome, milliseconds); True while the destination may be asked more."""
    if not tried:
        return True
    columns: dict[str, list[Any]] = defaultdict(list)
    for head, outcome, milliseconds in tried:
        state, due = _next(head, outcome, now, chance)
        for name, value in (
            ("devices", head.device_id), ("moments", head.created_at), ("seqs", head.seq), ("states", state),
            ("dues", due), ("statuses", outcome.status), ("errors", outcome.error[:300]), ("times", milliseconds),
        ):  # fmt: skip
            columns[name].append(value)
    with transaction.atomic(), connection.cursor() as cursor:
        span = {"first": min(columns["moments"]), "last": max(columns["moments"])}
        cursor.execute(RECORD, {"now": now, "destination": destination_id, **span, **columns})
        return _circuit(destination_id, [outcome for _head, outcome, _ms in tried], now, chance)


def _next(head: Head, outcome: Outcome, now: datetime, chance: random.Random) -> tuple[int, datetime | None]:
    if not outcome.error:
        return DeliveryState.DELIVERED, None
    # A test is of the moment: whoever asked for it looks at its outcome.
    tried_enough = now - head.created_at >= GIVE_UP and head.attempts >= len(BACKOFF) - 1
    if head.device_id == 0 or tried_enough:
        return DeliveryState.DEAD, None
    wait = BACKOFF[min(head.attempts, len(BACKOFF) - 1)]
    return DeliveryState.WAITING, now + timedelta(seconds=wait * chance.uniform(0.8, 1.2))


def _circuit(destination_id: int, outcomes: Sequence[Outcome], now: datetime, chance: random.Random) -> bool:
    """Count the failures in a row, in the order of the tries; open the circuit where they are too many."""
    rows = Destination.objects.filter(pk=destination_id)
    failures = 0
    for outcome in reversed(outcomes):
        if not outcome.error:
            break
        failures += 1
    failed = next((outcome.error for outcome in reversed(outcomes) if outcome.error), "")
    facts: dict[str, Any] = {"failed_at": now, "error": failed[:300]} if failed else {}
    if failures < len(outcomes):
        facts |= {"succeeded_at": now}
    if not failures:
        rows.update(failures=0, open_until=None, **facts | {"error": ""})
        return True
    every = failures == len(outcomes)
    held = rows.values_list("failures", flat=True).first() or 0 if every else 0
    total = held + failures
    facts |= {"failures": total}
    if total < CIRCUIT:
        rows.update(open_until=None, **facts)
        return True
    wait = CIRCUIT_BACKOFF[min((total - CIRCUIT) // 2, len(CIRCUIT_BACKOFF) - 1)]
    rows.update(open_until=now + timedelta(seconds=wait * chance.uniform(0.8, 1.2)), **facts)
    give_up(destination_id, now)
    return False


def give_up(destination_id: int, now: datetime) -> int:
    """What has waited for a destination that fails for a day: kept as given up. How many they were."""
    waiting = Delivery.objects.filter(
        destination_id=destination_id,
        state=DeliveryState.WAITING,
        created_at__gt=oldest(now),
        created_at__lte=now - GIVE_UP,
    )
    return waiting.update(
        state=DeliveryState.DEAD, due_at=None, finished_at=now, error=_("The destination did not take it for 24 hours.")
    )


# --- looking, and sending again ---


def newest(destination: Destination, now: datetime, *, state: int | None = None, limit: int = 100) -> list[Delivery]:
    """The last deliveries, newest first. Two limits in time and a number: by index."""
    rows = Delivery.objects.filter(destination_id=destination.pk, created_at__gt=oldest(now))
    rows = rows if state is None else rows.filter(state=state)
    return list(rows.order_by("-created_at", "-seq")[:limit])


def counts(destination_id: int, now: datetime, *, most: int = 10_000) -> dict[int, int]:
    """How many wait and how many were given up, counted up to ``most``; tests of a person's are none of them."""
    rows = Delivery.objects.filter(destination_id=destination_id, created_at__gt=oldest(now)).exclude(device_id=0)
    return {
        state: rows.filter(state=state).values("seq")[:most].count()
        for state in (DeliveryState.WAITING, DeliveryState.DEAD)
    }


def waiting(destination_ids: Sequence[int], now: datetime, *, most: int = 10_000) -> dict[int, int]:
    """By destination how many messages wait for it, counted up to ``most``; by index."""
    rows = Delivery.objects.filter(state=DeliveryState.WAITING, created_at__gt=oldest(now))
    return {pk: rows.filter(destination_id=pk).values("seq")[:most].count() for pk in destination_ids}


def again(destination: Destination, now: datetime, *, chosen: Q | None = None) -> int:
    """Put what was given up back in the queue, in its old order and under its old ids; how many. The destination is
    asked at once, whatever it has failed before."""
    dead = Delivery.objects.filter(
        destination_id=destination.pk, state=DeliveryState.DEAD, created_at__gt=oldest(now)
    ).exclude(device_id=0)
    count = (dead.filter(chosen) if chosen is not None else dead).update(
        state=DeliveryState.WAITING, due_at=now, finished_at=None, attempts=0
    )
    if count:
        try_now(destination.pk, now)
    return count


def named(device_id: int, microseconds: str, seq: int) -> Q:
    """One delivery of a destination, by the parts of its key; ``microseconds`` since 1970, as pages write it."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))
    except (ValueError, OverflowError):
        return Q(pk__in=[])
    return Q(device_id=device_id, created_at=at, seq=seq)


def try_now(destination_id: int, now: datetime) -> None:
    """Ask the destination at once, and what waits for it now."""
    Destination.objects.filter(pk=destination_id).update(open_until=None)
    Delivery.objects.filter(
        destination_id=destination_id, state=DeliveryState.WAITING, created_at__gt=oldest(now), due_at__gt=now
    ).update(due_at=Least(F("due_at"), now))
    transaction.on_commit(ring)
