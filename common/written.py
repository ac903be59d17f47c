"""How measured values and their units are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from django.utils import formats
from django.utils.translation import gettext as _

# Units that say nothing (W2). "//" is how the device SDK spells the ratio.
TRIVIAL_UNITS: Final = frozenset({"", "enum", "/", "//", "string"})

# SenML units (RFC 8428, section 12.1; RFC 8798) that are written otherwise than people do. All others stay.
SYMBOLS: Final[Mapping[str, str]] = {
    "Cel": "°C",
    "%RH": "%",
    "%EL": "%",
    "EL": "s",
    "lat": "°",
    "lon": "°",
    "deg": "°",
    "Ohm": "Ω",
    "m2": "m²",
    "m3": "m³",
    "m/s2": "m/s²",
    "m3/s": "m³/s",
    "W/m2": "W/m²",
    "cd/m2": "cd/m²",
    "kg/m3": "kg/m³",
    "Bspl": "B SPL",
    "db": "dB",
}
COORDINATES: Final = frozenset({"lat", "lon"})


def unit_of(unit: str) -> str:
    """The unit as people write it; "" where it says nothing."""
    return "" if unit in TRIVIAL_UNITS else SYMBOLS.get(unit, unit)


def text_of(value: object, unit: str = "") -> str:
    match value:
        case bool():
            return _("true") if value else _("false")
        case int() | float():
            return number(value, coordinate=unit in COORDINATES)
        case None:
            return "–"
    return str(value)


def number(value: float, *, coordinate: bool = False) -> str:
    """A number without the noise of binary fractions: seven significant digits (what a 32-bit float holds), whole
    numbers in full, coordinates with six decimals (0.1 m) and a point, so that they can be pasted into a map."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if coordinate:
        return _plain(Decimal(f"{value:.6f}"))
    if isinstance(value, int) or value.is_integer():
        return str(int(value)) if abs(value) < 1e15 else f"{value:.6e}"
    shortened = Decimal(f"{value:.3f}") if abs(value) >= 1e6 else Decimal(f"{value:.7g}")
    if abs(value) < 1e-6:
        return f"{value:.3e}"
    return formats.number_format(_plain(shortened), use_l10n=True)


def _plain(value: Decimal) -> str:
    """Without exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
