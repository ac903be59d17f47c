"""Desired values of controls, closed as a loop: asked for, sent, answered, sent again, given up (W3, W4).

With :mod:`twin.sync`, which hears instructions and devices, the only writer of :class:`DesiredValue`. The row is the
queue: every step is one transaction, so that a worker that dies leaves it where the next one goes on. The states and
the policy are in docs/desired-state.md.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts.models import User
from common import written
from common.states import StateConflict
from devices import connectivity, live
from devices.capabilities import NotAllowedForType
from devices.controls import Control, ControlError, Scalar, controls_of
from devices.models import Device, DeviceType, Encoder, Processing
from downlinks import predefined, queue
from downlinks import services as downlinks
from downlinks.errors import InstructionRefused, NotNow
from downlinks.models import FINAL, Downlink, Source, State

from . import services, sync
from .errors import DesiredChanged
from .models import DesiredValue, Sync, Twin
from .sync import Cause

logger = logging.getLogger(__name__)
# An active device that cannot take the instruction now (its data rate is too low for it) is tried again after this.
LOOK_AGAIN: Final = timedelta(minutes=5)
# What an error of our own has stopped is tried again after this.
AFTER_ERROR: Final = timedelta(minutes=1)
SWEEP_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Order:
    """A cleaned value with its instruction, or with the reason why there is none."""

    control: Control
    value: Scalar
    made: predefined.Made | InstructionRefused


# --- what people and programs ask for ---


def request(
    *, device: Device, name: str, value: Any, seen: int | None, actor: User | None, now: datetime | None = None
) -> DesiredValue:
    """Ask for a value of a control of the device's type (with its type).

    ``seen``: the generation that the person saw, 0 where there was none, None to not check. Where another one stands
    there now, but with the same value, nothing is asked for again and that one is given.

    Raises ControlError, NotAllowedForType, TwinRefused, and DesiredChanged where another value was asked for meanwhile.
    """
    if value is None or name not in {control.name for control in controls_of(device.type.controls)}:
        raise ControlError(_("The device type has no such control."), name)
    checked = {} if seen is None else {name: seen}
    return request_many(device=device, values={name: value}, seen=checked, actor=actor, now=now)[name]


def request_many(
    *,
    device: Device,
    values: Mapping[str, Any],
    seen: Mapping[str, int] | None = None,
    actor: User | None,
    now: datetime | None = None,
) -> dict[str, DesiredValue]:
    """Ask for several values, or (None) remove them, in one transaction: all or nothing.

    A name without a control is kept as it is and nothing is sent for it. ``seen``: by name as in :func:`request`; a
    name that is not in it is not checked. Gives the rows of the names with a control. Raises what :func:`request`
    raises; ``where`` of a ControlError and ``name`` of a DesiredChanged say which one it is.
    """
    now = now or timezone.now()
    orders = _orders(device, values)
    with scopes_disabled(), transaction.atomic():
        twin = hold(device.pk)
        held = states_of(device.pk)
        changes = {name: orders[name].value if name in orders else value for name, value in values.items()}
        for name, generation in (seen or {}).items():
            if name in changes and not _as_seen(held.get(name), generation, changes[name]):
                raise DesiredChanged(name, held.get(name))
            if name in changes and name in held and held[name].generation != generation:
                del changes[name]  # the same page once more
        services.write_desired([device.pk], changes, actor=actor, now=now)
        queue.lock(device.pk)
        version = Twin.objects.values_list("version", flat=True).get(pk=device.pk)
        for name in sorted(changes):
            if name in orders:
                _begin(device, orders[name], held.get(name), twin, version, actor, now)
            elif name in held:
                _withdraw(device, held[name], actor, now)
                DesiredValue.objects.filter(device_id=device.pk, name=name).delete()
        sync.count([device.pk])
        made = states_of(device.pk)
    return {name: made[name] for name in orders}


def drop(*, device: Device, name: str, seen: int | None, actor: User | None, now: datetime | None = None) -> None:
    """Remove the desired value; its instruction, where it has not left yet, does not leave. Raises as request does."""
    checked = {} if seen is None else {name: seen}
    request_many(device=device, values={name: None}, seen=checked, actor=actor, now=now)


def send_again(
    *, device: Device, name: str, seen: int | None, actor: User | None, now: datetime | None = None
) -> DesiredValue:
    """Ask once more for a value that failed or that the device left again: a new request of its own.

    Raises StateConflict where it is under way or in sync, and what :func:`request` raises.
    """
    held = states_of(device.pk).get(name)
    if held is None or (seen is not None and held.generation != seen):
        raise DesiredChanged(name, held)
    if held.state not in {Sync.FAILED, Sync.DIFFERS}:
        raise StateConflict("neither failed nor different")
    # Another request that comes in between is not overwritten, whether or not the caller checks.
    return request(device=device, name=name, value=held.value, seen=held.generation, actor=actor, now=now)


def states_of(device_id: int) -> dict[str, DesiredValue]:
    """By name, the ways of all desired values of the device's controls; one query by primary key."""
    return {row.name: row for row in DesiredValue.objects.filter(device_id=device_id)}


