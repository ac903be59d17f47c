"""What is known of how a LoRa device does, in one small summary: the same fold makes it frame by frame as messages
arrive, and anew from a month of frames (L6). What is to be said of it stands in :mod:`lora.diagnosis_rules`.

Nothing of Django here. Moments are whole microseconds since 1970 (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from codec.lorawan import mac

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND

# What a frame says of itself, as bits: one number is a quarter of the cost of as many columns.
UP, JOIN_REQUEST, JOIN_ACCEPT, CONFIRMED, ACK = 1, 2, 4, 8, 16
WEAK, VERY_WEAK, SLOWEST, SINGLE, LOCATABLE, LOCATED, FAILED, CARRIES = 32, 64, 128, 256, 512, 1024, 2048, 4096
JOINS: Final = JOIN_REQUEST | JOIN_ACCEPT
_COUNTED: Final = CONFIRMED | WEAK | VERY_WEAK | SLOWEST | SINGLE | LOCATABLE | LOCATED

# SF12; and "one gateway" from here on only: at faster rates the network itself has narrowed the device's reach (ADR).
SLOWEST_FACTOR, SLOW_FACTOR = 12, 10
# A position from the times of arrival takes three gateways.
LEAST_TO_LOCATE: Final = 3

# The air interface carries 16 bits of the counter; a step of more than this is no loss but a device that began again
# (LoRaWAN 1.0.2, 4.3.1.5; MAX_FCNT_GAP of the regional parameters).
COUNTS, LARGEST_STEP = 2**16, 16384
# Counters below the highest of which it is remembered whether they came, for messages that come late.
REMEMBERED: Final = 64
_MASK: Final = 2**REMEMBERED - 1

# A request of the network that so many messages of the device did not answer is given up: networks repeat theirs with
# each of them, so one lost answer is none yet.
CHANCES: Final = 3
# The requests that only a network makes, by CID (1.0.4, section 5; 1.1: 0C, 0E, 0F). What a device starts (LinkCheck,
# DeviceTime, PingSlotInfo) has the same CID as its answer and must not be taken for a request of the network.
ASKED_BY_NETWORK: Final = frozenset({0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0F, 0x11, 0x13})
# The code for a confirmed downlink that the device did not acknowledge, beside the network's own codes.
NO_ACK: Final = "NO_ACK"

# The newest whole days that have so many messages are judged, and no more of them than frames are kept: a device that
# sends often and was put right is well again soon, and one that sends once a day is judged by its month.
ENOUGH, MOST_DAYS = 200, 31
_KEPT_KEYS: Final = 5


class Seen(NamedTuple):
    """A frame as the fold needs it. ``flags``: the bits above; ``fcnt``: of data frames; ``mac``: commands, or None."""

    at: int
    seq: int
    flags: int
    fcnt: int | None
    mac: bytes | None = None
    cause: str | None = None


# The places in a day's counters. MESSAGES: different uplinks; FIRSTS: those that were the first after a join.
DATE, FIRST_AT, LAST_AT, MESSAGES, LOST, REPEATS, CONFIRMS, FIRSTS, WEAKS, VERY_WEAKS = range(10)
SLOW, SINGLES, LOCATABLES, PLACES, ANSWERED, UNANSWERED, DOWNLINKS, FAILURES = range(10, 18)
WIDTH: Final = 18


@dataclass(slots=True)
class Summary:
    """``days``: counters by UTC day with the causes of failures, oldest first. ``asked``: join requests since the last
    accept or message; ``vain``: join requests after an accept that no message followed. ``top``: the highest FCnt of
    the session, ``came``: bit i says whether top - i came. ``session``: messages since the join, None where none was
    seen. ``open``: MAC requests underway, by CID: moment, seq, messages without an answer."""

    days: list[tuple[list[int], dict[str, int]]] = field(default_factory=list)
    last_at: int = 0
    up_at: int = 0
    top: int | None = None
    came: int = 0
    asked: int = 0
    vain: int = 0
    accepted: bool = False
    join_at: int = 0
    session: int | None = None
    awaits_ack: bool = False
    open: dict[int, list[int]] = field(default_factory=dict)
    given_up: list[list[int]] = field(default_factory=list)

    def plain(self) -> list[Any]:
        """As JSON-ready data; :meth:`of` is the inverse."""
        return [
            [[*counts, causes] for counts, causes in self.days],
            *(self.last_at, self.up_at, self.top, f"{self.came:x}", self.asked, self.vain, int(self.accepted)),
            *(self.join_at, self.session, int(self.awaits_ack)),
            [[cid, *found] for cid, found in self.open.items()],
            self.given_up,
        ]

    @classmethod
    def of(cls, data: list[Any]) -> Summary:
        days, last_at, up_at, top, came, asked, vain, accepted, join_at, session, awaits_ack, opened, given_up = data
        return cls(
            [(day[:WIDTH], day[WIDTH]) for day in days],
            *(last_at, up_at, top, int(came, 16), asked, vain, bool(accepted), join_at, session, bool(awaits_ack)),
            {found[0]: found[1:] for found in opened},
            given_up,
        )


@lru_cache(maxsize=4096)
def cids(octets: bytes, direction: mac.Direction) -> frozenset[int]:
    return frozenset(command.cid for command in mac.decode(octets, direction) if command.cid is not None)


def fold(summary: Summary, frames: Iterable[Seen]) -> Summary:  # noqa: PLR0915 - one loop: a call per frame doubles it
    """Take the frames, oldest first, into the summary. It makes no difference in which portions they come.

    A frame older than what was taken before is counted; of its order only the counter of an uplink is still used.
    """
    counts, causes = summary.days[-1] if summary.days else ([-1] * WIDTH, {})
    date = counts[DATE]
    last_at, up_at, top, came = summary.last_at, summary.up_at, summary.top, summary.came
    for at, seq, flags, fcnt, commands, cause in frames:
        if at // DAY != date:
            counts, causes = _day(summary, at // DAY)
            date = at // DAY
        late = at < last_at
        if not late:
            last_at = at
        if flags & JOINS:
            if not late:
                _join(summary, flags, at)
            continue
        if not flags & UP:
            _downlink(summary, counts, causes, late, at, seq, flags, commands, cause)
            continue
        if fcnt is None:
            continue
        if at < up_at:
            _late(summary, counts, top, came, fcnt, flags, at)
            behind = top - fcnt if top is not None else -1
            if 0 <= behind < REMEMBERED and at > summary.join_at:
                came |= 1 << behind
            continue
        up_at = at
        if summary.accepted or (summary.asked and (top is None or fcnt <= top)):
            _begin(summary, counts)
            top = None
        elif summary.asked:
            summary.asked = 0
        if top is None:
            came = 1
        else:
            step = fcnt - top
            if step == 1:
                came = (came << 1 | 1) & _MASK
            elif step == 0:
                counts[REPEATS] += 1
                if flags & ACK:
                    summary.awaits_ack = False
                continue
            else:
                if step < 0 and top < COUNTS:
                    step %= COUNTS
                if 0 < step <= LARGEST_STEP:
                    counts[LOST] += step - 1
                    came = (came << step | 1) & _MASK
                else:
                    came = 1
        top = fcnt
        if not counts[MESSAGES]:
            counts[FIRST_AT] = at
        counts[MESSAGES] += 1
        counts[LAST_AT] = at
        if flags & _COUNTED:
            _count(counts, flags)
        if summary.session is not None:
            summary.session += 1
        if summary.awaits_ack:
            _acknowledge(summary, counts, causes, flags)
        if summary.open:
            _answers(summary, counts, commands)
    summary.last_at, summary.up_at, summary.top, summary.came = last_at, up_at, top, came
    _forget(summary)
    return summary


def _day(summary: Summary, date: int) -> tuple[list[int], dict[str, int]]:
    """The day's counters, made where they are not there yet; days stand in order."""
    days = summary.days
    place = len(days)
    while place and days[place - 1][0][DATE] > date:
        place -= 1
    if place and days[place - 1][0][DATE] == date:
        return days[place - 1]
    made: tuple[list[int], dict[str, int]] = ([date, *[0] * (WIDTH - 1)], {})
    days.insert(place, made)
    return made


