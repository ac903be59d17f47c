"""Spans of time that a history is reduced to: widths that people read easily, from a midnight of the person's own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

WIDTHS: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
        *(86400, 172800, 432000, 864000),
    )
)


def width_of(span: timedelta, points: int) -> timedelta:
    """The shortest of the widths with which the span has no more points."""
    return next((width for width in WIDTHS if width * points >= span), WIDTHS[-1])


def midnight(moment: datetime) -> datetime:
    """The start of the day in the moment's own zone: spans begin where people expect it, and stay there as the range
    moves on."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
