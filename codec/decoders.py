"""The built-in decoders for LoRa payloads, by slug, and the location pack (T6).

Record names are those of the operator's platform (reference, section 3.5), letter for letter: receivers that
know the platform read them by these names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from codec import cayenne, thingsml
from codec.measurements import Measurement, Value

# The choice of the device type's own codec, which is run in ``codec.script`` and is none of DECODERS.
CODEC: Final = "codec"

LABELS: Final[Mapping[str, str]] = {
    CODEC: "Codec of the device type",
    "raw-lora": "Raw LoRa payload",
    "raw-lora-extended": "Raw LoRa payload with radio details",
    "thingsml-lora": "ThingsML for LoRa",
    "cayenne-lpp": "CayenneLPP",
    "geolocation": "LoRa geolocation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraMessage:
    """What a decoder may look at: application data of one uplink and how it was received.

    ``at`` is Unix seconds; ``rssi`` and ``esp`` dBm, ``snr`` dB, of the best gateway. ``fcnt`` and
    ``fcnt_down`` are the counters up and down. None and "" mean unknown, and make no record.
    """

    payload: bytes
    at: float
    fport: int | None = None
    fcnt: int | None = None
    fcnt_down: int | None = None
    rssi: float | None = None
    snr: float | None = None
    esp: float | None = None
    gateway_count: int | None = None
    spreading_factor: int | None = None
    channel: str = ""
    sub_band: str = ""
    adr: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The outcome: what came out and which decoder it was; or no measurements and why."""

    measurements: tuple[Measurement, ...] = ()
    decoder: str = ""
    error: str | None = None


class Position(Protocol):
    """A position that a network computed: degrees (WGS 84), uncertainty in metres, "TDOA" or "RSSI" or ""."""

    @property
    def latitude(self) -> float: ...
    @property
    def longitude(self) -> float: ...
    @property
    def radius(self) -> float: ...
    @property
    def method(self) -> str: ...
    @property
    def solved_at(self) -> datetime | None: ...


def raw_lora(message: LoraMessage) -> list[Measurement]:
    """``payload`` (lower-case hex), ``port`` (0 where the frame had none) and ``timeOrigin``."""
    return _records(
        message.at,
        ("payload", message.payload.hex()),
        ("port", float(message.fport or 0)),
        ("timeOrigin", "NETWORK"),
    )


def raw_lora_extended(message: LoraMessage) -> list[Measurement]:
    """The raw records and how the network received the frame; numbers, but sub-band and channel are text."""

    def number(value: float | None) -> float | None:
        return None if value is None else float(value)

    return raw_lora(message) + _records(
        message.at,
        ("FCntUp", number(message.fcnt)),
        ("FCntDn", number(message.fcnt_down)),
        ("LrrRSSI", number(message.rssi)),
        ("LrrSNR", number(message.snr)),
        ("LrrESP", number(message.esp)),
        ("DevLrrCnt", number(message.gateway_count)),
        ("SpFact", number(message.spreading_factor)),
        ("SubBand", message.sub_band or None),
        ("Channel", message.channel or None),
        ("ADRbit", number(message.adr)),
    )


def geolocation(location: Position, at: float) -> list[Measurement]:
    """The pack of a position that the network computed; ``at``: Unix seconds of the report.

    ``locMethod`` and ``locTime`` (seconds, as newer packs have it) only where known; the deprecated
    ``locAccuracy`` and ``locPrecision`` are left out.
    """
    records = [
        Measurement(name="locOrigin", value="KPNLORA", time=at),
        Measurement(name="latitude", value=float(location.latitude), unit="lat", time=at),
        Measurement(name="longitude", value=float(location.longitude), unit="lon", time=at),
        Measurement(name="radius", value=float(location.radius), unit="m", time=at),
    ]
    if location.method:
        records.append(Measurement(name="locMethod", value=location.method, time=at))
    if location.solved_at is not None:
        records.append(Measurement(name="locTime", value=location.solved_at.timestamp(), unit="s", time=at))
    return records


# Each raises ValueError, with a sentence, for a message that it cannot read.
DECODERS: Final[Mapping[str, Callable[[LoraMessage], list[Measurement]]]] = {
    "raw-lora": raw_lora,
    "raw-lora-extended": raw_lora_extended,
    "thingsml-lora": lambda message: thingsml.decode_lora(message.payload, message.at),
    "cayenne-lpp": lambda message: cayenne.decode(message.payload, message.at),
}


def decode(slugs: Sequence[str], message: LoraMessage) -> Decoded:
    """The outcome of the first of ``slugs`` that can read the message; the raw ones always can.

    Where none can: no measurements, and the first one's reason. Raises KeyError for a slug that is no
    message decoder, which is a mistake of the caller.
    """
    error: str | None = None
    for slug in slugs:
        decoder = DECODERS[slug]
        try:
            return Decoded(measurements=tuple(decoder(message)), decoder=slug)
        except ValueError as reason:
            error = error or f"{LABELS[slug]}: {reason}"
    return Decoded(error=error or "No decoder is chosen.")


def _records(at: float, *pairs: tuple[str, Value | None]) -> list[Measurement]:
    return [Measurement(name=name, value=value, time=at) for name, value in pairs if value is not None]
