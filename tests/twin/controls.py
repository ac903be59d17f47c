"""Controls for the tests of desired values, put on the types of the factories' devices."""

from __future__ import annotations

from typing import Any

from devices.models import Device, DeviceType

HOUR = 3600
# What the simulated device obeys: minutes on FPort 10; it reports them as "interval".
INTERVAL = {
    "name": "interval",
    "label": "Interval",
    "kind": "number",
    "unit": "min",
    "minimum": 1,
    "maximum": 1440,
    "reported": "interval",
    "tolerance": 0.5,
    "wait_seconds": HOUR,
    "tries": 2,
    "give_up_seconds": 24 * HOUR,
    "way": {"by": "bytes", "fport": 10, "template": "{value:u16}", "confirmed": True},
}
# Nobody reports it, and nobody acknowledges it.
LED = {
    "name": "led",
    "label": "Light",
    "kind": "boolean",
    "way": {"by": "bytes", "fport": 11, "template": "{value:u8}"},
}
# The type has no codec.
MODE = {
    "name": "mode",
    "label": "Mode",
    "kind": "enum",
    "choices": [{"value": "eco"}, {"value": "day"}],
    "reported": "mode",
    "way": {"by": "codec"},
}
SETPOINT = {
    "name": "setpoint",
    "label": "Set point",
    "kind": "number",
    "unit": "Cel",
    "reported": "setpoint",
    "wait_seconds": HOUR,
    "way": {"by": "senml"},
}


def unconfirmed(control: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return control | {"way": control["way"] | {"confirmed": False}} | changes


def give(device: Device, *controls: Any) -> Device:
    """The device with these controls on its type."""
    encoders = sorted({*device.type.encoders, "commands"})
    DeviceType.objects.filter(pk=device.type_id).update(controls=list(controls), encoders=encoders)
    return Device.objects.select_related("type", "project").get(pk=device.pk)
