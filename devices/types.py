"""Device types that a Project makes itself (T5): what may stand in them, and the only writer of them.

The portal's own types are written by migrations and by support staff in the admin, with the same checks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.text import slugify
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import Project, User
from codec import decoders
from common.states import StateConflict

from . import controls, flow_checks
from .controls import By, Command, Control, ControlError, Way
from .errors import DeviceError
from .models import Category, ConnectivityKind, Device, DeviceType, Encoder

MOST_MEASUREMENTS: Final = 100
LONGEST_UNIT: Final = 20
# The time that an instruction may take, in seconds: less says nothing of a device that sleeps, and after more nobody
# waits for it any more.
TIMEOUT: Final = (60, 30 * 86400)
# Counted so far on the page of a type; beyond it the list of devices says more.
COUNTED: Final = 5000
SENML: Final = "senml"
DECODERS: Final = {
    ConnectivityKind.LORA: tuple(decoders.DECODERS),
    ConnectivityKind.M2M: (SENML,),
    ConnectivityKind.INTERNET: (SENML,),
}
RAW: Final = {
    ConnectivityKind.LORA: Encoder.RAW_LORA,
    ConnectivityKind.M2M: Encoder.RAW_SENML,
    ConnectivityKind.INTERNET: Encoder.RAW_SENML,
}
WAYS: Final = {
    ConnectivityKind.LORA: (By.CODEC, By.BYTES),
    ConnectivityKind.M2M: (By.SENML,),
    ConnectivityKind.INTERNET: (By.SENML,),
}
# What a person changes; connectivity and Project are for good, because devices are registered with them.
CHANGED: Final = (
    "name", "description", "key_source", "codec_id", "decoders", "encoders", "measurements", "commands", "controls",
    "downlink_timeout_seconds",
)  # fmt: skip


class ChangedMeanwhile(StateConflict):
    """Somebody else has changed the type since the page was opened."""


class TypeRefused(DeviceError):
    """What cannot stand in a type. ``field``: the one of the model that it is about."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


# --- reading ---


def of_projects(projects: Mapping[int, Project]) -> QuerySet[DeviceType]:
    """What people of these Projects know of: their own types, those that they can add, and those that they have
    devices of. Call it inside their scope."""
    offered = DeviceType.objects.filter(
        addable=True, subscriptions__in={project.subscription_id for project in projects.values()}
    ).exclude(category=Category.MANAGED)
    used = Exists(Device.objects.filter(project_id__in=list(projects), type_id=OuterRef("pk")).order_by())
    return DeviceType.objects.filter(Q(project_id__in=list(projects)) | Q(project=None) & (Q(pk__in=offered) | used))


def connectivities(project: Project) -> list[ConnectivityKind]:
    """With which connectivities the Project can make types: those that its subscription has (P3)."""
    bought = DeviceType.objects.offered_in(project).filter(project=None).values_list("connectivity", flat=True)
    return [kind for kind in ConnectivityKind if kind in set(bought)]


def count_of(device_type: DeviceType) -> int:
    """How many devices are of it, inside the person's scope; COUNTED + 1 where there are more than that."""
    return len(Device.objects.filter(type=device_type).order_by().values_list("pk")[: COUNTED + 1])


# --- what may stand in a type ---


def check(device_type: DeviceType) -> None:
    """Raises TypeRefused for the first thing that cannot be."""
    kind = ConnectivityKind(device_type.connectivity)
    unknown = [slug for slug in device_type.decoders if slug not in DECODERS[kind]]
    if unknown or not isinstance(device_type.decoders, list):
        raise TypeRefused(_("Such decoders do not fit: %s.") % ", ".join(map(str, unknown)), "decoders")
    allowed = {RAW[kind].value, Encoder.COMMANDS.value}
    if not isinstance(device_type.encoders, list) or not set(device_type.encoders) <= allowed:
        raise TypeRefused(_("Choose from: %s.") % ", ".join(sorted(allowed)), "encoders")
    codec = device_type.codec
    if codec is not None and kind is not ConnectivityKind.LORA:
        raise TypeRefused(_("A codec reads the payloads of LoRa devices; SenML needs none."), "codec")
    if codec is not None and codec.project_id != device_type.project_id:
        raise TypeRefused(_("The codec belongs to another Project."), "codec")
    timeout = device_type.downlink_timeout_seconds
    if timeout is not None and not TIMEOUT[0] <= timeout <= TIMEOUT[1]:
        raise TypeRefused(_("Between 1 minute and 30 days."), "downlink_timeout_seconds")
    check_measurements(device_type.measurements)
    for field, read in (("commands", controls.commands_of), ("controls", controls.controls_of)):
        described = getattr(device_type, field)
        if not isinstance(described, list):
            raise TypeRefused(_("A list is wanted."), field)
        try:
            asked: list[Command] | list[Control] = read(described)
        except ControlError as error:
            raise TypeRefused(_in_list(described, read, error), field) from error
        for each in asked:
            problem = way_problem(each.way, kind, has_codec=device_type.codec_id is not None)
            if problem:
                raise TypeRefused(f"“{each.name}”: {problem}", field)


def _in_list(described: list[Any], read: Any, error: ControlError) -> str:
    """The sentence, with the number of the description that it is about where it is about one."""
    for number, one in enumerate(described, 1):
        try:
            read([one])
        except ControlError as alone:
            place = f", {alone.where}" if alone.where else ""
            return _("Number %(number)d%(place)s: %(error)s") % {"number": number, "place": place, "error": alone}
    return str(error)


