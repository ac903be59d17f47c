"""How the history of a value is asked for and read by people: ranges, words, rows, and points for the chart (W8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django_stubs_ext import StrOrPromise

from common.written import COORDINATES, text_of, unit_of

from . import history
from .history import Series, Span
from .models import SampleKind
from .reading import ENUM_UNITS, duration
from .samples import AHEAD, oldest_kept

# Word in the address → how far back it goes (None: all that is kept), and its label.
RANGES: Final[Mapping[str, tuple[timedelta | None, StrOrPromise]]] = {
    "hour": (timedelta(hours=1), gettext_lazy("Hour")),
    "day": (timedelta(days=1), gettext_lazy("Day")),
    "week": (timedelta(days=7), gettext_lazy("Week")),
    "month": (timedelta(days=31), gettext_lazy("Month")),
    "all": (None, pgettext_lazy("range of time", "All")),
}
DEFAULT: Final = "day"
# Points of a chart, as its width asks for them; and lines of the table.
FEWEST, USUAL, MOST = 20, 400, 1000
LINES: Final = 48
# A chart draws one lane for each different value; with more of them nobody tells them apart.
MOST_LANES: Final = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for: a word of RANGES up to now, or a span of the person's own. ``error``: why its
    ``since`` and ``until`` are not what was typed."""

    name: str
    range: str
    since: datetime
    until: datetime
    since_text: str = ""
    until_text: str = ""
    error: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str], now: datetime) -> Asked:
        name, word = query.get("name", ""), query.get("range", "")
        since_text, until_text = query.get("from", "").strip(), query.get("to", "").strip()
        if not since_text and not until_text:
            word = word if word in RANGES else DEFAULT
            return cls(name, word, _first(word, now), now)
        try:
            since = _moment(since_text) or oldest_kept(now)
            until = _moment(until_text) or now
        except (ValueError, OverflowError):
            error = _("This is not a date and time, such as 2026-02-28 14:30.")
        else:
            if since < min(until, now + AHEAD):
                until = min(until, now + AHEAD)
                return cls(name, "", max(since, oldest_kept(now)), until, since_text, until_text)
            error = _("The range ends before it begins.")
        return cls(name, "", _first(DEFAULT, now), now, since_text, until_text, error)

    @property
    def live(self) -> bool:
        """Whether what is reported now belongs to it."""
        return not self.until_text and not self.error

    @property
    def query(self) -> str:
        """The address's query."""
        values = {"name": self.name, "range": self.range, "from": self.since_text, "to": self.until_text}
        return f"?{urlencode({key: value for key, value in values.items() if value})}"

    def with_range(self, word: str) -> str:
        return f"?{urlencode({'name': self.name, 'range': word})}"


def _first(word: str, now: datetime) -> datetime:
    span = RANGES[word][0]
    return oldest_kept(now) if span is None else now - span


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).astimezone(UTC)


def range_links(asked: Asked) -> list[tuple[str, str, bool]]:
    """The ranges as links: label, query, whether it is the present one."""
    return [(str(label), asked.with_range(word), asked.range == word) for word, (_span, label) in RANGES.items()]


@dataclass(frozen=True, slots=True)
class Named:
    """A reported value by name: its label, and its unit as it came and as people read it ("" where it says nothing)."""

    name: str
    unit: str

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any] | None) -> Named:
        """``entry``: that of ``Twin.reported``; the unit of the newest value stands for all."""
        return cls(name, str((entry or {}).get("u") or ""))

    @property
    def label(self) -> str:
        return self.name[:1].upper() + self.name[1:]

    @property
    def symbol(self) -> str:
        return unit_of(self.unit)

    @property
    def enum(self) -> bool:
        return self.unit in ENUM_UNITS

    def text(self, value: float | bool | str) -> str:
        return text_of(value, self.unit)

    def with_unit(self, value: float | bool | str) -> str:
        return f"{self.text(value)} {self.symbol}".rstrip()

    def average(self, spans: Span | Series) -> float:
        """The average with one decimal more than the values that it is of: more would say what nobody measured."""
        if self.unit in COORDINATES or spans.low == spans.high:
            return spans.average
        decimals = max(
            -int(Decimal(f"{value:.7g}").normalize().as_tuple().exponent) for value in (spans.low, spans.high)
        )
        return round(spans.average, max(decimals, 0) + 1)


