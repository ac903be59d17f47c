"""Durable acceptance: a message that is in the Redis stream survives the death of any process (ways in, step 1).

A message's shard follows from its device, so that messages of one device are processed in the order they came.
Nothing is ever trimmed: a backlog over the limit refuses new messages instead.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import redis
from django.conf import settings
from django.utils import timezone

from devices import live
from lora.events import Event, to_json

GROUP = "portal"
CONSUMER = "shard"
COUNTS = "ingest:counts"
LORA_EVENTS, THINGPARK, SENML = "lora-events", "thingpark", "senml"
CHUNK = 500
SEEN_SECONDS = 86_400


class BacklogFull(Exception):
    """More messages wait than the portal is set to hold: try again later."""


def name(shard: int) -> str:
    return f"ingest:{shard}"


def names() -> list[str]:
    return [name(shard) for shard in range(settings.INGEST_SHARDS)]


def shard_of(device_key: str) -> int:
    """The shard of a device, by DevEUI or id: stable over processes and restarts."""
    return zlib.crc32(device_key.encode()) % int(settings.INGEST_SHARDS)


def fields(source: str, body: bytes, meta: Mapping[str, Any]) -> dict[bytes, bytes]:
    """A stream entry: where it came from, its body as it came, and what acceptance already knows."""
    return {b"source": source.encode(), b"body": body, b"meta": orjson.dumps(meta)}


def accept(source: str, body: bytes, meta: Mapping[str, Any], device_key: str) -> str:
    """Keep one message; gives its entry id. Raises redis.RedisError: then it is not kept."""
    entry = live.client().xadd(name(shard_of(device_key)), fields(source, body, meta))  # type: ignore[arg-type]
    return entry.decode() if isinstance(entry, bytes) else str(entry)


def accept_events(events: Sequence[Event]) -> None:
    """Keep what a LoRa network told, in order. Raises redis.RedisError."""
    now = timezone.now().isoformat()
    for first in range(0, len(events), CHUNK):
        with live.client().pipeline(transaction=False) as pipeline:
            for event in events[first : first + CHUNK]:
                body = orjson.dumps(to_json(event))
                pipeline.xadd(
                    name(shard_of(event.dev_eui)),
                    fields(LORA_EVENTS, body, {"received_at": now}),  # type: ignore[arg-type]
                )
            pipeline.execute()


def accept_senml(way: str, device_id: int, body: bytes, *, received_at: float, cbor: bool = False) -> str:
    """Keep a SenML pack of a device that has proved itself. ``received_at``: Unix seconds."""
    meta = {"device_id": device_id, "received_at": received_at, "way": way, "cbor": cbor}
    return accept(SENML, body, meta, str(device_id))


def came_before(device_id: int, body: bytes) -> bool:
    """Whether the device sent the same body within a day: it repeats a message whose answer it did not get."""
    key = f"ingest:seen:{device_id}:{hashlib.sha256(body).hexdigest()}"
    return not live.client().set(key, 1, nx=True, ex=SEEN_SECONDS)


def backlog() -> int:
    """Messages that wait, over all shards."""
    with live.client().pipeline(transaction=False) as pipeline:
        for stream in names():
            pipeline.xlen(stream)
        return sum(pipeline.execute())


def count(outcomes: Iterable[str]) -> None:
    """Add to the counters of what was accepted and refused, by way and reason."""
    try:
        with live.client().pipeline(transaction=False) as pipeline:
            for outcome in outcomes:
                pipeline.hincrby(COUNTS, outcome, 1)
            pipeline.execute()
    except redis.RedisError:
        # The counters are told to nobody while Redis is away; the message itself was refused already.
        return
