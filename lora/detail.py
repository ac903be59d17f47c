"""What an opened LoRa frame tells: signal, content, MAC commands, what the codec makes of it (L4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from codec.lorawan import mac
from common.written import text_of, unit_of
from devices import codecs
from devices.models import Device

from . import frames
from .history import Row
from .models import Direction, Frame
from .search import Cursor, oldest


@dataclass(frozen=True, slots=True)
class Command:
    """A MAC command explained: its name, what it is about, its bytes (hexadecimal), its fields in words."""

    name: str
    topic: str
    octets: str
    words: str


# What each command is about, by CID (LoRaWAN 1.0.4, section 5); the two directions of one share it.
TOPICS: Final = {
    0x02: gettext_lazy("Whether the network hears the device, and how well"),
    0x03: gettext_lazy("Data rate, transmit power and channels of the device (ADR)"),
    0x04: gettext_lazy("The share of time that the device may send"),
    0x05: gettext_lazy("Where and how fast the device listens for downlinks"),
    0x06: gettext_lazy("Battery and reception at the device"),
    0x07: gettext_lazy("A channel to add, change or switch off"),
    0x08: gettext_lazy("How long after sending the device starts to listen"),
    0x09: gettext_lazy("The most power and the longest message that are allowed"),
    0x0A: gettext_lazy("The downlink frequency of a channel"),
    0x0D: gettext_lazy("The time of day"),
    0x10: gettext_lazy("The ping slots in which a class B device listens"),
    0x11: gettext_lazy("The channel of the ping slots"),
    0x12: gettext_lazy("When the next beacon comes"),
    0x13: gettext_lazy("The frequency of the beacons"),
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value by the codec of the device type, ready to show."""

    name: str
    text: str
    unit: str


@dataclass(frozen=True, slots=True)
class ByCodec:
    """What the codec of the device type, as it is now, makes of the frame's payload."""

    values: list[Value]
    error: str
    warnings: tuple[str, ...]
    logs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detail:
    """An opened frame: what is worked out only then. ``codec`` None: the device type has none in use, or there is
    nothing for it to read."""

    row: Row
    commands: list[Command] = field(default_factory=list)
    receptions: list[Mapping[str, Any]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    codec: ByCodec | None = None


def detail_of(device: Device, cursor: Cursor | None, now: datetime) -> Detail | None:
    """The opened frame; None where there is none at this place, or not any more."""
    frame = frames.one(device.pk, cursor.at, cursor.seq) if cursor and cursor.at >= oldest(now) else None
    if frame is None:
        return None
    row = Row(frame)
    return Detail(
        row=row,
        commands=_explained(frame),
        receptions=frame.detail.get("receptions", []),
        facts=_facts(frame),
        codec=_by_codec(device, frame),
    )


def _by_codec(device: Device, frame: Frame) -> ByCodec | None:
    if device.type.codec_id is None or not frame.fport or not frame.payload:
        return None
    codec = codecs.in_use([device.type_id]).get(device.type_id)
    if codec is None:
        return None
    downlink = frame.direction == Direction.DOWNLINK
    told = codecs.read(codec, bytes(frame.payload), frame.fport, frame.received_at, downlink=downlink)
    if downlink and told.kind == "missing":
        return None
    return ByCodec(
        values=[
            Value(one.name, text_of(one.value, one.unit or ""), unit_of(one.unit or "")) for one in told.measurements
        ],
        error=told.error,
        warnings=told.warnings,
        logs=told.logs,
    )


def _explained(frame: Frame) -> list[Command]:
    """The frame's MAC commands in order; what cannot be read is one entry at the end."""
    return [
        Command(
            name=command.name if command.cid is not None else _("Not readable"),
            topic=str(TOPICS.get(command.cid or 0, "")),
            octets=command.raw.hex(" ").upper(),
            words=mac.describe(command),
        )
        for command in mac.decode(bytes(frame.mac), mac.Direction(frame.direction))
    ]


def _facts(frame: Frame) -> list[tuple[str, str]]:
    """What else the network told of the frame, in the words of :mod:`lora.events`."""
    told = frame.detail
    shown = [
        (_("Receive window"), told.get("window")),
        (_("Sent by gateway"), told.get("gateway")),
        (_("Not sent because"), frame.cause if not frame.delivered else ""),
        ("DevAddr", told.get("dev_addr")),
        ("AppEUI", told.get("app_eui")),
        ("DevNonce", told.get("dev_nonce")),
        ("MIC", told.get("mic")),
    ]
    return [(name, str(value)) for name, value in shown if value not in (None, "")]
