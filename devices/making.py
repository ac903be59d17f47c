"""What is sent for a value of a command or control, by the type's own way (T5): for instructions, and for the forms
that show it before anything is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.utils.translation import gettext as _

from codec import script

from . import codecs
from .controls import By, Command, Control, ControlError, Scalar
from .models import DeviceType


@dataclass(frozen=True, slots=True)
class Made:
    """``payload``: the bytes to send (LoRa), or where ``senml`` a list in JSON. ``fport`` None: neither the type nor
    its codec names one."""

    payload: bytes
    fport: int | None
    confirmed: bool
    senml: bool = False

    @property
    def text(self) -> str:
        """The payload as people read it: hexadecimal in bytes, or the SenML list."""
        return self.payload.decode() if self.senml else self.payload.hex(" ").upper()


def make(device_type: DeviceType, asked: Command | Control, value: Scalar) -> Made:
    """What is sent for a cleaned value. The same type, command and value make the same bytes.

    The type need not be saved. Raises ControlError with a sentence where the value does not fit its place, or the codec
    refuses it or fails.
    """
    way = asked.way
    match way.by:
        case By.SENML:
            record: dict[str, object] = {"n": asked.name}
            if isinstance(asked, Control) and asked.unit:
                record["u"] = asked.unit
            key = {bool: "vb", str: "vs"}.get(type(value), "v")
            return Made(json.dumps([record | {key: value}], ensure_ascii=False).encode(), None, False, senml=True)
        case By.BYTES:
            return Made(way.written(value, asked.choices), way.fport, way.confirmed)
    source = codecs.source_of(device_type)
    if source is None:
        raise ControlError(_("The codec of this device type has no version in use."))
    try:
        encoded = script.encode_downlink(source, {asked.name: value})
    except script.ScriptFailed as error:
        raise ControlError(_("The codec failed: %(error)s") % {"error": error}) from error
    if encoded.errors:
        raise ControlError(_("The codec refuses: %(error)s") % {"error": "; ".join(encoded.errors)})
    return Made(encoded.payload, encoded.fport or way.fport, way.confirmed)
