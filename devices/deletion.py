"""Deleting a device (D9): asked for once, then taken from its network and removed whole in one transaction.

The :class:`NetworkTask` with the operation DELETE is the mark "being deleted". A worker that dies before the removal
has committed leaves it, and all is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from common import doorbell, states

from . import connectivity, live
from .capabilities import Capability, require
from .models import Device, DeviceState, Identity, NetworkTask, SenmlMessage

# Told in the transaction of the removal or of the refusal: device id, the network's reason ("" where it is removed).
on_finished: list[Callable[[int, str], None]] = []
_early: list[Callable[[int], None]] = []
_removers: list[Callable[[int], None]] = []


def register(remover: Callable[[int], None], *, early: bool = False) -> None:
    """``remover`` removes, by device id, rows of a table that has no foreign key to the device. ``early``: rows that
    a batch of messages locks before it locks the device's state; they are taken in the same order here."""
    (_early if early else _removers).append(remover)


def is_under_way(device: Device) -> bool:
    """Whether the device is being deleted; ``network_task`` should have been read with it."""
    task: NetworkTask | None = getattr(device, "network_task", None)
    return task is not None and task.operation == NetworkTask.Operation.DELETE


def request(*, device: Device, actor: User | None, by_support: bool = False) -> None:
    """Ask for the device to be deleted; ``by_support``: also where its category does not allow it.

    Raises NotAllowedForType, and StateConflict where other work for the network is under way.
    """
    from . import tasks

    if not by_support:
        require(device, Capability.ADD_REMOVE)
    try:
        with transaction.atomic():
            if not Device.objects.select_for_update().filter(pk=device.pk).exists():
                raise states.StateConflict("deleted already")
            NetworkTask.objects.create(device=device, operation=NetworkTask.Operation.DELETE, requested_by=actor)
            audit.record(
                project_id=device.project_id,
                actor=actor,
                action="device.deletion_requested",
                target=device.name,
                device_id=device.pk,
            )
            live.changed(device.pk, "status")
            doorbell.ring(tasks.run_network_task, device.pk)
    except IntegrityError as error:
        raise states.StateConflict("other work for the network is under way") from error


def request_many(ids: Sequence[int], actor: User | None) -> None:
    """Ask for devices to be deleted that are locked, may be deleted, and have no work for the network under way; in
    the caller's transaction, a handful of statements."""
    from . import tasks

    NetworkTask.objects.bulk_create(
        NetworkTask(device_id=pk, operation=NetworkTask.Operation.DELETE, requested_by=actor) for pk in ids
    )
    rows = Device.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "project_id", "name")
    audit.record_many(
        [audit.Change(project, name, pk) for pk, project, name in rows], actor=actor, action="device.deletion_requested"
    )
    for pk in ids:
        doorbell.ring(tasks.run_network_task, pk)


def deregister(device: Device) -> None:
    """Ask the network to forget the device, where it knows of it. Raises NetworkRefused, NetworkUnavailable."""
    network = connectivity.of(device)
    if network.has_network_info(device):
        network.deregister(device)


def finish(task: NetworkTask, *, refused: str) -> None:
    """Write the network's answer, once: the device goes with all its rows, or stays as it was with the reason."""
    device = task.device
    with transaction.atomic():
        # Also keeps out writers of rows that refer to the device until it is gone.
        if not Device.objects.select_for_update().filter(pk=device.pk).exists():
            return
        deleted, _each = NetworkTask.objects.filter(pk=task.pk, requested_at=task.requested_at).delete()
        if not deleted:
            return
        if refused:
            Device.objects.filter(pk=device.pk).update(connection_reason=refused[:300])
        else:
            _remove(device)
        audit.record(
            project_id=device.project_id,
            actor=task.requested_by,
            action="device.deletion_refused" if refused else "device.deleted",
            target=device.name,
            device_id=device.pk,
            before={} if refused else {"name": device.name, "identifier": device.identifier},
            after={"reason": refused} if refused else {},
        )
        for tell in on_finished:
            tell(device.pk, refused)
        live.changed(device.pk, "status")


def _remove(device: Device) -> None:
    # A batch of messages that is being written holds the state: it is waited for, and its messages go too. One that
    # comes later fails on the state's foreign key, is tried again, and finds no such device.
    for remover in _early:
        remover(device.pk)
    DeviceState.objects.filter(pk=device.pk).delete()
    connectivity.of(device).forget(device)
    for remover in _removers:
        remover(device.pk)
    SenmlMessage.objects.filter(device_id=device.pk).delete()
    Identity.objects.filter(device_id=device.pk).update(device_id=None)
    Device.objects.filter(pk=device.pk).delete()
