"""SIM links and M2M secrets after registration: switch, unlink, free a SIM, a new secret (M3, M4)."""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import Project, User
from common import states
from devices import live, network, shared_secret
from devices.capabilities import Capability, require
from devices.errors import DeviceError, IdentifierInUse
from devices.models import CONNECTION_ALLOWED, Connection, Device, NetworkTask

from . import cards
from .models import M2mIdentity, SimCard
from .numbers import iccid_problem


@transaction.atomic
def switch_sim(*, device: Device, sim_id: int, actor: User) -> SimCard:
    """Link the free SIM in place of the present one, in one step: the device never has two or none (M4).

    The present SIM becomes free, and its carrier switches it off. A device that was active is registered again with the
    new one, one that was deactivated stays so; where it had no SIM, its registration starts. Raises DeviceError where
    the SIM is not free, is not of the device's Project, or the network is at work on the device; NotAllowedForType.
    """
    before = _ready(device)
    release(device)
    taken = SimCard.objects.filter(pk=sim_id, project=device.project_id, device=None)
    if not taken.update(device=device):
        raise DeviceError(_("This SIM card is not free any more. Choose another one."))
    return _put_in(device, before, SimCard.objects.get(pk=sim_id), actor)


@transaction.atomic
def switch_to_early_access(*, device: Device, iccid: str, actor: User) -> SimCard:
    """As :func:`switch_sim`, with a SIM card that the portal does not know yet. Raises IdentifierInUse as well."""
    before = _ready(device)
    release(device)
    card = add_sim(project=device.project, iccid=iccid, early_access=True, actor=actor)
    SimCard.objects.filter(pk=card.pk).update(device=device)
    card.device = device
    return _put_in(device, before, card, actor)


def _ready(device: Device) -> SimCard | None:
    require(device, Capability.SECRETS)
    before = _locked(device)
    if not M2mIdentity.objects.filter(device=device).exists():
        raise DeviceError(_("This device has no network info yet."))
    return before


def _put_in(device: Device, before: SimCard | None, after: SimCard, actor: User) -> SimCard:
    """The device has the new card: its registration follows, where it was registered or had no card."""
    _record(device, actor, "sim.switched" if before else "sim.linked", before, after)
    if device.connection_status == Connection.ACTIVE:
        _not_linked(device)
    if device.connection_status == Connection.NOT_LINKED:
        network.request_registration(device=device, actor=actor)
    return after


@transaction.atomic
def add_sim(
    *, project: Project, iccid: str, actor: User, early_access: bool = False, msisdn: str = "", rate_plan: str = ""
) -> SimCard:
    """A free SIM card. Raises DeviceError for no valid ICCID, IdentifierInUse for one that the portal knows."""
    if iccid_problem(iccid):
        raise DeviceError(_("This is not a valid ICCID."))
    card = SimCard(project=project, iccid=iccid, early_access=early_access, msisdn=msisdn, rate_plan=rate_plan[:100])
    try:
        with transaction.atomic():
            card.save(force_insert=True)
    except IntegrityError as error:
        raise IdentifierInUse(_("This ICCID cannot be used: it is in use already."), "iccid") from error
    audit.record(project_id=project.pk, actor=actor, action="sim.added", target=iccid, after={"iccid": iccid})
    return card


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
        _not_linked(device)
    _record(device, actor, "sim.unlinked", sim, None)
    return sim


def _not_linked(device: Device) -> None:
    states.move(
        Device.objects.filter(pk=device.pk),
        field="connection_status",
        to=Connection.NOT_LINKED,
        allowed=CONNECTION_ALLOWED,
        connection_reason="",
    )
    device.connection_status = Connection.NOT_LINKED


def new_secret(*, device: Device, actor: User, grace: timedelta = timedelta(0)) -> str:
    """A new shared secret; the old one is accepted for ``grace`` longer. Raises DeviceError, NotAllowedForType."""
    rows = M2mIdentity.objects.all()
    return shared_secret.replace(rows, device=device, actor=actor, action="m2m.secret_replaced", grace=grace)


def revoke_old_secret(*, device: Device, actor: User) -> None:
    """Raises DeviceError where no old secret is accepted, NotAllowedForType."""
    shared_secret.revoke_old(M2mIdentity.objects.all(), device=device, actor=actor, action="m2m.old_secret_revoked")


@transaction.atomic
def set_own_name(*, device: Device, name: str, actor: User) -> None:
    """The base name that the device's firmware writes instead of the one made of its IMEI; "" for none.

    Raises IdentifierInUse for one that another device has, DeviceError without network info, NotAllowedForType.
    """
    require(device, Capability.SECRETS)
    rows = M2mIdentity.objects.filter(device=device)
    before = rows.select_for_update().values_list("own_name", flat=True)
    if not before:
        raise DeviceError(_("This device has no network info yet."))
    if (before[0] or "") == name:
        return
    try:
        with transaction.atomic():
            rows.update(own_name=name or None)
    except IntegrityError as error:
        raise IdentifierInUse(_("This base name cannot be used: it is in use already."), "own_name") from error
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action="m2m.base_name_changed",
        target=device.name,
        device_id=device.pk,
        before={"base_name": before[0] or ""},
        after={"base_name": name},
    )


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
    """Free the device's SIM, if there is one; its carrier is asked to switch it off. By itself only where the device's
    network info is going anyway."""
    cards.free(SimCard.objects.filter(device=device))


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
