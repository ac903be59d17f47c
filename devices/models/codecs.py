"""Payload codecs that a Project makes itself (T5): their versions, stored test cases, and what they could not read."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project, User


class Codec(models.Model):
    """A codec in the LoRa Alliance TS013 JavaScript form. ``project`` None: the portal's own, of managed types.

    ``in_use``: the version that messages are decoded with; None: none yet. A version is put to use only while all
    stored test cases pass with it.
    """

    project = models.ForeignKey(
        Project, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("Project")
    )
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True, max_length=1000)
    in_use = models.ForeignKey(
        "CodecVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("in use")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[Codec]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("codec")
        verbose_name_plural = _("codecs")
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                "project",
                Lower("name"),
                name="codec_name_once_per_project",
                violation_error_message=_("This Project has a codec of this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name


class CodecVersion(models.Model):
    """One text of a codec; never changed. ``stopped_at``: it had to be killed too often and is not run any more."""

    codec = models.ForeignKey(Codec, on_delete=models.CASCADE, related_name="versions", verbose_name=_("codec"))
    number = models.PositiveIntegerField(_("version"))
    source = models.TextField(_("source"))
    note = models.CharField(_("what changed"), max_length=200, blank=True, default="")
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("made by")
    )
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    kills = models.JSONField(_("kills"), default=list, blank=True)
    stopped_at = models.DateTimeField(_("stopped"), null=True, blank=True)

    class Meta:
        verbose_name = _("version of a codec")
        verbose_name_plural = _("versions of codecs")
        ordering = ["codec", "-number"]
        constraints = [models.UniqueConstraint(fields=["codec", "number"], name="codec_version_once")]

    def __str__(self) -> str:
        return f"{self.codec_id} v{self.number}"


class CodecFunction(models.TextChoices):
    DECODE_UPLINK = "decodeUplink", "decodeUplink"
    ENCODE_DOWNLINK = "encodeDownlink", "encodeDownlink"
    DECODE_DOWNLINK = "decodeDownlink", "decodeDownlink"


class CodecCase(models.Model):
    """A stored test: with ``given`` as TS013 input (bytes as hexadecimal) the function gives ``expected``."""

    codec = models.ForeignKey(Codec, on_delete=models.CASCADE, related_name="cases", verbose_name=_("codec"))
    name = models.CharField(_("name"), max_length=100)
    function = models.CharField(_("function"), max_length=14, choices=CodecFunction.choices)
    given = models.JSONField(_("input"))
    expected = models.JSONField(_("expected"))

    class Meta:
        verbose_name = _("test case of a codec")
        verbose_name_plural = _("test cases of codecs")
        ordering = ["codec", "name", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["codec", "name"], name="codec_case_once"),
            models.CheckConstraint(
                condition=models.Q(function__in=CodecFunction.values), name="codec_case_function_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CodecProblem(models.Model):
    """What the codec of a device could not read or warned of, of its newest message with such a thing; gone with the
    next one that is read well. ``device_id`` has no foreign key: the intake writes it for many at once."""

    device_id = models.BigIntegerField(_("device"), primary_key=True)
    project_id = models.BigIntegerField(_("Project"))
    version_id = models.BigIntegerField(_("version of the codec"))
    error = models.BooleanField(_("an error"), default=True)
    text = models.CharField(_("what it says"), max_length=500)
    at = models.DateTimeField(_("of the message of"))

    class Meta:
        verbose_name = _("problem of a codec")
        verbose_name_plural = _("problems of codecs")
        indexes = [models.Index(fields=["project_id", "device_id"], name="codec_problem_project")]

    def __str__(self) -> str:
        return f"{self.device_id}: {self.text}"
