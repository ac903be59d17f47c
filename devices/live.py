"""Tells whoever watches a device that something of it changed: one notification on Redis, a line for each device.

A notification carries no data, only which parts changed; the browser asks for those parts again under its own
rights. A lost one costs freshness, never truth.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

import redis
from django.conf import settings
from django.db import transaction

CHANNEL = "live:device"
# Longer than a page takes from the server to the moment it listens.
RECENT_SECONDS = 10
PARTS = frozenset({"status", "twin", "frames", "downlinks", "messages"})

logger = logging.getLogger(__name__)
_client: redis.Redis | None = None


def client() -> redis.Redis:
    """This process's Redis client (connections are made when used and pooled)."""
    global _client
    if _client is None:
        _client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=5)
    return _client


def recent_key(spans_ago: int = 0) -> str:
    """The hash of what changed in the present span of :data:`RECENT_SECONDS`, or in one before it."""
    return f"live:recent:{int(time.time()) // RECENT_SECONDS - spans_ago}"


def recently_changed(device_id: int) -> set[str]:
    """The parts that changed a moment ago: a page that was made before them may only now begin to listen."""
    parts = sorted(PARTS)
    fields = [f"{device_id} {part}" for part in parts]
    with client().pipeline(transaction=False) as pipeline:
        pipeline.hmget(recent_key(), fields)
        pipeline.hmget(recent_key(1), fields)
        spans: Any = pipeline.execute()
    return {part for span in spans for part, held in zip(parts, span, strict=True) if held is not None}


def publish(changes: Iterable[tuple[int, Iterable[str]]]) -> None:
    """Tell it now: (device id, parts of :data:`PARTS`) pairs, three commands however many."""
    told = [(device_id, sorted(parts)) for device_id, parts in changes]
    if not told:
        return
    try:
        with client().pipeline(transaction=False) as pipeline:
            pipeline.hset(recent_key(), mapping={f"{pk} {part}": 1 for pk, parts in told for part in parts})
            pipeline.expire(recent_key(), 2 * RECENT_SECONDS)
            pipeline.publish(CHANNEL, "\n".join(f"{pk} {','.join(parts)}" for pk, parts in told))
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("live notification lost: %s", error)


def changed(device_id: int, *parts: str) -> None:
    """Tell it when the surrounding transaction has committed."""
    transaction.on_commit(lambda: publish([(device_id, parts)]))
