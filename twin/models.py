"""The Device Twin: what the device reported, what is desired of it, what people note about it; a row per device."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models import Device


class Twin(models.Model):
    """``reported``: name → ``{"v": value, "u": unit or null, "t": Unix seconds}``; bytes are base64 with
    ``"b": true``. ``desired``: name → ``{"v": value, "t": Unix seconds of the request}``. ``metadata``: key →
    ``{"v": text, "t": Unix seconds of the change}``. ``version`` grows by one with every change. The table keeps
    free space in its pages (fillfactor 70) and has no index on the values, so that updates stay in their page."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="twin")
    reported = models.JSONField(_("reported"), default=dict)
    # The database knows the empty value too: the pipeline inserts rows without naming these columns.
    desired = models.JSONField(_("desired"), default=dict, db_default={})
    metadata = models.JSONField(_("metadata"), default=dict, db_default={})
    version = models.BigIntegerField(_("version"), default=0)
    updated_at = models.DateTimeField(_("updated"), null=True)

    class Meta:
        verbose_name = _("Device Twin")
        verbose_name_plural = _("Device Twins")

    def __str__(self) -> str:
        return f"{self.device_id} v{self.version}"
