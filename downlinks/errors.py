"""What can be wrong with an instruction, as sentences beside the input that they are about."""

from __future__ import annotations

from django_stubs_ext import StrOrPromise

from devices.errors import DeviceError


class InstructionRefused(DeviceError):
    """The instruction cannot be accepted. ``field``: "fport", "payload" or "" where it is about no input."""

    def __init__(self, message: StrOrPromise, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotNow(InstructionRefused):
    """The device cannot take it now; the same instruction may be accepted later."""
