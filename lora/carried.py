"""Where a downlink frame's instruction is known: whoever keeps instructions stands above, and says so here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from devices.models import Device


class Instruction(NamedTuple):
    """What a frame carried, in words, and the address where people follow it."""

    text: str
    url: str


Finder = Callable[[Device, UUID], Instruction | None]

_finders: list[Finder] = []


def register(finder: Finder) -> None:
    """``finder`` gives the device's instruction with this correlation id, None where it has none."""
    if finder not in _finders:
        _finders.append(finder)


def instruction(device: Device, correlation_id: UUID | None) -> Instruction | None:
    if correlation_id is None:
        return None
    return next((found for finder in _finders if (found := finder(device, correlation_id))), None)
