"""What an opened LoRa frame tells: signal, content, MAC commands, position, what the codec makes of it (L4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from codec.lorawan import eu868
from devices.models import Device

from . import carried, decoded, frames, mac_words, on_air, places
from .history import Row
from .models import Direction, Frame, FrameKind
from .networks.thingpark import CAUSES
from .search import Cursor, oldest

# How the network found the position, by the word that it uses.
METHODS: Final = {
    "TDOA": gettext_lazy("from the differences in arrival time at the gateways (TDoA)"),
    "RSSI": gettext_lazy("from the strength at the gateways (RSSI)"),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """One gateway's reception, best first. ``metres``: from the gateway to the computed position, None where one of
    the two is not known."""

    number: int
    gateway: str
    rssi: float | None
    snr: float | None
    esp: float | None
    metres: float | None = None
    place: places.Place | None = None

    @property
    def distance(self) -> str:
        if self.metres is None:
            return ""
        return f"{self.metres / 1000:.1f} km" if self.metres >= 1000 else f"{self.metres:.0f} m"


@dataclass(frozen=True, slots=True)
class Location:
    """The position that the network computed. ``pictures``: all in one, and nearer where its circle is too small there.
    ``on_map``: what static/src/js/map.js draws, as JSON."""

    latitude: float
    longitude: float
    radius: float | None
    method: str
    solved_at: datetime | None
    pictures: list[places.Picture]
    on_map: str


@dataclass(frozen=True, slots=True)
class Detail:
    """An opened frame: what is worked out only then. ``unlocated``: an uplink that can have a position and has none.
    ``reads``: what the codec and the decoders make of the payload."""

    row: Row
    air: on_air.OnAir | None = None
    commands: list[mac_words.Command] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    location: Location | None = None
    unlocated: bool = False
    instruction: carried.Instruction | None = None
    failure: str = ""
    window: str = ""
    gateway: str = ""
    session: list[tuple[str, str]] = field(default_factory=list)
    reads: list[decoded.Read] = field(default_factory=list)
    raw: str = ""

    @property
    def rate(self) -> str:
        """The data rate: number, modulation, bit/s."""
        return mac_words.rate_text(self.air.rate) if self.air and self.air.rate is not None else ""

    @property
    def text(self) -> str:
        """The payload as ASCII; "" where a byte of it is not printable."""
        payload = bytes(self.row.frame.payload)
        return payload.decode("ascii") if all(0x20 <= octet < 0x7F for octet in payload) else ""

    @property
    def flags(self) -> list[tuple[str, str]]:
        """The flags of the frame header that are set, each with its meaning (LoRaWAN 1.0.x, section 4.3.1)."""
        up = self.row.uplink
        meanings = {
            "ACK": _("The device acknowledges the last downlink.") if up else _("The network acknowledges the uplink."),
            "FPending": _("The network has more for the device, which can fetch it by sending again."),
            "ADR": _("The network may set the data rate.") if up else _("The network sets the data rate."),
            "ADRACKReq": _("The device asks for any downlink, to know that the network still hears it."),
            "ClassB": _("The device listens in ping slots (class B)."),
        }
        set_ = [*self.row.flags, *(["ClassB"] if self.row.frame.detail.get("class_b") else [])]
        return [(flag, meanings[flag]) for flag in set_]

    @property
    def airtime(self) -> str:
        times = [f"{took:.1f} ms" for took in self.air.milliseconds] if self.air else []
        if len(times) < 2:
            return "".join(times)
        # Only a join-accept can have two lengths.
        return _("%(short)s, or %(long)s with a list of channels") % {"short": times[0], "long": times[1]}


def detail_of(device: Device, cursor: Cursor | None, now: datetime) -> Detail | None:
    """The opened frame; None where there is none at this place, or not any more."""
    frame = frames.one(device.pk, cursor.at, cursor.seq) if cursor and cursor.at >= oldest(now) else None
    if frame is None:
        return None
    row = Row(frame)
    position = places.Place(frame.latitude, frame.longitude) if row.located else None  # type: ignore[arg-type]
    heard = _heard(frame, position)
    told = frame.detail
    return Detail(
        row=row,
        air=on_air.of(frame),
        commands=mac_words.explained(bytes(frame.mac), frame.direction),
        heard=heard,
        location=_location(frame, position, heard) if position else None,
        unlocated=row.uplink and row.is_data and position is None,
        instruction=carried.instruction(device, frame.correlation_id),
        failure="" if frame.delivered else _failure(frame.cause),
        window=str(told.get("window", "")),
        gateway=str(told.get("gateway", "")),
        session=_session(frame),
        reads=decoded.read(device, frame),
        raw=json.dumps(raw(frame), indent=2, ensure_ascii=False),
    )


def _heard(frame: Frame, position: places.Place | None) -> list[Heard]:
    return [
        _reception(number, told, position) for number, told in enumerate(frame.detail.get("receptions", []), start=1)
    ]


def _reception(number: int, told: Mapping[str, Any], position: places.Place | None) -> Heard:
    rssi, snr, esp, place = told.get("rssi"), told.get("snr"), told.get("esp"), places.place_of(told)
    if esp is None and rssi is not None and snr is not None:
        esp = eu868.esp(rssi, snr)
    metres = places.distance(position, place) if position and place else None
    return Heard(number, str(told.get("gateway", "")), rssi, snr, esp, metres, place)


def _location(frame: Frame, position: places.Place, heard: list[Heard]) -> Location:
    gateways = [
        places.Gateway(one.number, one.gateway, one.place, one.metres)
        for one in heard
        if one.place is not None and one.metres is not None
    ]
    method = str(frame.detail.get("location_method", ""))
    # A network that does not tell the radius says 0: no circle, rather than a point of certainty.
    radius = frame.radius or None
    on_map = {
        "position": [position.latitude, position.longitude],
        "radius": radius,
        "gateways": [
            {"number": one.number, "name": one.name, "at": [one.place.latitude, one.place.longitude]}
            for one in gateways
        ],
    }
    return Location(
        latitude=position.latitude,
        longitude=position.longitude,
        radius=radius,
        method=str(METHODS.get(method, method)),
        solved_at=_moment(frame.detail.get("location_solved")),
        pictures=places.pictures(position, radius, gateways),
        on_map=json.dumps(on_map),
    )


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) and text else None
    except ValueError:
        return None


def _failure(cause: str) -> str:
    """Why a frame was not sent: the network's code in words, else as the network wrote it."""
    if not cause:
        return _("The network does not say why.")
    words = CAUSES.get(cause.upper())
    return f"{_(words)} ({cause})" if words else cause


