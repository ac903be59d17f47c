"""Flows, their destinations, and what is delivered to them (F1, F5). Devices are linked from ``devices``."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import orjson
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project, User
from common import crypto


class Flow(models.Model):
    """Only data of a device in at least one Flow is processed.

    ``decoder`` "" means: what the device type is compatible with, the first that can read the message.

    ``unfit`` and ``troubled`` are warnings that would cost too much to find when a page is asked for: how many of its
    devices are of a type that the decoding does not fit, and how many have a codec in trouble, as they were counted
    last; ``recheck``: the first is to be counted again. Written by ``devices.flow_checks`` alone.

    ``deletion_asked_at``: its devices are being taken out, ``deletion_devices`` of them when it began; then it goes.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", verbose_name=_("Project"))
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True, max_length=1000)
    decoder = models.CharField(_("decoding"), max_length=40, blank=True, default="")
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    unfit = models.PositiveIntegerField(_("devices that the decoding does not fit"), default=0, db_default=0)
    troubled = models.PositiveIntegerField(_("devices whose codec has trouble"), default=0, db_default=0)
    recheck = models.BooleanField(_("to be counted again"), default=True, db_default=True)
    deletion_asked_at = models.DateTimeField(_("being deleted since"), null=True, blank=True, editable=False)
    deletion_asked_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("deleted by")
    )
    deletion_devices = models.PositiveIntegerField(_("devices when deletion began"), default=0, db_default=0)

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
        indexes = [
            models.Index(fields=["id"], condition=models.Q(recheck=True), name="flow_to_check"),
            models.Index(
                fields=["deletion_asked_at"], condition=models.Q(deletion_asked_at__isnull=False), name="flow_to_delete"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Kind(models.TextChoices):
    HTTPS = "https", _("HTTPS")
    MQTT = "mqtt", _("MQTT")
    TEST = "test", _("Test endpoint in the portal")


class Authentication(models.TextChoices):
    NONE = "none", _("None")
    BASIC = "basic", _("User name and password")
    BEARER = "bearer", _("Bearer token")
    API_KEY = "api-key", _("API key")


class Layout(models.TextChoices):
    """The two outbound layouts of a SenML pack (operator's platform, 3.2)."""

    MERGED = "merged", _("Base values in the first measurement")
    LEGACY = "legacy", _("Base values in a record of their own")


class Destination(models.Model):
    """Where the data of Flows goes. ``uuid`` is what the receiver knows it by (Things-Plug-UUID).

    ``secrets`` is encrypted JSON: ``shared_secret`` (signs each message), ``credential`` (password, token or key) and
    ``headers`` (name → value). ``topic`` (MQTT) may name {project}, {device} and {identifier}.
    ``failures`` counts those in a row; from some number on nothing is tried before ``open_until``.
    ``leased_until``: one process delivers to it until then.
    ``inbox_hash``: of a test endpoint, SHA-256 of what makes its address unguessable.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", verbose_name=_("Project"))
    uuid = models.UUIDField("UUID", default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True, max_length=1000, default="")
    kind = models.CharField(_("kind"), max_length=5, choices=Kind.choices)
    enabled = models.BooleanField(_("enabled"), default=True)
    layout = models.CharField(_("layout"), max_length=6, choices=Layout.choices, default=Layout.MERGED)
    url = models.CharField(_("address"), max_length=2000, blank=True, default="")
    authentication = models.CharField(
        _("authentication"), max_length=7, choices=Authentication.choices, default=Authentication.NONE
    )
    username = models.CharField(_("user name"), max_length=200, blank=True, default="")
    expected_status = models.PositiveSmallIntegerField(_("expected answer"), null=True, blank=True)
    host = models.CharField(_("host"), max_length=253, blank=True, default="")
    port = models.PositiveIntegerField(_("port"), null=True, blank=True)
    topic = models.CharField(_("topic"), max_length=500, blank=True, default="")
    secrets = models.BinaryField(_("secrets"), default=b"")
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    open_until = models.DateTimeField(_("nothing is tried before"), null=True, blank=True)
    leased_until = models.DateTimeField(_("delivered to by a process until"), null=True, blank=True)
    succeeded_at = models.DateTimeField(_("last success"), null=True, blank=True)
    failed_at = models.DateTimeField(_("last failure"), null=True, blank=True)
    error = models.CharField(_("last error"), max_length=300, blank=True, default="")
    inbox_hash = models.BinaryField(max_length=32, unique=True, null=True)
    flows = models.ManyToManyField(Flow, through="FlowDestination", related_name="destinations")

    objects: ClassVar[models.Manager[Destination]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        ordering = ["name", "pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=Kind.values), name="destination_kind_known"),
            models.UniqueConstraint(
                "project",
                Lower("name"),
                name="destination_name_once_per_project",
                violation_error_message=_("This Project has a destination of this name already."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_secrets(self) -> dict[str, Any]:
        found: dict[str, Any] = (
            orjson.loads(crypto.decrypt(self.secrets, purpose=f"destination {self.uuid}")) if self.secrets else {}
        )
        return found

    def set_secrets(self, secrets: dict[str, Any]) -> None:
        self.secrets = crypto.encrypt(orjson.dumps(secrets), purpose=f"destination {self.uuid}")


class FlowDestination(models.Model):
    """A destination of a Flow, of the same Project."""

    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="destination_links")
    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="flow_links")

    class Meta:
        verbose_name = _("destination of a Flow")
        verbose_name_plural = _("destinations of Flows")
        constraints = [models.UniqueConstraint(fields=["flow", "destination"], name="flow_destination_once")]

    def __str__(self) -> str:
        return f"{self.flow_id} to {self.destination_id}"


class DeliveryState(models.IntegerChoices):
    WAITING = 0, _("Waiting")
    DELIVERED = 1, _("Delivered")
    DEAD = 2, _("Given up")


class Delivery(models.Model):
    """A message on its way to a destination. Day partitions on ``created_at``, the moment the message was accepted.

    ``seq`` is made from the message: a batch that is processed twice meets its own key. ``id`` is told to the
    receiver: the same for each try. ``device_id`` 0: a test that a person has asked for. ``status``: the answer's HTTP
    status; ``milliseconds``: how long the last try took.
    """

    pk = models.CompositePrimaryKey("device_id", "created_at", "destination_id", "seq")
    device_id = models.BigIntegerField(_("device"))
    created_at = models.DateTimeField(_("accepted"))
    destination_id = models.BigIntegerField(_("destination"))
    seq = models.IntegerField(_("sequence"))
    state = models.SmallIntegerField(_("state"), choices=DeliveryState.choices, default=DeliveryState.WAITING)
    attempts = models.SmallIntegerField(_("tries"), default=0)
    due_at = models.DateTimeField(_("next try"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    status = models.SmallIntegerField(_("answer"), null=True)
    milliseconds = models.IntegerField(_("milliseconds"), null=True)
    identifier = models.CharField(_("identifier"), max_length=64, default="")
    error = models.CharField(_("error"), max_length=300, default="")
    body = models.BinaryField(_("message"))

    class Meta:
        managed = False
        db_table = "flows_delivery"
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")

    def __str__(self) -> str:
        return f"{self.device_id} {self.created_at:%Y-%m-%d %H:%M:%S.%f} to {self.destination_id}"

    @property
    def name(self) -> str:
        """As :func:`flows.deliveries.named` reads it, with the parts between spaces."""
        microseconds = (self.created_at - EPOCH) // timedelta(microseconds=1)
        return f"{self.device_id} {microseconds} {self.seq}"

    @property
    def text(self) -> str:
        return bytes(self.body).decode(errors="replace")

    @property
    def id(self) -> uuid.UUID:
        return delivery_id(self.destination_id, self.device_id, self.created_at.timestamp(), self.seq)


class Received(models.Model):
    """A request that arrived at a test endpoint. ``headers``: pairs of name and value, secrets hidden. ``sender``: the
    device that a Flow sent it for, "test", "" from outside. ``proved``: whether its token fits, None without one."""

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(_("arrived"))
    sender = models.CharField(_("device"), max_length=64, blank=True, default="")
    headers = models.JSONField(_("headers"), default=list)
    body = models.BinaryField(_("message"))
    proved = models.BooleanField(_("token fits"), null=True)

    class Meta:
        verbose_name = _("message at a test endpoint")
        verbose_name_plural = _("messages at test endpoints")
        indexes = [
            models.Index(fields=["destination", "-id"], name="received_newest"),
            models.Index(fields=["at"], name="received_old"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} at {self.destination_id}"

    @property
    def text(self) -> str:
        return bytes(self.body).decode(errors="replace")

    @property
    def size(self) -> int:
        return len(self.body)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMESPACE = uuid.UUID("5f1b6a0e-6f3f-4d0a-9a53-3f6a5f0f6f5e")


def delivery_id(destination_id: int, device_id: int, at: float, seq: int) -> uuid.UUID:
    """The same for each try of a delivery, and for the row that a repeated batch would write."""
    return uuid.uuid5(NAMESPACE, f"{destination_id} {device_id} {at:.6f} {seq}")
