"""The messages that show a finding: the newest few of each, found again among a device's frames (L6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from . import diagnosis as d
from .diagnosis import Seen
from .diagnosis_rules import Code, Finding
from .health import Diagnosis

MOST: Final = 5


def of(finding: Finding, diagnosis: Diagnosis) -> list[Seen]:
    """At most :data:`MOST`, newest first."""
    find = _BY_CODE.get(finding.code)
    if find is None:
        return []
    found = []
    for frame in find(diagnosis):
        found.append(Seen(*frame))
        if len(found) == MOST:
            break
    return found


def _with(flags: int, without: int = 0) -> Callable[[Diagnosis], Iterator[Seen]]:
    """Frames that have all of ``flags`` and none of ``without``."""

    def find(diagnosis: Diagnosis) -> Iterator[Seen]:
        for frame in reversed(diagnosis.frames):
            if frame[2] & flags == flags and not frame[2] & without:
                yield frame

    return find


def _pairs(diagnosis: Diagnosis) -> Iterator[tuple[Seen, Seen]]:
    """Uplinks with the one before them, newest first; none over a join."""
    later = None
    for frame in reversed(diagnosis.frames):
        if frame[2] & d.JOINS:
            later = None
        elif frame[2] & d.UP:
            if later is not None:
                yield frame, later
            later = frame


def _after_gaps(diagnosis: Diagnosis) -> Iterator[Seen]:
    for before, after in _pairs(diagnosis):
        step = (after[3] or 0) - (before[3] or 0)
        if step < 0 and (before[3] or 0) < d.COUNTS:
            step %= d.COUNTS
        if 1 < step <= d.LARGEST_STEP:
            yield after


def _again(diagnosis: Diagnosis) -> Iterator[Seen]:
    return (after for before, after in _pairs(diagnosis) if after[3] == before[3])


def _joins(diagnosis: Diagnosis) -> Iterator[Seen]:
    return (frame for frame in reversed(diagnosis.frames) if frame[2] & d.JOINS)


def _firsts(diagnosis: Diagnosis) -> Iterator[Seen]:
    """The joins that came right before a message."""
    message = False
    for frame in reversed(diagnosis.frames):
        if message and frame[2] & d.JOINS:
            yield frame
        message = bool(frame[2] & d.UP and not frame[2] & d.JOINS)


def _failed(diagnosis: Diagnosis) -> Iterator[Seen]:
    """Downlinks that were not sent, and confirmed ones that the next uplink does not acknowledge."""
    acknowledged = True
    for frame in reversed(diagnosis.frames):
        flags = frame[2]
        if flags & d.JOINS:
            acknowledged = True
        elif flags & d.UP:
            acknowledged = bool(flags & d.ACK)
        elif flags & d.FAILED or (flags & d.CARRIES and flags & d.CONFIRMED and not acknowledged):
            yield frame


def _given_up(diagnosis: Diagnosis) -> Iterable[Seen]:
    wanted = {(at, seq) for at, seq in diagnosis.summary.given_up}
    return (frame for frame in reversed(diagnosis.frames) if (frame[0], frame[1]) in wanted)


def _last(diagnosis: Diagnosis) -> Sequence[Seen]:
    return list(_with(d.UP)(diagnosis))[:1]


_BY_CODE: Final[dict[Code, Callable[[Diagnosis], Iterable[Seen]]]] = {
    Code.JOIN_UNANSWERED: _with(d.JOIN_REQUEST),
    Code.ACCEPT_UNHEARD: _joins,
    Code.REJOINS: _firsts,
    Code.SILENT: _last,
    Code.LOSS: _after_gaps,
    Code.WEAK_SIGNAL: _with(d.UP | d.WEAK),
    Code.FAILED_DOWNLINKS: _failed,
    Code.MAC_UNANSWERED: _given_up,
    Code.CONFIRMED: _with(d.UP | d.CONFIRMED),
    Code.TOO_OFTEN: _with(d.UP, without=d.JOINS),
    Code.REPEATED: _again,
    Code.SLOWEST: _with(d.UP | d.SLOWEST),
    Code.ONE_GATEWAY: _with(d.UP | d.SINGLE),
    Code.NO_LOCATION: _with(d.UP | d.LOCATABLE),
}
