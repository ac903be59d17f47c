"""What may be done with own, supported and managed devices (T3): one table for pages, bulk jobs and the API."""

from __future__ import annotations

from enum import StrEnum

from django.utils.translation import gettext_lazy as _

from .models import Category, Device


class Capability(StrEnum):
    ADD_REMOVE = "add and remove"
    EDIT = "edit name and description"
    EDIT_BARCODE = "edit barcode"
    SWITCH = "activate and deactivate"
    RAW = "raw payload"
    COMMANDS = "commands"
    TWIN_REPORTED = "twin: reported state"
    TWIN_CLEAR = "twin: clear measurements"
    TWIN_DESIRED = "twin: desired state"
    TWIN_METADATA = "twin: metadata"
    SECRETS = "network keys and secrets"


OWN, MANAGED, SUPPORTED = Category.OWN, Category.MANAGED, Category.SUPPORTED

# A supported device is the customer's own hardware with a decoder that the portal brings.
ALLOWED: dict[Capability, frozenset[Category]] = {
    Capability.ADD_REMOVE: frozenset({OWN, SUPPORTED}),
    Capability.EDIT: frozenset({OWN, SUPPORTED, MANAGED}),
    Capability.EDIT_BARCODE: frozenset({OWN, SUPPORTED}),
    Capability.SWITCH: frozenset({OWN, SUPPORTED, MANAGED}),
    Capability.RAW: frozenset({OWN, SUPPORTED}),
    Capability.COMMANDS: frozenset({OWN, SUPPORTED, MANAGED}),
    Capability.TWIN_REPORTED: frozenset({OWN, SUPPORTED, MANAGED}),
    Capability.TWIN_CLEAR: frozenset({OWN, SUPPORTED}),
    Capability.TWIN_DESIRED: frozenset({OWN, SUPPORTED, MANAGED}),
    Capability.TWIN_METADATA: frozenset({OWN, SUPPORTED}),
    Capability.SECRETS: frozenset({OWN, SUPPORTED}),
}

LABELS = {
    Capability.ADD_REMOVE: _("Add to and remove from the portal"),
    Capability.EDIT: _("Edit name and description"),
    Capability.SWITCH: _("Activate and deactivate in the portal"),
    Capability.RAW: _("Send and receive raw payload"),
    Capability.COMMANDS: _("Send commands"),
    Capability.TWIN_REPORTED: _("Device Twin: reported state"),
    Capability.TWIN_CLEAR: _("Device Twin: clear measurements"),
    Capability.TWIN_DESIRED: _("Device Twin: desired state"),
    Capability.TWIN_METADATA: _("Device Twin: metadata"),
}


class NotAllowedForType(Exception):
    """The device's category does not have the capability."""

    def __init__(self, capability: Capability) -> None:
        super().__init__(
            _("This is not available for this kind of device: %(what)s.")
            % {"what": LABELS.get(capability, capability.value)}
        )
        self.capability = capability


def has(device: Device, capability: Capability) -> bool:
    return Category(device.type.category) in ALLOWED[capability]


def require(device: Device, capability: Capability) -> None:
    """Raises NotAllowedForType."""
    if not has(device, capability):
        raise NotAllowedForType(capability)
