"""The one port: what goes where, as a real server with real processes answers it (M5, I3, L3)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from a2wsgi import WSGIMiddleware
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
from things_portal import asgi
from things_portal.asgi import DOWNLOAD_THREADS, PAGE_THREADS, application

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
    assert gc.get_freeze_count() > 0, "what is loaded is left alone by the collector"
    gc.unfreeze()


def test_ways_in_do_not_go_through_django() -> None:
    assert call(application, "/ingestion/nothing").code == "no-such-way"
    assert call(application, "/live/nothing", method="GET").code == "not-found"


# --- a real server ---


class Server:
    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    @contextlib.contextmanager
    def slow(self) -> Iterator[socket.socket]:
        """A line on which little comes in before it is read."""
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            line.settimeout(20)
            line.connect(("127.0.0.1", self.port))
            yield line

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


def endless(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """A file that ends only when it is told that nobody takes it."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH", 0)))
    start_response("200 OK", [])
    while not environ["asgi.scope"]["things.gone"].is_set():
        yield body or b"x"


@pytest.mark.parametrize("path", [f"{asgi.DOWNLOADS}csv", "/devices/jobs/7/report.csv"])
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_download_ends_when_its_taker_has_left_or_stands_still(
    method: str, stays: bool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "downloads", WSGIMiddleware(endless, workers=1))
    monkeypatch.setattr(asgi, "PATIENCE_S", 0.05)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-length", b"2")] if method == "POST" else [],
    }
    sent: list[Any] = []

    async def talk() -> None:
        taken, never = asyncio.Event(), asyncio.Event()
        messages = [{"type": "http.request", "body": b"ab", "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await (never if stays else taken).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) > 3:
                taken.set()
                await never.wait()

        await asyncio.wait_for(application(scope, receive, send), 10)

    asyncio.run(talk())
    assert sent[1]["body"] == (b"ab" if method == "POST" else b"x")
    assert len(sent) == 4
    assert all(message["more_body"] for message in sent[1:]), "no client may take it for whole"


class TestDownloads:
    """Files that are made while they are taken (D4), to clients that take them slowly or not at all."""

    pytestmark = stack

    def request(self, cast: Cast) -> bytes:
        cookie = cast.client(cast.viewer).cookies[settings.SESSION_COOKIE_NAME].value
        path, name = "/devices/export/devices.csv?columns=all", settings.SESSION_COOKIE_NAME
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Cookie: {name}={cookie}", "", ""]
        return "\r\n".join(lines).encode()

    def test_those_who_take_nothing_hold_up_neither_the_pages_nor_when_they_leave_others(
        self, cast: Cast, server: Server
    ) -> None:
        """A file larger than the buffers between, asked for by as many as there are threads for pages."""
        factories.device(cast.project, name="D0", description="x" * 1000)
        with connection.cursor() as cursor:
            cursor.execute(COPIES, [8000])
        request = self.request(cast)
        with contextlib.ExitStack() as stalled:
            for number in range(PAGE_THREADS):
                line = stalled.enter_context(server.slow())
                line.sendall(request)
                if number < DOWNLOAD_THREADS:
                    assert b" 200 OK" in line.recv(1024)
            for _ in range(20):
                assert server.talk(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
        with server.connect() as line:
            line.sendall(request)
            whole = b"".join(iter(lambda: line.recv(65536), b""))
        assert whole.count(b"x" * 1000) > 7000
        assert whole.count(b"Greenhouses") == 8001
        assert whole.endswith(b"\r\n0\r\n\r\n")
        log = server.log.read_bytes()
        assert b"Traceback" not in log
        # The server says so for each chunk that it can hand to nobody; here there are over a hundred.
        assert log.count(b"transport error") < 20


# The one device there is, again and again.
COPIES = """
INSERT INTO devices_device (project_id, type_id, name, barcode, description, identifier, processing_status,
    connection_status, connection_reason, flow_count, created_at)
SELECT project_id, type_id, 'D' || n, '', description, '', processing_status, connection_status, '', 0, created_at
FROM devices_device, generate_series(1, %s) AS n
"""


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
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE '%%lora_frame%%'"
        )
        return bool(cursor.fetchone()[0])