def hold(device_id: int) -> Twin:
    """The twin, made where there was none, held with its device until the transaction ends. Whoever checks the twin
    before a request calls this first. Raises StateConflict for a device that is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM devices_device WHERE id = %s FOR KEY SHARE", [device_id])
        if cursor.rowcount != 1:
            raise StateConflict("deleted already")
        cursor.execute(services.PREPARE, [[device_id]])
    return Twin.objects.select_for_update(no_key=True).get(pk=device_id)


# --- one request ---


def _orders(device: Device, values: Mapping[str, Any]) -> dict[str, Order]:
    """By name the values that have a control. The codec runs here, before anything is held."""
    controls = {control.name: control for control in controls_of(device.type.controls)}
    cleaned: dict[str, Scalar] = {}
    for name, value in values.items():
        if value is not None and name in controls:
            try:
                cleaned[name] = controls[name].clean(value)
            except ControlError as error:
                raise ControlError(str(error), name) from error
    return {name: _order(device.type, controls[name], value) for name, value in cleaned.items()}


def _order(device_type: DeviceType, control: Control, value: Scalar) -> Order:
    made: predefined.Made | InstructionRefused
    try:
        made = predefined.make(device_type, control, value)
    except InstructionRefused as refusal:
        made = refusal
    return Order(control, value, made)


def _as_seen(held: DesiredValue | None, generation: int, wanted: Any) -> bool:
    if (held.generation if held else 0) == generation:
        return True
    there = None if held is None else held.value
    return type(there) is type(wanted) and bool(there == wanted)


def _begin(
    device: Device,
    order: Order,
    held: DesiredValue | None,
    twin: Twin,
    version: int,
    actor: User | None,
    now: datetime,
) -> None:
    """Write the new request over the old one, with its instruction. A first request's number is the version of the
    twin: no request of a value that was removed in between has had it."""
    if held is not None:
        _withdraw(device, held, actor, now)
    control = order.control
    fields: dict[str, Any] = {
        "value": order.value,
        "state": Sync.REQUESTED,
        "generation": version if held is None else held.generation + 1,
        "requested_by": actor,
        "requested_at": now,
        "downlink": None,
        "attempts": 0,
        "queued_at": None,
        "on_air_at": None,
        "acknowledged_at": None,
        "finished_at": None,
        "due_at": None,
        "given_up_at": now + control.give_up,
        "cause": "",
        "reason": "",
    }
    if _is_reported(device.pk, order, twin):
        fields |= {"state": Sync.IN_SYNC, "finished_at": now}
    else:
        fields |= _try(device, order, attempts=0, given_up_at=fields["given_up_at"], actor=actor, now=now)
    if held is None:
        DesiredValue.objects.create(device_id=device.pk, name=control.name, **fields)
    else:
        DesiredValue.objects.filter(device_id=device.pk, name=control.name).update(**fields)


def _is_reported(device_id: int, order: Order, twin: Twin) -> bool:
    """Whether the device has the value: it says so, and no instruction that could have changed it has left since.
    Instructions leave in their order, so the last one that was not cancelled tells."""
    entry = twin.reported.get(order.control.reported) if order.control.reported else None
    if not entry or entry.get("b") or not order.control.answered_by(order.value, entry["v"]):
        return False
    left = Downlink.objects.filter(device_id=device_id).exclude(state=State.CANCELLED).order_by("-number")
    last = left.values("state", "sent_at", "finished_at").first()
    if last is None:
        return True
    at = last["sent_at"] or last["finished_at"]
    return last["state"] in FINAL and at is not None and entry["t"] > at.timestamp()


def _withdraw(device: Device, held: DesiredValue, actor: User | None, now: datetime) -> None:
    """Take its instruction out of the queue, where it has not left yet. The queue is locked."""
    if held.downlink is None:
        return
    if Downlink.objects.filter(device_id=device.pk, number=held.downlink, state=State.PENDING).exists():
        # A worker that claims it in this moment is as good as one that did before.
        with contextlib.suppress(StateConflict):
            downlinks.cancel(device=device, number=held.downlink, actor=actor, now=now, told=False)


def _try(
    device: Device, order: Order, *, attempts: int, given_up_at: datetime, actor: User | None, now: datetime
) -> dict[str, Any]:
    """Put the instruction into the queue; what the row holds then. The queue is locked."""
    refused: Exception | None = order.made if isinstance(order.made, InstructionRefused) else None
    if isinstance(order.made, predefined.Made):
        try:
            if not connectivity.of(device).has_network_info(device):
                raise NotNow(_("The device has no network info yet."))
            downlink = downlinks.request(
                device=device,
                encoder=Encoder.COMMANDS,
                fport=order.made.fport,
                payload=order.made.payload,
                confirmed=order.made.confirmed,
                actor=actor,
                source=Source.DESIRED,
                label=_told(order),
                now=now,
            )
        except NotNow as error:
            later = {"state": Sync.REQUESTED, "cause": Cause.NOT_NOW.value, "reason": str(error)[:300]}
            return later | {"due_at": min(now + LOOK_AGAIN, given_up_at) if _is_reachable(device) else now}
        except (InstructionRefused, NotAllowedForType) as error:
            refused = error
        else:
            return {
                "state": Sync.QUEUED,
                "downlink": downlink.number,
                "attempts": attempts + 1,
                "queued_at": now,
                "on_air_at": None,
                "acknowledged_at": None,
                "due_at": given_up_at,
                "cause": "",
                "reason": "",
            }
    return {"state": Sync.FAILED} | sync.ended(Cause.CODEC, now, str(refused))


def _told(order: Order) -> str:
    """The instruction in words, as Send instruction lists it."""
    unit = written.unit_of(order.control.unit)
    return f"{order.control.label}: {order.control.label_of(order.value)} {unit}".rstrip()


# Devices that an instruction can be made for; the sweeper passes over the others.
REACHABLE: Final = Q(device__processing_status=Processing.ACTIVE) & ~Q(device__identifier="")


def _is_reachable(device: Device) -> bool:
    fresh = Device.objects.filter(pk=device.pk).values_list("processing_status", "identifier").first()
    return fresh is not None and fresh[0] == Processing.ACTIVE and bool(fresh[1])


# --- what is due ---


def sweep(now: datetime, *, device_id: int | None = None, limit: int = SWEEP_LIMIT) -> int:
    """Settle what is due, those that wait longest first; how many changed. Safe beside another one."""
    due = DesiredValue.objects.filter(due_at__lte=now)
    if device_id is not None:
        due = due.filter(device_id=device_id)
    ready = ~Q(state=Sync.REQUESTED) | Q(given_up_at__lte=now) | REACHABLE
    done = 0
    with scopes_disabled():
        for pk, name in due.filter(ready).order_by("due_at").values_list("device_id", "name")[:limit]:
            try:
                done += settle(pk, name, now)
            except SoftTimeLimitExceeded:
                raise
            except Exception:  # one that cannot be settled must not stop the others
                logger.exception("desired value %s of device %s", name, pk)
                rows = DesiredValue.objects.filter(device_id=pk, name=name, due_at__lte=now)
                rows.update(due_at=now + AFTER_ERROR)
    return done


def settle(device_id: int, name: str, now: datetime) -> bool:
    """The next step of one desired value that is due, in one transaction. False where there is none any more."""
    rows = DesiredValue.objects.select_related("device__type", "device__project", "requested_by")
    row = rows.filter(device_id=device_id, name=name, due_at__lte=now).first()
    if row is None:
        return False
    control = sync.control_of(row.device.type, name)
    # The codec runs here, before anything is held.
    order = _order_again(row, control) if control and _is_to_send(row, control, now) else None
    try:
        with transaction.atomic():
            hold(device_id)
            queue.lock(device_id)
            # Its queue is ours: what changes the row from here on is a device that fetches its instruction.
            current = DesiredValue.objects.filter(device_id=device_id, name=name, due_at__lte=now)
            if not current.filter(generation=row.generation, state=row.state, downlink=row.downlink).exists():
                return False
            to, changes = _next(row, control, order, now)
            if to == Sync.FAILED:
                _withdraw(row.device, row, None, now)
            if not sync.move(row, to, **changes):
                raise StateConflict("moved meanwhile")
            if to == Sync.IN_SYNC:
                sync.count([device_id])
            live.changed(device_id, "twin")
    except StateConflict:
        return False
    return True


def _is_to_send(row: DesiredValue, control: Control, now: datetime) -> bool:
    if row.given_up_at is not None and row.given_up_at <= now:
        return False
    answered = bool(control.reported) and row.attempts < control.tries
    return row.state == Sync.REQUESTED or (row.state in {Sync.ON_AIR, Sync.ACKNOWLEDGED} and answered)


def _order_again(row: DesiredValue, control: Control) -> Order:
    """The control may have changed since the value was asked for."""
    try:
        value = control.clean(row.value)
    except ControlError as error:
        refusal = InstructionRefused(_("The device type does not take this value any more: %(why)s") % {"why": error})
        return Order(control, row.value, refusal)
    return _order(row.device.type, control, value)


def _next(row: DesiredValue, control: Control | None, order: Order | None, now: datetime) -> tuple[str, dict[str, Any]]:
    """Where a row that is due goes, with what is written there."""
    if control is None:
        return Sync.FAILED, sync.ended(Cause.NO_CONTROL, now)
    if order is not None:
        given_up_at = row.given_up_at or now
        fields = _try(
            row.device, order, attempts=row.attempts, given_up_at=given_up_at, actor=row.requested_by, now=now
        )
        return fields.pop("state"), fields
    if row.given_up_at is not None and row.given_up_at <= now:
        return Sync.FAILED, sync.ended(Cause.GIVEN_UP, now, _given_up(row))
    if row.state in {Sync.ON_AIR, Sync.ACKNOWLEDGED} and not control.reported:
        return Sync.IN_SYNC, {"finished_at": now, "due_at": None, "cause": "", "reason": ""}
    return Sync.FAILED, sync.ended(Cause.NO_REPORT, now)


def _given_up(row: DesiredValue) -> str:
    match row.state:
        case Sync.REQUESTED:
            return _("It could not be sent in time. %(why)s") % {"why": row.reason}
        case Sync.QUEUED:
            return _("Its instruction did not leave in time.")
        case Sync.ON_AIR:
            return _("It was sent, and the device did not answer in time.")
    return str(Cause.NO_REPORT.label)
