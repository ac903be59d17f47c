"""SIM cards, and the identity of an M2M device: IMEI, SIM and shared secret (M1–M4)."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.validators import URLValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project
from common import crypto
from devices.models import Device
from devices.shared_secret import SecretHolder


class SimStatus(models.TextChoices):
    INVENTORY = "inventory", _("Inventory")
    ACTIVE = "active", _("Active")
    DEACTIVATED = "deactivated", _("Deactivated")


class CarrierKind(models.TextChoices):
    SIMULATED = "simulated", _("Simulated")
    CONTROL_CENTER = "control_center", "Cisco IoT Control Center"


class CarrierAccount(models.Model):
    """Where SIM cards are switched on and off. Cards without one of their own are at the ``default`` one; without
    any, all are at the simulated carrier. ``base_url``: https; ``api_key``: encrypted, bound to ``slug``."""

    slug = models.SlugField(_("slug"), max_length=40, unique=True)
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=20, choices=CarrierKind.choices, default=CarrierKind.SIMULATED)
    base_url = models.CharField(
        _("address"), max_length=200, blank=True, default="", validators=[URLValidator(["https"])]
    )
    username = models.CharField(_("user name"), max_length=100, blank=True, default="")
    api_key = models.BinaryField(_("API key"), default=b"", blank=True)
    default = models.BooleanField(_("default"), default=False)

    class Meta:
        verbose_name = _("carrier")
        verbose_name_plural = _("carriers")
        constraints = [
            models.UniqueConstraint(fields=["default"], condition=models.Q(default=True), name="carrier_one_default"),
            models.CheckConstraint(
                condition=models.Q(base_url="") | models.Q(base_url__startswith="https://"), name="carrier_https"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def set_api_key(self, key: str) -> None:
        self.api_key = crypto.encrypt(key.encode(), purpose=f"carrier {self.slug}")

    def get_api_key(self) -> str:
        return crypto.decrypt(self.api_key, purpose=f"carrier {self.slug}").decode() if self.api_key else ""


class SimCard(models.Model):
    """A SIM of a Project; linked to one device at most (M4). ``iccid``: 19 or 20 digits, ``msisdn``: E.164.

    ``release_at``: the carrier has yet to switch the card off, which nobody needs any more, from that moment on.
    ``carrier_says``: the carrier's own word for its status, at ``asked_at``; ``trouble``: why it did not answer.
    """

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
    carrier = models.ForeignKey(
        CarrierAccount, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("carrier")
    )
    carrier_says = models.CharField(_("carrier says"), max_length=30, blank=True, default="", editable=False)
    asked_at = models.DateTimeField(_("carrier asked"), null=True, editable=False)
    trouble = models.CharField(_("trouble"), max_length=300, blank=True, default="", editable=False)
    release_at = models.DateTimeField(_("to be switched off"), null=True, editable=False)
    release_attempts = models.PositiveSmallIntegerField(default=0, editable=False)

    objects: ClassVar[models.Manager[SimCard]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("SIM card")
        verbose_name_plural = _("SIM cards")
        constraints = [models.CheckConstraint(condition=models.Q(status__in=SimStatus.values), name="sim_status_known")]
        indexes = [
            models.Index(fields=["project", "iccid"], name="sim_by_project"),
            models.Index(fields=["project", "status", "iccid"], name="sim_by_status"),
            models.Index(fields=["project", "rate_plan", "iccid"], name="sim_by_rate_plan"),
            models.Index(fields=["release_at"], condition=models.Q(release_at__isnull=False), name="sim_to_release"),
            models.Index(models.F("asked_at").asc(nulls_first=True), name="sim_by_asked"),
            GinIndex(OpClass("iccid", name="gin_trgm_ops"), name="sim_iccid_trigram"),
            GinIndex(OpClass("msisdn", name="gin_trgm_ops"), name="sim_msisdn_trigram"),
        ]

    def __str__(self) -> str:
        return self.iccid


class M2mIdentity(SecretHolder):
    """IMEI (15 digits) and shared secret (encrypted) of a device.

    ``own_name``: the base name that its firmware writes, where that is not the one made of the IMEI; None for no other.
    """

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="m2m")
    imei = models.CharField("IMEI", max_length=15, unique=True)
    own_name = models.CharField(_("base name of the firmware"), max_length=80, unique=True, null=True, blank=True)

    class Meta:
        verbose_name = _("M2M identity")
        verbose_name_plural = _("M2M identities")

    def __str__(self) -> str:
        return self.imei

    @property
    def base_name(self) -> str:
        """The SenML base name of the device's packs."""
        return f"urn:dev:IMEI:{self.imei}:"

    @property
    def secret_purpose(self) -> str:
        return f"M2M secret {self.imei}"


class SimulatedSim(models.Model):
    """What the simulated carrier holds of a card. ``changes`` counts how often its status was changed."""

    iccid = models.CharField("ICCID", max_length=20, primary_key=True)
    status = models.CharField(_("status"), max_length=11, choices=SimStatus.choices, default=SimStatus.INVENTORY)
    rate_plan = models.CharField(_("rate plan"), max_length=100, blank=True, default="")
    msisdn = models.CharField("MSISDN", max_length=16, blank=True, default="")
    activated_at = models.DateTimeField(_("activated"), null=True, blank=True)
    faults = models.JSONField(_("faults"), default=list, blank=True)
    last_sms = models.CharField(_("last SMS"), max_length=320, blank=True, default="")
    changes = models.PositiveIntegerField(_("changes"), default=0)

    class Meta:
        verbose_name = _("simulated SIM card")
        verbose_name_plural = _("simulated SIM cards")

    def __str__(self) -> str:
        return self.iccid
