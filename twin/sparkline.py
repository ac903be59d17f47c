"""A sparkline: a small drawing of numbers over time, as SVG without any style of its own (its colours are CSS's)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

WIDTH: Final = 96
HEIGHT: Final = 20
# Room for the width of the line and the dot at its end.
EDGE: Final = 2.5


def draw(numbers: Sequence[tuple[datetime, float]], since: datetime, span: timedelta, label: str) -> SafeString:
    """The numbers (with their moments, oldest first) in [since, since + span]; ``label`` says it in words. Equal
    numbers are a line in the middle."""
    if not numbers:
        return mark_safe("")
    low, high = min(value for _at, value in numbers), max(value for _at, value in numbers)
    places = [(_across((at - since) / span), _down(value, low, high)) for at, value in numbers]
    x, y = places[-1]
    return format_html(
        '<svg class="sparkline" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">'
        '<polyline points="{}"/><circle cx="{}" cy="{}" r="2"/></svg>',
        *(WIDTH, HEIGHT, WIDTH, HEIGHT),
        label,
        " ".join(f"{across:g},{down:g}" for across, down in places),
        f"{x:g}",
        f"{y:g}",
    )


def _across(share: float) -> float:
    return round(EDGE + min(max(share, 0.0), 1.0) * (WIDTH - 2 * EDGE), 1)


def _down(value: float, low: float, high: float) -> float:
    # Halves first: the difference of the largest doubles has no end.
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
    return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 1)
