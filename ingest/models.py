"""Messages that could not be processed or were refused at the door, and what sends in the demo."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from common import crypto
from devices.models import Device


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


class RefusedMessage(models.Model):
    """A message that was refused at the door and named this device: a few of the newest are kept for its people.

    ``proved``: it had the device's token; only then is its body kept, and it is what the device itself sent.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="+", verbose_name=_("device"))
    at = models.DateTimeField(_("received"), default=timezone.now)
    code = models.CharField(_("code"), max_length=20)
    reason = models.CharField(_("reason"), max_length=300)
    size = models.PositiveBigIntegerField(_("size"), default=0)
    proved = models.BooleanField(_("proved"), default=False)
    body = models.BinaryField(_("body"), default=b"")

    class Meta:
        verbose_name = _("refused message")
        verbose_name_plural = _("refused messages")
        indexes = [models.Index(fields=["device", "-at", "-id"], name="refused_by_device")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}: {self.reason}"


class SimulatedSender(models.Model):
    """An M2M or Internet device of the demo: it has a secret of its own, as a real one, and sends over HTTP.

    ``state``: what it was told and reports (name → value). ``next_at``: when it sends again.
    """

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="+")
    base_name = models.CharField(_("base name"), max_length=80)
    way = models.CharField(_("way in"), max_length=40)
    secret = models.BinaryField(_("shared secret"))
    interval_seconds = models.PositiveIntegerField(_("interval"), default=60)
    state = models.JSONField(_("state"), default=dict, blank=True)
    next_at = models.DateTimeField(_("sends next"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("simulated sender")
        verbose_name_plural = _("simulated senders")

    def __str__(self) -> str:
        return self.base_name

    def set_secret(self, secret: str) -> None:
        self.secret = crypto.encrypt(secret.encode(), purpose=f"simulated sender {self.base_name}")

    def get_secret(self) -> str:
        return crypto.decrypt(self.secret, purpose=f"simulated sender {self.base_name}").decode()
