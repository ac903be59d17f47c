"""A drawing of something over time, as SVG without script or style of its own (its colours are CSS's, so that it
follows the theme). It takes the width that there is and keeps the size of its letters: what is stretched lies in an
inner drawing of 1000 units, and words stand at shares of the width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

ACROSS: Final = 1000
DOWN: Final = 130
# Room above for the word of the highest line, and below for the moments.
ABOVE, BELOW = 14, 22
MOST_LINES: Final = 4
MOST_WORDED: Final = 24


@dataclass(frozen=True, slots=True)
class Scale:
    """From ``low`` to ``high``; ``lines``: values with their words. ``log``: equal steps are equal factors."""

    low: float
    high: float
    lines: Sequence[tuple[float, str]]
    log: bool = False

    def down(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return DOWN * (1 - (at - low) / (high - low))


@dataclass(frozen=True, slots=True)
class Point:
    """``value`` from ``at`` for a ``width`` of time; ``low`` and ``high`` of what it is the middle of."""

    at: datetime
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: a line from top to bottom. ``tone``: as everywhere in the portal."""

    at: datetime
    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """``kind``: "line" (average with the band from lowest to highest), "steps" (holds until the next) or "bars".
    ``gap``: points further apart than this are not joined. ``limits``: values with a word that are drawn across.

    Moments are in a zone without changes of the clock, such as UTC."""

    kind: str
    since: datetime
    until: datetime
    scale: Scale
    points: Sequence[Point]
    width: timedelta
    gap: timedelta
    ticks: Sequence[tuple[datetime, str]] = ()
    limits: Sequence[tuple[float, str]] = ()
    marks: Sequence[Mark] = field(default_factory=tuple)


def steps_of(low: float, high: float) -> list[float]:
    """Round values from ``low`` to ``high``, MOST_LINES steps at most, the first and last around both."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / MOST_LINES
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def draw(plot: Plot, label: str) -> SafeString:
    """The drawing; ``label`` says in words what it shows."""
    parts = [*_grid(plot), *_marks(plot), *(_bars(plot) if plot.kind == "bars" else _lines(plot)), *_limits(plot)]
    height = ABOVE + DOWN + BELOW
    return format_html(
        '<svg class="drawing" width="100%" height="{}" role="img" aria-label="{}">'
        '<svg y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" overflow="visible">'
        "{}</svg>{}</svg>",
        height,
        label,
        ABOVE,
        DOWN,
        ACROSS,
        DOWN,
        mark_safe("".join(parts)),  # noqa: S308
        mark_safe("".join(_words(plot))),  # noqa: S308
    )


def runs(points: Sequence[Point], gap: timedelta) -> list[list[Point]]:
    """The points in pieces without a gap."""
    found: list[list[Point]] = []
    for point in points:
        if not found or point.at - found[-1][-1].at > gap:
            found.append([])
        found[-1].append(point)
    return found


def _share(plot: Plot, at: datetime) -> float:
    return (at - plot.since) / (plot.until - plot.since)


def _x(plot: Plot, at: datetime) -> str:
    return f"{ACROSS * min(max(_share(plot, at), 0.0), 1.0):.1f}"


def _grid(plot: Plot) -> list[str]:
    across = [f"M0 {plot.scale.down(value):.1f}H{ACROSS}" for value, _text in plot.scale.lines]
    down = [f"M{_x(plot, at)} 0V{DOWN}" for at, _text in plot.ticks]
    return [f'<path class="grid" d="{"".join([*across, *down])}"/>']


def _marks(plot: Plot) -> list[str]:
    """Each with its words while they are few; many of them are short, above what is drawn."""
    made = []
    for tone in dict.fromkeys(mark.tone for mark in plot.marks):
        marks = [mark for mark in plot.marks if mark.tone == tone]
        if len(marks) > MOST_WORDED:
            lines = [("".join(f"M{_x(plot, mark.at)} -8V-2" for mark in marks), "")]
        else:
            lines = [(f"M{_x(plot, mark.at)} 0V{DOWN}", f"<title>{escape(mark.text)}</title>") for mark in marks]
        made += [f'<path class="mark" data-tone="{escape(tone)}" d="{line}">{title}</path>' for line, title in lines]
    return made


def _lines(plot: Plot) -> list[str]:
    bands, lines = [], []
    for run in runs(plot.points, plot.gap):
        if plot.kind == "steps":
            lines.append(_stepped(plot, run))
            continue
        # A span is drawn at its middle.
        half = plot.width / 2
        places = [(_x(plot, point.at + half), point) for point in run]
        tops = [f"{x} {plot.scale.down(point.high):.1f}" for x, point in places]
        bottoms = [f"{x} {plot.scale.down(point.low):.1f}" for x, point in reversed(places)]
        bands.append(f"M{'L'.join([*tops, *bottoms])}Z")
        # One point alone is a dot: the line's round end.
        middle = "L".join(f"{x} {plot.scale.down(point.value):.1f}" for x, point in places)
        lines.append(f"M{middle}{'h.01' if len(run) == 1 else ''}")
    band = [f'<path class="band" d="{"".join(bands)}"/>'] if bands else []
    return [*band, f'<path class="line" d="{"".join(lines)}"/>']


def _stepped(plot: Plot, run: Sequence[Point]) -> str:
    path = f"M{_x(plot, run[0].at)} {plot.scale.down(run[0].value):.1f}"
    for before, point in pairwise(run):
        if point.value != before.value:
            path += f"H{_x(plot, point.at)}V{plot.scale.down(point.value):.1f}"
    return f"{path}H{_x(plot, run[-1].at + plot.width)}"


def _bars(plot: Plot) -> list[str]:
    ends = [*(point.at for point in plot.points[1:]), plot.until]
    path = []
    for point, following in zip(plot.points, ends, strict=True):
        left, right = _x(plot, point.at), _x(plot, min(point.at + plot.width, max(following, point.at)))
        if point.value > 0:
            # What is there is seen, however little.
            top = min(plot.scale.down(point.value), DOWN - 1)
            inset = min(2.0, (float(right) - float(left)) / 8)
            path.append(f"M{float(left) + inset:.1f} {DOWN}V{top:.1f}H{float(right) - inset:.1f}V{DOWN}Z")
    return [f'<path class="bar" d="{"".join(path)}"/>']


def _limits(plot: Plot) -> list[str]:
    return [f'<path class="limit" d="M0 {plot.scale.down(value):.1f}H{ACROSS}"/>' for value, _text in plot.limits]


def _words(plot: Plot) -> list[str]:
    """Those of the scale stand left of the drawing, which leaves the room for them (`.drawing`)."""
    said = [
        f'<text x="-6" y="{ABOVE + plot.scale.down(value) + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for value, text in plot.scale.lines
    ]
    said += [
        f'<text class="limit" x="100%" dx="-4" y="{ABOVE + plot.scale.down(value) - 3:.1f}" text-anchor="end">'
        f"{escape(text)}</text>"
        for value, text in plot.limits
    ]
    said += [
        f'<text x="{100 * share:.2f}%" y="{ABOVE + DOWN + 16}" text-anchor="middle">{escape(text)}</text>'
        for at, text in plot.ticks
        if 0.04 < (share := _share(plot, at)) < 0.96
    ]
    return said
