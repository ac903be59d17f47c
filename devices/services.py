"""The only writer of devices: adding, editing, the processing status (D7), links to Flows (F2), identifiers."""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Value, When
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import Project, User
from common import states
from flows import services as flow_services
from flows.errors import FlowGone
from flows.models import Flow

from . import activity, live
from .capabilities import Capability, require
from .errors import DeviceError, IdentifierInUse, in_use
from .models import (
    PROCESSING_ALLOWED,
    Device,
    DeviceState,
    DeviceType,
    FlowLink,
    Identity,
    Processing,
)


@transaction.atomic
def add_device(
    *,
    project: Project,
    device_type: DeviceType,
    name: str,
    actor: User | None,
    barcode: str = "",
    description: str = "",
    token: UUID | None = None,
    by_support: bool = False,
) -> Device:
    """A new device without network info (D5, step 1).

    ``token`` names the request: the same one again gives the device that the first made, also at once.
    ``by_support``: also a managed one, which only the operator adds (T3).
    Raises ValidationError, and DeviceError where the Project may not have (P3, T5) or its people may not add it.
    """
    made = _made_with(token, project)
    if made is not None:
        return made
    if device_type.project_id not in {None, project.pk}:
        raise DeviceError(_("This device type belongs to another Project."))
    offered = DeviceType.objects.offered_in(project).filter(pk=device_type.pk)
    if actor is not None and not by_support and not offered.exists():
        raise DeviceError(_("This device type is not in the Project's subscription."))
    device = Device(
        project=project,
        type=device_type,
        name=name.strip(),
        barcode=barcode.strip(),
        description=description.strip(),
        creation_token=token,
    )
    device.full_clean(validate_unique=False)
    try:
        with transaction.atomic():
            device.save(force_insert=True)
    except IntegrityError:
        made = _made_with(token, project)
        if made is None:
            raise
        return made
    DeviceState.objects.create(device=device, project_id=project.pk)
    audit.record(
        project_id=project.pk,
        actor=actor,
        action="device.added",
        target=device.name,
        device_id=device.pk,
        after={"name": device.name, "type": device_type.slug, "barcode": device.barcode},
    )
    return device


def _made_with(token: UUID | None, project: Project) -> Device | None:
    if token is None:
        return None
    return Device.objects.select_related("type").filter(creation_token=token, project=project).first()


@transaction.atomic
def edit_device(*, device: Device, actor: User, name: str, description: str, barcode: str | None = None) -> Device:
    """Change name, description and, where the category allows it, barcode (D10). Raises ValidationError,
    NotAllowedForType."""
    require(device, Capability.EDIT)
    wanted = {"name": name.strip(), "description": description.strip()}
    if barcode is not None and barcode.strip() != device.barcode:
        require(device, Capability.EDIT_BARCODE)
        wanted["barcode"] = barcode.strip()
    before = {key: getattr(device, key) for key in wanted}
    changed = {key: value for key, value in wanted.items() if value != before[key]}
    if not changed:
        return device
    for key, value in changed.items():
        setattr(device, key, value)
    device.clean_fields(exclude={field.name for field in Device._meta.fields} - set(changed))
    Device.objects.filter(pk=device.pk).update(**changed)
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action="device.edited",
        target=device.name,
        device_id=device.pk,
        before={key: before[key] for key in changed},
        after=changed,
    )
    live.changed(device.pk, "status")
    return device


@transaction.atomic
def deactivate(*, device: Device, actor: User | None) -> None:
    """Stop processing (D9): data is kept in the history, nothing is forwarded or sent. Raises StateConflict."""
    require(device, Capability.SWITCH)
    states.move(
        Device.objects.filter(pk=device.pk),
        field="processing_status",
        to=Processing.DEACTIVATED,
        allowed=PROCESSING_ALLOWED,
    )
    _record_processing(device, actor, "device.deactivated", Processing.DEACTIVATED)


@transaction.atomic
def activate(*, device: Device, actor: User | None) -> None:
    """Process again: Active, or Not yet linked where the device is in no Flow. Raises StateConflict."""
    require(device, Capability.SWITCH)
    rows = Device.objects.filter(pk=device.pk, processing_status=Processing.DEACTIVATED)
    if rows.filter(flow_count__gt=0).update(processing_status=Processing.ACTIVE):
        to = Processing.ACTIVE
    elif rows.filter(flow_count=0).update(processing_status=Processing.NOT_LINKED):
        to = Processing.NOT_LINKED
    else:
        raise states.StateConflict("not deactivated")
    _record_processing(device, actor, "device.activated", to)
    activity.tell([device.pk])


def _record_processing(device: Device, actor: User | None, action: str, to: Processing) -> None:
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action=action,
        target=device.name,
        device_id=device.pk,
        before={"processing": device.processing_status},
        after={"processing": to.value},
    )
    device.processing_status = to
    live.changed(device.pk, "status", "downlinks")


