"""The identity of an Internet device: DvnUUID and shared secret (I1)."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models import Device
from devices.shared_secret import SecretHolder


class InternetIdentity(SecretHolder):
    """DvnUUID (lower case, with dashes) and shared secret (encrypted) of a device."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="internet")
    dvn_uuid = models.UUIDField("DvnUUID", unique=True)

    class Meta:
        verbose_name = _("Internet identity")
        verbose_name_plural = _("Internet identities")

    def __str__(self) -> str:
        return str(self.dvn_uuid)

    @property
    def base_name(self) -> str:
        """The SenML base name of the device's packs."""
        return f"urn:dev:DVNUUID:{self.dvn_uuid}:"

    @property
    def secret_purpose(self) -> str:
        return f"Internet secret {self.dvn_uuid}"
