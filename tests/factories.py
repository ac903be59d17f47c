"""Makes what tests need, through the services where there are some."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django.db import transaction
from django_scopes import scopes_disabled

from accounts.models import Membership, Project, Role, Subscription, User
from devices import services
from devices.models import Codec, CodecVersion, Connection, Device, DeviceType, Job, JobItem, Outcome
from flows.models import Destination, Flow, FlowDestination
from flows.services import create_flow
from internet.models import InternetIdentity
from lora.forms import save_identity
from m2m.models import M2mIdentity, SimCard, SimStatus
from m2m.numbers import with_check_digit

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)


def user(email: str = "", **fields: Any) -> User:
    # A password hash takes longer than ten tests: sign in with client.force_login.
    person = User(email=email or f"person{next(_numbers)}@example.com", **fields)
    person.set_unusable_password()
    person.save()
    return person


def project(name: str = "", *, subscription: str = "modular") -> Project:
    return Project.objects.create(
        name=name or f"Project {next(_numbers)}", subscription=Subscription.objects.get(slug=subscription)
    )


def member(in_project: Project, role: Role, email: str = "") -> User:
    person = user(email)
    Membership.objects.create(user=person, project=in_project, role=role)
    return person


@scopes_disabled()
def own_type(in_project: Project, name: str = "", **fields: Any) -> DeviceType:
    """A LoRa type that the Project has made itself."""
    number = next(_numbers)
    facts = {"category": "own", "connectivity": "lora", "key_source": "customer"}
    facts |= {"decoders": ["raw-lora"], "encoders": ["raw-lora"]}
    return DeviceType.objects.create(
        project=in_project, slug=f"own-{number}", name=name or f"Type {number}", **(facts | fields)
    )


@scopes_disabled()
def flow(in_project: Project, name: str = "", **fields: Any) -> Flow:
    return create_flow(project=in_project, name=name or f"Flow {next(_numbers)}", actor=None, **fields)


@scopes_disabled()
def destination(of_flow: Flow, name: str = "", **fields: Any) -> Destination:
    """A destination of the Flow; without more, the portal's own test endpoint."""
    secrets = fields.pop("secrets", {})
    with scopes_disabled():
        number = Destination.objects.count()
        made = Destination(project=of_flow.project, name=name or f"Receiver {number}", **{"kind": "test"} | fields)
        made.set_secrets(secrets)
        made.save()
        FlowDestination.objects.create(flow=of_flow, destination=made)
    return made


@scopes_disabled()
def device(
    in_project: Project,
    type_slug: str = "own-lora",
    *,
    name: str = "",
    in_flow: Flow | None = None,
    connection: Connection | None = None,
    **fields: Any,
) -> Device:
    """A device without network info; ``connection`` forces the connectivity status."""
    made = services.add_device(
        project=in_project,
        device_type=DeviceType.objects.get(slug=type_slug),
        name=name or f"Device {next(_numbers)}",
        actor=None,
        **fields,
    )
    if in_flow is not None:
        services.link_flow(device=made, flow=in_flow, actor=None)
    if connection is not None:
        Device.objects.filter(pk=made.pk).update(connection_status=connection)
    return Device.objects.select_related("type", "project").get(pk=made.pk)


@scopes_disabled()
def lora_device(
    in_project: Project,
    type_slug: str = "own-lora-preset",
    *,
    dev_eui: str = "",
    app_key: bytes = bytes(16),
    **fields: Any,
) -> Device:
    """A LoRa device with identity, connectivity Active unless said otherwise."""
    fields.setdefault("connection", Connection.ACTIVE)
    made = device(in_project, type_slug, **fields)
    with transaction.atomic():
        save_identity(made, dev_eui or f"{next(_numbers):016X}", "70B3D57ED0000001", app_key)
    return made


SECRET = "abcdefghijklmnopqrstuvwxyz0123456789"


@scopes_disabled()
def internet_device(in_project: Project, *, secret: str = SECRET, **fields: Any) -> Device:
    fields.setdefault("connection", Connection.ACTIVE)
    made = device(in_project, "own-internet", **fields)
    identity = InternetIdentity(device=made, dvn_uuid=uuid4())
    identity.set_secret(secret)
    with transaction.atomic():
        services.claim_identifier(device=made, kind="DVNUUID", value=str(identity.dvn_uuid).upper(), primary=True)
        identity.save(force_insert=True)
    return made


@scopes_disabled()
def sim(in_project: Project, iccid: str = "", **fields: Any) -> SimCard:
    return SimCard.objects.create(
        project=in_project, iccid=iccid or with_check_digit(f"893108000000{next(_numbers):06d}"), **fields
    )


@scopes_disabled()
def m2m_device(in_project: Project, *, secret: str = SECRET, imei: str = "", **fields: Any) -> Device:
    fields.setdefault("connection", Connection.ACTIVE)
    made = device(in_project, "own-m2m", **fields)
    identity = M2mIdentity(device=made, imei=imei or with_check_digit(f"35693803{next(_numbers):06d}"))
    identity.set_secret(secret)
    with transaction.atomic():
        services.claim_identifier(device=made, kind="IMEI", value=identity.imei, primary=True)
        identity.save(force_insert=True)
    sim(in_project, device=made, status=SimStatus.ACTIVE)
    return made


@scopes_disabled()
def job(
    in_project: Project, devices: Sequence[Device], outcomes: Sequence[Outcome] = (), *, reason: str = "", **fields: Any
) -> Job:
    """A job over these devices as if the engine had come so far: what became of each, "not begun" for the rest."""
    reached = [*outcomes, *[Outcome.PENDING] * (len(devices) - len(outcomes))]
    count = Counter(reached)
    fields = {"action": "activate", "project_ids": [in_project.pk], "token": uuid4(), "total": len(devices)} | fields
    made = Job.objects.create(
        done=count[Outcome.DONE], skipped=count[Outcome.SKIPPED], failed=count[Outcome.FAILED], **fields
    )
    JobItem.objects.bulk_create(
        JobItem(
            job=made,
            number=number,
            device_id=each.pk,
            label=each.name,
            identifier=each.identifier or "",
            outcome=outcome,
            reason=reason if outcome in {Outcome.SKIPPED, Outcome.FAILED} else "",
        )
        for number, (each, outcome) in enumerate(zip(devices, reached, strict=True), 1)
    )
    return made


@scopes_disabled()
def codec(in_project: Project, source: str, *, of: DeviceType | None = None, name: str = "") -> Codec:
    """A codec whose only version, with that source, is in use; ``of``: that of this device type from now on."""
    made = Codec.objects.create(project=in_project, name=name or f"Codec {next(_numbers)}")
    made.in_use = CodecVersion.objects.create(codec=made, number=1, source=source)
    Codec.objects.filter(pk=made.pk).update(in_use=made.in_use)
    if of is not None:
        DeviceType.objects.filter(pk=of.pk).update(codec=made)
    return made
