"""Asking for instructions, once or again, and cancelling them (S2, S3). Carrying out: execution, reports, handover."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import User
from common.states import StateConflict
from devices import connectivity, live
from devices.capabilities import Capability, NotAllowedForType, require
from devices.models import Device, Encoder, Processing

from . import encoding, queue
from .errors import InstructionRefused, NotNow
from .models import FINAL, Downlink, Event, Source, State

# An instruction that nobody could send for so long says nothing any more.
LONGEST_VALID: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Requested:
    """By device, the instruction that stands in its queue now, or why there is none."""

    made: dict[int, Downlink] = field(default_factory=dict)
    refused: dict[int, InstructionRefused | NotAllowedForType] = field(default_factory=dict)


def request(
    *,
    device: Device,
    encoder: str,
    fport: int | None = None,
    payload: bytes = b"",
    confirmed: bool = False,
    label: str = "",
    actor: User | None,
    source: str = Source.PAGE,
    token: uuid.UUID | None = None,
    valid_until: datetime | None = None,
    again: int | None = None,
    now: datetime | None = None,
) -> Downlink:
    """Put an instruction at the end of the device's queue: :func:`request_many` for one.

    Raises InstructionRefused, NotAllowedForType.
    """
    requested = request_many(
        devices=[device],
        encoder=encoder,
        fport=fport,
        payload=payload,
        confirmed=confirmed,
        label=label,
        actor=actor,
        source=source,
        token=token,
        valid_until=valid_until,
        again=again,
        now=now,
    )
    for error in requested.refused.values():
        raise error
    return requested.made[device.pk]


@transaction.atomic
def request_many(
    *,
    devices: Sequence[Device],
    encoder: str,
    fport: int | None = None,
    payload: bytes = b"",
    confirmed: bool = False,
    label: str = "",
    actor: User | None,
    source: str = Source.PAGE,
    token: uuid.UUID | None = None,
    valid_until: datetime | None = None,
    again: int | None = None,
    now: datetime | None = None,
) -> Requested:
    """Put an instruction at the end of the queue of each device (with its type), in as many statements for many as
    for one.

    ``payload``: the bytes to send (LoRa), or a SenML list in JSON (M2M, Internet), which is kept with its base name.
    ``label``: what it says in words, of a command or desired value.
    ``token`` names the request: the same token with the same content again gives the instructions that it made
    first, however often and at once it comes.
    ``valid_until``: an aware moment; an instruction that has not begun by then is never sent and fails.
    ``again``: the number of the instruction that this one repeats.
    """
    requested = Requested()
    statuses = _processing_statuses(devices)
    rooms = connectivity.largest_payloads(devices)
    payloads: dict[int, bytes] = {}
    for device in devices:
        try:
            _require_valid(valid_until, now or timezone.now())
            require(device, Capability.COMMANDS if encoder == Encoder.COMMANDS else Capability.RAW)
            if encoder not in device.type.encoders:
                raise InstructionRefused(_("This kind of device does not take such instructions."))
            room = rooms.get(device.pk)
            payloads[device.pk] = encoding.encoded(
                device, encoder=encoder, fport=fport, payload=payload, confirmed=confirmed, room=room
            )
            _require_processing(statuses.get(device.pk))
        except (InstructionRefused, NotAllowedForType) as error:
            payloads.pop(device.pk, None)
            requested.refused[device.pk] = error
    if not payloads:
        return requested
    queue.lock(*payloads)
    # Under the lock: of two at once, the later moment has the later number.
    now = now or timezone.now()
    told = f"{encoder} {fport} {confirmed}" + "".join(f" {each}" for each in (valid_until, again) if each is not None)
    names = {pk: _correlation_id(pk, token, f"{told} {content.hex()}") for pk, content in payloads.items()}
    held = Downlink.objects.filter(correlation_id__in=names.values(), device_id__in=names)
    requested.made.update({made.device_id: made for made in held})
    ends = queue.ends(pk for pk in names if pk not in requested.made)
    new = [
        Downlink(
            device=device,
            number=ends[device.pk][0] + 1,
            correlation_id=names[device.pk],
            head=not ends[device.pk][1],
            due_at=None if ends[device.pk][1] else now + queue.GRACE,
            encoder=encoder,
            fport=fport,
            payload=payloads[device.pk],
            confirmed=confirmed,
            label=label[:200],
            source=source,
            requested_by=actor,
            requested_at=now,
            valid_until=valid_until,
            again=again,
        )
        for device in devices
        if device.pk in ends
    ]
    _put(new, actor)
    requested.made.update({downlink.device_id: downlink for downlink in new})
    return requested


def _put(new: Sequence[Downlink], actor: User | None) -> None:
    """Keep the instructions with their audit entries, ring for the heads, tell who watches."""
    if not new:
        return
    Downlink.objects.bulk_create(new)
    audit.record_many(
        [audit.Change(each.device.project_id, each.device.name, each.device_id, after=_summary(each)) for each in new],
        actor=actor,
        action="downlink.requested",
    )
    queue.ring(*(downlink.device_id for downlink in new if downlink.head))
    ids = [downlink.device_id for downlink in new]
    transaction.on_commit(lambda: live.publish((device_id, ("downlinks",)) for device_id in ids))


def send_again(
    *, device: Device, number: int, actor: User | None, token: uuid.UUID | None = None, now: datetime | None = None
) -> Downlink:
    """Ask once more for what a finished instruction said: a new one, at the end of the queue, without its time limit.

    Raises StateConflict where there is none of that number or it is not finished, and what :func:`request` raises.
    """
    held = Downlink.objects.filter(device=device, number=number, state__in=FINAL).first()
    if held is None:
        raise StateConflict("not finished")
    return request(
        device=device,
        encoder=held.encoder,
        fport=held.fport,
        payload=bytes(held.payload),
        confirmed=held.confirmed,
        label=held.label,
        actor=actor,
        token=token,
        again=number,
        now=now,
    )


@transaction.atomic
def cancel(*, device: Device, number: int, actor: User | None, now: datetime | None = None, told: bool = True) -> None:
    """Take a pending instruction out of the queue. Raises StateConflict where it is executing or finished.

    ``told`` False: whoever wanted the desired value withdraws it, and is not told of it (``queue.on_desired``).
    """
    held = Downlink.objects.filter(device=device, number=number) if told else Downlink.objects.none()
    source = held.values_list("source", flat=True).first() or ""
    moment = now or timezone.now()
    if not queue.finish(device.pk, number, Event.CANCEL, moment, source=source, cancelled_by=actor):
        raise StateConflict("not pending")
    _record(
        device,
        actor,
        "downlink.cancelled",
        before={"number": number, "state": State.PENDING.value},
        after={"state": State.CANCELLED.value},
    )


@transaction.atomic
def cancel_all(*, device: Device, actor: User | None, now: datetime | None = None) -> int:
    """Take all pending instructions out of the queue; how many they were. One that executes stays."""
    numbers = queue.finish_pending(device.pk, Event.CANCEL, now or timezone.now(), cancelled_by=actor)
    if numbers:
        _record(
            device,
            actor,
            "downlink.cancelled",
            before={"numbers": numbers, "state": State.PENDING.value},
            after={"state": State.CANCELLED.value},
        )
    return len(numbers)


def _require_valid(valid_until: datetime | None, now: datetime) -> None:
    if valid_until is None:
        return
    if valid_until <= now:
        raise InstructionRefused(_("Choose a moment that is still to come."), "valid_until")
    if valid_until > now + LONGEST_VALID:
        raise InstructionRefused(_("Choose a moment within a year."), "valid_until")


def _processing_statuses(devices: Iterable[Device]) -> dict[int, str]:
    """As they are now: the devices may have been read a while ago."""
    with scopes_disabled():
        rows = Device.objects.filter(pk__in=[device.pk for device in devices])
        return dict(rows.values_list("pk", "processing_status"))


def _require_processing(status: str | None) -> None:
    if status == Processing.DEACTIVATED:
        raise NotNow(_("The device is deactivated: nothing is sent to it."))
    if status != Processing.ACTIVE:
        raise NotNow(_("Link the device to a Flow first: instructions need one."))


def _correlation_id(device_id: int, token: uuid.UUID | None, content: str) -> uuid.UUID:
    """The content is part of it, so that a page that is sent again with something else in it is a new request; the
    device is, so that nobody can name an instruction of another device."""
    return uuid.uuid4() if token is None else uuid.uuid5(token, f"{device_id} {content}")


def _summary(downlink: Downlink) -> dict[str, Any]:
    lora = downlink.fport is not None
    content = downlink.payload.hex().upper() if lora else bytes(downlink.payload).decode()
    facts = {"number": downlink.number, "encoder": str(downlink.encoder), "payload": content[:1000]}
    facts |= {"label": downlink.label} if downlink.label else {}
    facts |= {"valid_until": downlink.valid_until.isoformat()} if downlink.valid_until else {}
    facts |= {"again": downlink.again} if downlink.again else {}
    return facts | ({"fport": downlink.fport, "confirmed": downlink.confirmed} if lora else {})


def _record(device: Device, actor: User | None, action: str, **values: Any) -> None:
    audit.record(
        project_id=device.project_id, actor=actor, action=action, target=device.name, device_id=device.pk, **values
    )
