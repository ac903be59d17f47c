"""An instruction to a device and its five states (S3)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

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


FINAL = frozenset({State.CANCELLED, State.FAILED, State.DELIVERED})


class Event(models.TextChoices):
    """What can happen to an instruction; docs/downlinks.md says who reports each."""

    CANCEL = "cancel", _("A person cancels it")
    CLAIM = "claim", _("A worker takes it")
    HAND_OVER = "hand over", _("It goes out in the answer to the device's message")
    SENT = "sent", _("The network sent it, unconfirmed")
    SENT_CONFIRMED = "sent confirmed", _("The network sent it, confirmed")
    NOT_SENT = "not sent", _("The network could not send it")
    ACKNOWLEDGED = "acknowledged", _("The device acknowledged it")
    ANSWERED = "answered", _("The device came back after the hand-over")
    REFUSED = "refused", _("The network refused it")
    GIVEN_UP = "given up", _("The network gave it up")
    TIMED_OUT = "timed out", _("Its time is over")
    EXPIRED = "expired", _("It is not valid any more")

    @property
    def sources(self) -> tuple[State, ...]:
        """The states in which it can happen."""
        return tuple(MOVES[self])

    @property
    def target(self) -> State:
        """The state after it, the same from each of its sources."""
        (state,) = set(MOVES[self].values())
        return state


P, E = State.PENDING, State.EXECUTING

# The whole state machine: event → state before → state after. What is not here changes no state. Every statement that
# writes a state takes it from here.
MOVES: Final[Mapping[Event, Mapping[State, State]]] = {
    Event.CANCEL: {P: State.CANCELLED},
    Event.CLAIM: {P: E, E: E},
    Event.HAND_OVER: {P: E, E: E},
    Event.SENT: {E: State.DELIVERED},
    Event.SENT_CONFIRMED: {E: E},
    Event.NOT_SENT: {E: State.FAILED},
    Event.ACKNOWLEDGED: {E: State.DELIVERED},
    Event.ANSWERED: {E: State.DELIVERED},
    Event.REFUSED: {E: State.FAILED},
    Event.GIVEN_UP: {E: State.FAILED},
    Event.TIMED_OUT: {E: State.FAILED},
    Event.EXPIRED: {P: State.FAILED, E: State.FAILED},
}


class Cause(models.TextChoices):
    """The portal's own reasons for Failed; a network's code and words are kept as they came."""

    NOT_TAKEN = "portal:not-taken", _("The network did not take it in time.")
    NOT_FETCHED = (
        "portal:not-fetched",
        _("The device sent no message in time that could be answered with it."),
    )
    NOT_BACK = "portal:not-back", _("The device did not come back in time after it was handed over.")
    NOT_ON_AIR = (
        "portal:not-on-air",
        _("The device sent no message in time after which it could go out."),
    )
    NO_ACK = "portal:no-ack", _("It was sent, and the device did not acknowledge it in time.")
    EXPIRED = "portal:expired", _("It could not be sent before its time was over.")


class Source(models.TextChoices):
    PAGE = "page", _("Page")
    API = "api", _("API")
    BULK = "bulk", _("Bulk")
    DESIRED = "desired", _("Desired state")


class Downlink(models.Model):
    """One instruction. ``number`` counts per device from 1 and is the order of execution (S3: FIFO).

    ``head`` marks the one instruction of a device that is executing or next to execute: a unique partial index
    makes a second one impossible, and finding what can run costs the same however many are waiting or done.
    ``correlation_id`` travels to the network and back; it is made from the request's one-time token and content.
    ``due_at``, of the head only: when the sweeper looks at it. Pending: its ring must have been heard by then.
    Executing: the sending worker's lease or the wait before the next try, then the deadline.
    ``accepted_at``: the network has it, or the device fetched it. ``sent_at`` (on air, or handed over) and
    ``acknowledged_at`` are different facts. ``payload``: bytes (LoRa) or a SenML pack in JSON; ``label``: what it
    says, where it was made of a command or desired value. ``valid_until``: it is not sent at or after this moment.
    ``again``: the number of the instruction that this one repeats. ``gateway``, ``window`` (RX1, RX2) and ``fcnt_down``
    are of the frame that carried it, as far as the network tells.
    """

    pk = models.CompositePrimaryKey("device_id", "number")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="downlinks", db_index=False)
    number = models.IntegerField(_("number"))
    correlation_id = models.UUIDField(_("correlation id"), default=uuid.uuid4)
    state = models.CharField(_("status"), max_length=9, choices=State.choices, default=State.PENDING)
    head = models.BooleanField(_("head of the queue"), default=False)
    encoder = models.CharField(_("form"), max_length=10, choices=Encoder.choices)
    label = models.CharField(_("in words"), max_length=200, blank=True, default="", db_default="")
    fport = models.PositiveSmallIntegerField("FPort", null=True)
    payload = models.BinaryField(_("payload"), default=b"")
    confirmed = models.BooleanField(_("confirmed"), default=False)
    source = models.CharField(_("from"), max_length=7, choices=Source.choices, default=Source.PAGE)
    requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("requested by")
    )
    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    executing_at = models.DateTimeField(_("executing"), null=True)
    due_at = models.DateTimeField(_("looked at again"), null=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    valid_until = models.DateTimeField(_("valid until"), null=True)
    again = models.IntegerField(_("repeats"), null=True)
    cancelled_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False, verbose_name=_("cancelled by")
    )
    accepted_at = models.DateTimeField(_("accepted by the network"), null=True)
    gateway = models.CharField(_("gateway"), max_length=32, blank=True, default="", db_default="")
    window = models.CharField(_("window"), max_length=8, blank=True, default="", db_default="")
    fcnt_down = models.BigIntegerField("FCntDown", null=True)
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
            models.UniqueConstraint(fields=["device"], condition=models.Q(head=True), name="downlink_one_head"),
            models.UniqueConstraint(
                fields=["device"], condition=models.Q(state=State.EXECUTING), name="downlink_one_executing"
            ),
            models.CheckConstraint(condition=models.Q(state__in=State.values), name="downlink_state_known"),
            models.CheckConstraint(
                condition=~models.Q(state=State.EXECUTING) | models.Q(head=True),
                name="downlink_executing_is_head",
            ),
            models.CheckConstraint(
                condition=models.Q(head=False, due_at=None)
                | models.Q(head=True, due_at__isnull=False, state__in=[State.PENDING, State.EXECUTING]),
                name="downlink_head_is_open_and_due",
            ),
            models.CheckConstraint(
                condition=~models.Q(state=State.EXECUTING)
                | models.Q(executing_at__isnull=False, deadline__isnull=False),
                name="downlink_executing_has_deadline",
            ),
            # With the device behind it: the same index finds it for support staff, who have the id alone.
            models.UniqueConstraint(fields=["correlation_id", "device"], name="downlink_correlation"),
        ]
        indexes = [
            models.Index(fields=["device", "number"], condition=models.Q(state=State.PENDING), name="downlink_pending"),
            # The rows of the heads, in other words: the planner cannot take it for finding the head of a device.
            models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="downlink_due_at"),
            # Not of the heads alone: one that waits behind others is told of at once, too.
            models.Index(
                fields=["valid_until"],
                condition=models.Q(state=State.PENDING, valid_until__isnull=False),
                name="downlink_expiring",
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
