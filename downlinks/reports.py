"""What a LoRa network says of an instruction: sent, acknowledged, given up.

Each may come late, twice, in another order, or about nothing that we know. A final state never changes; what is
learned later is kept beside it. Call them outside transactions, or for several devices in the order of their ids:
each holds the device's queue until the transaction ends.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from . import queue
from .models import Downlink, Event, State


def on_sent(
    device_id: int,
    correlation_id: str,
    at: datetime,
    *,
    delivered: bool = True,
    cause: str = "",
    reason: str = "",
    gateway: str = "",
    window: str = "",
    fcnt: int | None = None,
    now: datetime | None = None,
) -> bool:
    """A gateway put it on air, or could not (``cause``: the network's code, ``reason``: its words).

    Unconfirmed and on air is Delivered; not on air is Failed, for networks do not try again. True where
    something changed. ``correlation_id`` "" is a frame of the network's own. ``gateway``, ``window`` and ``fcnt`` of
    the frame are kept as far as the network tells them.
    """
    with transaction.atomic():
        row = _named(device_id, correlation_id)
        if row is None:
            return False
        frame = {"gateway": gateway[:32], "window": window[:8], "fcnt_down": fcnt}
        frame = {name: value for name, value in frame.items() if value not in {"", None}}
        if not delivered:
            return _failed(row, Event.NOT_SENT, cause, reason or _("No gateway could send it."), now, **frame)
        facts: dict[str, Any] = frame | {
            "sent_at": at,
            "accepted_at": Coalesce("accepted_at", at),
            "cause": "",
            "reason": "",
        }
        ended = now or timezone.now()
        if not row.confirmed and queue.finish(device_id, row.number, Event.SENT, ended, source=row.source, **facts):
            return True
        return queue.note(device_id, row.number, "sent_at", source=row.source, **_lasting(facts, row))


def on_acknowledged(device_id: int, correlation_id: str, at: datetime, *, now: datetime | None = None) -> bool:
    """The device acknowledged it: Delivered. ``correlation_id`` "" means the one that is on air and waits for it."""
    with transaction.atomic():
        row = _named(device_id, correlation_id)
        if row is None and not correlation_id:
            waiting = queue.head_of(device_id).filter(state=State.EXECUTING, confirmed=True)
            row = waiting.filter(sent_at__lte=at).first()
        if row is None:
            return False
        facts: dict[str, Any] = {
            "acknowledged_at": at,
            "accepted_at": Coalesce("accepted_at", at),
            "cause": "",
            "reason": "",
        }
        ended = now or timezone.now()
        if queue.finish(device_id, row.number, Event.ACKNOWLEDGED, ended, source=row.source, **facts):
            return True
        return queue.note(device_id, row.number, "acknowledged_at", source=row.source, **_lasting(facts, row))


def on_failed(
    device_id: int,
    correlation_id: str,
    at: datetime,
    *,
    cause: str = "",
    reason: str = "",
    now: datetime | None = None,
) -> bool:
    """The network gave it up. ``correlation_id`` "" means the one that the network has: it has one at most."""
    with transaction.atomic():
        row = _named(device_id, correlation_id)
        if row is None and not correlation_id:
            taken = queue.head_of(device_id).filter(state=State.EXECUTING, accepted_at__isnull=False)
            row = taken.filter(fport__isnull=False).first()
        if row is None:
            return False
        return _failed(row, Event.GIVEN_UP, cause, reason or _("The network gave it up."), now)


def _accepted(at: datetime) -> dict[str, Any]:
    """What is heard of it on air tells that the network has it."""
    return {"accepted_at": Coalesce("accepted_at", at), "cause": "", "reason": ""}


def _named(device_id: int, correlation_id: str) -> Downlink | None:
    """The instruction of that id, with the device's queue locked."""
    queue.lock(device_id)
    try:
        wanted = UUID(correlation_id)
    except ValueError:
        return None
    return Downlink.objects.filter(device_id=device_id, correlation_id=wanted).order_by("device_id").first()


def _failed(row: Downlink, event: Event, cause: str, reason: str, now: datetime | None, **frame: Any) -> bool:
    facts = frame | {"cause": cause[:40], "reason": reason[:300]}
    return queue.finish(row.device_id, row.number, event, now or timezone.now(), source=row.source, **facts)


def _lasting(facts: dict[str, Any], row: Downlink) -> dict[str, Any]:
    """The facts without those that would take the reason from an instruction that has failed."""
    if row.state == State.EXECUTING:
        return facts
    return {key: value for key, value in facts.items() if key not in {"cause", "reason"}}
