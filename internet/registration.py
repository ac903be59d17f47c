"""Internet as a connectivity: no network to ask; the shared secret is what lets the device in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from devices import shared_secret
from devices.connectivity import Card, Connectivity, ImportField, Instruction
from devices.models import Device, DeviceType

from . import forms
from .models import InternetIdentity


class Internet(Connectivity):
    slug = "internet"
    label = _("Internet")
    identifier_label = "DvnUUID"
    step_template = "internet/network_step.html"

    def network_form(self, device: Device, data: Mapping[str, Any] | None = None) -> forms.InternetNetworkForm:
        return forms.InternetNetworkForm(data, device=device)

    def import_fields(self, device_type: DeviceType) -> list[ImportField]:
        return [
            ImportField(
                "dvn_uuid",
                "DvnUUID",
                ("DvnUUID", "UUID", "Device UUID"),
                example="0f8fad5b-d9cb-469f-a165-70867728950e",
                help=_("Any UUID. Empty: the portal makes one."),
            ),
            shared_secret.import_field(),
        ]

    def import_form(self, device: Device, data: Mapping[str, Any] | None = None) -> forms.InternetNetworkForm:
        return forms.InternetRowForm(data, device=device)

    def has_network_info(self, device: Device) -> bool:
        return InternetIdentity.objects.filter(device=device).exists()

    def card(self, device: Device) -> Card:
        identity: InternetIdentity | None = getattr(device, "internet", None)
        return Card(
            title=_("Internet"),
            lines=[
                {
                    "label": _("SenML base name"),
                    "kind": "identifier",
                    "value": identity.base_name if identity else "",
                }
            ],
        )

    def register(self, device: Device) -> None:
        """Nothing to ask: the ways in read the secret from now on. The status is what they look at."""

    def activate(self, device: Device) -> None:
        """As :meth:`register`."""

    def deactivate(self, device: Device) -> None:
        """As :meth:`register`: messages of a device whose connectivity is deactivated are refused."""

    def deregister(self, device: Device) -> None:
        """As :meth:`register`."""

    def forget(self, device: Device) -> None:
        """Nothing outlives the device: its rows go with it."""

    def send(self, device: Device, instruction: Instruction) -> bool:
        """The device fetches it in the answer to its own next message (I3)."""
        return False

    def identifier_for_reading(self, identifier: str) -> str:
        bare = identifier.lower()
        return "-".join((bare[:8], bare[8:12], bare[12:16], bare[16:20], bare[20:])) if len(bare) == 32 else bare
