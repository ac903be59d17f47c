"""The Device Twin: what the device reported, what is desired of it, what people note about it; a row per device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from devices.models import Device


class Twin(models.Model):
    """``reported``: name → ``{"v": value, "u": unit or null, "t": Unix seconds}``; bytes are base64 with
    ``"b": true``. ``desired``: name → ``{"v": value, "t": Unix seconds of the request}``. ``metadata``: key →
    ``{"v": text, "t": Unix seconds of the change}``. ``version`` grows by one with every change, and with it that of
    the part which changed. The table keeps free space in its pages (fillfactor 70) and has no index on the values, so
    that updates stay in their page."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="twin")
    reported = models.JSONField(_("reported"), default=dict)
    # The database knows the empty value too: the pipeline inserts rows without naming these columns.
    desired = models.JSONField(_("desired"), default=dict, db_default={})
    metadata = models.JSONField(_("metadata"), default=dict, db_default={})
    version = models.BigIntegerField(_("version"), default=0)
    reported_version = models.BigIntegerField(_("version of the reported state"), default=0, db_default=0)
    desired_version = models.BigIntegerField(_("version of the desired state"), default=0, db_default=0)
    metadata_version = models.BigIntegerField(_("version of the metadata"), default=0, db_default=0)
    updated_at = models.DateTimeField(_("updated"), null=True)

    class Meta:
        verbose_name = _("Device Twin")
        verbose_name_plural = _("Device Twins")

    def __str__(self) -> str:
        return f"{self.device_id} v{self.version}"


class Sync(models.TextChoices):
    """Where a desired value is on its way to the device and back (W4)."""

    REQUESTED = "requested", _("Requested")
    QUEUED = "queued", _("In the queue")
    ON_AIR = "on_air", _("On air")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    IN_SYNC = "in_sync", _("In sync")
    DIFFERS = "differs", _("Differs")
    FAILED = "failed", _("Failed")


# The states in which the change is still under way (the blue dot of W3).
UNDER_WAY: Final = frozenset({Sync.REQUESTED, Sync.QUEUED, Sync.ON_AIR, Sync.ACKNOWLEDGED})
_OPEN: Final = {state.value for state in Sync}
SYNC_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    # A new request begins again from everywhere; what the device reports decides from everywhere.
    Sync.REQUESTED.value: frozenset({Sync.QUEUED.value, Sync.IN_SYNC.value, Sync.FAILED.value}),
    Sync.QUEUED.value: frozenset(_OPEN - {Sync.QUEUED.value, Sync.DIFFERS.value}),
    Sync.ON_AIR.value: frozenset(_OPEN - {Sync.ON_AIR.value, Sync.DIFFERS.value}),
    Sync.ACKNOWLEDGED.value: frozenset(_OPEN - {Sync.ACKNOWLEDGED.value, Sync.ON_AIR.value, Sync.DIFFERS.value}),
    Sync.IN_SYNC.value: frozenset({Sync.REQUESTED.value, Sync.DIFFERS.value}),
    Sync.DIFFERS.value: frozenset({Sync.REQUESTED.value, Sync.IN_SYNC.value}),
    Sync.FAILED.value: frozenset({Sync.REQUESTED.value, Sync.IN_SYNC.value}),
}


class DesiredValue(models.Model):
    """The way of one desired value of a control, from the request to the report that answers it (W3, W4).

    The value itself stands in ``Twin.desired``; here is its latest request. ``generation`` grows with each request.
    ``downlink``: the number of the instruction that carries it now or did last. ``attempts``: instructions made for
    this request. ``due_at``: when the sweeper looks at it; None where nothing is waited for. ``given_up_at``: after it
    the request has failed. DIFFERS: it was in sync, and the device has reported something else since.
    """

    pk = models.CompositePrimaryKey("device_id", "name")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(_("name"), max_length=100)
    value = models.JSONField(_("value"))
    state = models.CharField(_("state"), max_length=12, choices=Sync.choices, default=Sync.REQUESTED)
    generation = models.PositiveIntegerField(_("request"), default=1)
    requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("requested by")
    )
    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    downlink = models.IntegerField(_("instruction"), null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    queued_at = models.DateTimeField(_("in the queue"), null=True)
    on_air_at = models.DateTimeField(_("on air"), null=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    finished_at = models.DateTimeField(_("in sync or failed"), null=True)
    due_at = models.DateTimeField(_("looked at again"), null=True)
    given_up_at = models.DateTimeField(_("given up"), null=True)
    cause = models.CharField(_("code"), max_length=40, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=300, blank=True, default="")

    class Meta:
        verbose_name = _("desired value")
        verbose_name_plural = _("desired values")
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=Sync.values), name="desired_state_known"),
            models.CheckConstraint(
                condition=models.Q(due_at=None) | models.Q(state__in=sorted(state.value for state in UNDER_WAY)),
                name="desired_due_is_under_way",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="desired_due"),
            models.Index(fields=["requested_by"], name="desired_requested_by"),
        ]

    def __str__(self) -> str:
        return f"{self.device_id} {self.name}: {self.state}"


class ValueName(models.Model):
    """Names of reported values, each kept once: samples carry its number."""

    id = models.AutoField(primary_key=True)
    name = models.CharField(_("name"), max_length=200, unique=True)

    class Meta:
        verbose_name = _("name of values")
        verbose_name_plural = _("names of values")

    def __str__(self) -> str:
        return self.name


class SampleKind(models.IntegerChoices):
    NUMBER = 0, _("number")
    BOOLEAN = 1, _("true or false")
    TEXT = 2, _("text")


class Sample(models.Model):
    """One value as it was reported (W8). Day partitions on ``at``, the measurement's own moment; primary key
    (device_id, name_id, at). ``number``: of a boolean 0 or 1; ``text``: of a text, its first 200 characters."""

    pk = models.CompositePrimaryKey("device_id", "name_id", "at")
    device_id = models.BigIntegerField(_("device"))
    name_id = models.IntegerField(_("name"))
    at = models.DateTimeField(_("moment"))
    kind = models.PositiveSmallIntegerField(_("kind"), choices=SampleKind.choices)
    number = models.FloatField(_("number"), null=True)
    text = models.CharField(_("text"), max_length=200, null=True)  # noqa: DJ001 - a number has none

    class Meta:
        managed = False
        db_table = "twin_sample"
        verbose_name = _("sample")
        verbose_name_plural = _("samples")

    def __str__(self) -> str:
        return f"{self.device_id} {self.name_id} {self.at:%Y-%m-%d %H:%M:%S}"