def read(device_id: int, asked: Asked, named: Named, points: int) -> Series:
    zoned = asked.since.astimezone(timezone.get_current_timezone())
    return history.series(device_id, named.name, zoned, asked.until, points, enum=named.enum)


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure of the range, in words; ``at``: the moment that it is of."""

    label: str
    text: str
    at: datetime | None = None


def facts(found: Series, named: Named) -> list[Fact]:
    """What the range says in a few figures."""
    if found.spans:
        return [
            Fact(_("Lowest"), named.with_unit(found.low)),
            Fact(_("Average"), named.with_unit(named.average(found))),
            Fact(_("Highest"), named.with_unit(found.high)),
            Fact(_("Values"), text_of(found.count), found.last),
        ]
    if not found.changes:
        return []
    value, lasted = max(_lasted(found).items(), key=lambda one: one[1])
    share = round(100 * lasted / ((found.until - found.changes[0].at) / timedelta(seconds=1) or 1))
    changed = found.changes[1:]
    mostly = _("%(value)s, %(share)d %% of the time") % {"value": named.with_unit(value), "share": share}
    return [
        Fact(_("Last"), named.with_unit(found.changes[-1].value), found.changes[-1].at),
        Fact(_("Mostly"), mostly),
        Fact(_("Changes"), text_of(len(changed)) if found.width is None else _("more than %d") % len(changed)),
        Fact(_("Values"), text_of(found.count), found.last),
    ]


def _lasted(found: Series) -> dict[float | bool | str, float]:
    """Seconds that each value was the last reported one."""
    seconds: dict[float | bool | str, float] = {}
    ends = [change.at for change in found.changes[1:]] + [found.until]
    for change, end in zip(found.changes, ends, strict=True):
        seconds[change.value] = seconds.get(change.value, 0.0) + (end - change.at).total_seconds()
    return seconds


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table, newest first. Of a span ``low``, ``value`` (the average), ``high`` and ``count``; of one
    value ``value`` alone; of a state ``value`` and how long it lasted."""

    at: datetime
    value: str
    low: str = ""
    high: str = ""
    count: int = 1
    lasted: str = ""


def lines(found: Series, named: Named) -> list[Line]:
    if found.spans:
        return [
            Line(span.at, named.text(named.average(span)), named.text(span.low), named.text(span.high), span.count)
            for span in reversed(found.spans)
        ]
    ends = [*(change.at for change in found.changes[1:]), found.until] if found.changes else []
    told = [
        Line(change.at, named.text(change.value), lasted=duration(end - change.at))
        for change, end in zip(found.changes, ends, strict=True)
    ]
    return told[: -LINES - 1 : -1]


def resolution(found: Series) -> str:
    """What one point of the series is; "" where it is one value."""
    if found.width is None:
        return ""
    if found.spans:
        return _("Each point is %(span)s: the average, and the band from the lowest to the highest value.") % {
            "span": duration(found.width)
        }
    return _("There are more changes than fit: of each %(span)s the last value is shown.") % {
        "span": duration(found.width)
    }


def points(found: Series, named: Named) -> dict[str, Any]:
    """The series for static/src/js/chart.js: moments in Unix seconds; ``text`` of each point ready to be read."""
    told: dict[str, Any] = {
        "since": found.since.timestamp(),
        "until": found.until.timestamp(),
        "zone": timezone.get_current_timezone_name(),
        "unit": named.symbol,
        "width": found.width.total_seconds() if found.width else 0,
        "resolution": resolution(found),
    }
    if found.changes:
        lanes = list(dict.fromkeys(change.value for change in sorted(found.changes, key=_order)))
        return told | {
            "kind": "lanes" if len(lanes) <= MOST_LANES else "too many",
            "lanes": [named.with_unit(lane) for lane in lanes],
            "at": [change.at.timestamp() for change in found.changes],
            "lane": [lanes.index(change.value) for change in found.changes] if len(lanes) <= MOST_LANES else [],
        }
    half = found.width / 2 if found.width else timedelta(0)
    return told | {
        "kind": "numbers" if found.spans else "nothing",
        # A span is drawn at its middle.
        "at": [(span.at + half).timestamp() for span in found.spans],
        "average": [span.average for span in found.spans],
        "low": [span.low for span in found.spans],
        "high": [span.high for span in found.spans],
        "text": [_said(span, named) for span in found.spans],
    }


def _said(span: Span, named: Named) -> str:
    if span.count == 1:
        return named.with_unit(span.average)
    return _("%(average)s on average, %(low)s to %(high)s") % {
        "average": named.with_unit(named.average(span)),
        "low": named.text(span.low),
        "high": named.with_unit(span.high),
    }


def _order(change: history.Change) -> tuple[int, float, str]:
    """Lanes by value: numbers by size, false below true, texts by alphabet."""
    value = change.value
    if isinstance(value, str):
        return SampleKind.TEXT, 0.0, value
    return (SampleKind.BOOLEAN if isinstance(value, bool) else SampleKind.NUMBER), float(value), ""


def wanted_points(text: str) -> int:
    """As many points as the chart has room for; another number where that cannot be."""
    return min(max(int(text), FEWEST), MOST) if text.isascii() and text.isdigit() and len(text) < 6 else USUAL
