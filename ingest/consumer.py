"""A consumer of the ingest streams: holds shards, reads batches, processes them, and forgets what is done.

A shard belongs to whoever holds its PostgreSQL advisory lock; the lock goes with the connection, so a consumer that
is killed leaves its shard to the next one, which first reads what its predecessor had read and not finished.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from common import partitions

from . import pipeline, stream
from .models import RejectedMessage
from .reading import Entry

logger = logging.getLogger(__name__)
BATCH = 500
BLOCK_MS = 1000
GATHER_SECONDS = 0.03
# Advisory locks of two numbers: this one, and the shard's.
LOCK_CLASS = 0x1463
# A consumer takes a second shard only when nobody has wanted it for so long.
PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 1.0


class Consumer:
    """One process. ``stop`` ends it after the batch that it is at."""

    def __init__(self, stop: threading.Event, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.stop = stop
        self.clock = clock
        self.held: list[int] = []
        self.free_since: dict[int, float] = {}
        self.looked_at = self.looked_after_at = float("-inf")
        self.tidied = False

    def run(self) -> None:
        with scopes_disabled():
            self._run()

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                self.round()
            except (OperationalError, InterfaceError, redis.RedisError) as error:
                # A store is away: what was read is pending in the stream and read again.
                logger.warning("waiting for the stores: %s", f"{error}".strip())
                connection.close()
                self.held.clear()
                self.stop.wait(RETRY_SECONDS)
        connection.close()

    def round(self) -> None:
        """Hold what can be held, then one batch of each shard; waits a moment where there is nothing to do."""
        self.tidy()
        self.take_shards()
        if not self.held:
            self.stop.wait(0.2)
            return
        self.look_after_shards()
        self.read_and_process()

    def tidy(self) -> None:
        """Once, at the start: partitions for what comes, and no rejected messages older than the frames."""
        if not self.tidied:
            now = timezone.now()
            partitions.maintain(now)
            oldest = now - timedelta(days=settings.FRAME_RETENTION_DAYS)
            RejectedMessage.objects.filter(at__lt=oldest).delete()
            self.tidied = True

    def take_shards(self) -> None:
        """Take one free shard at once, more only where nobody else comes for them."""
        now = self.clock()
        if self.held and now - self.looked_at < 1:
            return
        self.looked_at = now
        for shard in range(settings.INGEST_SHARDS):
            if shard in self.held:
                continue
            waited = now - self.free_since.setdefault(shard, now)
            if self.held and waited < PATIENCE_SECONDS:
                continue
            if self._lock(shard):
                self._make_group(shard)
                self.held.append(shard)
                self.free_since.pop(shard, None)
                logger.info("holding shard %s", shard)
                self._finish_pending(shard)
            else:
                self.free_since[shard] = now

    def look_after_shards(self) -> None:
        """Notice while idle that the connection and with it the locks are gone, and take up what was read and lost
        on the way here: by a reply that did not come, or by one who had lost the shard without knowing it."""
        now = self.clock()
        if now - self.looked_after_at < PATIENCE_SECONDS:
            return
        self.looked_after_at = now
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        for shard in self.held:
            self._finish_pending(shard)

    @staticmethod
    def _lock(shard: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_CLASS, shard])
            return bool(cursor.fetchone()[0])

    @staticmethod
    def _make_group(shard: int) -> None:
        try:
            stream.client().xgroup_create(stream.name(shard), stream.GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _finish_pending(self, shard: int) -> None:
        """What the one before had read and not acknowledged, oldest first."""
        while not self.stop.is_set():
            found = self._read({stream.name(shard): "0"}, block=None)
            if not any(entries for _name, entries in found):
                return
            self._process(found)

    def read_and_process(self) -> None:
        found = self._read({stream.name(shard): ">" for shard in self.held}, block=BLOCK_MS)
        self._process(found)
        if 1 < sum(len(entries) for _name, entries in found) < BATCH:
            # Under load a batch of twenty costs hardly more than one of two: let some gather.
            self.stop.wait(GATHER_SECONDS)

    @staticmethod
    def _read(streams: dict[str, str], *, block: int | None) -> list[tuple[str, list[Any]]]:
        found: Any = stream.client().xreadgroup(
            stream.GROUP,
            stream.CONSUMER,
            streams,  # type: ignore[arg-type]
            count=BATCH,
            block=block,
        )
        # Redis answers pairs, or a map of them under RESP3.
        pairs = found.items() if isinstance(found, dict) else found or []
        return [(name.decode() if isinstance(name, bytes) else name, entries) for name, entries in pairs]

    def _process(self, found: list[tuple[str, list[Any]]]) -> None:
        for name, raw in found:
            if raw:
                # A pending entry that was deleted has no values: there is nothing left but to forget it.
                process_and_keep([Entry.read(entry_id, values) for entry_id, values in raw if values])
                ids = [entry_id for entry_id, _values in raw]
                with stream.client().pipeline(transaction=True) as pipe:
                    pipe.xack(name, stream.GROUP, *ids)
                    pipe.xdel(name, *ids)
                    pipe.execute()


def process_and_keep(entries: Sequence[Entry]) -> None:
    """Process the batch and keep what was rejected. A batch that fails is taken apart: only the message at fault
    is rejected. Raises OperationalError or InterfaceError where the database is away."""
    try:
        result = pipeline.process(entries)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(entries) == 1:
            logger.exception("message %s", entries[0].id)
            keep_rejected(entries, {entries[0].id: f"{type(error).__name__}: {error}"})
            return
        for entry in entries:
            process_and_keep([entry])
        return
    if result.rejected or result.unknown:
        reasons = result.rejected | dict.fromkeys(result.unknown, pipeline.UNKNOWN_DEVICE)
        keep_rejected(entries, reasons, result.unknown)


def keep_rejected(
    entries: Sequence[Entry], reasons: Mapping[str, str], unknown: Mapping[str, str] | None = None
) -> None:
    """A repeated batch keeps them once: the stream entry is unique. Of an unknown DevEUI (``unknown``: by entry id)
    the first message of a day is kept; all are counted."""
    unknown = unknown or {}
    rows = [
        RejectedMessage(
            entry=f"{entry.source}/{entry.day}/{unknown[entry.id]}"
            if entry.id in unknown
            else f"{entry.source}/{entry.id}",
            source=entry.source,
            error=reasons[entry.id][:500].replace("\x00", ""),
            body=entry.body,
            device_id=entry.meta.get("device_id") if entry.source == stream.SENML else None,
        )
        for entry in entries
        if entry.id in reasons
    ]
    with transaction.atomic():
        RejectedMessage.objects.bulk_create(rows, ignore_conflicts=True)
    outcomes = {entry_id: "unknown-device" if entry_id in unknown else "rejected" for entry_id in reasons}
    stream.count(f"{entry.source}:{outcomes[entry.id]}" for entry in entries if entry.id in outcomes)
