"""What a payload says: the values that the codec of the device type, or a built-in decoder, reads in it (L4)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from codec import decoders
from codec.measurements import Measurement
from common.written import text_of, unit_of
from devices import codecs
from devices.models import Device, FlowLink

from .models import Direction, Frame

logger = logging.getLogger(__name__)

# These repeat the payload and the signal, which stand beside it.
REPEATS: Final = frozenset({"raw-lora", "raw-lora-extended", "geolocation"})
BY_CODEC: Final = gettext_lazy("Values by the codec of the device type")


@dataclass(frozen=True, slots=True)
class Value:
    """A value ready to show."""

    name: str
    text: str
    unit: str


@dataclass(frozen=True, slots=True)
class Read:
    """What one reader, named in ``title``, makes of the payload."""

    title: str
    values: list[Value]
    error: str = ""
    warnings: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


def read(device: Device, frame: Frame) -> list[Read]:
    """By the codec of the type as it is now; where it has none or it failed, by the built-in decoders that the device's
    Flows choose, or the type where it is in none. Empty for frames without application data."""
    if not frame.fport or not frame.payload:
        return []
    by_codec = _by_codec(device, frame)
    if frame.direction == Direction.DOWNLINK or (by_codec and not by_codec.error):
        return [by_codec] if by_codec else []
    built_in = [found for slugs in _chosen(device) if (found := _by_decoders(slugs, frame))]
    return [by_codec, *built_in] if by_codec else built_in


def _by_codec(device: Device, frame: Frame) -> Read | None:
    if device.type.codec_id is None or frame.fport is None:
        return None
    codec = codecs.in_use([device.type_id]).get(device.type_id)
    if codec is None:
        return None
    downlink = frame.direction == Direction.DOWNLINK
    told = codecs.read(codec, bytes(frame.payload), frame.fport, frame.received_at, downlink=downlink)
    if downlink and told.kind == "missing":
        return None
    return Read(str(BY_CODEC), _values(told.measurements), told.error, told.warnings, told.logs)


def _chosen(device: Device) -> list[list[str]]:
    """The lists of decoders that are tried, each once, as the way in tries them (ingest.pipeline)."""
    named = FlowLink.objects.filter(device_id=device.pk, flow__enabled=True).values_list("flow__decoder", flat=True)
    lists = [[decoder] if decoder else device.type.decoders for decoder in dict.fromkeys(named)]
    known = [[slug for slug in slugs if slug in decoders.DECODERS] for slugs in lists or [device.type.decoders]]
    return [slugs for slugs in known if slugs]


def _by_decoders(slugs: list[str], frame: Frame) -> Read | None:
    message = decoders.LoraMessage(
        payload=bytes(frame.payload), at=frame.received_at.timestamp(), fport=frame.fport, fcnt=frame.fcnt
    )
    try:
        told = decoders.decode(slugs, message)
    except Exception:
        # A mistake in a decoder must not cost the page.
        logger.exception("device %s: %s cannot read %s", frame.device_id, slugs, message.payload.hex())
        return Read(_title(slugs[0]), [], _("The decoder failed on this payload."))
    if told.decoder in REPEATS:
        return None
    return Read(_title(told.decoder or slugs[0]), _values(told.measurements), told.error or "")


def _title(slug: str) -> str:
    return _("Values by %(decoder)s") % {"decoder": decoders.LABELS[slug]}


def _values(measurements: Iterable[Measurement]) -> list[Value]:
    return [Value(one.name, text_of(one.value, one.unit or ""), unit_of(one.unit or "")) for one in measurements]
