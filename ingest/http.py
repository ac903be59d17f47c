"""The little of HTTP that the raw ASGI ways in need: bodies with a limit, answers, header look-up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

import orjson

# How much of a message that is too large is looked at, and how long it is waited for.
PIECE = 4096
PIECE_SECONDS = 1.0
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """The request is answered with this status, a code for programs and a sentence for people.

    ``size`` and ``body``: of a message that was too large, what was told or had come, and its beginning.
    """

    size = 0
    body = b""

    def __init__(self, status: int, code: str, sentence: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.headers = status, code, sentence, tuple(headers)


def header(scope: Scope, name: bytes) -> bytes:
    """The header's value, b"" where it is absent. ASGI gives names in lower case."""
    return next((value for key, value in scope["headers"] if key == name), b"")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The body. Raises Refused(413) after one piece where its length is told, else while it comes."""
    too_large = Refused(413, "too-large", f"A message has {limit} bytes at most.", [(b"connection", b"close")])
    told = header(scope, b"content-length")
    if told:
        # Python would refuse to read a number of thousands of digits.
        if not told.isdigit() or len(told) > 18:
            raise Refused(400, "bad-length", "Content-Length is not a number.")
        if int(told) > limit:
            # One piece, for the name of the device in it; whoever does not send it is not waited for.
            with suppress(TimeoutError):
                message = await asyncio.wait_for(receive(), PIECE_SECONDS)
                too_large.body = bytes(message.get("body", b"")[:PIECE])
            too_large.size = int(told)
            raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "cut-short", "The message was cut short.")
        body += message.get("body", b"")
        if len(body) > limit:
            too_large.size, too_large.body = len(body), bytes(body[:PIECE])
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


async def answer(
    send: Send,
    status: int,
    body: bytes = b"",
    *,
    content_type: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    lines = [(b"content-length", str(len(body)).encode()), *headers]
    if content_type:
        lines.append((b"content-type", content_type))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def answer_refused(send: Send, refused: Refused) -> None:
    body = orjson.dumps({"error": refused.sentence, "code": refused.code})
    await answer(send, refused.status, body, content_type=b"application/json", headers=refused.headers)