def _forget(summary: Summary) -> None:
    """Days that are no longer judged."""
    days, messages = summary.days, 0
    for place in range(len(days) - 1, -1, -1):
        if days[place][0][DATE] <= days[-1][0][DATE] - MOST_DAYS:
            del days[: place + 1]
            return
        messages += days[place][0][MESSAGES]
        if messages >= ENOUGH:
            del days[:place]
            return


def _count(counts: list[int], flags: int) -> None:
    counts[CONFIRMS] += flags & CONFIRMED and 1
    counts[WEAKS] += flags & WEAK and 1
    counts[VERY_WEAKS] += flags & VERY_WEAK and 1
    counts[SLOW] += flags & SLOWEST and 1
    counts[SINGLES] += flags & SINGLE and 1
    counts[LOCATABLES] += flags & LOCATABLE and 1
    counts[PLACES] += flags & LOCATED and 1


def _join(summary: Summary, flags: int, at: int) -> None:
    summary.join_at = at
    if flags & JOIN_ACCEPT:
        summary.asked, summary.accepted = 0, True
    else:
        summary.asked += 1
        # After an accept: the device did not hear it.
        summary.vain += summary.accepted


def _begin(summary: Summary, counts: list[int]) -> None:
    """The first message of a session. What was asked in the one before has nobody to answer it."""
    summary.asked = summary.vain = summary.session = 0
    summary.accepted = summary.awaits_ack = False
    summary.open.clear()
    counts[FIRSTS] += 1


