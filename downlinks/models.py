"""An instruction to a device and its five states (S3)."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from devices.models import Device, Encoder


class State(models.TextChoices):
    PENDING = "pending", _("Pending")
    CANCELLED = "cancelled", _("Cancelled")
    EXECUTING = "executing", _("Executing")
    FAILED = "failed", _("Failed")
    DELIVERED = "delivered", _("Delivered")


ALLOWED = {
    State.PENDING.value: frozenset({State.EXECUTING.value, State.CANCELLED.value, State.FAILED.value}),
    State.EXECUTING.value: frozenset({State.DELIVERED.value, State.FAILED.value}),
    State.CANCELLED.value: frozenset[str](),
    State.FAILED.value: frozenset[str](),
    State.DELIVERED.value: frozenset[str](),
}
FINAL = frozenset({State.CANCELLED, State.FAILED, State.DELIVERED})


class Source(models.TextChoices):
    PAGE = "page", _("Page")
    API = "api", _("API")
    BULK = "bulk", _("Bulk")
    DESIRED = "desired", _("Desired state")


class Downlink(models.Model):
    """One instruction. ``number`` counts per device from 1 and is the order of execution (S3: FIFO).

    ``head`` marks the one instruction of a device that is executing or next to execute: a unique partial index
    makes a second one impossible, and finding what can run costs the same however many are waiting or done.
    ``correlation_id`` travels to the network and back. ``lease_until``: the worker that sends has it so long.
    ``sent_at`` (on air) and ``acknowledged_at`` are different facts.
    """

    pk = models.CompositePrimaryKey("device_id", "number")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="downlinks")
    number = models.IntegerField(_("number"))
    correlation_id = models.UUIDField(_("correlation id"), default=uuid.uuid4)
    state = models.CharField(_("status"), max_length=9, choices=State.choices, default=State.PENDING)
    head = models.BooleanField(_("head of the queue"), default=False)
    encoder = models.CharField(_("form"), max_length=10, choices=Encoder.choices)
    fport = models.PositiveSmallIntegerField("FPort", null=True)
    payload = models.BinaryField(_("payload"), default=b"")
    confirmed = models.BooleanField(_("confirmed"), default=False)
    source = models.CharField(_("from"), max_length=7, choices=Source.choices, default=Source.PAGE)
    requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("requested by")
    )
    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    executing_at = models.DateTimeField(_("executing"), null=True)
    lease_until = models.DateTimeField(_("lease"), null=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    accepted_at = models.DateTimeField(_("accepted by the network"), null=True)
    sent_at = models.DateTimeField(_("on air"), null=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    deadline = models.DateTimeField(_("deadline"), null=True)
    cause = models.CharField(_("code"), max_length=40, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=300, blank=True, default="")

    class Meta:
        verbose_name = _("instruction")
        verbose_name_plural = _("instructions")
        constraints = [
            models.UniqueConstraint(
                fields=["device"], condition=models.Q(head=True), name="downlink_one_head"
            ),
            models.UniqueConstraint(
                fields=["device"], condition=models.Q(state=State.EXECUTING), name="downlink_one_executing"
            ),
            models.CheckConstraint(condition=models.Q(state__in=State.values), name="downlink_state_known"),
            models.CheckConstraint(
                condition=~models.Q(state=State.EXECUTING) | models.Q(head=True),
                name="downlink_executing_is_head",
            ),
        ]
        indexes = [
            models.Index(fields=["correlation_id"], name="downlink_correlation"),
            models.Index(
                fields=["device", "number"], condition=models.Q(state=State.PENDING), name="downlink_pending"
            ),
            models.Index(
                fields=["requested_at"],
                condition=models.Q(head=True, state=State.PENDING),
                name="downlink_ready",
            ),
            models.Index(
                fields=["lease_until"], condition=models.Q(state=State.EXECUTING), name="downlink_lease"
            ),
            models.Index(
                fields=["deadline"], condition=models.Q(state=State.EXECUTING), name="downlink_deadline"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.device_id}/{self.number} {self.state}"


class DownlinkForSupport(models.Model):
    """The same rows under a single-column key, for the Django admin (which takes no composite keys)."""

    correlation_id = models.UUIDField(_("correlation id"), primary_key=True)
    device = models.ForeignKey(Device, on_delete=models.DO_NOTHING, related_name="+")
    number = models.IntegerField(_("number"))
    state = models.CharField(_("status"), max_length=9, choices=State.choices)
    encoder = models.CharField(_("form"), max_length=10, choices=Encoder.choices)
    requested_at = models.DateTimeField(_("requested"))
    sent_at = models.DateTimeField(_("on air"), null=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    cause = models.CharField(_("code"), max_length=40)
    reason = models.CharField(_("reason"), max_length=300)

    class Meta:
        managed = False
        db_table = "downlinks_downlink"
        verbose_name = _("instruction")
        verbose_name_plural = _("instructions")

    def __str__(self) -> str:
        return f"{self.device_id}/{self.number} {self.state}"
