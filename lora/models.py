"""A LoRa device's identity and keys, its frames, and the devices of the simulated network."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from common import crypto
from devices.models import Device, Health


class NetworkKind(models.TextChoices):
    SIMULATED = "simulated", _("Simulated network")
    THINGPARK = "thingpark", _("Actility ThingPark")


class Network(models.Model):
    """A LoRaWAN network server of this deployment. ``as_key`` (ThingPark's AS key) is encrypted."""

    slug = models.SlugField(_("slug"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=20, choices=NetworkKind.choices)
    default = models.BooleanField(_("new devices are registered here"), default=False)
    as_key = models.BinaryField(_("AS key"), blank=True, default=b"")
    max_drift_seconds = models.PositiveIntegerField(
        _("oldest Time accepted"), default=600, help_text=_("Seconds; 0 accepts any.")
    )

    class Meta:
        verbose_name = _("LoRa network")
        verbose_name_plural = _("LoRa networks")
        constraints = [
            models.UniqueConstraint(fields=["default"], condition=models.Q(default=True), name="network_one_default")
        ]

    def __str__(self) -> str:
        return self.name

    def set_as_key(self, key: str) -> None:
        self.as_key = crypto.encrypt(key.encode(), purpose=f"network {self.slug}") if key else b""

    def get_as_key(self) -> str:
        return crypto.decrypt(self.as_key, purpose=f"network {self.slug}").decode() if self.as_key else ""


class LoraIdentity(models.Model):
    """DevEUI, AppEUI (JoinEUI) and AppKey of a device. EUIs: 16 upper-case hex digits; AppKey encrypted."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="lora")
    dev_eui = models.CharField("DevEUI", max_length=16, unique=True)
    app_eui = models.CharField("AppEUI", max_length=16)
    app_key = models.BinaryField("AppKey")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="+", verbose_name=_("network"))
    registered_at = models.DateTimeField(_("registered"), null=True)
    created_at = models.DateTimeField(_("entered"), default=timezone.now)

    class Meta:
        verbose_name = _("LoRa identity")
        verbose_name_plural = _("LoRa identities")

    def __str__(self) -> str:
        return self.dev_eui

    def set_app_key(self, key: bytes) -> None:
        self.app_key = crypto.encrypt(key, purpose=f"AppKey {self.dev_eui}")

    def get_app_key(self) -> bytes:
        return crypto.decrypt(self.app_key, purpose=f"AppKey {self.dev_eui}")


class Direction(models.IntegerChoices):
    UPLINK = 0, _("Uplink")
    DOWNLINK = 1, _("Downlink")


class FrameKind(models.IntegerChoices):
    JOIN_REQUEST = 0, _("Join request")
    JOIN_ACCEPT = 1, _("Join accept")
    DATA = 2, _("Data")


class Frame(models.Model):
    """One frame on air, to or from a device (L3, L4). Day partitions on ``received_at``.

    ``received_at`` is the network's clock, ``seq`` a number made from the frame itself: a message that comes
    twice meets its own key. The columns are what lists and rules read; ``detail`` holds the rest (gateways'
    receptions, MIC, DevAddr, AppEUI, the network's own words) as JSON.
    """

    pk = models.CompositePrimaryKey("device_id", "received_at", "seq")
    device_id = models.BigIntegerField(_("device"))
    received_at = models.DateTimeField(_("received"))
    fcnt = models.BigIntegerField("FCnt", null=True)
    seq = models.IntegerField(_("sequence"))
    frequency_hz = models.IntegerField(_("frequency"), null=True)
    rssi = models.FloatField("RSSI", null=True)
    snr = models.FloatField("SNR", null=True)
    esp = models.FloatField("ESP", null=True)
    latitude = models.FloatField(_("latitude"), null=True)
    longitude = models.FloatField(_("longitude"), null=True)
    radius = models.FloatField(_("radius"), null=True)
    fport = models.SmallIntegerField("FPort", null=True)
    direction = models.SmallIntegerField(_("direction"), choices=Direction.choices)
    kind = models.SmallIntegerField(_("kind"), choices=FrameKind.choices)
    spreading_factor = models.SmallIntegerField("SF", null=True)
    gateway_count = models.SmallIntegerField(_("gateways"), default=0)
    confirmed = models.BooleanField(_("confirmed"), default=False)
    ack = models.BooleanField("ACK", default=False)
    adr = models.BooleanField("ADR", default=False)
    adr_ack_req = models.BooleanField("ADRACKReq", default=False)
    fpending = models.BooleanField("FPending", default=False)
    delivered = models.BooleanField(_("on air"), default=True)
    channel = models.CharField(_("channel"), max_length=16, default="")
    cause = models.CharField(_("cause"), max_length=20, default="")
    correlation_id = models.UUIDField(_("instruction"), null=True)
    payload = models.BinaryField(_("payload"), default=b"")
    mac = models.BinaryField(_("MAC commands"), default=b"")
    detail = models.JSONField(_("detail"), default=dict)

    class Meta:
        managed = False
        db_table = "lora_frame"
        verbose_name = _("LoRa frame")
        verbose_name_plural = _("LoRa frames")

    def __str__(self) -> str:
        return f"{self.device_id} {self.received_at:%Y-%m-%d %H:%M:%S.%f}"


class Radio(models.Model):
    """What is known of how a device does, as messages arrive (L6): one narrow row, written once per batch.

    ``state``: a :class:`lora.diagnosis.Summary` as JSON. ``health`` and ``finding``: what was last told to the
    device's state. ``quiet_at``: when to look again if nothing comes. Without a foreign key: a batch writes it before
    the state, whose own key refuses a device that is gone.
    """

    device_id = models.BigIntegerField(_("device"), primary_key=True)
    state = models.TextField(_("state"))
    health = models.PositiveSmallIntegerField(_("health"), choices=Health.choices, default=Health.UNKNOWN)
    finding = models.CharField(_("finding"), max_length=20, default="")
    quiet_at = models.DateTimeField(_("look again"), null=True)

    class Meta:
        verbose_name = _("radio summary")
        verbose_name_plural = _("radio summaries")
        indexes = [
            models.Index(fields=["quiet_at"], condition=models.Q(quiet_at__isnull=False), name="radio_quiet"),
        ]

    def __str__(self) -> str:
        return f"{self.device_id}: {self.finding or self.health}"


class SimulatedDevice(models.Model):
    """A device of the simulated network: what its server and the device itself hold (L9).

    The portal's side writes ``registered``, ``enabled`` and the keys through the network's interface; the
    simulation's process writes ``state`` (encrypted JSON: sessions and counters of both sides) and powers the
    device on. ``device_key`` empty: the device has the registered key.
    """

    dev_eui = models.CharField("DevEUI", max_length=16, primary_key=True)
    app_eui = models.CharField("AppEUI", max_length=16)
    app_key = models.BinaryField("AppKey")
    registered = models.BooleanField(_("registered"), default=True)
    enabled = models.BooleanField(_("accepted"), default=True)
    powered = models.BooleanField(_("powered on"), default=True)
    profile = models.CharField(_("profile"), max_length=20, default="climate")
    interval_seconds = models.PositiveIntegerField(_("interval"), default=60)
    latitude = models.FloatField(_("latitude"), default=51.92)
    longitude = models.FloatField(_("longitude"), default=4.48)
    faults = models.JSONField(_("faults"), default=list, blank=True)
    state = models.BinaryField(_("state"), default=b"", blank=True)
    version = models.BigIntegerField(_("version"), default=0)

    class Meta:
        verbose_name = _("simulated device")
        verbose_name_plural = _("simulated devices")

    def __str__(self) -> str:
        return self.dev_eui

    def set_app_key(self, key: bytes) -> None:
        self.app_key = crypto.encrypt(key, purpose=f"simulated {self.dev_eui}")

    def get_app_key(self) -> bytes:
        return crypto.decrypt(self.app_key, purpose=f"simulated {self.dev_eui}")


class SimulatedDownlink(models.Model):
    """An instruction handed to the simulated network: its queue survives the simulation's death."""

    correlation_id = models.UUIDField(_("instruction"), primary_key=True)
    dev_eui = models.CharField("DevEUI", max_length=16, db_index=True)
    fport = models.PositiveSmallIntegerField("FPort")
    payload = models.BinaryField(_("payload"))
    confirmed = models.BooleanField(_("confirmed"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    taken_at = models.DateTimeField(_("taken by the simulation"), null=True)

    class Meta:
        verbose_name = _("simulated downlink")
        verbose_name_plural = _("simulated downlinks")

    def __str__(self) -> str:
        return str(self.correlation_id)
