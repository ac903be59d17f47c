"""Why a Flow may not do what its device expects of it (F3), as sentences; from rows that are there already, and what
the codec of the device's type says, which is read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from codec import decoders
from flows.models import Flow
from flows.problems import Troubled, TroubledDevice, of_destinations

from . import codecs
from .models import CodecProblem, ConnectivityKind, Device, FlowLink


def of(flow: Flow, device: Device) -> list[str]:
    problems = []
    if not flow.enabled:
        problems.append(_("This Flow is disabled: it processes no data."))
    # Decoders read LoRa payloads; M2M and Internet devices send SenML, which needs none.
    is_lora = device.type.connectivity == ConnectivityKind.LORA
    if is_lora and flow.decoder == decoders.CODEC and device.type.codec_id is None:
        problems.append(_("The device type has no codec, by which this Flow reads its devices."))
    elif is_lora and flow.decoder not in {"", decoders.CODEC, *device.type.decoders}:
        problems.append(_("The decoding of this Flow does not fit the device type."))
    if is_lora and flow.decoder in {"", decoders.CODEC} and (problem := codecs.problem_of(device)):
        problems.append(codecs.sentence(problem))
    return problems + of_destinations(flow)


# More devices in trouble than this are not counted, and not more than these are named.
MOST_COUNTED: Final = 1000
MOST_NAMED: Final = 20


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
