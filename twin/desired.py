"""How desired values are read by people: of each control the last requested value and its way to the device (W3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_stubs_ext import StrOrPromise

from common import written
from devices.controls import Control, ControlError, Kind, Scalar, controls_of, text_of
from devices.models import DeviceType

from .models import UNDER_WAY, DesiredValue, Sync

# What ended the way, in words of its moment.
ENDED: Final[Mapping[str, StrOrPromise]] = {
    Sync.IN_SYNC.value: gettext_lazy("In sync"),
    Sync.DIFFERS.value: gettext_lazy("Differs"),
    Sync.FAILED.value: gettext_lazy("Failed"),
}
AGAIN: Final = frozenset({Sync.FAILED.value, Sync.DIFFERS.value})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One desired value. ``control`` None: it was set by a program, nothing sends it. ``text`` "": none is set.
    ``seen``: the number of this request, 0 where there is none. ``steps``: what happened and when. ``instruction``: its
    number; ``before``: the page of instructions that begins with it. ``reported``: what the device says, where it
    differs."""

    name: str
    label: str
    control: Control | None
    text: str = ""
    unit: str = ""
    at: datetime | None = None
    seen: int = 0
    state: str = ""
    steps: tuple[tuple[StrOrPromise, datetime], ...] = ()
    tries: int = 0
    reason: str = ""
    instruction: int | None = None
    reported: str = ""

    @property
    def underway(self) -> bool:
        return self.state in UNDER_WAY

    @property
    def may_again(self) -> bool:
        return self.control is not None and self.state in AGAIN

    @property
    def before(self) -> int | None:
        return None if self.instruction is None else self.instruction + 1

    @property
    def most_tries(self) -> int:
        return self.control.tries if self.control else 0


def controls(device_type: DeviceType) -> list[Control]:
    """Those of the type; none where its description cannot be read, which is told where it is written."""
    try:
        return controls_of(device_type.controls)
    except ControlError:
        return []


def wanted(
    those: list[Control],
    desired: Mapping[str, Mapping[str, Any]],
    ways: Mapping[str, DesiredValue],
    reported: Mapping[str, Mapping[str, Any]],
) -> list[Wanted]:
    """The controls in their order, each with its value if it has one, then the values that are no control's."""
    rows = [one(control, desired.get(control.name), ways.get(control.name), reported) for control in those]
    known = {control.name for control in those}
    return rows + [_other(name, desired[name]) for name in sorted(desired.keys() - known)]


def one(
    control: Control,
    entry: Mapping[str, Any] | None,
    way: DesiredValue | None,
    reported: Mapping[str, Mapping[str, Any]],
) -> Wanted:
    # A type may have become one with a control of this name after a program had set the value.
    value = way.value if way else entry.get("v") if entry else None
    unit = written.unit_of(control.unit)
    if value is None:
        return Wanted(control.name, control.label, control, unit=unit)
    said = reported.get(control.reported) if control.reported else None
    differs = said is not None and not control.answered_by(value, said.get("v"))
    if way is None:
        return Wanted(control.name, control.label, control, text_of_value(control, value), unit, _moment(entry))
    return Wanted(
        name=control.name,
        label=control.label,
        control=control,
        text=text_of_value(control, value),
        unit=unit,
        at=way.requested_at,
        seen=way.generation,
        state=way.state,
        steps=tuple(_steps(way)),
        tries=way.attempts,
        reason=way.reason,
        instruction=way.downlink,
        reported=text_of_value(control, said.get("v")) if said is not None and differs else "",
    )


def held(control: Control, way: DesiredValue | None) -> Wanted:
    """What another made of the value meanwhile; without text where it was removed."""
    return one(control, None, way, {})


def text_of_value(control: Control, value: Any) -> str:
    """A value as people read it: its choice's name, or a number without noise."""
    if control.kind is Kind.NUMBER and isinstance(value, int | float) and not isinstance(value, bool):
        return written.number(value)
    return control.label_of(value)


def text_to_edit(value: Any) -> str:
    """A value as a field of a form holds it."""
    return text_of(value) if isinstance(value, Scalar) else json.dumps(value)


def _steps(way: DesiredValue) -> list[tuple[StrOrPromise, datetime]]:
    moments = [
        (_("Requested"), way.requested_at),
        (_("In the queue"), way.queued_at),
        (_("On air"), way.on_air_at),
        (_("Acknowledged"), way.acknowledged_at),
        (ENDED.get(way.state, ""), way.finished_at),
    ]
    return [(label, at) for label, at in moments if at is not None and label]


def _other(name: str, entry: Mapping[str, Any]) -> Wanted:
    value = entry.get("v")
    text = written.text_of(value) if isinstance(value, Scalar) else json.dumps(value, ensure_ascii=False)
    return Wanted(name, name, None, text, at=_moment(entry))


def _moment(entry: Mapping[str, Any] | None) -> datetime | None:
    try:
        return datetime.fromtimestamp((entry or {})["t"], UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
