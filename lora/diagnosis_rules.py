"""The source's troubleshooting statements as rules over a :class:`~lora.diagnosis.Summary`: findings with the numbers
that were seen (L6). Pure functions; their words are in :mod:`lora.diagnosis_words`.

The limits are those of the source (the portal documentation, LoRa data history) where it names one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from . import diagnosis as d
from .diagnosis import SECOND, Summary

# "Make sure your Device does not send more often than once every 5 minutes on average."
SHORTEST_INTERVAL: Final = 300 * SECOND
# "No more than 10% of the uplink messages of your Device may be Confirmed messages."
MOST_CONFIRMED: Final = 0.10
# "In normal situations you can expect up to 5% message loss." Above the second, our own, the data is hardly of use.
MOST_LOST, BADLY_LOST = 0.05, 0.25
# "If you see a join ceremony before each first message (FCntUp = 0)": half of the messages are such ones.
MOST_FIRSTS: Final = 0.5
# "If this is often not the case": more requests without an answer than with one.
MOST_UNANSWERED: Final = 0.5
# The source names no limit for these: our own. SF12 "(almost) only"; one gateway for all but one in twenty.
MOST_WEAK, MOST_SLOWEST, MOST_SINGLE, MOST_REPEATED = 0.5, 0.9, 0.95, 0.10
MOST_FAILED, ONE_CAUSE = 0.2, 0.8

# So much must be seen before a share says anything: of a thousand healthy devices of the simulated network, which loses
# one message in fifty by collisions, chance alone reaches none of the counts in two days.
LEAST_MESSAGES, LEAST_CONFIRMED, LEAST_LOST, LEAST_REPEATED = 20, 5, 10, 8
LEAST_FIRSTS, LEAST_UNANSWERED, LEAST_FAILED, LEAST_LOCATABLE = 3, 3, 3, 30
# Two: any one frame can collide on its way.
LEAST_ASKED, LEAST_VAIN = 2, 2
# An accept goes out 5 or 6 s after the request; when nothing came in this time, there is none.
ANSWER_TIME: Final = 60 * SECOND
# Messages after a join until the network's first commands have come and been answered.
SETTLED: Final = 4
# A device is silent when it misses so many of its intervals and at least a day; a week where none is known.
MISSED, LEAST_SILENCE, SILENCE_OF_UNKNOWN = 5, d.DAY, 7 * d.DAY


class Step(IntEnum):
    """The five steps of the source; each is where the device is, those before are done."""

    NOTHING_SEEN = 1
    REQUESTED = 2
    ACCEPTED = 3
    SETTLING = 4
    NORMAL = 5


class Severity(IntEnum):
    """NOTE does not make a device unwell."""

    NOTE = 1
    ATTENTION = 2
    PROBLEM = 3


class Code(StrEnum):
    """In the order of their weight among equals: the first explains those behind it."""

    JOIN_UNANSWERED = "join-unanswered"
    ACCEPT_UNHEARD = "accept-unheard"
    REJOINS = "rejoins"
    SILENT = "silent"
    LOSS = "loss"
    WEAK_SIGNAL = "weak-signal"
    FAILED_DOWNLINKS = "failed-downlinks"
    MAC_UNANSWERED = "mac-unanswered"
    CONFIRMED = "confirmed"
    TOO_OFTEN = "too-often"
    REPEATED = "repeated"
    SLOWEST = "slowest"
    ONE_GATEWAY = "one-gateway"
    NO_LOCATION = "no-location"


_WEIGHT: Final = {code: place for place, code in enumerate(Code)}


@dataclass(frozen=True, slots=True)
class Finding:
    """``seen``: the numbers, named as the words use them. Moments and spans are microseconds."""

    code: Code
    severity: Severity
    seen: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(slots=True)
class Totals:
    """The counters of the days that are judged."""

    counts: list[int]
    causes: dict[str, int]

    @property
    def messages(self) -> int:
        return self.counts[d.MESSAGES]

    @property
    def sent(self) -> int:
        return self.counts[d.MESSAGES] + self.counts[d.LOST]

    @property
    def interval(self) -> int | None:
        """The average between messages, lost ones counted; None below two."""
        span = self.counts[d.LAST_AT] - self.counts[d.FIRST_AT]
        return span // (self.sent - 1) if self.sent > 1 else None


def totals(summary: Summary) -> Totals:
    """The newest whole days that have enough messages; what the fold forgets is no part of it anyway."""
    chosen, messages = [], 0
    for day in reversed(summary.days):
        chosen.append(day)
        messages += day[0][d.MESSAGES]
        if messages >= d.ENOUGH:
            break
    if len(chosen) == 1:
        return Totals(*chosen[0])
    every = [counts for counts, _causes in chosen]
    added = [sum(column) for column in zip(*every, strict=True)] or [0] * d.WIDTH
    added[d.FIRST_AT] = min((counts[d.FIRST_AT] for counts in every if counts[d.FIRST_AT]), default=0)
    added[d.LAST_AT] = max((counts[d.LAST_AT] for counts in every), default=0)
    causes: dict[str, int] = {}
    for _counts, of_day in chosen:
        for cause, count in of_day.items():
            causes[cause] = causes.get(cause, 0) + count
    return Totals(added, causes)


def step(summary: Summary) -> Step:
    if summary.asked:
        return Step.ACCEPTED if summary.vain else Step.REQUESTED
    if summary.accepted:
        return Step.ACCEPTED
    if summary.top is None:
        return Step.NOTHING_SEEN
    if summary.session is not None and summary.session < SETTLED:
        return Step.SETTLING
    return Step.NORMAL


def findings(summary: Summary, now: int, *, locates: bool = False, seen: Totals | None = None) -> list[Finding]:
    """Worst first. ``locates``: the network computes positions for devices; ``seen``: the totals, where known."""
    seen = seen or totals(summary)
    found = [*_joining(summary, now), *_silence(summary, seen, now)]
    if seen.messages:
        found += [*_messages(seen), *_signal(seen), *_downlinks(seen)]
        # Too few gateways is normal, says the source: a message that only one or two heard is not asked for.
        if locates and seen.counts[d.LOCATABLES] >= LEAST_LOCATABLE and not seen.counts[d.PLACES]:
            found.append(Finding(Code.NO_LOCATION, Severity.NOTE, {"locatable": seen.counts[d.LOCATABLES]}))
    return sorted(found, key=lambda one: (-one.severity, _WEIGHT[one.code])) if len(found) > 1 else found


def silent_after(summary: Summary, seen: Totals | None = None) -> int:
    """When the device is silent if nothing comes any more; 0: nothing was heard of it yet."""
    last = max(summary.up_at, summary.join_at)
    if not last:
        return 0
    interval = (seen or totals(summary)).interval
    return last + (SILENCE_OF_UNKNOWN if interval is None else max(LEAST_SILENCE, MISSED * interval))


def _joining(summary: Summary, now: int) -> Iterator[Finding]:
    if summary.vain >= LEAST_VAIN:
        # One accept was in vain before each of the requests.
        yield Finding(Code.ACCEPT_UNHEARD, Severity.PROBLEM, {"accepts": summary.vain, "at": summary.join_at})
    elif summary.asked >= LEAST_ASKED or (summary.asked and now - summary.join_at > ANSWER_TIME):
        yield Finding(Code.JOIN_UNANSWERED, Severity.PROBLEM, {"requests": summary.asked, "at": summary.join_at})


def _silence(summary: Summary, seen: Totals, now: int) -> Iterator[Finding]:
    after = silent_after(summary, seen)
    if after and now > after:
        last = max(summary.up_at, summary.join_at)
        yield Finding(Code.SILENT, Severity.ATTENTION, {"at": last, "span": now - last, "interval": seen.interval or 0})


def _messages(seen: Totals) -> Iterator[Finding]:
    counts, messages, sent = seen.counts, seen.messages, seen.sent
    interval = seen.interval
    if messages >= LEAST_MESSAGES and interval is not None and interval < SHORTEST_INTERVAL:
        yield Finding(Code.TOO_OFTEN, Severity.ATTENTION, {"interval": interval, "messages": messages})
    confirmed = counts[d.CONFIRMS]
    if messages >= LEAST_MESSAGES and confirmed >= LEAST_CONFIRMED and confirmed > MOST_CONFIRMED * messages:
        numbers = {"confirmed": confirmed, "messages": messages, "share": confirmed / messages}
        yield Finding(Code.CONFIRMED, Severity.ATTENTION, numbers)
    lost = counts[d.LOST]
    if lost >= LEAST_LOST and lost > MOST_LOST * sent:
        severity = Severity.PROBLEM if lost > BADLY_LOST * sent else Severity.ATTENTION
        yield Finding(Code.LOSS, severity, {"lost": lost, "sent": sent, "share": lost / sent})
    firsts = counts[d.FIRSTS]
    if firsts >= LEAST_FIRSTS and firsts > MOST_FIRSTS * messages:
        yield Finding(Code.REJOINS, Severity.PROBLEM, {"firsts": firsts, "messages": messages})
    repeats = counts[d.REPEATS]
    if repeats >= LEAST_REPEATED and repeats > MOST_REPEATED * (messages + repeats):
        yield Finding(Code.REPEATED, Severity.ATTENTION, {"repeats": repeats, "messages": messages})


def _signal(seen: Totals) -> Iterator[Finding]:
    counts, messages = seen.counts, seen.messages
    if messages < LEAST_MESSAGES:
        return
    weak, very_weak = counts[d.WEAKS], counts[d.VERY_WEAKS]
    if weak > MOST_WEAK * messages:
        severity = Severity.PROBLEM if very_weak > MOST_WEAK * messages else Severity.ATTENTION
        yield Finding(Code.WEAK_SIGNAL, severity, {"weak": weak, "very_weak": very_weak, "messages": messages})
    if counts[d.SLOW] > MOST_SLOWEST * messages:
        yield Finding(Code.SLOWEST, Severity.ATTENTION, {"slow": counts[d.SLOW], "messages": messages})
    if counts[d.SINGLES] > MOST_SINGLE * messages:
        yield Finding(Code.ONE_GATEWAY, Severity.NOTE, {"single": counts[d.SINGLES], "messages": messages})


def _downlinks(seen: Totals) -> Iterator[Finding]:
    counts = seen.counts
    answered, unanswered = counts[d.ANSWERED], counts[d.UNANSWERED]
    if unanswered >= LEAST_UNANSWERED and unanswered > MOST_UNANSWERED * (answered + unanswered):
        numbers = {"unanswered": unanswered, "asked": answered + unanswered}
        yield Finding(Code.MAC_UNANSWERED, Severity.ATTENTION, numbers)
    failures = counts[d.FAILURES]
    if failures >= LEAST_FAILED and failures > MOST_FAILED * counts[d.DOWNLINKS]:
        cause, count = max(seen.causes.items(), key=lambda pair: pair[1])
        if count >= ONE_CAUSE * failures:
            told: dict[str, int | float | str] = {
                "failures": failures,
                "downlinks": counts[d.DOWNLINKS],
                "cause": cause,
                "count": count,
            }
            yield Finding(Code.FAILED_DOWNLINKS, Severity.ATTENTION, told)
