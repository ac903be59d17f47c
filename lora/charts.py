"""The charts of a LoRa device (L8): what each shows, over which range, its table, and what it says in words.

Fair use of the network: a message in 5 minutes on average (the operator's LoRa documentation, "fair use policy"). Duty
cycle: a device of the EU868 band may send 1 % of the time (EN 300 220-2; ERC 70-03 annex 1, bands L and M). Up to 5 %
of the messages lost is usual on LoRa (the operator's LoRa documentation, "troubleshooting").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_stubs_ext import StrOrPromise

from common import plot
from common.plot import Plot, Point, Scale

from . import chart_parts as parts
from .buckets import Bucket, Range3
from .chart_parts import Found, Table
from .chart_ranges import DAY, HOUR

MICROSECOND: Final = 1e-6
FAIR_INTERVAL: Final = 300.0
DUTY_CYCLE: Final = 0.01
USUAL_LOSS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Chart:
    """``slug``: its word in the address; ``make``: the drawing's parts of what was found."""

    slug: str
    label: StrOrPromise
    unit: str
    table: Callable[[Found], Table]
    draw: Callable[[Found], Plot]
    says: Callable[[Found], str]


def _signal(name: str, unit: str) -> Chart:
    """A chart of the lowest, average and highest of a measured signal."""
    slug = name.lower()

    def held(found: Found) -> list[tuple[Bucket, Range3]]:
        return [(bucket, one) for bucket in found.spans if (one := getattr(bucket, slug)) is not None]

    def table(found: Found) -> Table:
        rows = [
            (bucket.at, round(one.low, 1), round(one.average, 1), round(one.high, 1)) for bucket, one in held(found)
        ]
        return Table([_("From"), _("Lowest"), _("Average"), _("Highest")], rows)

    def draw(found: Found) -> Plot:
        values = held(found)
        low = min((one.low for _bucket, one in values), default=0.0)
        high = max((one.high for _bucket, one in values), default=1.0)
        points = [Point(bucket.at, one.average, one.low, one.high) for bucket, one in values]
        return parts.plot_of(found, "line", parts.scale(low, high, unit), points)

    def says(found: Found) -> str:
        values = held(found)
        if not values:
            return _("None measured.")
        average = sum(one.average * bucket.messages for bucket, one in values) / (
            sum(bucket.messages for bucket, _one in values) or 1
        )
        return _("Lowest %(low)s, average %(average)s, highest %(high)s.") % {
            "low": parts.number(min(one.low for _bucket, one in values), unit),
            "average": parts.number(average if any(b.messages for b, _o in values) else values[0][1].average, unit),
            "high": parts.number(max(one.high for _bucket, one in values), unit),
        }

    return Chart(slug, name, unit, table, draw, says)


def _factors_table(found: Found) -> Table:
    rows = [
        (bucket.at, bucket.usual_factor, min(bucket.factors), max(bucket.factors))
        for bucket in found.spans
        if bucket.factors
    ]
    return Table([_("From"), _("Most messages"), _("Lowest"), _("Highest")], rows)


def _factors_draw(found: Found) -> Plot:
    points = [
        Point(bucket.at, float(factor), min(bucket.factors), max(bucket.factors))
        for bucket in found.spans
        if (factor := bucket.usual_factor) is not None
    ]
    return parts.plot_of(found, "steps", Scale(6.5, 12.5, [(factor, f"SF{factor}") for factor in range(7, 13)]), points)


def _factors_says(found: Found) -> str:
    total: dict[int, int] = {}
    for bucket in found.spans:
        for factor, count in bucket.factors.items():
            total[factor] = total.get(factor, 0) + count
    everything = sum(total.values())
    if not everything:
        return _("None known.")
    shares = (f"SF{factor} {parts.number(100 * count / everything, '%')}" for factor, count in sorted(total.items()))
    return _("Of the messages: %(shares)s.") % {"shares": ", ".join(shares)}


def _loss(bucket: Bucket) -> float | None:
    sent = bucket.messages + bucket.lost
    return 100 * bucket.lost / sent if sent else None


def _loss_table(found: Found) -> Table:
    rows = [
        (bucket.at, bucket.messages, bucket.lost, round(share, 1))
        for bucket in found.spans
        if (share := _loss(bucket)) is not None
    ]
    return Table([_("From"), _("Received"), _("Lost"), _("Lost, %")], rows)


def _loss_draw(found: Found) -> Plot:
    points = [Point(bucket.at, share, share, share) for bucket in found.spans if (share := _loss(bucket)) is not None]
    high = max([*(point.value for point in points), 10.0])
    limits = [(USUAL_LOSS, _("usual up to %(loss)s") % {"loss": parts.number(USUAL_LOSS, "%")})]
    return parts.plot_of(found, "bars", parts.scale(0.0, high, "%"), points, limits)


def _loss_says(found: Found) -> str:
    lost = sum(bucket.lost for bucket in found.spans)
    sent = found.messages + lost
    if not sent:
        return _("No messages.")
    return _("%(lost)s of %(sent)s messages lost (%(share)s).") % {
        "lost": parts.number(lost),
        "sent": parts.number(sent),
        "share": parts.number(100 * lost / sent, "%"),
    }


def _intervals(found: Found) -> list[tuple[Bucket, Range3]]:
    return [(bucket, bucket.interval) for bucket in found.spans if bucket.interval is not None]


def _interval_table(found: Found) -> Table:
    rows = [
        (bucket.at, round(one.low, 1), round(one.average, 1), round(one.high, 1)) for bucket, one in _intervals(found)
    ]
    return Table([_("From"), _("Shortest, s"), _("Average, s"), _("Longest, s")], rows)


# Round spans for an axis on which equal steps are equal factors.
ROUND_SECONDS: Final = (0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 31 * 86400)


