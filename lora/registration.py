"""LoRa as a connectivity: its network form, its card, and registering, switching and sending through a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.connectivity import Card, Connectivity, Heard, ImportField, Instruction, Message
from devices.errors import NetworkRefused
from devices.models import Device, DeviceType, KeySource

from . import forms, networks
from .models import FrameKind, LoraIdentity

# Bytes of a payload in a list of messages.
SHOWN_BYTES = 16


def _in_words(kind: FrameKind, fport: int | None, payload: bytes) -> str:
    if kind != FrameKind.DATA:
        return str(kind.label)
    if not fport or not payload:
        return gettext("No application data")
    shown = payload[:SHOWN_BYTES].hex(" ").upper() + (" …" if len(payload) > SHOWN_BYTES else "")
    return f"FPort {fport}: {shown}"


class Lora(Connectivity):
    slug = "lora"
    label = _("LoRa")
    identifier_label = "DevEUI"
    step_template = "lora/network_step.html"
    needed_to_send = ("lora__network",)

    def network_form(self, device: Device, data: Mapping[str, Any] | None = None) -> forms.LoraNetworkForm:
        return forms.form_for(device, data)

    def import_fields(self, device_type: DeviceType) -> list[ImportField]:
        if device_type.key_source == KeySource.PORTAL:
            return []
        eui, app, key = (forms.LoraNetworkForm.base_fields[name] for name in ("dev_eui", "app_eui", "app_key"))
        return [
            ImportField(
                "dev_eui",
                "DevEUI",
                ("DevEUI", "EUI", "Device EUI"),
                required=True,
                example="70B3D57ED0001A2B",
                help=eui.help_text,
            ),
            ImportField(
                "app_eui",
                "AppEUI",
                ("AppEUI", "JoinEUI", "Application EUI"),
                required=True,
                example="70B3D57ED0000001",
                help=app.help_text,
            ),
            ImportField(
                "app_key",
                "AppKey",
                ("AppKey", "Application key"),
                required=True,
                secret=True,
                example="2B7E151628AED2A6ABF7158809CF4F3C",
                help=key.help_text,
            ),
        ]

    def import_form(self, device: Device, data: Mapping[str, Any] | None = None) -> forms.LoraNetworkForm:
        made_here = device.type.key_source == KeySource.PORTAL
        return (forms.GeneratedNetworkForm if made_here else forms.LoraNetworkForm)(data, device=device)

    def has_network_info(self, device: Device) -> bool:
        return LoraIdentity.objects.filter(device=device).exists()

    def card(self, device: Device) -> Card:
        identity: LoraIdentity | None = getattr(device, "lora", None)
        return Card(
            title=_("LoRa"),
            lines=[{"label": "DevEUI", "kind": "identifier", "value": identity.dev_eui if identity else ""}],
        )

    def register(self, device: Device) -> None:
        identity = self._identity(device)
        networks.of(identity).register(identity)
        LoraIdentity.objects.filter(pk=identity.pk, registered_at=None).update(registered_at=timezone.now())

    def activate(self, device: Device) -> None:
        identity = self._identity(device)
        networks.of(identity).set_enabled(identity, enabled=True)

    def deactivate(self, device: Device) -> None:
        identity = self._identity(device)
        networks.of(identity).set_enabled(identity, enabled=False)

    def deregister(self, device: Device) -> None:
        identity = LoraIdentity.objects.select_related("network").filter(device=device).first()
        if identity is not None:
            networks.of(identity).deregister(identity)

    def forget(self, device: Device) -> None:
        """Nothing outlives the device: its rows go with it."""

    def send(self, device: Device, instruction: Instruction) -> bool:
        identity = self._identity(device)
        networks.of(identity).send(identity, instruction)
        return True

    def has(self, device: Device, correlation_id: UUID) -> bool:
        identity = self._identity(device)
        return networks.of(identity).has(identity, correlation_id)

    def largest_payloads(self, devices: Iterable[Device]) -> Mapping[int, int | None]:
        from . import frames

        return frames.largest_payloads(device.pk for device in devices)

    def recent_messages(self, device: Device, limit: int) -> list[Message]:
        from . import frames

        return [
            Message(frame.received_at, bytes(frame.payload), frame.fport)
            for frame in frames.last_with_data(device.pk, limit)
        ]

    def newest(self, devices: Sequence[tuple[int, datetime]], limit: int) -> list[Heard]:
        from . import frames

        return [
            Heard(pk, at, _in_words(kind, fport, payload))
            for pk, at, kind, fport, payload in frames.newest(devices, limit)
        ]

    def observed(self, device: Device) -> list[tuple[str, str | timedelta]]:
        from . import observed

        heard = observed.heard(observed.last_day(device.pk, timezone.now()))
        lines: list[tuple[str, str | timedelta]] = []
        if heard.interval is not None:
            lines.append((gettext("Typical interval"), heard.interval))
        if heard.messages > 1:
            text = gettext("%(lost)d of %(sent)d messages (%(share)s %%)")
            values = {"lost": heard.lost, "sent": heard.messages + heard.lost}
            lines.append((gettext("Lost"), text % (values | {"share": f"{100 * heard.share:.0f}"})))
        return lines

    @staticmethod
    def _identity(device: Device) -> LoraIdentity:
        if LoraIdentity.device.field.remote_field.is_cached(device):  # selected with the device
            identity: LoraIdentity | None = getattr(device, "lora", None)
        else:
            identity = LoraIdentity.objects.select_related("network").filter(device=device).first()
        if identity is None:
            raise NetworkRefused(str(_("The device has no LoRa network info.")))
        return identity
