"""Live streams (SSE): tells a browser which parts of a device changed. One Redis subscription per process.

A stream carries no data of the device, only the names of changed parts; the browser asks for them under its own
rights. It ends after ten minutes, so that rights are checked again when the browser comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

import redis.asyncio
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.http import parse_cookie

from accounts.models import Membership, User
from devices import live
from devices.models import Device

from .http import Receive, Refused, Scope, Send, answer_refused, header
from .views import in_thread

logger = logging.getLogger(__name__)
LIFETIME_S = 600.0
HEARTBEAT_S = 15.0
# Without Redis there is nothing to tell: the browser comes back by itself.
PATIENCE_S = 10.0
# Changes within this time are told at once.
GATHER_S = 0.15
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Watch:
    """One browser that watches one device: the parts that changed since it was last told."""

    def __init__(self) -> None:
        self.parts: set[str] = set()
        self.changed = asyncio.Event()

    def tell(self, parts: set[str]) -> None:
        self.parts |= parts
        self.changed.set()

    def take(self) -> list[str]:
        parts, self.parts = sorted(self.parts), set()
        self.changed.clear()
        return parts


class Hub:
    """All watches of this process, fed by one subscription that starts with the first of them."""

    def __init__(self) -> None:
        self.watches: dict[int, set[Watch]] = defaultdict(set)
        self.reader: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def watching(self, device_id: int) -> Iterator[Watch]:
        watch = Watch()
        self.watches[device_id].add(watch)
        if self.reader is None or self.reader.done():
            self.reader = asyncio.get_running_loop().create_task(self.read())
        try:
            yield watch
        finally:
            self.watches[device_id].discard(watch)
            if not self.watches[device_id]:
                del self.watches[device_id]

    async def read(self) -> None:
        wait, missed = 0.2, False
        while self.watches:
            client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
            try:
                async with client.pubsub() as subscription:
                    await subscription.subscribe(live.CHANNEL)
                    wait = 0.2
                    self.listening.set()
                    if missed:
                        self.tell_all()
                    while self.watches:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
                        if message is not None:
                            self.tell(message["data"].decode())
            except redis.RedisError as error:
                logger.warning("live: %s", error)
                missed = True
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
            finally:
                self.listening.clear()
                await client.aclose()

    def tell_all(self) -> None:
        """What changed while nothing could be heard is not known: it may be anything."""
        for watch in itertools.chain.from_iterable(self.watches.values()):
            watch.tell(set(live.PARTS))

    def tell(self, text: str) -> None:
        for line in text.splitlines():
            device, _, parts = line.partition(" ")
            for watch in self.watches.get(int(device), ()):
                watch.tell(set(parts.split(",")) & live.PARTS)


hub = Hub()


def may_watch(cookie: bytes, device_id: int) -> bool:
    """Whether the session's person belongs to the device's Project."""
    session_key = parse_cookie(cookie.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        return False
    # Django's own look-up, which asks its request for the session only.
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(cast("Any", SimpleNamespace(session=session)))
    if not isinstance(user, User):
        return False
    project_id = Device.objects.filter(pk=device_id).values_list("project_id", flat=True).first()
    return project_id is not None and Membership.objects.filter(user=user, project_id=project_id).exists()


async def live_stream(scope: Scope, receive: Receive, send: Send) -> None:
    """``GET /live/devices/<id>``."""
    last = scope["path"].rpartition("/")[2]
    try:
        if scope["method"] != "GET":
            raise Refused(405, "method", "Read with GET.", [(b"allow", b"GET")])
        if not (last.isascii() and last.isdigit() and len(last) < 19 and scope["path"] == f"/live/devices/{last}"):
            raise Refused(404, "not-found", "There is nothing at this address.")
        if not await in_thread(lambda: may_watch(header(scope, b"cookie"), int(last))):
            raise Refused(404, "not-found", "There is nothing at this address.")
    except Refused as refused:
        await answer_refused(send, refused)
        return
    except DatabaseError as error:
        logger.warning("live: %s", f"{error}".strip())
        await answer_refused(send, Refused(503, "unavailable", "Try again later.", [(b"retry-after", b"5")]))
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    gone = asyncio.ensure_future(_gone(receive))
    try:
        with hub.watching(int(last)) as watch:
            await send(_chunk("retry: 3000\n\n"))
            # Listening comes first: what changes from here on is told, what changed just before is asked for.
            await asyncio.wait_for(hub.listening.wait(), PATIENCE_S)
            recent = await in_thread(lambda: live.recently_changed(int(last)))
            if recent:
                watch.tell(recent)
            await asyncio.wait_for(_tell(watch, send, gone), LIFETIME_S)
    except (TimeoutError, redis.RedisError):
        # The browser comes back by itself.
        pass
    finally:
        gone.cancel()
    with contextlib.suppress(Exception):
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _chunk(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _tell(watch: Watch, send: Send, gone: asyncio.Future[None]) -> None:
    while not gone.done():
        changed = asyncio.ensure_future(watch.changed.wait())
        waiting: list[asyncio.Future[Any]] = [changed, gone]
        await asyncio.wait(waiting, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if gone.done():
            return
        if watch.changed.is_set():
            await asyncio.sleep(GATHER_S)
            await send(_chunk("".join(f"event: {part}\ndata: 1\n\n" for part in watch.take())))
        else:
            await send(_chunk(": still here\n\n"))
