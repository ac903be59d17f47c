"""What All Devices keeps for itself (D11): named views, and values of the twin in a form that can be searched."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project, User

from .device import Device


class ValueSource(models.TextChoices):
    """The part of the Device Twin that a column shows; the value is how the address spells it."""

    REPORTED = "reported", _("Reported")
    DESIRED = "desired", _("Desired")
    METADATA = "metadata", _("Metadata")


class ValueColumn(models.Model):
    """A key of the twins of a Project that people sort or filter by: its values are kept in :class:`ColumnValue`.

    Made when first asked for, given up when long unused: an index, not a setting. ``filled_to``: the devices with
    ids up to this one have their values in it; None once all have.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", verbose_name=_("Project"))
    source = models.CharField(_("part of the twin"), max_length=8, choices=ValueSource.choices)
    key = models.CharField(_("key"), max_length=100)
    filled_to = models.BigIntegerField(_("filled up to"), null=True, default=0)
    used_at = models.DateTimeField(_("last used"), default=timezone.now)

    class Meta:
        verbose_name = _("column of values")
        verbose_name_plural = _("columns of values")
        constraints = [
            models.UniqueConstraint(fields=["project", "source", "key"], name="value_column_once"),
            models.CheckConstraint(condition=models.Q(source__in=ValueSource.values), name="value_column_source_known"),
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.key}"


class ColumnValue(models.Model):
    """One value of a device in a :class:`ValueColumn`. ``number``: where it is one, or reads as one; ``text``: in
    lower case, up to 200 characters, None for a number (its index is not written with every measurement)."""

    pk = models.CompositePrimaryKey("device_id", "column_id")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="column_values", db_index=False)
    column = models.ForeignKey(ValueColumn, on_delete=models.CASCADE, related_name="values", db_index=False)
    number = models.FloatField(_("number"), null=True)
    text = models.CharField(_("text"), max_length=200, null=True)  # noqa: DJ001 - a number has none

    class Meta:
        verbose_name = _("value in a column")
        verbose_name_plural = _("values in columns")
        indexes = [
            models.Index(fields=["column", "number", "text", "device"], name="column_value_order"),
            GinIndex(OpClass("text", name="gin_trgm_ops"), name="column_value_trigram"),
        ]

    def __str__(self) -> str:
        return f"{self.device_id}: {self.text if self.number is None else self.number}"


class SavedView(models.Model):
    """A named way to look at All Devices: ``query`` is the address's (columns, filters, sort). Shared: everybody of
    the Project has it; otherwise its owner alone."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", verbose_name=_("Project"))
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=60)
    query = models.TextField(_("what it shows"), max_length=4000, blank=True)
    shared = models.BooleanField(_("shared"), default=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[SavedView]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("view of All Devices")
        verbose_name_plural = _("views of All Devices")
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=models.Q(shared=True), name="view_shared_once"
            ),
            models.UniqueConstraint(
                fields=["owner", "project", "name"], condition=models.Q(shared=False), name="view_private_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name