@transaction.atomic
def link_flow(*, device: Device, flow: Flow, actor: User | None) -> bool:
    """Put the device in the Flow; False where it was in it already. The first link makes it Active (D7). Raises
    DeviceError where the Flow is gone."""
    _lock(device)
    hold_flow(flow)
    if FlowLink.objects.filter(device=device, flow=flow).exists():
        return False
    FlowLink.objects.create(device=device, flow=flow)
    flow_services.recheck([flow.pk])
    rows = Device.objects.filter(pk=device.pk)
    rows.update(flow_count=F("flow_count") + 1, processing_status=with_flows())
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action="device.linked",
        target=device.name,
        device_id=device.pk,
        after={"flow": flow.name, "flow_id": flow.pk},
    )
    activity.tell([device.pk])
    live.changed(device.pk, "status", "twin", "downlinks")
    return True


@transaction.atomic
def unlink_flow(*, device: Device, flow: Flow, actor: User | None) -> bool:
    """Take the device out of the Flow; False where it was not in it. Without a Flow it is Not yet linked."""
    _lock(device)
    deleted, _each = FlowLink.objects.filter(device=device, flow=flow).delete()
    if not deleted:
        return False
    flow_services.recheck([flow.pk])
    rows = Device.objects.filter(pk=device.pk)
    if not rows.filter(flow_count=1, processing_status=Processing.ACTIVE).update(
        flow_count=0, processing_status=Processing.NOT_LINKED
    ):
        rows.update(flow_count=F("flow_count") - 1)
    audit.record(
        project_id=device.project_id,
        actor=actor,
        action="device.unlinked",
        target=device.name,
        device_id=device.pk,
        before={"flow": flow.name, "flow_id": flow.pk},
    )
    live.changed(device.pk, "status", "twin", "downlinks")
    return True


@transaction.atomic
def move_project(*, device: Device, project: Project, actor: User | None) -> None:
    """Give the device to another Project: it leaves the Flows of its own, all that is its own goes along.

    The caller has seen to the person's role in both. Raises DeviceError where the Project cannot have it.
    """
    from . import bulk_actions, job_runner, many

    _lock(device)
    refusals = bulk_actions.move_refusals(project)
    rows = Device.objects.filter(pk=device.pk).annotate(refusal=job_runner.first_refusal(refusals))
    refusal = rows.values_list("refusal", flat=True).get()
    if refusal is not None:
        raise DeviceError(refusals[refusal].reason)
    many.move([device.pk], project, actor)
    live.changed(device.pk, "status", "twin", "downlinks")


def _lock(device: Device) -> None:
    """Links of one device change one after another: the count and the status follow them."""
    Device.objects.select_for_update().filter(pk=device.pk).values_list("pk").get()


def hold_flow(flow: Flow) -> None:
    """Keep the Flow until the caller's transaction ends; after the devices' locks. Raises DeviceError where it is
    gone."""
    try:
        flow_services.hold(flow.pk)
    except FlowGone as error:
        raise DeviceError(_("The Flow is not there any more.")) from error


def with_flows() -> Case:
    """The processing status of a device that has just come into a Flow: a deactivated one stays so."""
    return Case(
        When(processing_status=Processing.DEACTIVATED, then=Value(Processing.DEACTIVATED.value)),
        default=Value(Processing.ACTIVE.value),
    )


# kind of identifier → the input of the network forms that it is entered in
FIELDS = {"DEVEUI": "dev_eui", "IMEI": "imei", "DVNUUID": "dvn_uuid"}


def claim_identifier(*, device: Device, kind: str, value: str, primary: bool) -> None:
    """Take a network identifier for the device, over all Projects and for ever, in the caller's transaction.

    ``value`` is in its stored form. The device's own claim of the same kind with another value is let go
    only while the device was never registered. Raises IdentifierInUse.
    """
    urn = f"{kind}:{value}"
    Identity.objects.filter(device_id=device.pk, urn__startswith=f"{kind}:").exclude(urn=urn).delete()
    try:
        with transaction.atomic():
            _row, created = Identity.objects.get_or_create(urn=urn, defaults={"device_id": device.pk})
    except IntegrityError as error:  # pragma: no cover - get_or_create already retries a lost race
        raise IdentifierInUse(in_use(kind), FIELDS.get(kind, "")) from error
    if not created and _row.device_id != device.pk:
        raise IdentifierInUse(in_use(kind), FIELDS.get(kind, ""))
    if primary:
        # Searched with and without separators (D2), so kept without.
        device.identifier = value.replace("-", "")
        Device.objects.filter(pk=device.pk).update(identifier=device.identifier)
