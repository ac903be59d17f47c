"""The ways in as raw ASGI: check, keep durably, answer (docs/ways-in.md). Pages have nothing to do with these.

A 2xx means kept. Outside they are alike: an unknown device and a wrong token get the same answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.utils import timezone
from django_scopes import scopes_disabled

from codec import senml, tokens
from devices.models import Connection, Device
from downlinks import handover
from internet.models import InternetIdentity
from lora.models import Network, NetworkKind
from lora.networks import thingpark
from m2m.models import M2mIdentity

from . import stream
from .http import Receive, Refused, Scope, Send, answer, answer_refused, header, read_body

T = TypeVar("T")
JSON, CBOR = b"application/senml+json", b"application/senml+cbor"
NOT_PROVED = "Things-Message-Token does not belong to this message, or the device is not known."
THREADS = 4
BACKLOG_EVERY_S = 1.0
NETWORK_KEPT_S = 5.0
# Checked where there is no device, so that an unknown one takes as long as a wrong token.
NO_SECRET = "0" * 40

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ingest")


async def in_thread(function: Callable[[], T]) -> T:
    """Run blocking work of PostgreSQL or Redis beside the event loop, outside any Project's scope."""

    def work() -> T:
        close_old_connections()
        with scopes_disabled():
            return function()

    return await asyncio.get_running_loop().run_in_executor(_pool, work)


async def ingestion(scope: Scope, receive: Receive, send: Send) -> None:
    """Everything under ``/ingestion/``."""
    path = scope["path"]
    way = ways(path)
    name = path.strip("/").split("/")[1] if path.count("/") > 1 else ""
    try:
        if way is None:
            raise Refused(404, "no-such-way", "There is no way in at this address.")
        if scope["method"] != "POST":
            raise Refused(405, "method", "Send with POST.", [(b"allow", b"POST")])
        body = await read_body(scope, receive, settings.INGEST_MAX_BODY)
        status, content, content_type = await way(scope, body)
    except Refused as refused:
        await in_thread(partial(stream.count, [f"{name}:{refused.code}"]))
        await answer_refused(send, refused)
        return
    except (redis.RedisError, DatabaseError):
        await answer_refused(
            send, Refused(503, "unavailable", "The message was not kept. Send it again.", [(b"retry-after", b"5")])
        )
        return
    await answer(send, status, content, content_type=content_type)


Way = Callable[[Scope, bytes], Awaitable[tuple[int, bytes, bytes]]]


def ways(path: str) -> Way | None:
    if path == "/ingestion/ip/senml/v1":
        return partial(from_device, "DVNUUID")
    if path == "/ingestion/m2m/senml/v1":
        return partial(from_device, "IMEI")
    parts = path.strip("/").split("/")
    if len(parts) == 4 and parts[:3] == ["ingestion", "lora", "thingpark"]:
        return partial(from_thingpark, parts[3])
    return None


# --- M2M and Internet devices (M5, I3) ---


async def from_device(kind: str, scope: Scope, body: bytes) -> tuple[int, bytes, bytes]:
    """A SenML pack; the answer carries the instruction that waits for the device, if any."""
    now = timezone.now()
    cbor = header(scope, b"content-type").split(b";")[0].strip().lower() == CBOR
    try:
        parse = senml.parse_cbor if cbor else senml.parse_json
        pack = parse(body, received_at=now.timestamp())
        named = pack.device()
    except senml.SenmlError as error:
        raise Refused(400, "bad-senml", str(error)) from error
    if named is None or named[0] != kind:
        raise Refused(400, "bad-base-name", f"The base name must be urn:dev:{kind}:…: of the device.")
    token = header(scope, b"things-message-token").decode("latin-1")
    answer_body = await in_thread(
        partial(_keep_from_device, Message(kind, named[1], body, token, now, cbor, pack.has_own_time))
    )
    return (200, answer_body, b"application/json") if answer_body else (200, b"", b"")


