"""The one form of a measured value, between every decoder and everything that consumes values."""

from __future__ import annotations

from typing import NamedTuple

Value = float | bool | str | bytes


class Measurement(NamedTuple):
    """One resolved SenML record (RFC 8428, section 4.6): a name, a value, its unit and its moment.

    ``name`` is the record's name without the device's base name (``temperature``, not
    ``urn:dev:DEVEUI:…:temperature``). ``value`` is a finite float, a bool, a str, or bytes (``vd``).
    ``unit`` is the SenML unit symbol or None. ``time`` is Unix seconds, UTC, absolute.
    """

    name: str
    value: Value
    time: float
    unit: str | None = None
