"""Tells whoever watches a device that something of it changed: one small notification on Redis per device.

A notification carries no data, only which parts changed; the browser asks for those parts again under its own
rights. A lost one costs freshness, never truth.
"""

from __future__ import annotations

import logging
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


def recent_key(device_id: int) -> str:
    return f"live:recent:{device_id}"


def recently_changed(device_id: int) -> set[str]:
    """The parts that changed a moment ago: a page that was made before them may only now begin to listen."""
    parts: Any = client().smembers(recent_key(device_id))
    return {part.decode() for part in parts} & PARTS


def publish(changes: Iterable[tuple[int, Iterable[str]]]) -> None:
    """Tell it now: (device id, parts of :data:`PARTS`) pairs in one round trip."""
    try:
        with client().pipeline(transaction=False) as pipeline:
            for device_id, parts in changes:
                pipeline.sadd(recent_key(device_id), *parts)
                pipeline.expire(recent_key(device_id), RECENT_SECONDS)
                pipeline.publish(CHANNEL, f"{device_id} {','.join(sorted(parts))}")
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("live notification lost: %s", error)


def changed(device_id: int, *parts: str) -> None:
    """Tell it when the surrounding transaction has committed."""
    transaction.on_commit(lambda: publish([(device_id, parts)]))
