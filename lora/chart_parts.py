"""What the charts of a LoRa device have in common (L8): what was read, tables, axes, marks, and numbers in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from statistics import median

from django.utils import formats
from django.utils.translation import gettext as _

from common import plot
from common.plot import Mark, Plot, Point, Scale
from common.spans import midnight

from .buckets import Bucket, read
from .chart_ranges import DAY, HOUR, Asked


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour of a day, or a day: frames ``sent`` and their ``airtime`` in microseconds."""

    at: datetime
    sent: int
    airtime: int


@dataclass(frozen=True)
class Found:
    """What was read, oldest first; worked out once for all charts."""

    asked: Asked
    spans: Sequence[Bucket]

    @cached_property
    def messages(self) -> int:
        return sum(bucket.messages for bucket in self.spans)

    @cached_property
    def bars(self) -> list[Bar]:
        """Hours of a day, else days of the person's calendar, in which something was sent."""
        zone, hours = self.asked.since.tzinfo, self.asked.step.days == 1
        midnights: dict[datetime, list[Bucket]] = {}
        for bucket in self.spans:
            begin = midnight(bucket.at.astimezone(zone)).astimezone(UTC)
            at = begin + (bucket.at - begin) // HOUR * HOUR if hours else begin
            midnights.setdefault(at, []).append(bucket)
        return [
            Bar(at, sum(one.sent for one in held), sum(one.airtime for one in held)) for at, held in midnights.items()
        ]

    @cached_property
    def gap(self) -> timedelta:
        """Silence from which on a line is interrupted: more than two spans, and more than is usual here."""
        between = [
            (after.at - before.at).total_seconds()
            for before, after in pairwise(self.spans)
            if after.messages and before.messages
        ]
        usual = timedelta(seconds=median(between)) if between else timedelta(0)
        return max(1.5 * self.asked.step.width, 2.5 * usual)

    @cached_property
    def ticks(self) -> list[tuple[datetime, str]]:
        return list(_ticks(self.asked))

    @cached_property
    def marks(self) -> list[Mark]:
        return list(_marks(self))


def of(device_id: int, asked: Asked) -> Found:
    """One query over the device's frames of the range."""
    return Found(asked, read(device_id, asked.starts(), asked.until))


@dataclass(frozen=True, slots=True)
class Table:
    """The figures that a chart draws: the first head is of the moment at which each row begins; None: unknown."""

    heads: Sequence[str]
    rows: Sequence[tuple[datetime, *tuple[float | int | None, ...]]]


def plot_of(
    found: Found,
    kind: str,
    scale: Scale,
    points: Sequence[Point],
    limits: Sequence[tuple[float, str]] = (),
    *,
    width: timedelta | None = None,
) -> Plot:
    asked = found.asked
    return Plot(
        kind=kind,
        since=asked.since.astimezone(UTC),
        until=asked.until_drawn.astimezone(UTC),
        scale=scale,
        points=points,
        width=width or asked.step.width,
        gap=found.gap,
        ticks=found.ticks,
        limits=limits,
        marks=found.marks,
    )


def _marks(found: Found) -> Iterator[Mark]:
    """Joins and restarts, one for each span that has some."""
    zone = found.asked.since.tzinfo
    for bucket in found.spans:
        if not (bucket.joins or bucket.requests or bucket.restarts):
            continue
        at = {"at": formats.date_format(bucket.at.astimezone(zone), "j M H:i")}
        if bucket.joins:
            yield Mark(bucket.at, "ok", _("%(at)s: joined") % at)
        elif bucket.requests:
            yield Mark(bucket.at, "warn", _("%(at)s: join request not answered") % at)
        if bucket.restarts:
            yield Mark(bucket.at, "bad", _("%(at)s: the counter started again without a join") % at)


def _ticks(asked: Asked) -> Iterator[tuple[datetime, str]]:
    """Moments below the drawing: round hours of a day, else midnights; by the calendar, which has days of 23 hours."""
    at, step = midnight(asked.since), asked.step.tick
    while at < asked.until_drawn:
        if at > asked.since:
            yield at.astimezone(UTC), formats.date_format(at, "H:i" if step < DAY else "D j" if step == DAY else "j M")
        # Of one zone: wall time, as a clock shows it.
        at += step


def scale(low: float, high: float, unit: str) -> Scale:
    steps = plot.steps_of(low, high)
    return Scale(steps[0], steps[-1], [(value, number(value, unit)) for value in steps])


def number(value: float, unit: str = "") -> str:
    """With one decimal where it matters."""
    decimals = 0 if float(value).is_integer() or abs(value) >= 1000 else 1 if abs(value) >= 0.1 else 3
    return f"{formats.number_format(round(value, decimals), decimals)} {unit}".rstrip()


def duration(seconds: float) -> str:
    for size, text in ((86400, _("%s d")), (3600, _("%s h")), (60, _("%s min"))):
        if seconds >= size:
            return text % number(round(seconds / size, 1))
    return _("%s s") % number(round(seconds, 1))
