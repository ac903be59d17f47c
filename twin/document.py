"""The Device Twin as one JSON document for programs: what it says, its tag, and a merge patch on it (W8)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from common.merge_patch import DEEPEST, delta, depth, merge
from common.problems import Wrong, pointer
from devices import capabilities
from devices.capabilities import Capability, NotAllowedForType
from devices.controls import Control, ControlError
from devices.models import Device

from . import content, loop, services
from . import desired as desired_reading
from .errors import TwinFull, TwinRefused
from .models import DesiredValue, Sync, Twin

COLUMNS: Final = (
    *("reported", "desired", "metadata", "updated_at"),
    *("version", "reported_version", "desired_version", "metadata_version"),
)
EMPTY: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("reported", "desired", "metadata"), MappingProxyType({})),
    **dict.fromkeys(("version", "reported_version", "desired_version", "metadata_version"), 0),
    "updated_at": None,
}
PARTS: Final = ("reported", "desired", "metadata")
WRITTEN: Final = ("desired", "metadata")
READ_ONLY: Final = frozenset({"device", "version", "updated", "reported", "delta", "observed"})


class Document(NamedTuple):
    """``tag``: the version, and a digest of what changes without it (the way of desired values, the observed state);
    the same tag is the same content."""

    content: dict[str, Any]
    version: int
    tag: str


class PatchRefused(Exception):
    """The patch cannot be made; nothing was changed. ``wrong``: each member that is in the way."""

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        super().__init__(_("The Device Twin was not changed: %(count)d members cannot be.") % {"count": len(wrong)})
        self.wrong = list(wrong)


class Outdated(Exception):
    """The twin is not what the program has seen; nothing was changed. ``version``: what it is now."""

    def __init__(self, version: int) -> None:
        super().__init__(_("The Device Twin has changed meanwhile: its version is %(version)d.") % {"version": version})
        self.version = version


def read(device: Device) -> Document:
    """Two queries; ``device`` comes with its type and state."""
    twin = Twin.objects.filter(pk=device.pk).values(*COLUMNS).first() or EMPTY
    ways = loop.states_of(device.pk)
    observed = _observed(device)
    says = {
        "device": device.pk,
        "version": twin["version"],
        "versions": {part: twin[f"{part}_version"] for part in PARTS},
        "updated": _at(twin["updated_at"]),
        "reported": {name: _reported(entry) for name, entry in twin["reported"].items()},
        "desired": {name: _desired(entry, ways.get(name)) for name, entry in twin["desired"].items()},
        "delta": differing(device, twin["desired"], twin["reported"], ways),
        "observed": observed,
        "metadata": {
            key: {"value": entry.get("v"), "time": _second(entry.get("t"))} for key, entry in twin["metadata"].items()
        },
    }
    beside = [(name, ways[name].state, ways[name].attempts) for name in sorted(ways)]
    digest = zlib.crc32(json.dumps([beside, observed, says["delta"]]).encode())
    return Document(says, twin["version"], f'"v{twin["version"]}.{digest:08x}"')


def differing(
    device: Device,
    desired: Mapping[str, Mapping[str, Any]],
    reported: Mapping[str, Mapping[str, Any]],
    ways: Mapping[str, DesiredValue],
) -> dict[str, Any]:
    """The desired values that the device has not reported: of controls by their own rule, of others member by
    member. A control that no report answers differs until the device has acknowledged it."""
    controls = {control.name: control for control in desired_reading.controls(device.type)}
    found: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, entry in desired.items():
        control = controls.get(name)
        if control is None:
            others[name] = entry.get("v")
        elif not _answered(control, entry.get("v"), reported, ways.get(name)):
            found[name] = entry.get("v")
    return found | delta(others, {name: entry.get("v") for name, entry in reported.items()})


def _answered(
    control: Control, wanted: Any, reported: Mapping[str, Mapping[str, Any]], way: DesiredValue | None
) -> bool:
    if not control.reported:
        return way is not None and way.state == Sync.IN_SYNC
    said = reported.get(control.reported)
    return said is not None and control.answered_by(wanted, said.get("v"))


def _reported(entry: Mapping[str, Any]) -> dict[str, Any]:
    says = {"value": entry.get("v"), "unit": entry.get("u"), "time": _second(entry.get("t"))}
    return says | {"encoding": "base64"} if entry.get("b") else says


def _desired(entry: Mapping[str, Any], way: DesiredValue | None) -> dict[str, Any]:
    """``state`` is null for a value that no control sends."""
    says = {"value": entry.get("v"), "time": _second(entry.get("t")), "state": way.state if way else None}
    if way is not None:
        says |= {"attempts": way.attempts, "instruction": way.downlink, "finished": _at(way.finished_at)}
        if way.reason:
            says |= {"cause": way.cause, "reason": way.reason}
    return says


def _observed(device: Device) -> dict[str, Any]:
    last, previous = device.state.last_message_at, device.state.previous_message_at
    interval = abs(last - previous).total_seconds() if last and previous else None
    return {"send_interval": interval, "last_message": _at(last)}


def _second(seconds: Any) -> str | None:
    try:
        return _at(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError, TypeError):
        return None


def _at(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the patch ---


class Changes(NamedTuple):
    """What a patch asks for, as it is merged into what stands there; None removes."""

    desired: dict[str, Any]
    metadata: dict[str, str | None]


def patch(
    *,
    device: Device,
    document: Mapping[str, Any],
    matches: Callable[[int], bool],
    actor: User,
    now: datetime | None = None,
) -> None:
    """Apply a merge patch (RFC 7396) to ``{"desired": {name: value}, "metadata": {key: text}}``, all of it or nothing.

    ``matches`` is asked whether the version that stands there is the one that the program has seen; a member
    ``"versions"`` says the same of single parts. Desired values of controls are checked by them and sent; others are
    kept and send nothing. Raises PatchRefused, Outdated, StateConflict for a device that is gone.
    """
    now = now or timezone.now()
    with transaction.atomic():
        twin = loop.hold(device.pk)
        if not matches(twin.version) or _otherwise(document.get("versions", {}), twin):
            raise Outdated(twin.version)
        _apply(device, _changes(device, document, {part: getattr(twin, part) for part in WRITTEN}), actor, now)


def _otherwise(versions: Any, twin: Twin) -> bool:
    """Whether a part is of another version than the program says it has seen. Raises PatchRefused."""
    if not isinstance(versions, Mapping):
        raise PatchRefused([Wrong(pointer("versions"), _("An object is wanted: the version of each part."))])
    unknown = [name for name in versions if name not in PARTS]
    if unknown:
        raise PatchRefused([Wrong(pointer("versions", name), _("There is no such part.")) for name in unknown])
    return any(getattr(twin, f"{part}_version") != seen for part, seen in versions.items())


def _changes(device: Device, document: Mapping[str, Any], twin: Mapping[str, Any]) -> Changes:
    """Read the patch against the twin that is held. Raises PatchRefused with every member that cannot be."""
    wrong = [Wrong(pointer(name), _no_part(name)) for name in document if name not in {*WRITTEN, "versions"}]
    if depth(document) > DEEPEST:
        raise PatchRefused([*wrong, Wrong("", _("Objects and arrays nest %d levels deep at most.") % DEEPEST)])
    made = Changes({}, {})
    if "desired" in document:
        wrong += _members(device, document, twin, "desired", Capability.TWIN_DESIRED, made.desired)
    if "metadata" in document:
        wrong += _members(device, document, twin, "metadata", Capability.TWIN_METADATA, made.metadata)
    if wrong:
        raise PatchRefused(wrong)
    return made


def _members(
    device: Device,
    document: Mapping[str, Any],
    twin: Mapping[str, Any],
    part: str,
    capability: Capability,
    made: dict[str, Any],
) -> list[Wrong]:
    """Fill ``made`` with the members of one part as they will be; what is wrong with any of them."""
    if not capabilities.has(device, capability):
        return [Wrong(pointer(part), str(NotAllowedForType(capability)))]
    members = document[part]
    if members is None:  # The whole part is to go.
        members = dict.fromkeys(twin[part])
    if not isinstance(members, Mapping):
        return [Wrong(pointer(part), _("An object is wanted, or null to remove all of it."))]
    controls = {one.name: one for one in desired_reading.controls(device.type)} if part == "desired" else {}
    wrong = []
    for name, value in members.items():
        there = twin[part].get(name)
        try:
            if value is None:
                if there is not None:
                    made[name] = None
            elif part == "metadata":
                made[name] = _text(name, value)
            else:
                made[name] = _value(name, merge(there and there.get("v"), value), controls.get(name))
        except (ControlError, TwinRefused) as error:
            wrong.append(Wrong(pointer(part, name), str(error)))
    return wrong


def _value(name: str, value: Any, control: Control | None) -> Any:
    """Raises TwinRefused, ControlError."""
    content.check_values({name: value})
    return control.clean(value) if control else value


def _no_part(name: str) -> str:
    if name in READ_ONLY:
        return _("This part is read-only.")
    return _("There is no such part: “desired” and “metadata” can be changed.")


def _text(key: str, value: Any) -> str:
    """The text of a property. Raises TwinRefused."""
    if not isinstance(value, str):
        raise TwinRefused(_("A property is a text."), "value")
    content.check_texts({key: value})
    return value


def _apply(device: Device, wanted: Changes, actor: User, now: datetime) -> None:
    """Raises PatchRefused where a part would hold too much; the caller's transaction undoes the rest."""
    part = "desired"
    try:
        if wanted.desired:
            loop.request_many(device=device, values=wanted.desired, actor=actor, now=now)
        part = "metadata"
        if wanted.metadata:
            services.set_metadata([device.pk], wanted.metadata, actor=actor, now=now)
    except TwinFull as error:
        raise PatchRefused([Wrong(pointer(part), str(error))]) from error