def _late(summary: Summary, counts: list[int], top: int | None, came: int, fcnt: int, flags: int, at: int) -> None:
    """An uplink older than one that was taken already: it may be one of those that were counted as lost."""
    behind = top - fcnt if top is not None and at > summary.join_at else -1
    if 0 <= behind < REMEMBERED:
        if came >> behind & 1:
            counts[REPEATS] += 1
            return
        for holder in (counts, *(day for day, _causes in reversed(summary.days))):
            if holder[LOST]:
                holder[LOST] -= 1
                break
    counts[FIRST_AT] = min(counts[FIRST_AT] or at, at)
    counts[LAST_AT] = max(counts[LAST_AT], at)
    counts[MESSAGES] += 1
    _count(counts, flags)


def _downlink(
    summary: Summary,
    counts: list[int],
    causes: dict[str, int],
    late: bool,
    at: int,
    seq: int,
    flags: int,
    commands: bytes | None,
    cause: str | None,
) -> None:
    if flags & CARRIES:
        counts[DOWNLINKS] += 1
        if flags & FAILED:
            counts[FAILURES] += 1
            causes[cause or "?"] = causes.get(cause or "?", 0) + 1
    if flags & FAILED or late:
        return
    if flags & CARRIES and flags & CONFIRMED:
        summary.awaits_ack = True
    if commands:
        for cid in cids(commands, mac.Direction.DOWNLINK):
            if cid in ASKED_BY_NETWORK and cid not in summary.open:
                summary.open[cid] = [at, seq, 0]


def _acknowledge(summary: Summary, counts: list[int], causes: dict[str, int], flags: int) -> None:
    summary.awaits_ack = False
    if not flags & ACK:
        counts[FAILURES] += 1
        causes[NO_ACK] = causes.get(NO_ACK, 0) + 1


def _answers(summary: Summary, counts: list[int], commands: bytes | None) -> None:
    answered = cids(commands, mac.Direction.UPLINK) if commands else frozenset()
    for cid, found in list(summary.open.items()):
        if cid in answered:
            counts[ANSWERED] += 1
            del summary.open[cid]
            continue
        found[2] += 1
        if found[2] >= CHANCES:
            counts[UNANSWERED] += 1
            summary.given_up = [*summary.given_up[1 - _KEPT_KEYS :], found[:2]]
            del summary.open[cid]
