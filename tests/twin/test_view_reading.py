"""How reported values are read: numbers, units, groups, spans of time (W2, W5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import translation

from common import written
from twin import reading


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (21.499999999, "21.5"),
        (21.399999618530273, "21.4"),  # 21.4 as a 32-bit float
        (0.1 + 0.2, "0.3"),
        (-0.00012, "-0.00012"),
        (1013.25, "1013.25"),
        (4200.0, "4200"),
        (1200000, "1200000"),
        (12345678901, "12345678901"),
        (1765739955.219, "1765739955.219"),
        (0.0, "0"),
        (1.5e-9, "1.500e-09"),
        (2.5e20, "2.500000e+20"),
        (float("inf"), "inf"),
    ],
)
def test_number_is_free_of_noise(value: float, text: str) -> None:
    assert written.number(value) == text


def test_number_follows_the_language_and_coordinates_do_not() -> None:
    with translation.override("nl"):
        assert written.number(21.5) == "21,5"
        assert written.text_of(51.92244999, "lat") == "51.92245"
    assert written.text_of(-4.0, "lon") == "-4"


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("Cel", "°C"), ("%RH", "%"), ("lx", "lx"), ("V", "V"), ("m/s2", "m/s²"), ("m3", "m³"), ("Ohm", "Ω"),
        ("ppm", "ppm"),
        ("enum", ""), ("/", ""), ("//", ""), ("string", ""), (None, ""),
    ],
)  # fmt: skip
def test_unit_has_its_symbol_and_trivial_ones_are_hidden(unit: str | None, shown: str) -> None:
    assert reading.reading("n", {"v": 1, "u": unit, "t": 0}).unit == shown


@pytest.mark.parametrize(
    "name",
    [
        "firmware", "FirmwareCRC", "firmwareVersion", "fw_version", "battery", "batteryLevel", "BatteryVoltage", "VBat",
        "BatteryLevelLow_beacon", "mode", "AlarmMode", "SettingsCRC", "Interval", "sendInterval", "resetCount",
        "uptime", "deviceStatus", "batteryvoltage",
    ],
)  # fmt: skip
def test_names_of_the_group_device(name: str) -> None:
    assert reading.tells_of_device(name)


@pytest.mark.parametrize(
    "name", ["temperature", "CO2Concentration", "Modal3", "latitude", "presetValue", "Speed",
             "acrobat", "moderate", "payload", "Io31", "crcumference", ""],
)  # fmt: skip
def test_names_of_the_group_other(name: str) -> None:
    assert not reading.tells_of_device(name)


def test_readings_stand_by_name_in_their_group() -> None:
    found = reading.reported({name: {"v": 1, "t": 0} for name in ("zone", "mode", "Area", "battery")})
    assert [one.label for one in found.device] == ["Battery", "Mode"]
    assert [one.label for one in found.other] == ["Area", "Zone"]
    assert len(found) == 4 and reading.count_of(found) == "4 values"


def test_booleans_are_words_and_bytes_are_hexadecimal() -> None:
    assert reading.reading("a", {"v": True, "t": 0}).text == "true"
    assert reading.reading("a", {"v": False, "t": 0}).text == "false"
    octets = reading.reading("a", {"v": "3q2+7w==", "b": True, "t": 0})
    assert (octets.text, octets.code) == ("DE AD BE EF", True)
    assert reading.reading("a", {"v": "not base64!", "b": True}).text == "not base64!"


@pytest.mark.parametrize("when", [None, "soon", 1e300, float("nan")])
def test_moment_of_an_impossible_shape_is_none(when: Any) -> None:
    assert reading.reading("a", {"v": 1, "t": when}).at is None


def test_long_text_is_marked() -> None:
    assert reading.reading("a", {"v": "x" * 121}).long
    assert not reading.reading("a", {"v": "x" * 120}).long


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=0.4), "less than a second"),
        (timedelta(seconds=45), "45 s"),
        (timedelta(minutes=10, seconds=2), "10 min 2 s"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=1, seconds=5), "1 h"),
        (timedelta(days=2, hours=3, minutes=4), "2 d 3 h"),
        (timedelta(seconds=59.6), "1 min"),
    ],
)
def test_duration_has_its_two_largest_units(span: timedelta, text: str) -> None:
    assert reading.duration(span) == text


def test_send_interval_needs_two_messages() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert reading.send_interval(now, None) == ""
    assert reading.send_interval(None, None) == ""
    assert reading.send_interval(now, now - timedelta(minutes=15)) == "15 min"
