"""SIM links and M2M secrets after registration: switch, unlink, free a SIM, a new secret (M3, M4)."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from common import states
from devices import live, network, shared_secret
from devices.capabilities import Capability, require
from devices.errors import DeviceError
from devices.models import CONNECTION_ALLOWED, Connection, Device, NetworkTask

from .models import M2mIdentity, SimCard, SimStatus

# The status of a SIM that comes into a device, by what the network does with the device now.
SIM_STATUS = {
    Connection.ACTIVE.value: SimStatus.ACTIVE,
    Connection.DEACTIVATED.value: SimStatus.DEACTIVATED,
}


@transaction.atomic
def switch_sim(*, device: Device, sim_id: int, actor: User) -> SimCard:
    """Link the free SIM in place of the present one, in one step: the device never has two or none (M4).

    The present SIM becomes free. Where the device was registered, the new one takes over its connectivity status;
    where it had no SIM, its registration starts. Raises DeviceError where the SIM is not free, is not of the
    device's Project, or the network is at work on the device; NotAllowedForType.
    """
    require(device, Capability.SECRETS)
    before = _locked(device)
    if not M2mIdentity.objects.filter(device=device).exists():
        raise DeviceError(_("This device has no network info yet."))
    status = SIM_STATUS.get(device.connection_status, SimStatus.INVENTORY)
    release(device)
    taken = SimCard.objects.filter(pk=sim_id, project=device.project_id, device=None)
    if not taken.update(device=device, status=status):
        raise DeviceError(_("This SIM card is not free any more. Choose another one."))
    if status == SimStatus.ACTIVE:
        SimCard.objects.filter(pk=sim_id, activated_at=None).update(activated_at=timezone.now())
    after = SimCard.objects.get(pk=sim_id)
    _record(device, actor, "sim.switched" if before else "sim.linked", before, after)
    if device.connection_status == Connection.NOT_LINKED:
        network.request_registration(device=device, actor=actor)
    return after


@transaction.atomic
def take_out(device: Device) -> None:
    """Free the device's SIM, if there is one, before the network step links one. Raises DeviceError while the
    network is at work on the device."""
    _locked(device)
    release(device)


@transaction.atomic
def unlink_sim(*, device: Device, actor: User) -> SimCard:
    """Take the SIM out of the device: it becomes free, and the device is not linked to a network any more.

    Raises DeviceError where there is none or the network is at work on the device, NotAllowedForType for a managed
    device (M2)."""
    require(device, Capability.SECRETS)
    sim = _locked(device)
    if sim is None:
        raise DeviceError(_("No SIM card is linked to this device."))
    release(device)
    if device.connection_status != Connection.NOT_LINKED:
        states.move(
            Device.objects.filter(pk=device.pk),
            field="connection_status",
            to=Connection.NOT_LINKED,
            allowed=CONNECTION_ALLOWED,
            connection_reason="",
        )
        device.connection_status = Connection.NOT_LINKED
    _record(device, actor, "sim.unlinked", sim, None)
    return sim


def new_secret(*, device: Device, actor: User) -> str:
    """A new shared secret in place of the old one. Raises DeviceError, NotAllowedForType."""
    return shared_secret.replace(M2mIdentity.objects.all(), device=device, actor=actor, action="m2m.secret_replaced")


def _locked(device: Device) -> SimCard | None:
    """The device's SIM, with the device locked and its status read again: SIM changes and requests to the network
    happen one after another. Raises DeviceError while a request is under way, whose answer would be about the other
    SIM."""
    device.connection_status = (
        Device.objects.select_for_update().filter(pk=device.pk).values_list("connection_status", flat=True).get()
    )
    if NetworkTask.objects.filter(device=device).exists():
        raise DeviceError(_("The network is still at work on this device. Try again in a moment."))
    return SimCard.objects.filter(device=device).first()


def release(device: Device) -> None:
    """Free the device's SIM, if there is one. By itself only where the device's network info is going anyway."""
    SimCard.objects.filter(device=device).update(device=None, status=SimStatus.INVENTORY)


def _record(device: Device, actor: User, action: str, before: SimCard | None, after: SimCard | None) -> None:
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action=action,
        target=device.name,
        device_id=device.pk,
        before={"iccid": before.iccid} if before else {},
        after={"iccid": after.iccid} if after else {},
    )
    live.changed(device.pk, "status")
