"""The one port: what goes where, as a real server with real processes answers it (M5, I3, L3)."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from codec import tokens
from devices import live
from ingest import stream
from lora.models import Frame
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import (
    M2M,
    THINGPARK,
    call,
    fresh_stores,
    now,
    pack,
    push,
    report,
    subscribers,
    thingpark_network,
)
from tests.processes import database_url, kill, running, wait_for
from things_portal.asgi import application

__all__ = ["fresh_stores"]
DEV_EUI = "0059AC000017338B"
stack = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]


def test_lifespan_starts_and_stops() -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(application({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_ways_in_do_not_go_through_django() -> None:
    assert call(application, "/ingestion/nothing").code == "no-such-way"
    assert call(application, "/live/nothing", method="GET").code == "not-found"


# --- a real server ---


class Server:
    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def talk(self, request: bytes) -> tuple[int, bytes]:
        """Send the bytes as they are; (status, body) of the answer."""
        with self.connect() as line:
            line.sendall(request)
            return read_answer(line)

    def post(self, path: str, body: bytes, *headers: str, end: str = "\r\n") -> tuple[int, bytes]:
        lines = [f"POST {path} HTTP/1.1", "Host: m.m", *headers, f"Content-Length: {len(body)}", "", ""]
        return self.talk(end.join(lines).encode() + body)


def read_answer(line: socket.socket) -> tuple[int, bytes]:
    text = b""
    while b"\r\n\r\n" not in text:
        part = line.recv(65536)
        assert part, text
        text += part
    head, _, body = text.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]):
        body += line.recv(65536)
    return int(head.split(b" ")[1]), body


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """granian as ``things up`` starts it."""
    one = Server(free_port(), tmp_path_factory.mktemp("asgi") / "web.log")
    command = ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(one.port))
    with running(*command, "things_portal.asgi:application", log=one.log):

        def listens() -> bool:
            try:
                one.connect().close()
            except OSError:
                return False
            return True

        wait_for(listens, "the server to listen", log=one.log)
        yield one


@pytest.mark.stack
def test_pages_come_from_django(server: Server) -> None:
    status, body = server.talk(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (status, len(body) > 0) == (200, True), body
    assert server.talk(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 302
    assert server.talk(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")[0] == 400


@pytest.mark.stack
def test_large_message_is_refused_before_it_is_sent(server: Server) -> None:
    head = f"POST {M2M} HTTP/1.1\r\nHost: m.m\r\nContent-Length: {settings.INGEST_MAX_BODY + 1}\r\n\r\n"
    status, body = server.talk(head.encode())
    assert (status, json.loads(body)["code"]) == (413, "too-large")


class TestMessages:
    """Messages over the wire, to the history."""

    pytestmark = stack

    @pytest.mark.parametrize("end", ["\r\n", "\n"])
    def test_header_lines_may_end_as_the_device_sdk_writes_them(self, cast: Cast, server: Server, end: str) -> None:
        device = factories.m2m_device(cast.project)
        body = pack(device, {"n": "temperature", "v": 21.5})
        proof = f"Things-Message-Token: {tokens.message_token(body, factories.SECRET)}"
        assert server.post(M2M, body, "Content-Type: application/json", proof, end=end) == (200, b"")
        status, refused = server.post(M2M, body, "Content-Type: application/json", proof[:-1] + "x", end=end)
        assert (status, json.loads(refused)["code"]) == (401, "not-proved")
        assert stream.backlog() == 1

    def test_answered_message_survives_the_death_of_its_consumer(
        self, cast: Cast, server: Server, tmp_path: Path
    ) -> None:
        """Killed in the middle of writing; the one that follows finishes. The same push twice is one frame."""
        thingpark_network()
        device = factories.lora_device(cast.project, dev_eui=DEV_EUI)
        log = tmp_path / "consumer.log"

        def frames() -> int:
            return Frame.objects.filter(device_id=device.pk).count()

        with psycopg.connect(database_url()) as holder:
            holder.execute("LOCK TABLE lora_frame IN ACCESS EXCLUSIVE MODE")
            with running("manage.py", "ingest_consumer", log=log) as first:
                query, body = push(report("uplink-with-token", DEV_EUI, now()), now())
                for _ in range(2):
                    assert server.post(f"{THINGPARK}?{query}", body) == (200, b"")
                wait_for(waits_for_a_lock, "the consumer to write", log=log)
                kill(first)
            holder.rollback()
        assert (stream.backlog(), frames()) == (2, 0)
        with running("manage.py", "ingest_consumer", log=log) as second:
            wait_for(frames, "the second consumer to finish", log=log)
            wait_for(lambda: stream.backlog() == 0, "the stream to be empty", log=log)
            assert frames() == 1
            second.send_signal(signal.SIGTERM)
            assert second.wait(10) == 0

    def test_browser_hears_of_changes_until_it_goes(self, cast: Cast, server: Server) -> None:
        device = factories.device(cast.project)
        cookie = cast.client(cast.viewer).cookies[settings.SESSION_COOKIE_NAME].value
        head = f"GET /live/devices/{device.pk} HTTP/1.1\r\nHost: localhost\r\nCookie: {{}}={cookie}\r\n\r\n"
        assert server.talk(head.format("nothing").encode())[0] == 404
        with server.connect() as line:
            line.sendall(head.format(settings.SESSION_COOKIE_NAME).encode())
            wait_for(subscribers, "the server to subscribe", log=server.log)
            live.publish([(device.pk, ["twin"])])
            heard = b""
            while b"event: twin" not in heard:
                heard += line.recv(65536)
            assert b"retry: 3000" in heard
        wait_for(lambda: not subscribers(), "the server to end its subscription", log=server.log)
        assert b"Traceback" not in server.log.read_bytes()


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%lora_frame%%'"
        )
        return bool(cursor.fetchone()[0])
