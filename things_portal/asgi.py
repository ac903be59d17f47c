"""The portal on one port: ways in and live streams as raw ASGI, everything else Django's pages through WSGI.

Django's synchronous views are several times faster under WSGI than under ASGI; messages and open streams need
neither its middleware nor its threads.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "things_portal.settings")

# Sets Django up: what follows reads models.
pages_wsgi = get_wsgi_application()

from django.urls import reverse  # noqa: E402

from ingest.http import Receive, Scope, Send  # noqa: E402
from ingest.live_stream import live_stream  # noqa: E402
from ingest.views import ingestion  # noqa: E402

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
PAGE_THREADS = int(os.environ.get("THINGS_PAGE_THREADS", "4"))
pages: ASGIApp = WSGIMiddleware(cast("Any", pages_wsgi), workers=PAGE_THREADS)  # type: ignore[assignment]
# A file holds its thread for as long as it is taken: were they those of the pages, a few slow takers would stop all.
DOWNLOADS = "/devices/export/devices."
REPORTS = re.compile(r"/devices/jobs/\d+/report\.csv")
DOWNLOAD_THREADS = 2
downloads: ASGIApp = WSGIMiddleware(cast("Any", pages_wsgi), workers=DOWNLOAD_THREADS)  # type: ignore[assignment]
# Seconds without taking a byte after which nobody is thought to be there.
PATIENCE_S = 120.0


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] != "http":
        raise RuntimeError(f"no {scope['type']} here")
    elif scope["path"].startswith("/ingestion/"):
        await ingestion(scope, receive, send)
    elif scope["path"].startswith("/live/"):
        await live_stream(scope, receive, send)
    elif scope["path"].startswith(DOWNLOADS) or REPORTS.fullmatch(scope["path"]):
        await download(scope, receive, send)
    else:
        await page(scope, receive, send)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Django's answer. The thread pool wants coroutines; some servers give other awaitables."""

    async def received() -> MutableMapping[str, Any]:
        return await receive()

    async def sent(message: MutableMapping[str, Any]) -> None:
        await send(message)

    await pages(scope, received, sent)


async def download(scope: Scope, receive: Receive, send: Send) -> None:
    """Django's answer as a file that is made while it is taken, and no longer: ``things.gone`` in the scope is set
    when the taker has left or stands still. The answer is then left without its end, which no client takes for whole.
    """
    gone = scope["things.gone"] = threading.Event()
    watching: asyncio.Future[None] | None = None

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def received() -> MutableMapping[str, Any]:
        nonlocal watching
        message = await receive()
        if not message.get("more_body"):
            watching = asyncio.ensure_future(left())
        return message

    async def sent(message: MutableMapping[str, Any]) -> None:
        if gone.is_set():
            return
        sending = asyncio.ensure_future(_sent(send, message))
        waited: set[asyncio.Future[None]] = {sending} if watching is None else {sending, watching}
        await asyncio.wait(waited, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        else:
            gone.set()
            sending.cancel()
        if watching is not None and watching.done():
            gone.set()

    # Django does not read the body of a GET, and only a read after the body tells that somebody has left.
    if scope["method"] != "POST":
        watching = asyncio.ensure_future(left())
    try:
        await downloads(scope, received, sent)
    finally:
        if watching is not None:
            watching.cancel()


async def _sent(send: Send, message: MutableMapping[str, Any]) -> None:
    await send(message)


def settle() -> None:
    """Load what pages need before the first one is asked for, and leave it out of what the collector walks: that held
    up a page for tens of milliseconds now and then."""
    reverse("devices:list")
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            settle()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
