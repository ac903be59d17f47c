"""The test endpoint: an address of the portal that shows what arrives at it (F5).

Whoever knows the address may post to it; the portal keeps its hash alone. What the Flows send there is taken without
the network, as the same request that a receiver elsewhere would get. The 100 newest stand for five days.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.http.request import validate_host
from django_scopes import scopes_disabled

from codec import tokens

from .models import Destination, Kind, Received

MOST: Final = 100
KEEP: Final = timedelta(days=5)
MOST_BYTES: Final = 64 * 1024
# Secrets of whoever sends: that they came is shown, and not what they are.
HIDDEN: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
PATH: Final = re.compile(r"/test-endpoints/([A-Za-z0-9_-]{43})/?")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came. ``sender``: the identifier of the device that a Flow sends it for, "test" for a test of a
    person's, "" from outside. ``secret``: of the destination that sent it, which its token is of."""

    at: datetime
    headers: Sequence[tuple[str, str]]
    body: bytes
    sender: str = ""
    secret: str = ""


def new_key() -> str:
    """What makes an address unguessable: 43 characters, 256 bits."""
    return secrets.token_urlsafe(32)


def hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def find(key: str) -> Destination | None:
    """The test endpoint with this key in its address, of whatever Project."""
    with scopes_disabled():
        return Destination.objects.filter(kind=Kind.TEST, inbox_hash=hashed(key)).first()


def key_in(url: str) -> str:
    """The key in an address of this portal's test endpoints, "" in any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    found = PATH.fullmatch(parts.path)
    here = validate_host(parts.hostname or "", settings.ALLOWED_HOSTS)
    return found[1] if found and here and parts.scheme in {"http", "https"} else ""


def keep(endpoint: Destination, arrived: Iterable[Arrived]) -> None:
    """Keep what arrived, and of all the newest hundred."""
    secret = str(endpoint.get_secrets().get("shared_secret", ""))
    rows = [
        Received(
            destination=endpoint,
            at=each.at,
            sender=each.sender,
            headers=[[name, "…" if name.lower() in HIDDEN else value] for name, value in each.headers],
            body=each.body,
            proved=_proved(each, each.secret or secret),
        )
        for each in arrived
    ]
    with transaction.atomic():
        Received.objects.bulk_create(rows)
        held = Received.objects.filter(destination=endpoint)
        beyond = held.order_by("-pk").values_list("pk", flat=True)[MOST : MOST + 1]
        held.filter(pk__lte=beyond).delete()


def _proved(arrived: Arrived, secret: str) -> bool | None:
    token = next((value for name, value in arrived.headers if name.lower() == "things-message-token"), None)
    return None if token is None else tokens.verify(arrived.body, secret, token)


def newest(endpoint: Destination, now: datetime) -> list[Received]:
    return list(Received.objects.filter(destination=endpoint, at__gt=now - KEEP).order_by("-pk")[:MOST])


def drop_old(now: datetime) -> int:
    """What has had its five days."""
    with scopes_disabled():
        count, _each = Received.objects.filter(at__lte=now - KEEP).delete()
    return count
