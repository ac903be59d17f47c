"""codec.script_values: the names, values and units that a codec's data makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from codec.script_values import TooMuch, measurements

AT = datetime(2026, 3, 1, tzinfo=UTC)


def values(data: dict[str, Any], units: dict[str, str] | None = None) -> dict[str, tuple[Any, str | None]]:
    found = measurements(data, AT, units or {})
    assert {one.time for one in found} <= {AT.timestamp()}
    return {one.name: (one.value, one.unit) for one in found}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"a": 1, "b": 1.5, "c": True, "d": "x", "e": None}, {"a": 1.0, "b": 1.5, "c": True, "d": "x"}),
        ({"air": {"t": 21.5, "in": {"h": 4}}}, {"air_t": 21.5, "air_in_h": 4.0}),
        ({"probes": [4, None, {"t": 5}, [6]]}, {"probes_0": 4.0, "probes_2_t": 5.0, "probes_3_0": 6.0}),
        (
            {"température": 1, "a b": 2, "_x": 3, "€": 4, "": 5, "PM2.5": 6},
            {"temp_rature": 1, "a_b": 2, "x": 3, "PM2.5": 6},
        ),
        ({"a": {"b": 1}, "a_b": 2}, {"a_b": 1.0}),
        ({"a": float("nan"), "b": float("inf"), "c": {}, "d": []}, {}),
        ({"value": 5, "unit": "m"}, {"value": 5.0, "unit": "m"}),
        ({"a": {"value": 5, "unit": "m", "more": 1}}, {"a_value": 5.0, "a_unit": "m", "a_more": 1.0}),
        ({"a": {"value": {"b": 1}, "unit": "m"}}, {"a_value_b": 1.0, "a_unit": "m"}),
        ({"a": {"value": 5}}, {"a_value": 5.0}),
    ],
)
def test_names_and_values(data: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {name: value for name, (value, _unit) in values(data).items()}
    assert found == expected
    assert [type(value) is bool for value in found.values()] == [type(value) is bool for value in expected.values()]


def test_unit_beside_the_value_comes_before_that_of_the_type() -> None:
    data = {"t": {"value": 21.5, "unit": "Cel"}, "h": 40, "b": {"value": False, "unit": ""}, "x": 1}
    assert values(data, {"t": "K", "h": "%RH", "b": "/"}) == {
        "t": (21.5, "Cel"),
        "h": (40.0, "%RH"),
        "b": (False, "/"),
        "x": (1.0, None),
    }


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({f"v{number}": number for number in range(201)}, "There are more than 200 values."),
        ({"n" * 101: 1}, "A name has 101 characters; at most 100 are accepted."),
        ({"t": "x" * 1001}, "The text “t” has 1001 characters; at most 1000 are accepted."),
    ],
)
def test_too_much_is_refused(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TooMuch) as caught:
        measurements(data, AT, {})
    assert str(caught.value) == sentence


def test_the_most_is_accepted() -> None:
    assert len(values({f"v{number}": number for number in range(200)})) == 200
