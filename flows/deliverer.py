"""The process that delivers: many destinations at once, each in threads of its own (F5).

A destination that hangs holds its own threads and nobody else's, and soon none: its circuit opens. A process that dies
leaves leases that run out, and messages that are sent again under the same ids: at least once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
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
# A destination is served for so long, then the others have their turn.
TURN_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 1


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
                except (OperationalError, InterfaceError, redis.RedisError) as error:
                    logger.warning("waiting for the stores: %s", f"{error}".strip())
                    connection.close()
                    self.stop.wait(LOOK_SECONDS)
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
        destination = Destination.objects.select_related("project").get(pk=destination_id)
        ends, tried = time.monotonic() + TURN_SECONDS, 0
        senders = [sender(destination) for _ in range(PARALLEL)]
        try:
            with ThreadPoolExecutor(PARALLEL, thread_name_prefix=f"delivery-{destination_id}") as pool:
                while time.monotonic() < ends and not self.stop.is_set():
                    # One that has failed is asked with one message.
                    probing = destination.failures >= CIRCUIT
                    heads = deliveries.heads(destination_id, self.clock(), 1 if probing else PARALLEL * 8)
                    if not heads:
                        break
                    if not self._deliver(destination, senders, heads, pool):
                        tried += len(heads)
                        break
                    tried += len(heads)
                    destination.failures = 0
                    deliveries.keep_lease(destination_id, self.clock())
        finally:
            for each in senders:
                each.close()
            deliveries.release(destination_id)
        return tried

    def _deliver(
        self, destination: Destination, senders: list[Sender], heads: list[Head], pool: ThreadPoolExecutor
    ) -> bool:
        """Try the messages, each of another device, and keep what became of them before more are tried."""
        shares = [heads[number :: len(senders)] for number in range(len(senders))]
        lost = threading.Event()

        def work(by: Sender, share: list[Head]) -> list[tuple[Head, Outcome, int]]:
            done: list[tuple[Head, Outcome, int]] = []
            in_a_row = 0
            for head in share:
                # A destination that answers nobody is not asked for the whole share.
                if lost.is_set():
                    break
                started = time.monotonic()
                outcome = by.send(_parcel(destination, head))
                done.append((head, outcome, round((time.monotonic() - started) * 1000)))
                in_a_row = in_a_row + 1 if outcome.error else 0
                if in_a_row >= 2:
                    lost.set()
            return done

        found = list(pool.map(work, senders, shares))
        tried = [each for share in found for each in share]
        return deliveries.record(destination.pk, tried, self.clock(), self.chance)


def _parcel(destination: Destination, head: Head) -> Parcel:
    return Parcel(
        id=delivery_id(destination.pk, head.device_id, head.created_at.timestamp(), head.seq),
        attempt=head.attempts + 1,
        body=head.body,
        project=destination.project.name,
        device=head.device_id,
        identifier=head.identifier,
    )
