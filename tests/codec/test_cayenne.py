"""CayenneLPP: the vectors of its documentation, channel names, and what must be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import cayenne
from codec.cayenne import CayenneError


def values(payload: str) -> dict[str, object]:
    return {m.name: m.value for m in cayenne.decode(bytes.fromhex(payload), 5.0)}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("03670110 05 6700FF", {"temperature_3": 27.2, "temperature_5": 25.5}),
        ("0167FFD7", {"temperature": -4.1}),
        (
            "067104D2FB2E0000",
            {"accelerationX": 12.1014061, "accelerationY": -12.1014061, "accelerationZ": 0.0},
        ),
        ("018806765FF2960A0003E8", {"latitude": 42.3519, "longitude": -87.9094, "altitude": 10.0}),
        ("0173 2763 0268 50", {"pressure": 100830.0, "humidity": 40.0}),
        (
            "0000 01 0101 00 02 02 FF9C 0303 0064",
            {"digitalInput": 1, "digitalOutput": 0, "analogInput": -1.0, "analogOutput": 1.0},
        ),
        ("0165 FFFF 0266 01", {"illuminance": 65535.0, "presence": 1.0}),
        ("0186 0064 FF9C 0000", {"gyroscopeX": 1.0, "gyroscopeY": -1.0, "gyroscopeZ": 0.0}),
        ("0174 0172 0275 03E8 0378 5A", {"voltage": 3.7, "current": 1.0, "percentage": 90.0}),
        (
            "0179 FFFB 0288 000000 000000 000064",
            {"altitude_1": -5.0, "latitude": 0.0, "longitude": 0.0, "altitude_2": 1.0},
        ),
        ("018E01", {"switch": True}),
    ],
)
def test_decode_values(payload: str, expected: dict[str, object]) -> None:
    assert values(payload) == pytest.approx(expected)


def test_decode_units_and_time() -> None:
    temperature, humidity = cayenne.decode(bytes.fromhex("0167011002684F"), 5.0)
    assert (temperature.unit, temperature.time) == ("Cel", 5.0)
    assert (humidity.unit, humidity.value) == ("%RH", 39.5)


@pytest.mark.parametrize(
    "payload",
    ["", "01", "0167", "016701", "01FF00", "0188067608", "0167011001670110", "0167011005"],
)
def test_decode_refuses(payload: str) -> None:
    with pytest.raises(CayenneError):
        cayenne.decode(bytes.fromhex(payload), 5.0)


@given(st.binary(max_size=60))
def test_decode_any_bytes(payload: bytes) -> None:
    try:
        decoded = cayenne.decode(payload, 5.0)
    except CayenneError:
        return
    assert decoded
    assert len({m.name for m in decoded}) == len(decoded)
