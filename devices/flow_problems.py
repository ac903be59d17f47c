"""Why a Flow may not do what its device expects of it (F3), and which devices of a Flow its codec has trouble with;
from rows that are there already, and what the codec of the device's type says, which is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _
from django_scopes import get_scope

from codec import decoders
from common.standing import Standing
from flows import problems
from flows.models import Flow
from flows.problems import OF_DESTINATIONS, Problem

from . import codecs
from .models import CodecProblem, ConnectivityKind, Device, FlowLink

# Where a device that has been read keeps them: its cards and its tabs ask for the same.
HELD: Final = "flows_told"


_linked = Standing(
    lambda device, projects: Flow.objects.filter(device_links__device_id=device, project_id__in=projects).order_by(
        "name", "pk"
    )
)


def of_device(device: Device) -> list[Flow]:
    """The Flows of the device in the person's Projects with what :func:`of` needs, read once for each device object:
    two queries."""
    if HELD not in vars(device):
        setattr(device, HELD, problems.told(_linked(device=device.pk, projects=get_scope()["project"])))
    held: list[Flow] = getattr(device, HELD)
    return held


def of(flow: Any, device: Device) -> list[Problem]:
    """Of a Flow of :func:`of_device`: its own problems, and what its decoding makes of this device."""
    found = problems.of(flow, only={"disabled"})
    if flow.deletion_asked_at is not None:
        return [Problem("deleted", _("This Flow is being deleted."), _("Link the device to another one."))]
    # Decoders read LoRa payloads; M2M and Internet devices send SenML, which needs none.
    if device.type.connectivity == ConnectivityKind.LORA:
        found += _of_decoding(flow, device)
    return found + problems.of(flow, only=OF_DESTINATIONS)


def _of_decoding(flow: Flow, device: Device) -> list[Problem]:
    found = []
    other = _("Choose another decoding for the Flow, or link the device to another one.")
    if flow.decoder == decoders.CODEC and device.type.codec_id is None:
        text = _("The device type has no codec, by which this Flow reads its devices.")
        found.append(Problem("unfit", text, other))
    elif flow.decoder not in {"", decoders.CODEC, *device.type.decoders}:
        found.append(Problem("unfit", _("The decoding of this Flow does not fit the device type."), other))
    if flow.decoder in {"", decoders.CODEC} and (problem := codecs.problem_of(device)):
        found.append(Problem("codec", codecs.sentence(problem), _("Correct the codec of the device type.")))
    return found


# More devices in trouble than this are not counted, and not more than these are named.
MOST_COUNTED: Final = 1000
MOST_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class TroubledDevice:
    """A device whose messages cannot be read as the Flow wants them. ``error``: not only a warning."""

    device_id: int
    name: str
    text: str
    error: bool


@dataclass(frozen=True, slots=True)
class Troubled:
    """``count`` devices, ``more`` than counted where that is set; the first of those that the person may see."""

    count: int
    more: bool
    devices: list[TroubledDevice]

    @property
    def hidden(self) -> int:
        return self.count - len(self.devices)


def troubled(flow: Flow, projects: Sequence[int]) -> Troubled:
    """The devices of the Flow whose codec could not read their newest message, or warned; errors first. Devices of
    other Projects are counted and not named (P1)."""
    if flow.decoder not in {"", decoders.CODEC}:
        return Troubled(0, False, [])
    linked = FlowLink.objects.filter(flow=flow, device_id=OuterRef("device_id"), device__type__codec__isnull=False)
    found = CodecProblem.objects.filter(Exists(linked))
    count = found.values("device_id")[: MOST_COUNTED + 1].count()
    if not count:
        return Troubled(0, False, [])
    named = list(found.filter(project_id__in=projects).order_by("-error", "device_id")[:MOST_NAMED])
    names = dict(
        Device.objects.filter(pk__in=[one.device_id for one in named], project_id__in=projects).values_list(
            "pk", "name"
        )
    )
    devices = [
        TroubledDevice(one.device_id, names[one.device_id], one.text, one.error)
        for one in named
        if one.device_id in names
    ]
    return Troubled(min(count, MOST_COUNTED), count > MOST_COUNTED, devices)