def _session(frame: Frame) -> list[tuple[str, str]]:
    """What joins and frames say of the session, in the order of LoRaWAN 1.0.x, sections 4 and 6.2."""
    told = frame.detail
    shown = [
        ("JoinEUI (AppEUI)", told.get("app_eui")),
        ("DevNonce", told.get("dev_nonce")),
        ("DevAddr", told.get("dev_addr")),
        ("MIC", str(told.get("mic", "")).upper()),
    ]
    return [(name, str(value)) for name, value in shown if value not in (None, "")]


def raw(frame: Frame) -> dict[str, Any]:
    """The frame as it is kept: bytes in hexadecimal, the moment in ISO 8601, the network's own words as they came."""
    return {
        "received_at": frame.received_at.isoformat(timespec="microseconds"),
        "seq": frame.seq,
        "direction": Direction(frame.direction).name.lower(),
        "kind": FrameKind(frame.kind).name.lower(),
        **{
            name: getattr(frame, name)
            for name in (
                "fcnt", "fport", "confirmed", "ack", "adr", "adr_ack_req", "fpending", "spreading_factor",
                "frequency_hz", "channel", "gateway_count", "rssi", "snr", "esp", "latitude", "longitude", "radius",
                "delivered", "cause",
            )
        },
        "correlation_id": str(frame.correlation_id) if frame.correlation_id else None,
        "payload": bytes(frame.payload).hex().upper(),
        "mac": bytes(frame.mac).hex().upper(),
        "detail": frame.detail,
    }  # fmt: skip
