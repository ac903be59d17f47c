"""Asking for an instruction and cancelling it (S2, S3). Carrying it out: execution, reports, handover."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import User
from common.states import StateConflict
from devices import live
from devices.capabilities import Capability, require
from devices.models import Device, Encoder, Processing

from . import encoding, queue
from .errors import InstructionRefused
from .models import Downlink, Event, Source, State


@transaction.atomic
def request(
    *,
    device: Device,
    encoder: str,
    fport: int | None = None,
    payload: bytes = b"",
    confirmed: bool = False,
    actor: User | None,
    source: str = Source.PAGE,
    token: uuid.UUID | None = None,
    now: datetime | None = None,
) -> Downlink:
    """Put an instruction at the end of the device's queue.

    ``payload``: the bytes to send (LoRa), or a SenML list in JSON (M2M, Internet), which is kept with its base name.
    ``token`` names the request: the same token with the same content again gives the instruction that it made
    first, however often and at once it comes. Raises InstructionRefused, NotAllowedForType.
    """
    require(device, Capability.COMMANDS if encoder == Encoder.COMMANDS else Capability.RAW)
    if encoder not in device.type.encoders:
        raise InstructionRefused(_("This kind of device does not take such instructions."))
    payload = encoding.encoded(device, encoder=encoder, fport=fport, payload=payload, confirmed=confirmed)
    _require_processing(device)
    queue.lock(device.pk)
    correlation_id = _correlation_id(device, token, f"{encoder} {fport} {confirmed} {payload.hex()}")
    made = Downlink.objects.filter(device=device, correlation_id=correlation_id).first()
    if made is not None:
        return made
    now = now or timezone.now()
    rows = Downlink.objects.filter(device=device)
    head = not rows.filter(head=True).exists()
    downlink = Downlink(
        device=device,
        number=(rows.order_by("-number").values_list("number", flat=True).first() or 0) + 1,
        correlation_id=correlation_id,
        head=head,
        due_at=now + queue.GRACE if head else None,
        encoder=encoder,
        fport=fport,
        payload=payload,
        confirmed=confirmed,
        source=source,
        requested_by=actor,
        requested_at=now,
    )
    downlink.save(force_insert=True)
    _record(device, actor, "downlink.requested", after=_summary(downlink))
    if head:
        queue.ring(device.pk)
    live.changed(device.pk, "downlinks")
    return downlink


@transaction.atomic
def cancel(*, device: Device, number: int, actor: User | None, now: datetime | None = None) -> None:
    """Take a pending instruction out of the queue. Raises StateConflict where it is executing or finished."""
    if not queue.finish(device.pk, number, Event.CANCEL, now or timezone.now()):
        raise StateConflict("not pending")
    _record(
        device,
        actor,
        "downlink.cancelled",
        before={"number": number, "state": State.PENDING.value},
        after={"state": State.CANCELLED.value},
    )


def _require_processing(device: Device) -> None:
    with scopes_disabled():
        status = Device.objects.values_list("processing_status", flat=True).get(pk=device.pk)
    if status == Processing.DEACTIVATED:
        raise InstructionRefused(_("The device is deactivated: nothing is sent to it."))
    if status != Processing.ACTIVE:
        raise InstructionRefused(_("Link the device to a Flow first: instructions need one."))


def _correlation_id(device: Device, token: uuid.UUID | None, content: str) -> uuid.UUID:
    """The content is part of it, so that a page that is sent again with something else in it is a new request; the
    device is, so that nobody can name an instruction of another device."""
    return uuid.uuid4() if token is None else uuid.uuid5(token, f"{device.pk} {content}")


def _summary(downlink: Downlink) -> dict[str, Any]:
    lora = downlink.fport is not None
    content = downlink.payload.hex().upper() if lora else bytes(downlink.payload).decode()
    facts = {"number": downlink.number, "encoder": str(downlink.encoder), "payload": content[:1000]}
    return facts | ({"fport": downlink.fport, "confirmed": downlink.confirmed} if lora else {})


def _record(device: Device, actor: User | None, action: str, **values: Any) -> None:
    audit.record(
        project_id=device.project_id, actor=actor, action=action, target=device.name, device_id=device.pk, **values
    )
