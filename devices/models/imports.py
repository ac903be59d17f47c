"""Devices from a file (D12): the file as it was sent, its rows, and which column people chose for which field."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID, uuid4, uuid5

import orjson
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project, User
from common import crypto

from .device import DeviceType
from .jobs import Outcome

KEEP = timedelta(days=7)


def after_keeping() -> datetime:
    return timezone.now() + KEEP


class ImportState(models.TextChoices):
    UPLOADED = "uploaded", _("Columns to be chosen")
    CHECKING = "checking", _("Being checked")
    CHECKED = "checked", _("Checked")
    ADDING = "adding", _("Being added")
    DONE = "done", _("Done")


IMPORT_ALLOWED = {
    ImportState.UPLOADED.value: frozenset({ImportState.CHECKING.value}),
    ImportState.CHECKING.value: frozenset({ImportState.CHECKED.value}),
    ImportState.CHECKED.value: frozenset({ImportState.CHECKING.value, ImportState.ADDING.value}),
    ImportState.ADDING.value: frozenset({ImportState.DONE.value}),
}


class ImportFile(models.Model):
    """A file of devices of one type. The row is the queue, Celery the doorbell.

    ``mapping``: key of the field → index of the column. ``not_before``: when a worker may take it (a lease).
    ``checked``, ``faulty``: rows looked at, and those of them with errors; ``done``, ``failed``: of the rows that
    were added or were to be. ``has_keys``: the portal made secrets, to be taken away once (``keys_taken_at``).
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", verbose_name=_("Project"))
    type = models.ForeignKey(DeviceType, on_delete=models.CASCADE, related_name="+", verbose_name=_("device type"))
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("by"))
    created_at = models.DateTimeField(_("sent"), default=timezone.now)
    expires_at = models.DateTimeField(_("kept until"), default=after_keeping)
    # Names the file: the devices' creation tokens come from it, so a row never makes two.
    token = models.UUIDField(_("token"), default=uuid4, unique=True, editable=False)
    name = models.CharField(_("file"), max_length=200)
    delimiter = models.CharField(_("delimiter"), max_length=1)
    header = models.JSONField(_("header"))
    mapping = models.JSONField(_("columns"), default=dict)
    state = models.CharField(_("status"), max_length=8, choices=ImportState.choices, default=ImportState.UPLOADED)
    rows = models.PositiveIntegerField(_("rows"))
    checked = models.PositiveIntegerField(_("checked"), default=0)
    faulty = models.PositiveIntegerField(_("with errors"), default=0)
    done = models.PositiveIntegerField(_("added"), default=0)
    failed = models.PositiveIntegerField(_("not added"), default=0)
    has_keys = models.BooleanField(_("the portal made secrets"), default=False)
    keys_taken_at = models.DateTimeField(_("secrets taken"), null=True)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)

    objects: ClassVar[models.Manager[ImportFile]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("file of devices")
        verbose_name_plural = _("files of devices")
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=ImportState.values), name="import_state_known")
        ]
        indexes = [
            models.Index(fields=["project", "-id"], name="import_by_project"),
            models.Index(fields=["expires_at"], name="import_expires"),
            models.Index(
                fields=["not_before"],
                condition=models.Q(state__in=[ImportState.CHECKING, ImportState.ADDING]),
                name="import_due",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ready(self) -> int:
        """Rows without errors."""
        return self.rows - self.faulty

    @property
    def to_add(self) -> int:
        """Rows that are not settled yet."""
        return self.rows - self.faulty - self.done - self.failed


class ImportRow(models.Model):
    """A row of a file. ``number``: as a spreadsheet counts. ``cells``: encrypted, for keys stand in them; empty once
    the device is there. ``errors``: field → sentence, "" for the row as a whole. ``claims``: what must be nobody
    else's, as kind:value. ``secrets``: what the portal made, encrypted, until it is taken away."""

    pk = models.CompositePrimaryKey("file_id", "number")
    file = models.ForeignKey(ImportFile, on_delete=models.CASCADE, related_name="all_rows", db_index=False)
    number = models.PositiveIntegerField(_("row"))
    cells = models.BinaryField(_("cells"))
    label = models.CharField(_("name"), max_length=100, blank=True, default="")
    claims = ArrayField(models.CharField(max_length=60), default=list, verbose_name=_("identifiers"))
    errors = models.JSONField(_("errors"), default=dict)
    faulty = models.BooleanField(_("with errors"), default=False)
    checked = models.BooleanField(_("checked"), default=False)
    outcome = models.CharField(_("outcome"), max_length=7, choices=Outcome.choices, default=Outcome.PENDING)
    device_id = models.BigIntegerField(_("device"), null=True)
    secrets = models.BinaryField(_("secrets"), null=True)

    class Meta:
        verbose_name = _("row of a file")
        verbose_name_plural = _("rows of files")
        constraints = [
            models.CheckConstraint(condition=models.Q(outcome__in=Outcome.values), name="import_outcome_known")
        ]
        indexes = [
            models.Index(fields=["file", "-faulty", "number"], name="import_row_faulty_first"),
            models.Index(fields=["file", "number"], condition=models.Q(checked=False), name="import_row_unchecked"),
            models.Index(
                fields=["file", "number"],
                condition=models.Q(outcome=Outcome.PENDING, faulty=False),
                name="import_row_to_add",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.file_id}/{self.number} {self.outcome}"

    @staticmethod
    def seal(file_id: int, number: int, cells: list[str]) -> bytes:
        return crypto.encrypt(orjson.dumps(cells), purpose=f"import {file_id} row {number}")

    def open(self) -> list[str]:
        """The cells as they were sent. Raises SecretUnreadable."""
        cells: list[str] = orjson.loads(crypto.decrypt(self.cells, purpose=f"import {self.file_id} row {self.number}"))
        return cells

    @staticmethod
    def seal_secrets(file_id: int, number: int, secrets: dict[str, str]) -> bytes:
        return crypto.encrypt(orjson.dumps(secrets), purpose=f"import {file_id} secrets {number}")

    def open_secrets(self) -> dict[str, str]:
        if self.secrets is None:
            return {}
        purpose = f"import {self.file_id} secrets {self.number}"
        secrets: dict[str, str] = orjson.loads(crypto.decrypt(self.secrets, purpose=purpose))
        return secrets

    def creation_token(self, file_token: UUID) -> UUID:
        return uuid5(file_token, str(self.number))


class ImportMapping(models.Model):
    """Which columns a person chose for files with this header, in this Project and for this type."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", verbose_name=_("Project"))
    type = models.ForeignKey(DeviceType, on_delete=models.CASCADE, related_name="+", verbose_name=_("device type"))
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("person"))
    # SHA-256 of the header, in hex.
    header = models.CharField(_("header"), max_length=64)
    mapping = models.JSONField(_("columns"))

    objects: ClassVar[models.Manager[ImportMapping]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("remembered columns")
        verbose_name_plural = _("remembered columns")
        constraints = [
            models.UniqueConstraint(fields=["project", "type", "user", "header"], name="import_mapping_once")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.type_id} {self.header[:8]}"
