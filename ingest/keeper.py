"""Keeps messages in the stream from the event loop: what arrives within one round trip to Redis goes in the next.

One connection and one pipeline at a time, however many requests wait: the append-only file is synced once for all
of them. Each request is answered only after its own entry is in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from . import stream

CHUNK = 1000
# By event loop: a client belongs to the loop that it was made in.
_keepers: WeakKeyDictionary[asyncio.AbstractEventLoop, Keeper] = WeakKeyDictionary()


class Keeper:
    def __init__(self) -> None:
        # As stream.client: whoever sent the message waits, and has it still.
        self.client = redis.asyncio.Redis.from_url(
            settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )
        self.waiting: list[tuple[str, dict[bytes, bytes], str, asyncio.Future[None]]] = []
        self.task: asyncio.Task[None] | None = None

    async def keep(self, source: str, body: bytes, meta: Mapping[str, Any], device_key: str, outcome: str) -> None:
        """Return when the message is in the stream. Raises redis.RedisError where it is not."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = stream.fields(source, body, meta)
        self.waiting.append((stream.name(stream.shard_of(device_key)), entry, outcome, done))
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._write())
        await done

    async def _write(self) -> None:
        # One turn of the loop, so that what has arrived together goes together.
        await asyncio.sleep(0)
        while self.waiting:
            batch, self.waiting = self.waiting[:CHUNK], self.waiting[CHUNK:]
            try:
                async with self.client.pipeline(transaction=False) as pipeline:
                    for name, entry, _outcome, _done in batch:
                        pipeline.xadd(name, entry)  # type: ignore[arg-type]
                    for outcome, count in Counter(outcome for _name, _entry, outcome, _done in batch).items():
                        pipeline.hincrby(stream.COUNTS, outcome, count)
                    answers: list[Any] = await pipeline.execute(raise_on_error=False)
            except (redis.RedisError, OSError) as error:
                answers = [redis.ConnectionError(str(error))] * len(batch)
            for (_name, _entry, _outcome, done), answer in zip(batch, answers, strict=False):
                if done.done():
                    continue
                if isinstance(answer, Exception):
                    done.set_exception(redis.RedisError(str(answer)))
                else:
                    done.set_result(None)


def keeper() -> Keeper:
    """This event loop's keeper."""
    loop = asyncio.get_running_loop()
    found = _keepers.get(loop)
    if found is None:
        found = _keepers[loop] = Keeper()
    return found
