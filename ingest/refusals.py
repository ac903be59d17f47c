"""What was refused at the door, kept for the people of the device that it named (M3, I2).

Strangers learn nothing: the answer has gone, or goes, without waiting for this, and is the same for a device that is
not known. They cannot fill the database either: one thread writes, from a short queue; a device has so many rows a
minute and so many in all, those that had its token apart from the others, so that a stranger pushes none of its own
out; and only what proved itself leaves its body. Messages that name no device of ours belong to nobody: they are
counted by reason and no more.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import redis
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from devices.messages import Refused, readable
from internet.models import InternetIdentity
from m2m.models import M2mIdentity

from . import stream
from .models import RefusedMessage

logger = logging.getLogger(__name__)
# Of either sort: with the device's token, and without.
KEPT: Final = 25
SHOWN: Final = 10
A_MINUTE: Final = 10
WAITING: Final = 200
BODY: Final = 4096
# Where a base name stands in a body that could not be read: at its beginning, in JSON or CBOR.
NAMED: Final = re.compile(rb"urn:dev:(IMEI|DVNUUID):([0-9A-Fa-f-]{15,36}):")

_pool = ThreadPoolExecutor(1, thread_name_prefix="refusals")
_waiting = threading.BoundedSemaphore(WAITING)


def named_in(body: bytes, kind: str) -> str:
    """The identifier of that kind of device that a body names at its beginning, read or not; "" for none."""
    found = NAMED.search(body[:BODY])
    if found is None or found[1].decode() != kind:
        return ""
    return found[2].decode()


def keep(
    *, kind: str, value: str, at: datetime, code: str, reason: str, size: int, body: bytes = b"", proved: bool = False
) -> None:
    """Keep that a message which names this device was refused. See :func:`watch`."""

    def work() -> None:
        device_id = _device(kind, value)
        if device_id is not None and _may_write(device_id, at, proved=proved):
            _write(device_id, at, code, reason, size, body[:BODY] if proved else b"", proved)

    if value:
        watch(work)


def watch(work: Callable[[], None]) -> None:
    """Do this soon, in the thread that writes; not at all where too much is waiting already. Never raises."""
    if not _waiting.acquire(blocking=False):
        return

    def run() -> None:
        close_old_connections()
        try:
            with scopes_disabled():
                work()
        except (DatabaseError, redis.RedisError) as error:
            logger.warning("a refused message was not kept: %s", f"{error}".strip())
        finally:
            _waiting.release()

    _pool.submit(run)


def settle() -> None:
    """Wait until what was given to :func:`keep` is written; the writing thread lets its connection go. For tests."""
    # What is waiting may give more work once.
    for work in (_nothing, _close):
        _pool.submit(work).result()


def _nothing() -> None:
    return


def _close() -> None:
    connection.close()


def of(device_id: int) -> list[Refused]:
    """The newest of either sort, for the device's page, newest first."""
    held = RefusedMessage.objects.filter(device_id=device_id).order_by("-at", "-id")
    rows = [*held.filter(proved=True)[:SHOWN], *held.filter(proved=False)[:SHOWN]]
    rows.sort(key=lambda row: (row.at, row.pk), reverse=True)
    return [
        Refused(row.at, row.code, _sentence(row), row.size, row.proved, readable(bytes(row.body)) if row.body else "")
        for row in rows
    ]


def _sentence(row: RefusedMessage) -> str:
    sentences = {
        "not-proved": _("The Things-Message-Token does not fit: another secret, or a body that was changed."),
        "not-active": _("The connectivity of the device was not active."),
        "too-large": _("Too large."),
    }
    return sentences.get(row.code, row.reason)


def identities(kind: str, value: str) -> QuerySet[Any]:
    """Of the device of an IMEI, of a DVNUUID, or of the base NAME of its firmware. Raises ValueError for no UUID."""
    if kind == "DVNUUID":
        return InternetIdentity.objects.filter(dvn_uuid=UUID(value))
    return M2mIdentity.objects.filter(**{"imei" if kind == "IMEI" else "own_name": value})


def _device(kind: str, value: str) -> int | None:
    try:
        found: int | None = identities(kind, value).values_list("device_id", flat=True).first()
    except ValueError:
        return None
    return found


def _may_write(device_id: int, at: datetime, *, proved: bool) -> bool:
    """Whether the device has a row of this sort left in this minute."""
    key = f"ingest:refused:{device_id}:{proved:d}:{at:%H%M}"
    with stream.client().pipeline(transaction=True) as pipeline:
        pipeline.incr(key)
        pipeline.expire(key, 120)
        return int(pipeline.execute()[0]) <= A_MINUTE


def _write(device_id: int, at: datetime, code: str, reason: str, size: int, body: bytes, proved: bool) -> None:
    RefusedMessage.objects.create(
        device_id=device_id, at=at, code=code, reason=reason[:300], size=size, body=body, proved=proved
    )
    rows = RefusedMessage.objects.filter(device_id=device_id, proved=proved)
    kept = rows.order_by("-at", "-id").values("id")[:KEPT]
    rows.exclude(id__in=kept).delete()
