"""The ways in as raw ASGI: check, keep durably, answer (docs/ways-in.md). Pages have nothing to do with these.

A 2xx means kept. An unknown device and a wrong token cannot be told apart from outside.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django_scopes import scopes_disabled

from codec import senml, tokens
from devices.models import Connection
from downlinks import handover
from downlinks.models import Downlink
from internet.models import InternetIdentity
from lora.models import Network, NetworkKind
from lora.networks import thingpark
from m2m.models import M2mIdentity

from . import refusals, stream
from .http import Receive, Refused, Scope, Send, answer, answer_refused, header, read_body
from .keeper import keeper

logger = logging.getLogger(__name__)
T = TypeVar("T")
JSON, CBOR = b"application/senml+json", b"application/senml+cbor"
NOT_PROVED = "Things-Message-Token does not belong to this message, or the device is not known."
# Ways in of devices, and what names a device there.
KINDS = {"internet": "DVNUUID", "m2m": "IMEI"}
# Names an M2M device too: the base name of its firmware, as its page has it.
OWN_NAME = "NAME"
THREADS = 4
BACKLOG_EVERY_S = 1.0
NETWORKS_KEPT_S = 5.0

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
    # Counted by way, never by what a stranger wrote into the address.
    name, way = find_way(scope["path"])
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
        if name in KINDS and refused.code == "too-large":
            refusals.keep(
                kind=KINDS[name],
                value=refusals.named_in(refused.body, KINDS[name]),
                at=timezone.now(),
                code=refused.code,
                reason=refused.sentence,
                size=refused.size,
            )
        return
    except (redis.RedisError, DatabaseError) as error:
        logger.warning("%s: a message was not kept: %s", name, f"{error}".strip())
        sentence = "The message was not kept. Send it again."
        await answer_refused(send, Refused(503, "unavailable", sentence, [(b"retry-after", b"5")]))
        return
    await answer(send, status, content, content_type=content_type)


Way = Callable[[Scope, bytes], Awaitable[tuple[int, bytes, bytes]]]


def find_way(path: str) -> tuple[str, Way | None]:
    """The way in at this address and its name among the counters."""
    if path == "/ingestion/ip/senml/v1":
        return "internet", partial(from_device, "DVNUUID")
    if path == "/ingestion/m2m/senml/v1":
        return "m2m", partial(from_device, "IMEI")
    parts = path.strip("/").split("/")
    if len(parts) == 4 and parts[:3] == ["ingestion", "lora", "thingpark"]:
        return "thingpark", partial(from_thingpark, parts[3])
    return "none", None


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
        value = refusals.named_in(body, kind)
        if value:
            token = header(scope, b"things-message-token").decode("latin-1")
            message = Message(kind, value, body, token, now, cbor, timed=False)
            refusals.watch(partial(_keep_unreadable, message, str(error)))
        raise Refused(400, "bad-senml", str(error)) from error
    if named is None and kind == "IMEI" and pack.measurements and pack.base_name:
        named = OWN_NAME, pack.base_name
    elif named is None or named[0] != kind:
        raise not_named(kind)
    token = header(scope, b"things-message-token").decode("latin-1")
    answer_body = await in_thread(
        partial(_keep_from_device, Message(named[0], named[1], body, token, now, cbor, pack.has_own_time))
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
    sender = find_sender(message.kind, message.value)
    by_new, by_old = sender.proves(message)
    device_id = sender.device_id
    if device_id is None or not (by_new or by_old):
        told = not_named("IMEI") if message.kind == OWN_NAME else None
        _refuse(message, Refused(401, "not-proved", NOT_PROVED), proved=False, told=told)
    if not sender.active:
        _refuse(message, Refused(403, "not-active", "The connectivity of this device is not active."), proved=True)
    if not by_new:
        _old_secret_used(message.kind, device_id, message.at)
    check_backlog()
    new = stream.accept_senml(
        "internet" if message.kind == "DVNUUID" else "m2m",
        device_id,
        message.body,
        received_at=message.at.timestamp(),
        cbor=message.cbor,
        timed=message.timed,
        base_name=sender.base_name if message.kind == OWN_NAME else "",
    )
    # The message is kept: only now may it count as the device's answer, and be answered with an instruction. What
    # fails from here on must not ask for the message again; the instruction waits for the next one.
    if not sender.instructed:
        return b""
    try:
        if new:
            handover.device_answered(device_id, message.at)
        instruction = handover.hand_over(device_id, message.at)
    except DatabaseError:
        logger.exception("device %s: no instruction handed over", device_id)
        return b""
    return instruction.payload if instruction else b""


def not_named(kind: str) -> Refused:
    """What a base name that names nobody is told, and one of a firmware whose token does not fit: the same."""
    return Refused(400, "bad-base-name", f"The base name must be urn:dev:{kind}:…: of the device.")


def _refuse(message: Message, refused: Refused, *, proved: bool, told: Refused | None = None) -> NoReturn:
    """Raises ``refused``, or ``told`` in its place; the people of the device that the message names will see it."""
    refusals.keep(
        kind=message.kind,
        value=message.value,
        at=message.at,
        code=refused.code,
        reason=refused.sentence,
        size=len(message.body),
        proved=proved,
    )
    raise told or refused


def _keep_unreadable(message: Message, reason: str) -> None:
    """A pack that cannot be read is the device's own where its token is; else it is one with a wrong token."""
    try:
        proved = any(find_sender(message.kind, message.value).proves(message))
    except ValueError:
        return
    refusals.keep(
        kind=message.kind,
        value=message.value,
        at=message.at,
        code="bad-senml" if proved else "not-proved",
        reason=reason if proved else NOT_PROVED,
        size=len(message.body),
        body=message.body,
        proved=proved,
    )


