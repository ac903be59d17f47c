"""The portal on one port: ways in and live streams as raw ASGI, everything else Django's pages through WSGI.

Django's synchronous views are several times faster under WSGI than under ASGI; messages and open streams need
neither its middleware nor its threads.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "things_portal.settings")

# Sets Django up: what follows reads models.
pages_wsgi = get_wsgi_application()

from ingest.http import Receive, Scope, Send  # noqa: E402
from ingest.live_stream import live_stream  # noqa: E402
from ingest.views import ingestion  # noqa: E402

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
PAGE_THREADS = int(os.environ.get("THINGS_PAGE_THREADS", "4"))
pages: ASGIApp = WSGIMiddleware(cast("Any", pages_wsgi), workers=PAGE_THREADS)  # type: ignore[assignment]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] != "http":
        raise RuntimeError(f"no {scope['type']} here")
    elif scope["path"].startswith("/ingestion/"):
        await ingestion(scope, receive, send)
    elif scope["path"].startswith("/live/"):
        await live_stream(scope, receive, send)
    else:
        await page(scope, receive, send)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Django's answer. The thread pool wants coroutines; some servers give other awaitables."""

    async def received() -> MutableMapping[str, Any]:
        return await receive()

    async def sent(message: MutableMapping[str, Any]) -> None:
        await send(message)

    await pages(scope, received, sent)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
