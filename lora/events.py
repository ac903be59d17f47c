"""The neutral form of what a LoRaWAN network tells: every network server's messages become these.

A fourth network server is one new module that makes these objects; nothing behind it changes.
EUIs are 16 upper-case hex digits. Moments are aware datetimes in UTC. Signal figures: RSSI and ESP in
dBm, SNR in dB, frequency in Hz. Field names follow LoRaWAN 1.0.x (L2 specification, sections 4 and 5).
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """One gateway's reception of an uplink."""

    gateway: str
    rssi: float
    snr: float
    esp: float | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A position that the network computed (TDoA or RSSI); ``radius`` is its uncertainty in metres."""

    latitude: float
    longitude: float
    radius: float
    method: str = ""
    solved_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all have in common: the device and the moment by the network's clock."""

    dev_eui: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioEvent(Event):
    """A frame on air. ``receptions`` is empty for downlinks; best gateway (highest SNR) first."""

    spreading_factor: int | None = None
    bandwidth_khz: int | None = None
    frequency_hz: int | None = None
    channel: str = ""
    mic: str = ""
    dev_addr: str = ""
    receptions: tuple[Reception, ...] = ()
    gateway_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink(RadioEvent):
    """A data frame from the device. ``payload`` is decrypted application data; ``mac`` holds the MAC
    commands in plain bytes, from FOpts or from an FPort 0 payload. ``fcnt`` is the full 32-bit counter. ``class_b``:
    the device says that it listens in ping slots."""

    fcnt: int
    fport: int | None = None
    payload: bytes = b""
    mac: bytes = b""
    confirmed: bool = False
    ack: bool = False
    adr: bool = False
    adr_ack_req: bool = False
    class_b: bool = False
    location: Location | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest(RadioEvent):
    """A join-request that a gateway heard, whether or not the network answers it."""

    app_eui: str = ""
    dev_nonce: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAccept(RadioEvent):
    """A join-accept that the network sent. ``window`` is "RX1", "RX2" or "" where unknown."""

    window: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownlinkSent(RadioEvent):
    """A data frame that a gateway put on air (``delivered``) or could not (``cause``: the network's code).

    ``correlation_id`` names the portal's instruction that it carries; "" for a frame of the network's own
    (MAC commands, a bare ACK)."""

    fcnt: int | None = None
    fport: int | None = None
    payload: bytes = b""
    mac: bytes = b""
    confirmed: bool = False
    ack: bool = False
    adr: bool = False
    fpending: bool = False
    window: str = ""
    gateway: str = ""
    correlation_id: str = ""
    delivered: bool = True
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownlinkAcknowledged(Event):
    """The device acknowledged a confirmed downlink (ACK bit in a later uplink)."""

    correlation_id: str = ""
    fcnt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownlinkFailed(Event):
    """The network gave a downlink up. ``cause`` is its own code, ``reason`` says it in words."""

    correlation_id: str = ""
    cause: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located(Event):
    """A position that arrives by itself; ``fcnt`` names the uplink it was computed from where known."""

    location: Location
    fcnt: int | None = None


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (Uplink, JoinRequest, JoinAccept, DownlinkSent, DownlinkAcknowledged, DownlinkFailed, Located)
}


def to_json(event: Event) -> dict[str, Any]:
    """The event as JSON-ready data, with its kind under ``kind``; :func:`from_json` is the inverse."""

    def plain(value: object) -> object:
        match value:
            case bytes():
                return base64.b16encode(value).decode()
            case datetime():
                return value.isoformat()
            case dict():
                return {key: plain(inner) for key, inner in value.items()}
            case list() | tuple():
                return [plain(inner) for inner in value]
        return value

    return {"kind": type(event).__name__} | {key: plain(value) for key, value in asdict(event).items()}


def from_json(data: dict[str, Any]) -> Event:
    """The event that :func:`to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    kind = KINDS[data["kind"]]
    known = {field.name for field in fields(kind)}
    values: dict[str, Any] = {key: value for key, value in data.items() if key in known}
    values["at"] = datetime.fromisoformat(values["at"])
    for key in ("payload", "mac"):
        if key in values:
            values[key] = bytes.fromhex(values[key])
    if "receptions" in values:
        values["receptions"] = tuple(Reception(**reception) for reception in values["receptions"])
    if values.get("location"):
        location = dict(values["location"])
        if location.get("solved_at"):
            location["solved_at"] = datetime.fromisoformat(location["solved_at"])
        values["location"] = Location(**location)
    return kind(**values)
