"""What the virtual devices measure: plausible over the day, as ThingsML for LoRa (CBOR with measurement index).

Numbers are CBOR decimal fractions (tag 4): exact in tenths and short, where a binary float is neither.
"""

from __future__ import annotations

import math
from random import Random

import cbor2

_NAME, _UNIT, _INDEX, _VALUE, _BOOLEAN = 0, 1, 23, 2, 4
_LATITUDE, _LONGITUDE, _TEMPERATURE, _HUMIDITY, _VELOCITY, _ILLUMINANCE = -22, -21, -24, -23, -8, -4
_CO2, _BATTERY_LEVEL, _BATTERY_VOLTAGE, _READ_SWITCH, _PRESENCE, _COUNTER = 2, 5, 6, 12, 13, 14
_DAY = 86_400.0
_ROUND_SECONDS = 5_400.0
PROFILES = ("climate", "door", "tracker", "parking")

Record = dict[int, object]


def position(profile: str, latitude: float, longitude: float, at: float) -> tuple[float, float]:
    """Where the device is at ``at`` (Unix seconds): a tracker drives rounds of 1.2 km about its place."""
    if profile != "tracker":
        return latitude, longitude
    angle = at % _ROUND_SECONDS / _ROUND_SECONDS * 2 * math.pi
    return latitude + 0.011 * math.sin(angle), longitude + 0.017 * math.cos(angle)


def battery_level(profile: str, count: int) -> int:
    """Percent left after ``count`` messages. Climate sensors hang on the mains in some buildings, these do not."""
    return max(8, 100 - count // (400 if profile == "tracker" else 1500))


def measure(
    profile: str,
    rng: Random,
    *,
    at: float,
    count: int,
    latitude: float,
    longitude: float,
    room: int,
    interval: int | None = None,
) -> bytes:
    """The payload of message number ``count`` at ``at`` (Unix seconds): at most ``room`` bytes.

    Records that do not fit are left out, the last first; b"" where not even one fits. An unknown profile
    measures as "climate" does. ``interval``: the minutes that the device reports as its setting, first of all.
    """
    daylight = math.sin((at / _DAY - 0.32) * 2 * math.pi)  # +1 about 14:00 UTC, -1 about 02:00
    voltage = _decimal(_BATTERY_VOLTAGE, 3.0 + 0.62 * battery_level(profile, count) / 100, 2)
    match profile:
        case "tracker":
            here = position(profile, latitude, longitude, at)
            records = [_decimal(_LATITUDE, here[0], 5), _decimal(_LONGITUDE, here[1], 5)]
            records.append(_decimal(_VELOCITY, max(0.0, rng.gauss(1.7, 0.5)), 1))
            records.append({_INDEX: _BATTERY_LEVEL, _VALUE: battery_level(profile, count)})
        case "door":
            # Each message is a door that opened or closed.
            records = [{_INDEX: _READ_SWITCH, _BOOLEAN: count % 2 == 1}]
            records += [{_INDEX: _COUNTER, _VALUE: (count + 1) // 2}, voltage]
        case "parking":
            records = [{_INDEX: _PRESENCE, _BOOLEAN: rng.random() < 0.5 + 0.4 * daylight}, voltage]
        case _:
            records = [
                _decimal(_TEMPERATURE, 20.5 + 2.5 * daylight + rng.gauss(0, 0.15), 1),
                _decimal(_HUMIDITY, 52 - 7 * daylight + rng.gauss(0, 0.6), 1),
                voltage,
            ]
            if count % 4 == 1:
                light = max(0, round(650 * daylight + rng.gauss(0, 25)))
                records += [{_INDEX: _ILLUMINANCE, _VALUE: light}]
                records += [{_INDEX: _CO2, _VALUE: round(560 + 160 * daylight + rng.gauss(0, 20))}]
    if interval is not None:
        records.insert(0, {_NAME: "interval", _UNIT: "min", _VALUE: interval})
    while records:
        payload = cbor2.dumps(records)
        if len(payload) <= room:
            return payload
        records.pop()
    return b""


def _decimal(index: int, value: float, digits: int) -> Record:
    return {_INDEX: index, _VALUE: cbor2.CBORTag(4, [-digits, round(value * 10**digits)])}
