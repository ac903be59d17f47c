"""The network step for LoRa (L1): generated for programmable own devices, entered for all others."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from devices.connectivity import NetworkForm, Secret
from devices.models import Device, KeySource
from devices.services import claim_identifier

from .models import LoraIdentity, Network

# EUIs that the portal makes are locally administered (bit 1 of the first byte set): they meet no maker's EUI-64.
LOCAL_PREFIX = 0x02
SEPARATORS = re.compile(r"[\s:\-.]")


def clean_hex(text: str, octets: int, name: str) -> str:
    """Hex digits in any spacing to upper case without separators. Raises ValidationError saying what is wrong."""
    value = SEPARATORS.sub("", text).upper()
    if value.startswith("0X"):
        value = value[2:]
    if re.search(r"[^0-9A-F]", value):
        raise ValidationError(_("Only the digits 0–9 and A–F belong in %(name)s."), params={"name": name})
    if len(value) != octets * 2:
        raise ValidationError(
            _("%(name)s has %(wanted)d hexadecimal digits; this has %(given)d."),
            params={"name": name, "wanted": octets * 2, "given": len(value)},
        )
    return value


def new_eui() -> str:
    """A random locally administered EUI-64."""
    octets = bytearray(secrets.token_bytes(8))
    octets[0] = (octets[0] & 0xFC) | LOCAL_PREFIX
    return octets.hex().upper()


def grouped(value: str) -> str:
    """Hex in pairs, as labels and tools print it."""
    return " ".join(value[index : index + 2] for index in range(0, len(value), 2))


class LoraNetworkForm(NetworkForm):
    """DevEUI, AppEUI and AppKey as the device's maker gave them."""

    reads_codes = True

    dev_eui = forms.CharField(label="DevEUI", max_length=40, help_text=_("16 hexadecimal digits, often on the label."))
    app_eui = forms.CharField(label="AppEUI", max_length=40, help_text=_("16 hexadecimal digits; also called JoinEUI."))
    app_key = forms.CharField(
        label="AppKey",
        max_length=80,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}, render_value=True),
        help_text=_("32 hexadecimal digits, most significant byte first. It is kept encrypted and never shown again."),
    )

    def clean_dev_eui(self) -> str:
        value = clean_hex(self.cleaned_data["dev_eui"], 8, "DevEUI")
        if value in {"0" * 16, "F" * 16}:
            raise ValidationError(_("This is not a DevEUI of a device."))
        return value

    def clean_app_eui(self) -> str:
        return clean_hex(self.cleaned_data["app_eui"], 8, "AppEUI")

    def clean_app_key(self) -> str:
        return clean_hex(self.cleaned_data["app_key"], 16, "AppKey")

    def claims(self) -> dict[str, str]:
        dev_eui = self.cleaned_data.get("dev_eui")
        return {"dev_eui": f"DEVEUI:{dev_eui}"} if dev_eui else {}

    def save(self, *, actor: User) -> list[Secret]:
        data = self.cleaned_data
        save_identity(self.device, data["dev_eui"], data["app_eui"], bytes.fromhex(data["app_key"]))
        return []


class GeneratedNetworkForm(LoraNetworkForm):
    """A programmable own device: the portal makes all three; the person only agrees."""

    reads_codes = False
    dev_eui = None  # type: ignore[assignment]
    app_eui = None  # type: ignore[assignment]
    app_key = None  # type: ignore[assignment]

    def save(self, *, actor: User) -> list[Secret]:
        dev_eui, app_eui, app_key = new_eui(), new_eui(), secrets.token_bytes(16)
        save_identity(self.device, dev_eui, app_eui, app_key)
        return [
            Secret("DevEUI", dev_eui),
            Secret("AppEUI", app_eui),
            Secret("AppKey", app_key.hex().upper()),
        ]


def form_for(device: Device, data: Mapping[str, Any] | None) -> LoraNetworkForm:
    """The form of the device's type; where there is network info to correct, with its EUIs and never its key."""
    if device.type.key_source == KeySource.PORTAL:
        return GeneratedNetworkForm(data, device=device)
    entered = LoraIdentity.objects.filter(device=device).values("dev_eui", "app_eui").first()
    return LoraNetworkForm(data, device=device, initial=entered)


def save_identity(device: Device, dev_eui: str, app_eui: str, app_key: bytes) -> LoraIdentity:
    """Write the identity, in the caller's transaction. Raises IdentifierInUse."""
    claim_identifier(device=device, kind="DEVEUI", value=dev_eui, primary=True)
    identity = LoraIdentity(device=device, dev_eui=dev_eui, app_eui=app_eui, network=default_network())
    identity.set_app_key(app_key)
    LoraIdentity.objects.filter(device=device).delete()
    identity.save(force_insert=True)
    return identity


def default_network() -> Network:
    return Network.objects.get(default=True)
