"""What people write in the rows of a device type's form: values in lines, lengths of time, and back (T5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from devices.type_rows import ChoicesField, SpanField, lines_of, scalar, span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90 s", 90), ("30min", 1800), ("6 h", 21600), ("2 D", 172800), ("1 h 30 min", 5400), ("", None)],
)
def test_span_is_read_as_people_write_it(text: str, seconds: int | None) -> None:
    assert SpanField().clean(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5", "h", "-5 s", "5 weeks", "1.5 h"])
def test_span_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        SpanField().clean(text)


@pytest.mark.parametrize("seconds", [1, 60, 90, 3600, 5400, 86400, 93784])
def test_span_is_written_as_it_is_read(seconds: int) -> None:
    assert SpanField().clean(span(seconds)) == seconds
    assert span(timedelta(seconds=seconds)) == span(seconds)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("day", "day"),
        ('"5"', "5"),
        ('"true"', "true"),
        ("5 min", "5 min"),
        ("", ""),
    ],
)
def test_value_is_what_it_looks_like(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_choices_are_written_as_they_are_read() -> None:
    choices = [
        {"value": 1, "label": "One"},
        {"value": "1", "label": "The text", "bytes": "01 02"},
        {"value": True, "label": "Yes"},
        {"value": 2.5, "label": "Half"},
        {"value": "day", "label": "day"},
    ]
    text = lines_of(choices)
    assert text.splitlines()[:2] == ["1; One", '"1"; The text; 01 02']
    assert ChoicesField().clean(text) == choices


def test_line_alone_is_its_own_label_and_empty_lines_are_nothing() -> None:
    assert ChoicesField().clean("5\n\n  \n 6 ;; AA ") == [
        {"value": 5, "label": "5"},
        {"value": 6, "label": "6", "bytes": "AA"},
    ]
