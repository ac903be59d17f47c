"""CayenneLPP: channel, type, value, repeated; to measurements with SenML units.

Source: the Cayenne Low Power Payload 1.0 table (IPSO object number minus 3200 is the type) and the types that
the common device libraries added to it. All values are big endian.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from codec.measurements import Measurement

STANDARD_GRAVITY: Final = 9.80665  # m/s2 in one G


class CayenneError(ValueError):
    """The payload is not CayenneLPP; the text says which byte and why."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One number inside a value: ``size`` bytes, times ``numerator / denominator``, gives ``unit``.

    A quotient instead of one factor: 235 / 10 is 23.5, while 235 * 0.1 is 23.500000000000004.
    """

    name: str
    size: int
    denominator: int = 1
    unit: str | None = None
    signed: bool = False
    numerator: float = 1.0
    flag: bool = False


def _axes(name: str, denominator: int, unit: str, numerator: float = 1.0) -> tuple[_Part, ...]:
    return tuple(_Part(f"{name}{axis}", 2, denominator, unit, signed=True, numerator=numerator) for axis in "XYZ")


# Names of the platform's list (ThingsML index) where it has one. Degrees per second have no SenML unit.
TYPES: Final[Mapping[int, tuple[_Part, ...]]] = {
    0: (_Part("digitalInput", 1),),
    1: (_Part("digitalOutput", 1),),
    2: (_Part("analogInput", 2, 100, signed=True),),
    3: (_Part("analogOutput", 2, 100, signed=True),),
    100: (_Part("genericSensor", 4),),
    101: (_Part("illuminance", 2, unit="lx"),),
    102: (_Part("presence", 1),),
    103: (_Part("temperature", 2, 10, "Cel", signed=True),),
    104: (_Part("humidity", 1, 2, "%RH"),),
    113: _axes("acceleration", 1000, "m/s2", STANDARD_GRAVITY),
    115: (_Part("pressure", 2, unit="Pa", numerator=10.0),),
    116: (_Part("voltage", 2, 100, "V"),),
    117: (_Part("current", 2, 1000, "A"),),
    118: (_Part("frequency", 4, unit="Hz"),),
    120: (_Part("percentage", 1, unit="/100"),),
    121: (_Part("altitude", 2, unit="m", signed=True),),
    125: (_Part("concentration", 2, unit="ppm"),),
    128: (_Part("power", 2, unit="W"),),
    130: (_Part("distance", 4, 1000, "m"),),
    131: (_Part("energy", 4, 1000, "kWh"),),
    132: (_Part("direction", 2, unit="deg"),),
    133: (_Part("unixTime", 4, unit="s"),),
    134: _axes("gyroscope", 100, "deg/s"),
    136: (
        _Part("latitude", 3, 10_000, "lat", signed=True),
        _Part("longitude", 3, 10_000, "lon", signed=True),
        _Part("altitude", 3, 100, "m", signed=True),
    ),
    142: (_Part("switch", 1, flag=True),),
}


def decode(payload: bytes, at: float) -> list[Measurement]:
    """The measurements in the order of the payload, all at ``at`` (Unix seconds).

    A name that occurs on one channel stays plain; on several, each is ``name_<channel>``. Raises CayenneError
    for an unknown type, a value that is cut off, the same type twice on one channel, and for no data.
    """
    if not payload:
        raise CayenneError("The payload is empty.")
    found: list[tuple[int, _Part, float | bool]] = []
    channels: defaultdict[str, set[int]] = defaultdict(set)
    position = 0
    while position < len(payload):
        if position + 2 > len(payload):
            raise CayenneError(f"Byte {position + 1}: one byte is left, not a channel and a type.")
        channel, kind = payload[position], payload[position + 1]
        parts = TYPES.get(kind)
        if parts is None:
            raise CayenneError(f"Byte {position + 2}: type {kind} is not known.")
        position += 2
        for part in parts:
            raw = payload[position : position + part.size]
            if len(raw) < part.size:
                raise CayenneError(f"Channel {channel}, {part.name}: the value is cut off.")
            if channel in channels[part.name]:
                raise CayenneError(f"Channel {channel}: {part.name} stands there twice.")
            channels[part.name].add(channel)
            found.append((channel, part, _value(part, raw)))
            position += part.size
    return [
        Measurement(
            name=part.name if len(channels[part.name]) == 1 else f"{part.name}_{channel}",
            value=value,
            unit=part.unit,
            time=at,
        )
        for channel, part, value in found
    ]


def _value(part: _Part, raw: bytes) -> float | bool:
    number = int.from_bytes(raw, "big", signed=part.signed)
    return bool(number) if part.flag else number * part.numerator / part.denominator
