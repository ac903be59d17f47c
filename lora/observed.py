"""What the portal sees of a LoRa device from outside (W5): how often it sends, and how much of it is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Final

from django.db.models import Q

from .models import Direction, Frame, FrameKind

SPAN: Final = timedelta(days=1)
# Frames that are looked at: a device that sends more often is judged by its last ones.
MOST: Final = 2000
# The air interface carries 16 bits of the counter; a step of more than this is no loss (LoRaWAN 1.0.2, 4.3.1.5 and
# MAX_FCNT_GAP of the regional parameters).
COUNTS: Final = 2**16
LARGEST_STEP: Final = 16384


@dataclass(frozen=True, slots=True)
class Told:
    """A frame as loss needs it: ``fcnt`` of a data uplink, None for one of a join, which begins a session."""

    at: datetime
    fcnt: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """``messages``: different uplinks that came; ``lost``: those between them that did not."""

    messages: int
    lost: int
    interval: timedelta | None

    @property
    def share(self) -> float:
        return self.lost / (self.messages + self.lost) if self.messages else 0.0


def last_day(device_id: int, now: datetime) -> list[Told]:
    """The uplinks and joins of the last day, oldest first; by the primary key."""
    rows = Frame.objects.filter(device_id=device_id, received_at__gte=now - SPAN, received_at__lte=now)
    rows = rows.filter(Q(direction=Direction.UPLINK) | Q(kind=FrameKind.JOIN_ACCEPT))
    found = rows.order_by("-received_at", "-seq").values_list("received_at", "kind", "fcnt")[:MOST]
    return [
        Told(at, fcnt if kind == FrameKind.DATA else None)
        for at, kind, fcnt in reversed(found)
        if kind != FrameKind.DATA or fcnt is not None
    ]


def heard(frames: Iterable[Told]) -> Heard:
    """Count messages and losses, frames oldest first. A message that is sent again has the same count and is one; a
    join begins at any count; a count that goes back, or ahead by more than can be, is a device that began again."""
    moments: list[datetime] = []
    lost, before = 0, None
    for frame in frames:
        if frame.fcnt is None:
            before = None
            continue
        if frame.fcnt == before:
            continue
        if before is not None:
            step = _step(before, frame.fcnt)
            lost += step - 1 if step else 0
        before = frame.fcnt
        moments.append(frame.at)
    return Heard(len(moments), lost, _typical(moments))


def _step(before: int, fcnt: int) -> int:
    """By how much the counter went on; 0 where it began again. Networks tell 16 bits of it, or all 32."""
    step = fcnt - before
    if step < 0 and before < COUNTS:
        step %= COUNTS
    return step if 0 < step <= LARGEST_STEP else 0


def _typical(moments: Sequence[datetime]) -> timedelta | None:
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return median(gaps) if len(gaps) > 1 else None  # type: ignore[type-var]
