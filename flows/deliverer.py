"""The process that delivers: many destinations at once, each in threads of its own (F5).

A destination that hangs holds its own threads and nobody else's, and soon none: its circuit opens. A process that dies
leaves leases that run out, and messages that are sent again under the same ids: at least once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import zip_longest
from queue import SimpleQueue
from typing import Final

import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django_scopes import scopes_disabled

from . import deliveries
from .deliveries import CIRCUIT, Head
from .models import Destination, delivery_id
from .senders import Outcome, Parcel, Sender, sender

logger = logging.getLogger(__name__)

# Destinations served at once by a process, and the messages of one that are under way at once.
DESTINATIONS: Final = 16
PARALLEL: Final = 4
# So many devices in a batch, and messages of each.
DEVICES: Final = 32
EACH: Final = 16
# Before the first device, and before the tests, which are of device 0.
START: Final = -1
# A destination is served for so long, then the others have their turn.
TURN_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 1
BATCH_SECONDS: Final = 2.0
# What was delivered is written down this often: a process that is killed repeats no more than that.
RECORD_SECONDS: Final = 0.2


class Deliverer:
    def __init__(self, stop: threading.Event, *, clock: Callable[[], datetime] = timezone.now, seed: int | None = None):
        self.stop, self.clock = stop, clock
        self.chance = random.Random(seed)  # noqa: S311
        self.pool = ThreadPoolExecutor(DESTINATIONS, thread_name_prefix="destination")
        self.busy: dict[int, Future[None]] = {}

    def run(self) -> None:
        """Until told to stop; what is under way is finished."""
        bell = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2)
        with scopes_disabled():
            while not self.stop.is_set():
                try:
                    self.round()
                    bell.blpop([deliveries.BELL], timeout=LOOK_SECONDS)
                    self.keep_leases()
                except (OperationalError, InterfaceError, redis.RedisError) as error:
                    logger.warning("waiting for the stores: %s", f"{error}".strip())
                    connection.close()
                    self.stop.wait(LOOK_SECONDS)
            while wait(self.busy.values(), LOOK_SECONDS).not_done:
                self.keep_leases()
        self.pool.shutdown(wait=True)
        connection.close()

    def round(self) -> list[Future[None]]:
        """Begin with every destination that has something to deliver and is not being served."""
        self.busy = {pk: future for pk, future in self.busy.items() if not future.done()}
        room = DESTINATIONS - len(self.busy)
        if room > 0:
            for pk in deliveries.lease_due(self.clock(), busy=self.busy, limit=room):
                self.busy[pk] = self.pool.submit(self._serve, pk)
        return list(self.busy.values())

    def keep_leases(self) -> None:
        """While this process lives, no other takes over what it is at: a receiver may be slow."""
        deliveries.keep_leases([pk for pk, future in self.busy.items() if not future.done()], self.clock())

    def _serve(self, destination_id: int) -> None:
        try:
            with scopes_disabled():
                self.serve(destination_id)
        except (OperationalError, InterfaceError) as error:
            logger.warning("destination %s: %s", destination_id, f"{error}".strip())
        except Exception:
            logger.exception("destination %s", destination_id)
        finally:
            connection.close()

    def serve(self, destination_id: int) -> int:
        """Deliver what is due, until nothing is or the turn is over; how many tries there were."""
        destination = Destination.objects.select_related("project").filter(pk=destination_id).first()
        if destination is None:
            return 0
        ends, tried, after = time.monotonic() + TURN_SECONDS, 0, START
        since = deliveries.waiting_since(destination_id, self.clock())
        senders = [sender(destination) for _ in range(PARALLEL)]
        try:
            with ThreadPoolExecutor(PARALLEL, thread_name_prefix=f"delivery-{destination_id}") as pool:
                while since and time.monotonic() < ends and not self.stop.is_set():
                    # One that has failed is asked with one message.
                    devices, each = (1, 1) if destination.failures >= CIRCUIT else (DEVICES, EACH)
                    found = deliveries.heads(destination_id, self.clock(), devices, since=since, each=each, after=after)
                    if not found and after == START:
                        break
                    # Those behind the last one have their turn, then it begins with the first again.
                    after = found[-1][0].device_id if len(found) == devices else START
                    count, goes_on = self._deliver(destination, senders, found, pool)
                    tried += count
                    if not goes_on:
                        break
                    destination.failures = 0
        finally:
            for each_sender in senders:
                each_sender.close()
            deliveries.release(destination_id)
        return tried

    def _deliver(
        self, destination: Destination, senders: list[Sender], found: list[list[Head]], pool: ThreadPoolExecutor
    ) -> tuple[int, bool]:
        """Try the messages, those of a device one after another until one fails, and keep what became of them while
        the others go on. How many tries there were, and whether the destination may be asked more."""
        done: SimpleQueue[tuple[Head, Outcome, int]] = SimpleQueue()
        lost, ends = threading.Event(), time.monotonic() + BATCH_SECONDS

        def work(by: Sender, share: list[list[Head]]) -> None:
            in_a_row, first = 0, len(share)
            failed: set[int] = set()
            for number, head in enumerate(_in_turn(share)):
                # A destination that answers nobody is not asked for the whole share; else each device has its turn.
                if lost.is_set() or self.stop.is_set() or (number >= first and time.monotonic() > ends):
                    break
                if head.device_id in failed:
                    continue
                started = time.monotonic()
                outcome = by.send(_parcel(destination, head))
                done.put((head, outcome, round((time.monotonic() - started) * 1000)))
                in_a_row = in_a_row + 1 if outcome.error else 0
                if outcome.error:
                    failed.add(head.device_id)
                if in_a_row >= 2:
                    lost.set()

        working = [pool.submit(work, by, found[number :: len(senders)]) for number, by in enumerate(senders)]
        count, goes_on, busy = 0, True, True
        while busy:
            busy = bool(wait(working, RECORD_SECONDS).not_done)
            tried = [done.get() for _ in range(done.qsize())]
            count += len(tried)
            for each in senders:
                each.settle()
            if not deliveries.record(destination.pk, tried, self.clock(), self.chance):
                goes_on = False
                lost.set()
        for ended in working:
            ended.result()
        return count, goes_on


def _in_turn(share: list[list[Head]]) -> Iterator[Head]:
    """The oldest message of each device, then the second of each."""
    return (head for heads in zip_longest(*share) for head in heads if head is not None)


def _parcel(destination: Destination, head: Head) -> Parcel:
    return Parcel(
        id=delivery_id(destination.pk, head.device_id, head.created_at.timestamp(), head.seq),
        attempt=head.attempts + 1,
        body=head.body,
        project=destination.project.name,
        device=head.device_id,
        identifier=head.identifier,
    )
