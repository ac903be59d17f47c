"""The identity of an Internet device: DvnUUID and shared secret (I1)."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from common import crypto
from devices.models import Device


class InternetIdentity(models.Model):
    """DvnUUID (lower case, with dashes) and shared secret (encrypted) of a device."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="internet")
    dvn_uuid = models.UUIDField("DvnUUID", unique=True)
    secret = models.BinaryField(_("shared secret"))
    secret_at = models.DateTimeField(_("secret made"), default=timezone.now)

    class Meta:
        verbose_name = _("Internet identity")
        verbose_name_plural = _("Internet identities")

    def __str__(self) -> str:
        return str(self.dvn_uuid)

    @property
    def base_name(self) -> str:
        """The SenML base name of the device's packs."""
        return f"urn:dev:DVNUUID:{self.dvn_uuid}:"

    def set_secret(self, secret: str) -> None:
        self.secret = crypto.encrypt(secret.encode(), purpose=f"Internet secret {self.dvn_uuid}")

    def get_secret(self) -> str:
        return crypto.decrypt(self.secret, purpose=f"Internet secret {self.dvn_uuid}").decode()
