"""Registration on networks (D8): who asks, who asks the network, and what its answer does.

The status moves only with the network's answer; what is under way is a :class:`NetworkTask` row. A worker that
dies leaves the row, its lease runs out, and the sweeper has it done again: every network call can be repeated.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import User
from common import doorbell, states

from . import activity, connectivity, deletion, live
from .errors import DeviceError, NetworkRefused, NetworkUnavailable
from .models import CONNECTION_ALLOWED, Connection, Device, NetworkTask

logger = logging.getLogger(__name__)

# A worker has this long for one call; every network client times out well before it.
LEASE = timedelta(seconds=30)
BACKOFF = [2, 5, 15, 60, 300]
Operation = NetworkTask.Operation

# operation → (status it starts from, status it leads to)
FROM_TO = {
    Operation.ACTIVATE: (Connection.DEACTIVATED, Connection.ACTIVE),
    Operation.DEACTIVATE: (Connection.ACTIVE, Connection.DEACTIVATED),
}


def request_registration(*, device: Device, actor: User | None) -> None:
    """Register the device: its first time, from Inventory, or again after Failed. Call it in the transaction
    that wrote the network info, or by itself. Raises DeviceError, StateConflict."""
    from . import tasks

    if not connectivity.of(device).has_network_info(device):
        raise DeviceError(_("There is no network info to register with yet."))
    with transaction.atomic():
        before = device.connection_status
        states.move(
            Device.objects.filter(pk=device.pk),
            field="connection_status",
            to=Connection.PENDING_CREATE,
            allowed=CONNECTION_ALLOWED,
            connection_reason="",
        )
        try:
            with transaction.atomic():
                NetworkTask.objects.create(device=device, operation=Operation.REGISTER, requested_by=actor)
        except IntegrityError as error:
            raise states.StateConflict("other work for the network is under way") from error
        audit.record(
            project_id=device.project_id,
            actor=actor,
            action="network.registration_requested",
            target=device.name,
            device_id=device.pk,
            before={"connection": before},
            after={"connection": Connection.PENDING_CREATE.value},
        )
        live.changed(device.pk, "status")
        doorbell.ring(tasks.run_network_task, device.pk)
    device.connection_status = Connection.PENDING_CREATE


def request_switch(*, device: Device, operation: str, actor: User | None) -> None:
    """Ask the network to accept (ACTIVATE) or refuse (DEACTIVATE) the device. The status follows its answer.

    Raises StateConflict where the device is not in the state that it starts from or other work is under way.
    """
    from . import tasks

    source, target = FROM_TO[Operation(operation)]
    try:
        with transaction.atomic():
            if not Device.objects.select_for_update().filter(pk=device.pk, connection_status=source).exists():
                raise states.StateConflict(f"not {source}")
            NetworkTask.objects.create(device=device, operation=operation, requested_by=actor)
            audit.record(
                project_id=device.project_id,
                actor=actor,
                action=f"network.{operation}_requested",
                target=device.name,
                device_id=device.pk,
                before={"connection": source.value},
                after={"wanted": target.value},
            )
            live.changed(device.pk, "status")
            doorbell.ring(tasks.run_network_task, device.pk)
    except IntegrityError as error:
        raise states.StateConflict("other work for the network is under way") from error


def run(device_id: int, *, now: datetime | None = None) -> bool:
    """Do the device's work for the network, if it is due and nobody else has it. True where it was done."""
    with scopes_disabled():
        now = now or timezone.now()
        claimed = NetworkTask.objects.filter(device_id=device_id, not_before__lte=now).update(
            not_before=now + LEASE, attempts=F("attempts") + 1
        )
        if not claimed:
            return False
        task = NetworkTask.objects.select_related("device__type", "device__project", "requested_by").get(pk=device_id)
        device, operation = task.device, Operation(task.operation)
        network = connectivity.of(device)
        try:
            {
                Operation.REGISTER: network.register,
                Operation.ACTIVATE: network.activate,
                Operation.DEACTIVATE: network.deactivate,
                Operation.DEREGISTER: network.deregister,
                Operation.DELETE: deletion.deregister,
            }[operation](device)
        except NetworkUnavailable as error:
            _later(task, str(error), now)
            return False
        except NetworkRefused as error:
            refused = str(error) or _("The network gave no reason.")
        except Exception as error:  # an error of our own must not lose the row: it is due again later
            logger.exception("%s of device %s", operation, device_id)
            _later(task, f"{type(error).__name__}", now)
            return False
        else:
            refused = ""
        try:
            _finish(task, refused=refused)
        except Exception as error:
            logger.exception("end of %s of device %s", operation, device_id)
            _later(task, f"{type(error).__name__}", now)
            return False
        return True


def _later(task: NetworkTask, error: str, now: datetime) -> None:
    wait = BACKOFF[min(task.attempts - 1, len(BACKOFF) - 1)]
    NetworkTask.objects.filter(pk=task.pk, attempts=task.attempts).update(
        not_before=now + timedelta(seconds=wait), last_error=error[:300]
    )
    live.changed(task.device_id, "status")


def _finish(task: NetworkTask, *, refused: str) -> None:
    """Write the network's answer: once, even where two workers came to the end of the same work."""
    device, operation = task.device, Operation(task.operation)
    if operation is Operation.DELETE:
        deletion.finish(task, refused=refused)
        return
    with transaction.atomic():
        deleted, _each = NetworkTask.objects.filter(pk=task.pk, requested_at=task.requested_at).delete()
        if not deleted:
            return
        before = device.connection_status
        rows = Device.objects.filter(pk=device.pk)
        if operation is Operation.DEREGISTER and not refused:
            connectivity.of(device).forget(device)
        if operation is Operation.REGISTER:
            after = Connection.FAILED if refused else Connection.ACTIVE
        elif operation is Operation.DEREGISTER:
            after = Connection(before) if refused else Connection.NOT_LINKED
        else:
            after = Connection(before) if refused else FROM_TO[operation][1]
        if after != before:
            states.move(
                rows,
                field="connection_status",
                to=after,
                allowed=CONNECTION_ALLOWED,
                connection_reason=refused[:300],
            )
        else:
            rows.update(connection_reason=refused[:300])
        audit.record(
            project_id=device.project_id,
            actor=None,
            action=f"network.{operation}_{'refused' if refused else 'done'}",
            target=device.name,
            device_id=device.pk,
            before={"connection": before},
            after={"connection": after.value} | ({"reason": refused} if refused else {}),
        )
        if after == Connection.ACTIVE:
            activity.tell([device.pk])
        live.changed(device.pk, "status", "downlinks")


def due(now: datetime, limit: int = 500) -> list[int]:
    """Devices whose work for the network waits longer than it should: their worker or doorbell was lost."""
    with scopes_disabled():
        return list(
            NetworkTask.objects.filter(not_before__lte=now)
            .order_by("not_before")
            .values_list("device_id", flat=True)[:limit]
        )
