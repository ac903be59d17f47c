"""What is asked of the LoRa data history (L5): the address of a search, its faults in words, its conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_stubs_ext import StrOrPromise

from .models import Direction, FrameKind

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
LAST_SEQ: Final = 2**31 - 1
CURSOR: Final = re.compile(r"([0-9]{1,20})-(-?[0-9]{1,10})")
NUMBER: Final = re.compile(r"[0-9]{1,10}")
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
LAST_FCNT: Final = 2**32 - 1

# Frames that are few have an index of their own (lora/migrations/0005_rare_frames.py).
JOINS: Final = "kind IN (0, 1)"
ERRORS: Final = "(NOT delivered OR detail ? 'unreadable')"

# The kinds to choose from: the word in the address, its label, its condition.
KINDS: Final[Mapping[str, tuple[StrOrPromise, str]]] = {
    "join": (gettext_lazy("Join request or accept"), JOINS),
    "join-request": (FrameKind.JOIN_REQUEST.label, "kind = 0"),
    "join-accept": (FrameKind.JOIN_ACCEPT.label, "kind = 1"),
    "data": (gettext_lazy("Regular message"), "kind = 2"),
    "confirmed": (gettext_lazy("Confirmed"), "kind = 2 AND confirmed"),
    "unconfirmed": (gettext_lazy("Unconfirmed"), "kind = 2 AND NOT confirmed"),
    "ack": (gettext_lazy("Carries an ACK"), "ack"),
}
DIRECTIONS: Final[Mapping[str, tuple[StrOrPromise, Direction]]] = {
    "up": (Direction.UPLINK.label, Direction.UPLINK),
    "down": (Direction.DOWNLINK.label, Direction.DOWNLINK),
}
# Yes or no: the word in the address, its label, its condition.
ONLY: Final[Mapping[str, tuple[StrOrPromise, str]]] = {
    "mac": (gettext_lazy("With MAC commands"), "mac <> ''"),
    "errors": (gettext_lazy("With errors: not sent, or not readable"), ERRORS),
    "located": (gettext_lazy("With a geolocation"), "latitude IS NOT NULL"),
}
# Numbers: the word in the address, the highest one.
NUMBERS: Final[Mapping[str, int]] = {
    "port": 255,
    "up_from": LAST_FCNT,
    "up_to": LAST_FCNT,
    "down_from": LAST_FCNT,
    "down_to": LAST_FCNT,
}
SPANS: Final[Mapping[str, tuple[str, Direction, str, str]]] = {
    "FCntUp": ("up", Direction.UPLINK, "up_from", "up_to"),
    "FCntDown": ("down", Direction.DOWNLINK, "down_from", "down_to"),
}
FIELDS: Final = ("direction", "kind", *NUMBERS, *ONLY, "until")


def oldest(now: datetime) -> datetime:
    """The lower bound of every query over the frames: the retention (L3)."""
    return now - timedelta(days=settings.FRAME_RETENTION_DAYS)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A frame's place in the order: its moment and sequence number. As text: microseconds since 1970, "-", seq."""

    at: datetime
    seq: int

    def __str__(self) -> str:
        return f"{self.when}-{self.seq}"

    @property
    def when(self) -> int:
        return (self.at - EPOCH) // MICROSECOND

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None for anything that is no place: another shape, a moment or number that cannot be."""
        match = CURSOR.fullmatch(text)
        if match is None or abs(int(match[2])) > LAST_SEQ:
            return None
        try:
            return cls(EPOCH + int(match[1]) * MICROSECOND, int(match[2]))
        except OverflowError:
            return None


def moment_of(text: str) -> datetime:
    """A date and time as a person types it in their own zone; a date alone means the end of that day.

    Raises ValueError with a sentence for the person.
    """
    try:
        typed = datetime.fromisoformat(text)
        if DATE.fullmatch(text):
            typed = datetime.combine(typed, time.max)
        return (timezone.make_aware(typed) if timezone.is_naive(typed) else typed).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(_("This is not a date and time, such as 2026-02-28 14:30.")) from None


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, and the query of the list without it."""

    name: StrOrPromise
    value: str
    query: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A search. ``texts``: the filters as they were typed, by their word in the address; ``faults``: what is wrong
    with one, in a sentence. ``until``: up to this moment. ``before`` and ``after`` are places to read on from,
    ``to`` is the place down to which the list is shown."""

    texts: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)
    until: datetime | None = None
    before: Cursor | None = None
    after: Cursor | None = None
    to: Cursor | None = None
    paused: bool = False

    @classmethod
    def from_query(cls, query: Mapping[str, str], now: datetime) -> Asked:
        texts = {name: text for name in FIELDS if (text := query.get(name, "").strip()[:40])}
        if texts.get("kind") not in KINDS:
            texts.pop("kind", None)
        if texts.get("direction") not in DIRECTIONS:
            texts.pop("direction", None)
        faults: dict[str, str] = {}
        numbers = _numbers(texts, faults)
        until = None
        try:
            until = moment_of(texts["until"]) if "until" in texts else None
            if until and until < oldest(now):
                faults["until"] = _too_old()
        except ValueError as error:
            faults["until"] = str(error)
        return cls(
            texts,
            faults,
            numbers,
            until=until,
            before=Cursor.parse(query.get("before", "")),
            after=Cursor.parse(query.get("after", "")),
            to=Cursor.parse(query.get("to", "")),
            paused=bool(query.get("paused")),
        )

    @property
    def live(self) -> bool:
        """Whether new frames belong on this page."""
        return self.until is None and self.before is None and not self.faults

    @property
    def filtered(self) -> bool:
        """Whether some messages are left out, of those up to the moment that was asked for."""
        return any(name != "until" for name in self.texts)

    @property
    def until_input(self) -> str:
        """The moment as a field of a form takes it: in the person's zone, without one; as typed where it is none."""
        if self.until is None:
            return self.texts.get("until", "")
        local = timezone.localtime(self.until).replace(tzinfo=None)
        return local.isoformat(timespec="minutes" if not local.second else "seconds")

    def query(self, **changes: str) -> str:
        """The address's query: the filters with the changes ("" takes one off), without places."""
        values = {name: self.texts.get(name, "") for name in FIELDS} | changes
        kept = {name: value for name, value in values.items() if value}
        return f"?{urlencode(kept)}" if kept else "?"

    @property
    def now_query(self) -> str:
        return self.query(until="")

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The filters as SQL over the columns of a frame, "" for none, with its parameters."""
        parts, values = [], dict(self.numbers)
        if kind := self.texts.get("kind"):
            parts.append(KINDS[kind][1])
        if direction := self.texts.get("direction"):
            parts.append(f"direction = {DIRECTIONS[direction][1].value}")
        if "port" in self.numbers:
            parts.append("fport = %(port)s")
        parts += [condition for name, (_label, condition) in ONLY.items() if name in self.texts]
        spans = []
        for _name, direction_of, low, high in SPANS.values():
            bounds = [f"fcnt >= %({low})s"] * (low in self.numbers) + [f"fcnt <= %({high})s"] * (high in self.numbers)
            if bounds:
                spans.append(" AND ".join([f"direction = {direction_of.value}", *bounds]))
        if spans:
            parts.append(" OR ".join(f"({span})" for span in spans))
        return " AND ".join(f"({part})" for part in parts), values

    def among(self) -> str:
        """The rare frames of which those that are asked for are some, as SQL; "" where they may be any."""
        if self.texts.get("kind", "").startswith("join"):
            return JOINS
        return ERRORS if "errors" in self.texts else ""

    def chips(self) -> list[Chip]:
        texts = self.texts
        made = []
        if "direction" in texts:
            made.append(Chip(_("Direction"), str(DIRECTIONS[texts["direction"]][0]), self.query(direction="")))
        if "kind" in texts:
            made.append(Chip(_("Message"), str(KINDS[texts["kind"]][0]), self.query(kind="")))
        if "port" in texts:
            made.append(Chip("FPort", texts["port"], self.query(port="")))
        for name, (_word, _direction, low, high) in SPANS.items():
            if low in texts or high in texts:
                span = f"{texts.get(low, '')}–{texts.get(high, '')}"
                made.append(Chip(name, span, self.query(**{low: "", high: ""})))
        made += [
            Chip("", str(label), self.query(**{name: ""})) for name, (label, _sql) in ONLY.items() if name in texts
        ]
        if "until" in texts:
            shown = self.until_input.replace("T", " ")
            made.append(Chip(_("Up to"), shown, self.query(until="")))
        return made

    def quick(self) -> list[tuple[str, str, bool]]:
        """The choice that most people want, as links: label, query, whether it is the present one."""
        choices = [(_("All"), "", ""), (_("Uplinks"), "up", ""), (_("Downlinks"), "down", ""), (_("Joins"), "", "join")]
        present = self.texts.get("direction", ""), self.texts.get("kind", "")
        return [
            (label, self.query(direction=direction, kind=kind), (direction, kind) == present)
            for label, direction, kind in choices
        ]

    def jumps(self, now: datetime) -> list[tuple[str, str]]:
        """Label and query of a day and a week further back, and of a day forward where that is not yet to come."""
        at = min(self.until or now, now)
        steps = [(_("Day earlier"), -1), (_("Week earlier"), -7), (_("Day later"), 1)]
        local = timezone.localtime(at).replace(tzinfo=None)
        return [
            (label, self.query(until=(local + timedelta(days=days)).isoformat(timespec="seconds")))
            for label, days in steps
            if oldest(now) < at + timedelta(days=days) < now
        ]


def _too_old() -> str:
    days = settings.FRAME_RETENTION_DAYS
    return ngettext(
        "Messages are kept for %d day: choose a later moment.",
        "Messages are kept for %d days: choose a later moment.",
        days,
    ) % (days,)


def _numbers(texts: Mapping[str, str], faults: dict[str, str]) -> dict[str, int]:
    numbers = {}
    for name, highest in NUMBERS.items():
        text = texts.get(name)
        if text is None:
            continue
        if NUMBER.fullmatch(text) and int(text) <= highest:
            numbers[name] = int(text)
        else:
            faults[name] = _("This is not a whole number from 0 to %d.") % highest
    for counter, (word, _direction, low, high) in SPANS.items():
        if low in numbers and high in numbers and numbers[low] > numbers[high]:
            faults[low] = _("The first number is higher than the last.")
        if (low in texts or high in texts) and texts.get("direction", word) != word:
            faults[low] = _OTHER_WAY[counter]()
    return numbers


_OTHER_WAY: Final[Mapping[str, Callable[[], str]]] = {
    "FCntUp": lambda: _("FCntUp counts uplinks, and only downlinks are asked for."),
    "FCntDown": lambda: _("FCntDown counts downlinks, and only uplinks are asked for."),
}