def _old_secret_used(kind: str, device_id: int, at: datetime) -> None:
    """Note it once a minute: the message does not wait for more."""
    identities: Any = InternetIdentity.objects if kind == "DVNUUID" else M2mIdentity.objects
    unnoted = Q(old_secret_used_at=None) | Q(old_secret_used_at__lt=at - timedelta(minutes=1))
    identities.filter(unnoted, device_id=device_id).update(old_secret_used_at=at)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom a pack names: no id for an unknown one. ``old_secret``: the one before, while it is accepted. ``active``:
    its connectivity; ``instructed``: an instruction waits for it or has been handed to it."""

    device_id: int | None
    secret: str
    active: bool = False
    instructed: bool = False
    old_secret: str = ""
    base_name: str = ""

    def proves(self, message: Message) -> tuple[bool, bool]:
        """Whether the message has the token of the secret, and of the old one; both are always looked at."""
        return (
            tokens.verify(message.body, self.secret, message.token),
            tokens.verify(message.body, self.old_secret, message.token),
        )


def find_sender(kind: str, value: str) -> Sender:
    """One query. An unknown sender has a secret that nobody knows, and costs what a known one costs."""
    identities: Any = refusals.identities(kind, value)
    heads = Downlink.objects.filter(device_id=OuterRef("device_id"), head=True)
    found = identities.annotate(status=F("device__connection_status"), instructed=Exists(heads)).first()
    if found is None:
        return Sender(None, _stranger().get_secret())
    return Sender(
        found.device_id,
        found.get_secret(),
        found.status == Connection.ACTIVE,
        found.instructed,
        found.get_old_secret(timezone.now()),
        found.base_name,
    )


@cache
def _stranger() -> InternetIdentity:
    identity = InternetIdentity(dvn_uuid=UUID(int=0))
    identity.set_secret(tokens.new_secret())
    return identity


# --- ThingPark ---

_networks: list[Any] = [float("-inf"), {}]


async def network_keys(slug: str) -> tuple[list[str], timedelta | None]:
    """(AS keys, allowed drift) of a ThingPark network; all are read again every few seconds.

    One that is not there has no key: nothing proves itself to it, and it looks like a wrong token.
    """
    if time.monotonic() - _networks[0] > NETWORKS_KEPT_S:
        _networks[:] = [time.monotonic(), await in_thread(_read_networks)]
    found: tuple[list[str], timedelta | None] = _networks[1].get(slug, ([], None))
    return found


def _read_networks() -> dict[str, tuple[list[str], timedelta | None]]:
    rows = Network.objects.filter(kind=NetworkKind.THINGPARK).exclude(as_key=b"")
    return {row.slug: ([row.get_as_key()], timedelta(seconds=row.max_drift_seconds) or None) for row in rows}


async def from_thingpark(slug: str, scope: Scope, body: bytes) -> tuple[int, bytes, bytes]:
    """A push: checked and kept on the event loop, without a thread or a query, for there are many of them.

    What proves itself is kept; whether it can be read shows in the pipeline, which keeps it either way.
    """
    keys, drift = await network_keys(slug)
    now = timezone.now()
    query = scope["query_string"].decode("latin-1")
    try:
        document = thingpark.verify_push(query, body, as_keys=keys, now=now, max_drift=drift)
    except thingpark.PushError as error:
        raise Refused(error.status, error.code, str(error)) from error
    await check_backlog_here()
    meta = {"network": slug, "received_at": now.timestamp()}
    await keeper().keep(stream.THINGPARK, body, meta, thingpark_device(document), "thingpark:accepted")
    return 200, b"", b""


def thingpark_device(document: Mapping[str, Any]) -> str:
    """The DevEUI that a proved push names, as text for the shard; verify_push found one report in it."""
    reports = (report for name, report in document.items() if name.startswith("DevEUI_"))
    return next((str(report.get("DevEUI", "")).upper() for report in reports if isinstance(report, dict)), "")


# --- backlog ---

_backlog: list[Any] = [float("-inf"), 0]


def check_backlog() -> None:
    """Raises Refused(503) where more messages wait than the portal is set to hold. Asks Redis once a second."""
    if time.monotonic() - _backlog[0] > BACKLOG_EVERY_S:
        _backlog[:] = [time.monotonic(), stream.backlog()]
    if _backlog[1] > settings.INGEST_MAX_BACKLOG:
        raise Refused(503, "backlog", "Too many messages wait. Send it again later.", [(b"retry-after", b"30")])


async def check_backlog_here() -> None:
    """:func:`check_backlog` for the event loop."""
    if time.monotonic() - _backlog[0] > BACKLOG_EVERY_S:
        await in_thread(check_backlog)
    else:
        check_backlog()
