"""SIM cards, and the identity of an M2M device: IMEI, SIM and shared secret (M1–M4)."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project
from common import crypto
from devices.models import Device


class SimStatus(models.TextChoices):
    INVENTORY = "inventory", _("Inventory")
    ACTIVE = "active", _("Active")
    DEACTIVATED = "deactivated", _("Deactivated")


class SimCard(models.Model):
    """A SIM of a Project; linked to one device at most (M4). ``iccid``: 19 or 20 digits, ``msisdn``: E.164."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", verbose_name=_("Project"))
    iccid = models.CharField("ICCID", max_length=20, unique=True)
    msisdn = models.CharField("MSISDN", max_length=16, blank=True, default="")
    status = models.CharField(_("status"), max_length=11, choices=SimStatus.choices, default=SimStatus.INVENTORY)
    rate_plan = models.CharField(_("rate plan"), max_length=100, blank=True, default="")
    early_access = models.BooleanField(_("early access"), default=False)
    activated_at = models.DateTimeField(_("activated"), null=True, blank=True)
    device = models.OneToOneField(
        Device, on_delete=models.SET_NULL, null=True, blank=True, related_name="sim", verbose_name=_("device")
    )
    created_at = models.DateTimeField(_("added"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[SimCard]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("SIM card")
        verbose_name_plural = _("SIM cards")
        constraints = [models.CheckConstraint(condition=models.Q(status__in=SimStatus.values), name="sim_status_known")]
        indexes = [
            models.Index(fields=["project", "iccid"], name="sim_by_project"),
            GinIndex(OpClass("iccid", name="gin_trgm_ops"), name="sim_iccid_trigram"),
            GinIndex(OpClass("msisdn", name="gin_trgm_ops"), name="sim_msisdn_trigram"),
        ]

    def __str__(self) -> str:
        return self.iccid


class M2mIdentity(models.Model):
    """IMEI (15 digits) and shared secret (encrypted) of a device."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="m2m")
    imei = models.CharField("IMEI", max_length=15, unique=True)
    secret = models.BinaryField(_("shared secret"))
    secret_at = models.DateTimeField(_("secret made"), default=timezone.now)

    class Meta:
        verbose_name = _("M2M identity")
        verbose_name_plural = _("M2M identities")

    def __str__(self) -> str:
        return self.imei

    def set_secret(self, secret: str) -> None:
        self.secret = crypto.encrypt(secret.encode(), purpose=f"M2M secret {self.imei}")

    def get_secret(self) -> str:
        return crypto.decrypt(self.secret, purpose=f"M2M secret {self.imei}").decode()