def way_problem(way: Way, kind: ConnectivityKind, *, has_codec: bool) -> str:
    """Why a value cannot become an instruction so; "" where it can."""
    if way.by not in WAYS[kind]:
        if kind is ConnectivityKind.LORA:
            return _("An instruction to a LoRa device is made by the codec or is fixed bytes.")
        return _("An instruction to such a device is a SenML record.")
    return _("Choose a codec for the type first.") if way.by is By.CODEC and not has_codec else ""


def check_measurements(described: Any) -> None:
    """Raises TypeRefused for what is no list of ``{"name", "unit"}``, each name once."""
    if not isinstance(described, list) or len(described) > MOST_MEASUREMENTS:
        raise TypeRefused(_("A list of %d measurements at most is wanted.") % MOST_MEASUREMENTS, "measurements")
    names = set()
    for number, one in enumerate(described, 1):
        name, unit = (one.get("name"), one.get("unit", "")) if isinstance(one, Mapping) else (None, "")
        if not isinstance(name, str) or not controls.NAME.match(name) or name in names:
            text = _("Measurement %d: a name of its own is wanted.")
            raise TypeRefused(text % number, "measurements")
        if not isinstance(unit, str) or len(unit) > LONGEST_UNIT:
            text = _("Measurement %(number)d: a unit has %(most)d characters at most.")
            raise TypeRefused(text % {"number": number, "most": LONGEST_UNIT}, "measurements")
        names.add(name)


# --- writing ---


@transaction.atomic
def add(*, project: Project, connectivity: str, actor: User, values: Mapping[str, Any]) -> DeviceType:
    """A new type of the Project. ``values``: of CHANGED. Raises TypeRefused, and ValidationError for a name that the
    Project has already."""
    if connectivity not in connectivities(project):
        raise TypeRefused(_("The Project's subscription has no such connectivity."), "connectivity")
    made = DeviceType(
        project=project, category=Category.OWN, connectivity=connectivity, slug=_slug(values["name"]), **values
    )
    _clean(made)
    with _name_once():
        made.save(force_insert=True)
    _record(made, actor, "type.added", after=dict(values))
    return made


@transaction.atomic
def change(*, device_type: DeviceType, seen: int, actor: User, values: Mapping[str, Any]) -> DeviceType:
    """Change an own type. ``seen``: the version that the person had before them; ``values``: of CHANGED.

    Raises ChangedMeanwhile, TypeRefused, and ValidationError for a name that the Project has already.
    """
    before = {key: getattr(device_type, key) for key in values}
    changed = {key: value for key, value in values.items() if value != before[key]}
    for key, value in changed.items():
        setattr(device_type, key, value)
    _clean(device_type)
    if device_type.version != seen:
        raise ChangedMeanwhile("another version")
    if not changed:
        return device_type
    with _name_once():
        if not _own(device_type).filter(version=seen).update(version=F("version") + 1, **changed):
            raise ChangedMeanwhile("another version")
    device_type.version = seen + 1
    if changed.keys() & {"decoders", "codec_id"}:
        flow_checks.type_changed(device_type)
    _record(device_type, actor, "type.changed", before={key: before[key] for key in changed}, after=changed)
    return device_type


@transaction.atomic
def offer(*, device_type: DeviceType, addable: bool, actor: User) -> None:
    """Withdraw the type, so that nobody adds devices of it any more, or offer it again. Raises StateConflict."""
    changed = _own(device_type).filter(addable=not addable).update(addable=addable, version=F("version") + 1)
    if not changed:
        raise StateConflict("offered already" if addable else "withdrawn already")
    _record(device_type, actor, "type.offered" if addable else "type.withdrawn")


@transaction.atomic
def remove(*, device_type: DeviceType, actor: User) -> None:
    """Remove a type without devices. Raises DeviceError where it has any."""
    held = _own(device_type).select_for_update().first()
    if held is None:
        raise DeviceError(_("The device type is not there any more."))
    if Device.objects.filter(type=held).exists():
        raise DeviceError(
            _("There are devices of this type. Withdraw it instead: they stay, and no new ones are added.")
        )
    _record(held, actor, "type.removed")
    held.delete()


def _own(device_type: DeviceType) -> QuerySet[DeviceType]:
    return DeviceType.objects.filter(pk=device_type.pk, project__isnull=False)


def _slug(name: str) -> str:
    """Of no meaning to anybody: two Projects may give one name."""
    return f"{slugify(name)[:60] or 'own'}-{secrets.token_hex(5)}"


def _clean(device_type: DeviceType) -> None:
    device_type.name = device_type.name.strip()
    check(device_type)
    try:
        device_type.clean_fields(exclude=["project", "slug", "codec"])
        device_type.validate_constraints()
    except ValidationError as error:
        raise ValidationError(error.messages) from error


@contextmanager
def _name_once() -> Iterator[None]:
    """Of two at once with one name, the second is told as if it had come later."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise ValidationError(_("This Project has a device type of this name already.")) from error


def _record(device_type: DeviceType, actor: User, action: str, **facts: Any) -> None:
    assert device_type.project_id is not None
    audit.record(project_id=device_type.project_id, actor=actor, action=action, target=device_type.name, **facts)
