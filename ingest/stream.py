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
from redis.backoff import NoBackoff
from redis.retry import Retry

from lora.events import Event, to_json

GROUP = "portal"
CONSUMER = "shard"
COUNTS = "ingest:counts"
LORA_EVENTS, THINGPARK, SENML = "lora-events", "thingpark", "senml"
CHUNK = 500
# How long the last message of a device is remembered, to know it when it comes again.
REPEAT_SECONDS = 86_400

_client: redis.Redis | None = None


def client() -> redis.Redis:
    """This process's Redis client for the ways in: it gives up soon, for whoever sent the message waits and has it
    still. The one repetition is for a connection that went stale."""
    global _client
    if _client is None:
        _client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )
    return _client


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
    """Keep one message and count it; gives its entry id. Raises redis.RedisError: then it may not be kept."""
    with client().pipeline(transaction=True) as pipeline:
        pipeline.xadd(name(shard_of(device_key)), fields(source, body, meta))  # type: ignore[arg-type]
        pipeline.hincrby(COUNTS, f"{source}:accepted", 1)
        return str(pipeline.execute()[0].decode())


def accept_events(events: Sequence[Event]) -> None:
    """Keep what a LoRa network told, in order. Raises redis.RedisError: then some of it may not be kept."""
    now = timezone.now().timestamp()
    for first in range(0, len(events), CHUNK):
        chunk = events[first : first + CHUNK]
        with client().pipeline(transaction=True) as pipeline:
            for event in chunk:
                body = orjson.dumps(to_json(event))
                pipeline.xadd(
                    name(shard_of(event.dev_eui)),
                    fields(LORA_EVENTS, body, {"received_at": now}),  # type: ignore[arg-type]
                )
            pipeline.hincrby(COUNTS, f"{LORA_EVENTS}:accepted", len(chunk))
            pipeline.execute()


def accept_senml(
    way: str,
    device_id: int,
    body: bytes,
    *,
    received_at: float,
    cbor: bool = False,
    timed: bool = True,
    base_name: str = "",
) -> bool:
    """Keep a SenML pack of a device that has proved itself; whether it is a new message.

    Not new is one with times of its own that is, byte for byte, the device's last one of the past day: it had no
    answer and repeats it. ``received_at``: Unix seconds. ``base_name``: the device's, where the pack has another one.
    Raises redis.RedisError: then it may not be kept.
    """
    meta = {"device_id": device_id, "received_at": received_at, "way": way, "cbor": cbor}
    meta |= {"base_name": base_name} if base_name else {}
    digest = hashlib.sha256(body).digest()
    with client().pipeline(transaction=True) as pipeline:
        pipeline.xadd(name(shard_of(str(device_id))), fields(SENML, body, meta))  # type: ignore[arg-type]
        pipeline.hincrby(COUNTS, f"{way}:accepted", 1)
        pipeline.set(f"ingest:last:{device_id}", digest, ex=REPEAT_SECONDS, get=True)
        before = pipeline.execute()[2]
    return not (timed and before == digest)


def backlog() -> int:
    """Messages that wait, over all shards."""
    with client().pipeline(transaction=False) as pipeline:
        for stream in names():
            pipeline.xlen(stream)
        return sum(pipeline.execute())


def count(outcomes: Iterable[str]) -> None:
    """Add to the counters of what was accepted and refused, by way and reason."""
    try:
        with client().pipeline(transaction=False) as pipeline:
            for outcome in outcomes:
                pipeline.hincrby(COUNTS, outcome, 1)
            pipeline.execute()
    except redis.RedisError:
        # The counters are told to nobody while Redis is away; the message itself was refused already.
        return
