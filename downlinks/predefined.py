"""Predefined commands and desired values as instructions (S2, W3): ``devices.making`` in the words of instructions."""

from __future__ import annotations

from devices import making
from devices.controls import Command, Control, ControlError, Scalar
from devices.making import Made
from devices.models import DeviceType

from .errors import InstructionRefused

__all__ = ["Made", "make"]


def make(device_type: DeviceType, asked: Command | Control, value: Scalar) -> Made:
    """What ``services.request`` takes for a cleaned value. The same type, command and value make the same bytes.

    Raises InstructionRefused with a sentence where the codec refuses or makes nothing that can be sent.
    """
    try:
        return making.make(device_type, asked, value)
    except ControlError as error:
        raise InstructionRefused(str(error)) from error
