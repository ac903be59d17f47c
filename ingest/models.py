"""Messages that were accepted and could not be processed: kept with their error, to be run again."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class RejectedMessage(models.Model):
    """``entry``: the stream entry it came as (the key of a repeat); ``source`` says which way in it took."""

    entry = models.CharField(_("stream entry"), max_length=60, unique=True)
    source = models.CharField(_("source"), max_length=40)
    at = models.DateTimeField(_("received"), default=timezone.now)
    device_id = models.BigIntegerField(_("device"), null=True)
    error = models.CharField(_("error"), max_length=500)
    body = models.BinaryField(_("body"))

    class Meta:
        verbose_name = _("rejected message")
        verbose_name_plural = _("rejected messages")
        indexes = [models.Index(fields=["-at"], name="rejected_at")]

    def __str__(self) -> str:
        return f"{self.source} {self.at:%Y-%m-%d %H:%M:%S}: {self.error}"
