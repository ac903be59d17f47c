"""Device types (T1), devices with their two statuses (D7, D8), identifiers, links to Flows, work for the network."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Lower, Upper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from accounts.models import Project, Subscription, User
from flows.models import Flow

from .codecs import Codec


class Category(models.TextChoices):
    OWN = "own", _("Own")
    SUPPORTED = "supported", _("Supported")
    MANAGED = "managed", _("Managed")


class ConnectivityKind(models.TextChoices):
    LORA = "lora", _("LoRa")
    M2M = "m2m", _("M2M")
    INTERNET = "internet", _("Internet")


class KeySource(models.TextChoices):
    PORTAL = "portal", _("The portal makes them")
    CUSTOMER = "customer", _("The customer enters them")


class Encoder(models.TextChoices):
    RAW_LORA = "raw-lora", _("Raw LoRa data")
    RAW_SENML = "raw-senml", _("Raw SenML")
    COMMANDS = "commands", _("Predefined commands")


class DeviceTypeQuerySet(models.QuerySet["DeviceType"]):
    def offered_in(self, project: Project) -> DeviceTypeQuerySet:
        """What people of the Project can add: its subscription's types and its own (P3, T5)."""
        return self.filter(
            models.Q(project=project) | models.Q(project=None, subscriptions=project.subscription_id),
            addable=True,
        ).exclude(category=Category.MANAGED)


