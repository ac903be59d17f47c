"""A Flow belongs to a Project and says how its devices' data is read (F1). Devices are linked from ``devices``."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project


class Flow(models.Model):
    """Only data of a device in at least one Flow is processed.

    ``decoder`` "" means: what the device type is compatible with, the first that can read the message.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", verbose_name=_("Project"))
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True, max_length=1000)
    decoder = models.CharField(_("decoding"), max_length=40, blank=True, default="")
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[Flow]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("Flow")
        verbose_name_plural = _("Flows")
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                "project",
                Lower("name"),
                name="flow_name_once_per_project",
                violation_error_message=_("This Project has a Flow of this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name
