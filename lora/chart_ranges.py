"""Over which days a LoRa device's charts are drawn (L8): a day, a week or a month of the person's calendar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from urllib.parse import urlencode

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_stubs_ext import StrOrPromise

from common.spans import midnight

from .search import oldest

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Step:
    """A range: its label, its days, the width of a span, the hours between the moments below the drawing."""

    label: StrOrPromise
    days: int
    width: timedelta
    tick: timedelta


# Word in the address → range. Spans divide a day, and are at most 186 in a range.
RANGES: Final[Mapping[str, Step]] = {
    "day": Step(gettext_lazy("Day"), 1, timedelta(minutes=10), timedelta(hours=4)),
    "week": Step(gettext_lazy("Week"), 7, timedelta(hours=1), DAY),
    "month": Step(gettext_lazy("Month"), 31, timedelta(hours=4), 5 * DAY),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for, in whole days of the person's zone: a word of RANGES, and its last day (None: up to
    now). ``table``: the chart whose figures are shown too."""

    range: str
    last: date | None
    since: datetime
    until: datetime
    table: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str], now: datetime) -> Asked:
        word = query.get("range", "")
        word = word if word in RANGES else "day"
        zone = timezone.get_current_timezone()
        today = now.astimezone(zone).date()
        try:
            last = date.fromisoformat(query.get("end", ""))
        except ValueError:
            last = today
        last = min(max(last, oldest(now).astimezone(zone).date()), today)
        first = datetime.combine(last - (RANGES[word].days - 1) * DAY, time(), zone)
        following = datetime.combine(last + DAY, time(), zone)
        table = query.get("table", "")
        since = max(first.astimezone(UTC), oldest(now)).astimezone(zone)
        return cls(word, last if last < today else None, since, min(following, now), table)

    @property
    def live(self) -> bool:
        return self.last is None

    @property
    def step(self) -> Step:
        return RANGES[self.range]

    @property
    def until_drawn(self) -> datetime:
        """The end of the drawing: of the whole last day."""
        return midnight(self.until.astimezone(self.since.tzinfo) - timedelta(microseconds=1)) + DAY

    def starts(self) -> list[datetime]:
        """Where the spans begin, in UTC: none goes over a midnight, also on days of 23 and 25 hours."""
        found, day = [], midnight(self.since)
        while day < self.until:
            following = day + DAY
            at, end = day.astimezone(UTC), following.astimezone(UTC)
            while at < min(end, self.until):
                if at + self.step.width > self.since:
                    found.append(max(at, self.since.astimezone(UTC)))
                at += self.step.width
            day = following
        return found

    def query(self, **changes: str) -> str:
        values = {"range": self.range, "end": self.last.isoformat() if self.last else ""} | changes
        return f"?{urlencode({key: value for key, value in values.items() if value})}"

    def moved(self, times: int, now: datetime) -> str:
        """The query of the range before (-1) or after (1) this one; "" where nothing is kept, or it lies ahead."""
        zone = timezone.get_current_timezone()
        today, first_kept = now.astimezone(zone).date(), oldest(now).astimezone(zone).date()
        last = self.last or today
        moved = last + times * self.step.days * DAY
        if times < 0:
            return self.query(end=moved.isoformat()) if last - (self.step.days - 1) * DAY > first_kept else ""
        if last >= today:
            return ""
        return self.query(end="" if moved >= today else moved.isoformat())


def range_links(asked: Asked) -> list[tuple[str, str, bool]]:
    """The ranges as links: label, query, whether it is the present one."""
    return [(str(step.label), asked.query(range=word), asked.range == word) for word, step in RANGES.items()]


def span_text(asked: Asked) -> str:
    """The days of the range, in words."""
    first = asked.since.date()
    last = asked.last or asked.until.astimezone(asked.since.tzinfo).date()
    begin, end = formats.date_format(first, "j M Y"), formats.date_format(last, "j M Y")
    return begin if first == last else _("%(first)s to %(last)s") % {"first": begin, "last": end}