class DeviceType(models.Model):
    """What kind of thing a device is (T1). The JSON columns hold lists, empty where there is nothing.

    codec: reads the payloads before any of ``decoders``, slugs of ``codec.decoders``, preferred first. encoders: values
    of :class:`Encoder`. measurements: ``{"name", "unit"}`` to expect. commands, controls: see ``devices.controls``.
    ``project``: whose own type it is (T5); None: the portal's. ``version`` grows with each change.
    """

    slug = models.SlugField(_("slug"), unique=True, max_length=80)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    category = models.CharField(_("category"), max_length=9, choices=Category.choices)
    connectivity = models.CharField(_("connectivity"), max_length=8, choices=ConnectivityKind.choices)
    key_source = models.CharField(_("keys"), max_length=8, choices=KeySource.choices)
    codec = models.ForeignKey(
        Codec, on_delete=models.PROTECT, null=True, blank=True, related_name="types", verbose_name=_("codec")
    )
    decoders = models.JSONField(_("decoders"), default=list, blank=True)
    encoders = models.JSONField(_("encoders"), default=list, blank=True)
    measurements = models.JSONField(_("measurements"), default=list, blank=True)
    commands = models.JSONField(_("commands"), default=list, blank=True)
    controls = models.JSONField(_("desired-state controls"), default=list, blank=True)
    project = models.ForeignKey(
        Project, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("Project")
    )
    subscriptions = models.ManyToManyField(
        Subscription, blank=True, related_name="device_types", verbose_name=_("offered with")
    )
    addable = models.BooleanField(_("can be added"), default=True)
    downlink_timeout_seconds = models.PositiveIntegerField(
        _("time for an instruction"),
        null=True,
        blank=True,
        help_text=_("Seconds; empty: the connectivity's own."),
    )
    version = models.PositiveIntegerField(_("version"), default=1, db_default=1, editable=False)

    objects = DeviceTypeQuerySet.as_manager()

    class Meta:
        verbose_name = _("device type")
        verbose_name_plural = _("device types")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                "project",
                Lower("name"),
                name="device_type_name_once_per_project",
                violation_error_message=_("This Project has a device type of this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_managed(self) -> bool:
        return self.category == Category.MANAGED


class Processing(models.TextChoices):
    """D7. Stored, and moved only together with the links to Flows."""

    ACTIVE = "active", _("Active")
    DEACTIVATED = "deactivated", _("Deactivated")
    NOT_LINKED = "not_linked", _("Not yet linked")


PROCESSING_ALLOWED = {
    Processing.NOT_LINKED.value: frozenset({Processing.ACTIVE.value, Processing.DEACTIVATED.value}),
    Processing.ACTIVE.value: frozenset({Processing.NOT_LINKED.value, Processing.DEACTIVATED.value}),
    Processing.DEACTIVATED.value: frozenset({Processing.ACTIVE.value, Processing.NOT_LINKED.value}),
}


class Connection(models.TextChoices):
    """D8: the connectivity status. Every move into ACTIVE, DEACTIVATED, FAILED is the network's answer."""

    NOT_LINKED = "not_linked", _("Not yet linked to a network")
    PENDING_CREATE = "pending_create", _("Pending create")
    ACTIVE = "active", _("Active")
    DEACTIVATED = "deactivated", _("Deactivated")
    FAILED = "failed", _("Failed")
    INVENTORY = "inventory", _("Inventory")


CONNECTION_ALLOWED = {
    Connection.NOT_LINKED.value: frozenset({Connection.PENDING_CREATE.value, Connection.INVENTORY.value}),
    Connection.INVENTORY.value: frozenset({Connection.PENDING_CREATE.value, Connection.NOT_LINKED.value}),
    Connection.PENDING_CREATE.value: frozenset({Connection.ACTIVE.value, Connection.FAILED.value}),
    Connection.FAILED.value: frozenset({Connection.PENDING_CREATE.value, Connection.NOT_LINKED.value}),
    Connection.ACTIVE.value: frozenset({Connection.DEACTIVATED.value, Connection.NOT_LINKED.value}),
    Connection.DEACTIVATED.value: frozenset({Connection.ACTIVE.value, Connection.NOT_LINKED.value}),
}


class Device(models.Model):
    """One physical thing. ``identifier`` is its primary identifier (DevEUI, IMEI, DvnUUID) in its stored form:
    without separators, upper case; "" while there is no network info. ``flow_count`` follows the links."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", verbose_name=_("Project"))
    type = models.ForeignKey(DeviceType, on_delete=models.PROTECT, related_name="+", verbose_name=_("device type"))
    name = models.CharField(_("name"), max_length=100)
    barcode = models.CharField(_("barcode"), max_length=100, blank=True, default="")
    description = models.TextField(_("description"), max_length=1000, blank=True, default="")
    identifier = models.CharField(_("primary identifier"), max_length=36, blank=True, default="")
    processing_status = models.CharField(
        _("processing status"), max_length=11, choices=Processing.choices, default=Processing.NOT_LINKED
    )
    connection_status = models.CharField(
        _("connectivity status"), max_length=14, choices=Connection.choices, default=Connection.NOT_LINKED
    )
    connection_reason = models.CharField(_("reason"), max_length=300, blank=True, default="")
    flow_count = models.PositiveIntegerField(_("Flows"), default=0)
    created_at = models.DateTimeField(_("added"), default=timezone.now, editable=False)
    # Names the request that made the device: a second submit of the same page makes no second device.
    creation_token = models.UUIDField(_("creation token"), null=True, unique=True, editable=False)

    objects: ClassVar[models.Manager[Device]] = ScopedManager(project="project")

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(processing_status__in=Processing.values), name="device_processing_known"
            ),
            models.CheckConstraint(
                condition=models.Q(connection_status__in=Connection.values), name="device_connection_known"
            ),
            models.CheckConstraint(
                condition=models.Q(processing_status=Processing.DEACTIVATED)
                | models.Q(processing_status=Processing.ACTIVE, flow_count__gt=0)
                | models.Q(processing_status=Processing.NOT_LINKED, flow_count=0),
                name="device_processing_follows_flows",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "name", "id"], name="device_by_name"),
            models.Index(fields=["project", "identifier", "id"], name="device_by_identifier"),
            models.Index(fields=["project", "type", "name", "id"], name="device_by_type"),
            models.Index(fields=["project", "processing_status", "name", "id"], name="device_by_processing"),
            models.Index(fields=["project", "connection_status", "name", "id"], name="device_by_connection"),
            models.Index(fields=["project", "flow_count", "id"], name="device_by_flows"),
            models.Index(fields=["identifier"], name="device_identifier"),
            GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="device_name_trigram"),
            GinIndex(OpClass("identifier", name="gin_trgm_ops"), name="device_identifier_trigram"),
            GinIndex(OpClass(Upper("barcode"), name="gin_trgm_ops"), name="device_barcode_trigram"),
            models.Index(fields=["project", "created_at", "id"], name="device_by_added"),
        ]

    def __str__(self) -> str:
        return self.name


class Health(models.IntegerChoices):
    """How well the device does, worst last. Who knows the network judges it, as messages arrive."""

    UNKNOWN = 0, _("Not known yet")
    GOOD = 1, _("Good")
    ATTENTION = 2, _("Needs attention")
    PROBLEM = 3, _("Problem")


class DeviceState(models.Model):
    """What changes with every message, narrow and apart from the searched table (it would cost four times).

    ``out_of_sync``: how many desired values the device has not reported; written by ``twin.services`` alone.
    ``finding``: the code of what makes it unwell; its words are in ``devices.health``."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="state")
    project_id = models.BigIntegerField(_("Project"))
    last_message_at = models.DateTimeField(_("last message"), null=True)
    previous_message_at = models.DateTimeField(_("message before"), null=True)
    messages = models.BigIntegerField(_("messages"), default=0)
    out_of_sync = models.PositiveSmallIntegerField(_("out of sync"), default=0, db_default=0)
    health = models.PositiveSmallIntegerField(_("health"), choices=Health.choices, default=0, db_default=0)
    finding = models.CharField(_("finding"), max_length=20, default="", db_default="", blank=True)

    class Meta:
        verbose_name = _("device state")
        verbose_name_plural = _("device states")
        indexes = [
            models.Index(
                "project_id",
                models.F("last_message_at").desc(nulls_last=True),
                "device_id",
                name="state_by_last_message",
            ),
            models.Index(
                fields=["project_id", "device_id"], condition=models.Q(out_of_sync__gt=0), name="state_out_of_sync"
            ),
            models.Index(
                fields=["project_id", "health", "device_id"],
                condition=models.Q(health__gt=Health.GOOD),
                name="state_unwell",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.device_id}: {self.last_message_at}"


class FlowLink(models.Model):
    """A device in a Flow."""

    pk = models.CompositePrimaryKey("device_id", "flow_id")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="flow_links")
    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="device_links", db_index=False)
    linked_at = models.DateTimeField(_("linked"), default=timezone.now)

    class Meta:
        verbose_name = _("link to a Flow")
        verbose_name_plural = _("links to Flows")
        indexes = [models.Index(fields=["flow", "device"], name="flow_link_by_flow")]

    def __str__(self) -> str:
        return f"{self.device_id} in {self.flow_id}"


