"""The ways in as their users meet them: ASGI requests, ThingPark pushes, SenML packs, and the streams they end in."""

from __future__ import annotations

import asyncio
import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from codec import tokens
from devices import live
from devices.models import Device
from ingest import refusals, stream, views
from ingest.keeper import keeper
from ingest.reading import Entry
from lora.models import Network, NetworkKind
from lora.networks import thingpark
from tests import factories

FIXTURES = Path(__file__).parent.parent / "fixtures" / "thingpark"
AS_KEY = "17D107FD47387B714D9E5AACCE614233"
THINGPARK = "/ingestion/lora/thingpark/radio"
INTERNET, M2M = "/ingestion/ip/senml/v1", "/ingestion/m2m/senml/v1"


@pytest.fixture(autouse=True)
def fresh_stores(request: pytest.FixtureRequest) -> Iterator[None]:
    """Empty streams, nothing remembered from the test before, and no connection left behind by the threads."""
    for pattern in ("ingest:*", "live:recent:*"):
        if keys := list(stream.client().scan_iter(pattern, count=1000)):
            stream.client().delete(*keys)
    views._backlog[:] = [float("-inf"), 0]
    views._networks[:] = [float("-inf"), {}]
    marker = request.node.get_closest_marker("django_db")
    transactional = bool(marker and marker.kwargs.get("transaction"))
    if transactional:
        request.getfixturevalue("transactional_db")
    yield
    refusals.settle()
    barrier = Barrier(views.THREADS)

    def close() -> None:
        barrier.wait(10)
        connection.close()

    for closing in [views._pool.submit(close) for _ in range(views.THREADS)]:
        closing.result(10)
    if transactional:
        # Django empties the tables of its own models only.
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM lora_frame")
            cursor.execute("DELETE FROM devices_senmlmessage")
            cursor.execute("DELETE FROM twin_sample")


# --- ASGI ---


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> str:
        """The error's code for programs; every refusal has one, and a sentence."""
        error = json.loads(self.body)
        assert error["error"].endswith("."), error
        assert self.headers["content-type"] == "application/json"
        return str(error["code"])


def call(
    application: Any,
    path: str,
    *parts: bytes,
    query: str = "",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    length: bool = True,
) -> Answer:
    """One request whose body comes in ``parts``; reading past the last one means that the client has gone."""
    body = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
    body += [{"type": "http.request", "body": (parts or (b"",))[-1], "more_body": False}]
    told = {"content-length": str(sum(map(len, parts)))} if length else {"transfer-encoding": "chunked"}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (told | (headers or {})).items()],
    }
    answer = Answer()

    async def receive() -> dict[str, Any]:
        return body.pop(0) if body else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    async def run() -> None:
        await application(scope, receive, send)
        await keeper().client.aclose()

    asyncio.run(run())
    assert int(answer.headers["content-length"]) == len(answer.body)
    return answer


def counts() -> dict[str, int]:
    return {name.decode(): int(value) for name, value in stream.client().hgetall(stream.COUNTS).items()}


# --- messages ---


def recorded(name: str) -> dict[str, Any]:
    """A recorded ThingPark report."""
    return copy.deepcopy(json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))["body"])


def report(name: str, dev_eui: str, at: datetime, **changes: Any) -> dict[str, Any]:
    """A recorded report as if it came now and from that device."""
    document = recorded(name)
    (root,) = document
    document[root] |= {"DevEUI": dev_eui, "Time": at.isoformat(timespec="milliseconds")} | changes
    return document


@scopes_disabled()
def thingpark_network(slug: str = "radio", **fields: Any) -> Network:
    network = Network(slug=slug, name="Radio", kind=NetworkKind.THINGPARK, **fields)
    network.set_as_key(AS_KEY)
    network.save()
    return network


def push(document: dict[str, Any], at: datetime, *, as_key: str = AS_KEY) -> tuple[str, bytes]:
    """(signed query, body)."""
    return thingpark.sign_push(document, as_key=as_key, time=at), json.dumps(document).encode()


def pack(device: Device, *records: dict[str, Any], **base: Any) -> bytes:
    """A SenML pack of the device."""
    name = device.internet.base_name if hasattr(device, "internet") else f"urn:dev:IMEI:{device.m2m.imei}:"
    first, *others = records
    return json.dumps([{"bn": name} | base | first, *others]).encode()


def token(body: bytes, secret: str = factories.SECRET) -> dict[str, str]:
    return {"things-message-token": tokens.message_token(body, secret)}


# --- streams ---


def waiting() -> list[Entry]:
    """Everything in the streams, in the order of each."""
    return [Entry.read(*entry) for name in stream.names() for entry in stream.client().xrange(name)]


def take() -> list[Entry]:
    """Everything in the streams, which are empty afterwards."""
    entries = waiting()
    stream.client().delete(*stream.names())
    return entries


@pytest.fixture
def own_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis number separates keys and not channels: other runs on the same server speak of other devices."""
    monkeypatch.setattr(live, "CHANNEL", f"{live.CHANNEL}:{os.environ.get('PYTEST_XDIST_WORKER', '')}")


def subscribers() -> list[str]:
    """The Redis clients of this run that subscribe to anything, by id."""
    own = str(stream.client().connection_pool.connection_kwargs.get("db", 0))
    clients = stream.client().client_list()
    return [each["id"] for each in clients if each["db"] == own and each["sub"] != "0"]


class Listener:
    """What browsers are told, by device."""

    def __init__(self) -> None:
        self.subscription = live.client().pubsub(ignore_subscribe_messages=False)
        self.subscription.subscribe(live.CHANNEL)
        assert self.subscription.get_message(timeout=5)["type"] == "subscribe"

    def told(self) -> list[tuple[int, set[str]]]:
        found = []
        while message := self.subscription.get_message(timeout=0.01):
            for line in message["data"].decode().splitlines():
                device_id, _, parts = line.partition(" ")
                found.append((int(device_id), set(parts.split(","))))
        return found


@pytest.fixture
def listener(own_channel: None) -> Iterator[Listener]:
    heard = Listener()
    yield heard
    heard.subscription.close()


def statements(work: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


def tables() -> dict[str, list[tuple[Any, ...]]]:
    """All rows of everything that the pipeline writes."""
    names = (
        *("lora_frame", "devices_senmlmessage", "twin_twin", "devices_devicestate", "downlinks_downlink"),
        *("ingest_rejectedmessage", "twin_sample", "twin_valuename", "devices_codecproblem"),
    )
    found = {}
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"SELECT * FROM {name} AS kept ORDER BY kept")
            found[name] = cursor.fetchall()
    return found


def now() -> datetime:
    """This moment in whole milliseconds, as networks tell it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
