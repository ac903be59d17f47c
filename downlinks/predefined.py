"""Predefined commands and desired values as instructions (S2, W3): what is sent for a value, by the type's own way."""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.utils.translation import gettext as _

from codec import script
from devices import codecs
from devices.controls import By, Command, Control, ControlError, Scalar
from devices.models import DeviceType

from .errors import InstructionRefused


@dataclass(frozen=True, slots=True)
class Made:
    """What ``services.request`` takes. ``payload``: the bytes to send (LoRa), or a SenML list in JSON."""

    payload: bytes
    fport: int | None
    confirmed: bool


def make(device_type: DeviceType, asked: Command | Control, value: Scalar) -> Made:
    """The instruction for a cleaned value. The same type, command and value make the same bytes.

    Raises InstructionRefused with a sentence where the codec refuses or makes nothing that can be sent.
    """
    way = asked.way
    match way.by:
        case By.SENML:
            record: dict[str, object] = {"n": asked.name}
            if isinstance(asked, Control) and asked.unit:
                record["u"] = asked.unit
            key = {bool: "vb", str: "vs"}.get(type(value), "v")
            return Made(json.dumps([record | {key: value}]).encode(), None, False)
        case By.BYTES:
            try:
                return Made(way.written(value, asked.choices), way.fport, way.confirmed)
            except ControlError as error:
                raise InstructionRefused(str(error)) from error
    source = codecs.source_of(device_type)
    if source is None:
        raise InstructionRefused(_("The codec of this device type has no version in use."))
    try:
        encoded = script.encode_downlink(source, {asked.name: value})
    except script.ScriptFailed as error:
        raise InstructionRefused(_("The codec failed: %(error)s") % {"error": error}) from error
    if encoded.errors:
        raise InstructionRefused(_("The codec refuses: %(error)s") % {"error": "; ".join(encoded.errors)})
    return Made(encoded.payload, encoded.fport or way.fport, way.confirmed)