@dataclass(frozen=True, slots=True)
class Message:
    """A pack as it came: who sends it by its own word, the proof, and whether it carries times of its own."""

    kind: str
    value: str
    body: bytes
    token: str
    at: datetime
    cbor: bool
    timed: bool


def _keep_from_device(message: Message) -> bytes:
    check_backlog()
    device_id, secret, active = find_device(message.kind, message.value)
    proved = tokens.verify(message.body, secret, message.token)
    if device_id is None or not proved:
        raise Refused(401, "not-proved", NOT_PROVED)
    if not active:
        raise Refused(403, "deactivated", "The connectivity of this device is not active.")
    way = "m2m" if message.kind == "IMEI" else "internet"
    stream.accept_senml(way, device_id, message.body, received_at=message.at.timestamp(), cbor=message.cbor)
    stream.count([f"{way}:accepted"])
    # The message is kept: only now may it count as the device's answer, and be answered with an instruction.
    if not (message.timed and stream.came_before(device_id, message.body)):
        handover.device_answered(device_id, message.at)
    instruction = handover.hand_over(device_id, message.at)
    return instruction.payload if instruction else b""


def find_device(kind: str, value: str) -> tuple[int | None, str, bool]:
    """(id, secret, whether its connectivity is active) of the device; an unknown one has no id."""
    identity: M2mIdentity | InternetIdentity | None
    if kind == "IMEI":
        identity = M2mIdentity.objects.filter(imei=value).first()
    else:
        try:
            identity = InternetIdentity.objects.filter(dvn_uuid=value).first()
        except (ValueError, TypeError):
            identity = None
    if identity is None:
        return None, NO_SECRET, False
    status = Device.objects.filter(pk=identity.pk).values_list("connection_status", flat=True).first()
    return identity.pk, identity.get_secret(), status == Connection.ACTIVE


# --- ThingPark ---

_networks: dict[str, tuple[float, tuple[str, int]]] = {}


def network_key(slug: str) -> tuple[str, int]:
    """(AS key, allowed drift in seconds) of a ThingPark network, read again every few seconds.

    Raises Refused(401) for a network that is not there: like a wrong token.
    """
    held = _networks.get(slug)
    if held is not None and time.monotonic() - held[0] < NETWORK_KEPT_S:
        return held[1]
    network = Network.objects.filter(slug=slug, kind=NetworkKind.THINGPARK).first()
    if network is None or not network.as_key:
        raise Refused(401, "bad-token", "The token does not belong to this message.")
    found = (network.get_as_key(), network.max_drift_seconds)
    _networks[slug] = (time.monotonic(), found)
    return found


async def from_thingpark(slug: str, scope: Scope, body: bytes) -> tuple[int, bytes, bytes]:
    await in_thread(partial(_keep_from_thingpark, slug, scope["query_string"].decode("latin-1"), body))
    return 200, b"", b""


def _keep_from_thingpark(slug: str, query: str, body: bytes) -> None:
    check_backlog()
    key, drift = network_key(slug)
    now = datetime.now(UTC)
    try:
        document = thingpark.verify_push(
            query, body, as_keys=[key], now=now, max_drift=timedelta(seconds=drift) if drift else None
        )
        events = thingpark.parse(document)
    except thingpark.PushError as error:
        raise Refused(error.status, error.code, str(error)) from error
    dev_eui = events[0].dev_eui if events else ""
    stream.accept(stream.THINGPARK, body, {"network": slug, "received_at": now.timestamp()}, dev_eui)
    stream.count(["thingpark:accepted"])


# --- backlog ---

_backlog: list[Any] = [float("-inf"), 0]


def check_backlog() -> None:
    """Raises Refused(503) where more messages wait than the portal is set to hold."""
    if time.monotonic() - _backlog[0] > BACKLOG_EVERY_S:
        _backlog[:] = [time.monotonic(), stream.backlog()]
    if _backlog[1] > settings.INGEST_MAX_BACKLOG:
        raise Refused(503, "backlog", "Too many messages wait. Send it again later.", [(b"retry-after", b"30")])