class Identity(models.Model):
    """Every network identifier that is or was in use, over all Projects: one owner at most, for ever (D9).

    ``urn`` is kind and value, ``DEVEUI:0059AC000017338B``. ``device_id`` None: retired, never to return.
    """

    urn = models.CharField(_("identifier"), max_length=60, primary_key=True)
    device_id = models.BigIntegerField(_("device"), null=True)
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("network identifier")
        verbose_name_plural = _("network identifiers")
        indexes = [models.Index(fields=["device_id"], name="identity_device")]

    def __str__(self) -> str:
        return self.urn


class NetworkTask(models.Model):
    """Work for the network that is under way: one per device; the row is the queue, Celery the doorbell.

    A worker claims it by moving ``not_before`` ahead (a lease); one that dies leaves a row that is due again.
    """

    class Operation(models.TextChoices):
        REGISTER = "register", _("Register")
        ACTIVATE = "activate", _("Activate")
        DEACTIVATE = "deactivate", _("Deactivate")
        DEREGISTER = "deregister", _("Remove")
        DELETE = "delete", _("Delete")

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="network_task")
    operation = models.CharField(_("operation"), max_length=10, choices=Operation.choices)
    requested_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, default="")

    class Meta:
        verbose_name = _("work for the network")
        verbose_name_plural = _("work for the network")
        indexes = [models.Index(fields=["not_before"], name="network_task_due")]

    def __str__(self) -> str:
        return f"{self.operation} {self.device_id}"


class SenmlMessage(models.Model):
    """A message of an M2M or Internet device as it came. Day partitions on ``received_at``.

    ``digest`` is SHA-256 of the body; a pack with times of its own that comes twice is kept once.
    """

    pk = models.CompositePrimaryKey("device_id", "received_at", "seq")
    device_id = models.BigIntegerField(_("device"))
    received_at = models.DateTimeField(_("received"))
    seq = models.IntegerField(_("sequence"))
    digest = models.BinaryField(_("digest"), max_length=32)
    body = models.BinaryField(_("body"))
    records = models.IntegerField(_("records"), default=0)

    class Meta:
        managed = False
        db_table = "devices_senmlmessage"
        verbose_name = _("SenML message")
        verbose_name_plural = _("SenML messages")

    def __str__(self) -> str:
        return f"{self.device_id} {self.received_at:%Y-%m-%d %H:%M:%S}"
