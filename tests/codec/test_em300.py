"""A codec of a public device, written by hand from its manual (tests/codec/em300.js), reads the manual's examples."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codec import script, script_values

SOURCE = (Path(__file__).parent / "em300.js").read_text()
AT = datetime(2026, 3, 1, tzinfo=UTC)
UNITS = {"battery": "%EL", "temperature": "Cel", "humidity": "%RH", "pulses": "count"}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        # The example of the leak sensors, and that of the pulse counter.
        (
            "01 75 64 03 67 10 01 04 68 71 05 00 01",
            {"battery": 100, "temperature": 27.2, "humidity": 56.5, "leak": True},
        ),
        (
            "01 75 64 03 67 1e 01 04 68 5e 05 c8 06 00 00 00",
            {"battery": 100, "temperature": 28.6, "humidity": 47, "pulses": 6},
        ),
        # What it tells when it joins.
        ("ff 09 01 00 ff 0a 01 02 ff 0f 00", {"version": {"hardware": "1.0", "software": "1.2"}, "lorawan_class": "A"}),
        ("ff 16 67 85 c3 82 26 02 00 03", {"serial": "6785c38226020003"}),
        # Below zero, by the manual's INT16.
        ("03 67 f6 ff 04 68 c8", {"temperature": -1, "humidity": 100}),
    ],
)
def test_examples_of_the_manual(payload: str, expected: dict[str, Any]) -> None:
    told = script.decode_uplink(SOURCE, bytes.fromhex(payload), 85, AT)
    assert (told.data, told.errors, told.warnings) == (expected, (), ())


def test_values_have_the_units_of_the_type() -> None:
    told = script.decode_uplink(SOURCE, bytes.fromhex("017564036710010468710500 01"), 85, AT)
    assert told.data is not None
    found = [(one.name, one.value, one.unit) for one in script_values.measurements(told.data, AT, UNITS)]
    assert found == [
        ("battery", 100.0, "%EL"),
        ("temperature", 27.2, "Cel"),
        ("humidity", 56.5, "%RH"),
        ("leak", True, None),
    ]


def test_what_it_cannot_read_is_told() -> None:
    assert script.decode_uplink(SOURCE, b"\x03\x67\x10", 85, AT).errors == ("The item 03 67 is cut off.",)
    assert script.decode_uplink(SOURCE, b"\x03\x67", 1, AT).errors == ("FPort 1 is not one of this device (85).",)
    told = script.decode_uplink(SOURCE, bytes.fromhex("0468 5e 20ce 01"), 85, AT)
    assert told.data == {"humidity": 47}
    assert told.warnings == ("The item 20 ce is not known; what follows is not read.",)


def test_reporting_interval_is_encoded_and_read_back() -> None:
    encoded = script.encode_downlink(SOURCE, {"reporting_interval": 1200})
    assert (encoded.payload.hex(), encoded.fport) == ("ff03b004", 85)
    assert script.decode_downlink(SOURCE, encoded.payload, 85).data == {"reporting_interval": 1200}
    assert script.encode_downlink(SOURCE, {"reporting_interval": 5}).errors == (
        "reporting_interval is 60 to 64800 whole seconds.",
    )
