"""Why a change of the Device Twin is refused, as errors whose text is a sentence for the person."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from .models import DesiredValue


class TwinRefused(Exception):
    """The change cannot be made. ``field``: "key" or "value", "" where it is about neither."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class TwinFull(TwinRefused):
    """The devices ``device_ids`` would hold more than they can; nothing was changed, also not of the others."""

    def __init__(self, message: str, device_ids: Set[int]) -> None:
        super().__init__(message)
        self.device_ids = frozenset(device_ids)


class ChangedMeanwhile(TwinRefused):
    """Somebody else was first. ``held``: what stands there now, ``{"v", "t"}``; None where it was removed."""

    def __init__(self, held: dict[str, Any] | None) -> None:
        super().__init__(_("Somebody else has changed this property meanwhile."))
        self.held = held


class DesiredChanged(TwinRefused):
    """Another request was first. ``name``: the desired value's; ``held``: what stands there now, None where it was
    removed."""

    def __init__(self, name: str, held: DesiredValue | None) -> None:
        super().__init__(_("Somebody else has asked for another value meanwhile."))
        self.name = name
        self.held = held