def _interval_draw(found: Found) -> Plot:
    values = _intervals(found)
    points = [Point(bucket.at, max(one.average, 0.1), max(one.low, 0.1), max(one.high, 0.1)) for bucket, one in values]
    low = min([*(point.low for point in points), FAIR_INTERVAL])
    high = max([*(point.high for point in points), FAIR_INTERVAL])
    bottom = max((value for value in ROUND_SECONDS if value < low), default=0.1)
    top = min((value for value in ROUND_SECONDS if value > high), default=ROUND_SECONDS[-1])
    lines = [(float(value), parts.duration(value)) for value in ROUND_SECONDS if bottom <= value <= top]
    limits = [(FAIR_INTERVAL, _("fair use: %(interval)s on average") % {"interval": parts.duration(FAIR_INTERVAL)})]
    return parts.plot_of(found, "line", Scale(bottom, top, lines, log=True), points, limits)


def _interval_says(found: Found) -> str:
    messages = found.messages
    values = _intervals(found)
    if messages < 2 or not values:
        return _("Fewer than two messages.")
    first, last = found.spans[0].at, found.spans[-1].at + found.asked.step.width
    spread = (min(last, found.asked.until) - max(first, found.asked.since)).total_seconds() / messages
    return _("A message in %(average)s on average; the longest silence was %(longest)s.") % {
        "average": parts.duration(spread),
        "longest": parts.duration(max(one.high for _bucket, one in values)),
    }


def _airtime_table(found: Found) -> Table:
    rows = [(bar.at, bar.sent, round(bar.airtime * MICROSECOND, 6)) for bar in found.bars]
    return Table([_("From"), _("Messages and joins"), _("Airtime, s")], rows)


def _airtime_limits(found: Found) -> tuple[float, float]:
    """Seconds of a bar's span that fair use allows with the device's average message, and the duty cycle."""
    span = _bar_width(found).total_seconds()
    sent, airtime = sum(bar.sent for bar in found.bars), sum(bar.airtime for bar in found.bars)
    fair = span / FAIR_INTERVAL * airtime * MICROSECOND / sent if sent else 0.0
    return fair, span * DUTY_CYCLE


def _bar_width(found: Found) -> timedelta:
    return DAY if found.asked.step.days > 1 else HOUR


def _airtime_draw(found: Found) -> Plot:
    fair, duty = _airtime_limits(found)
    points = [Point(bar.at, value, value, value) for bar in found.bars for value in [bar.airtime * MICROSECOND]]
    high = max([*(point.value for point in points), fair, 0.001])
    limits = (
        [(fair, _("fair use: a message in %(interval)s") % {"interval": parts.duration(FAIR_INTERVAL)})] if fair else []
    )
    if duty < 3 * high:
        limits.append((duty, _("duty cycle: 1 %")))
        high = max(high, duty)
    return parts.plot_of(found, "bars", parts.scale(0.0, high, "s"), points, limits, width=_bar_width(found))


def _airtime_says(found: Found) -> str:
    airtime = sum(bar.airtime for bar in found.bars) * MICROSECOND
    seconds = (found.asked.until - found.asked.since).total_seconds()
    fair, duty = _airtime_limits(found)
    texts = {
        "airtime": parts.number(airtime, "s"),
        "share": f"{100 * airtime / seconds:.2g} %" if airtime else "0 %",
        "fair": parts.number(fair, "s"),
        "duty": parts.number(duty, "s"),
    }
    if found.asked.step.days > 1:
        return (
            _(
                "%(airtime)s in all, %(share)s of the time. "
                "With messages of this length fair use allows %(fair)s a day, "
                "and the duty cycle of 1 %% %(duty)s."
            )
            % texts
        )
    return (
        _(
            "%(airtime)s in all, %(share)s of the time. "
            "With messages of this length fair use allows %(fair)s an hour,"
            " and the duty cycle of 1 %% %(duty)s."
        )
        % texts
    )


CHARTS: Final[Mapping[str, Chart]] = {
    chart.slug: chart
    for chart in (
        _signal("ESP", "dBm"),
        _signal("RSSI", "dBm"),
        _signal("SNR", "dB"),
        Chart("sf", gettext_lazy("Spreading factor"), "", _factors_table, _factors_draw, _factors_says),
        Chart("loss", gettext_lazy("Messages lost"), "%", _loss_table, _loss_draw, _loss_says),
        Chart("interval", gettext_lazy("Time between messages"), "", _interval_table, _interval_draw, _interval_says),
        Chart("airtime", gettext_lazy("Airtime"), "s", _airtime_table, _airtime_draw, _airtime_says),
    )
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as the page shows it; ``table`` where it was asked for."""

    slug: str
    label: str
    unit: str
    says: str
    svg: SafeString
    table: Table | None = None


def drawn(found: Found) -> Iterator[Drawn]:
    for chart in CHARTS.values():
        says = chart.says(found)
        svg = plot.draw(chart.draw(found), f"{chart.label}. {says}")
        table = chart.table(found) if found.asked.table == chart.slug else None
        yield Drawn(chart.slug, str(chart.label), chart.unit, says, svg, table)


def events(found: Found) -> str:
    """Joins and restarts of the range in words; "" where there were none."""
    joins = sum(bucket.joins for bucket in found.spans)
    requests = sum(bucket.requests for bucket in found.spans)
    restarts = sum(bucket.restarts for bucket in found.spans)
    said = []
    if joins or requests:
        asked = ngettext("%d join request", "%d join requests", requests) % requests
        answered = ngettext("%d join", "%d joins", joins) % joins
        said.append(f"{answered}, {asked}")
    if restarts:
        said.append(ngettext("%d restart of the counter", "%d restarts of the counter", restarts) % restarts)
    return "; ".join(said)
