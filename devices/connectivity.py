"""The registry through which LoRa, M2M and Internet tell the device screens what they need to know.

``devices`` imports none of them: each registers itself in ``AppConfig.ready``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django_stubs_ext import StrOrPromise

from accounts.models import Project, User

from . import messages
from .errors import in_use
from .models import Device, DeviceType, Identity


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction on its way out. ``payload``: the encoded bytes (LoRa) or a SenML pack (M2M, Internet)."""

    correlation_id: UUID
    encoder: str
    payload: bytes
    fport: int | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What a device sent: the application's bytes, with the FPort where there is one."""

    at: datetime
    payload: bytes
    fport: int | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of a device in a list of many devices' messages; ``text`` says it in a few words."""

    device_id: int
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is shown once: ``label``, ``value`` (grouped for reading where that helps), help text."""

    label: str
    value: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class ImportField:
    """A field of a device in a file (D12). ``key``: the input of the form that cleans it; ``aliases``: names of
    columns that are taken for it, the first in the template; ``secret``: its values are never shown."""

    key: str
    label: StrOrPromise
    aliases: tuple[str, ...]
    required: bool = False
    secret: bool = False
    example: str = ""
    help: StrOrPromise = ""


class NetworkForm(forms.Form):
    """The network step's form. ``save`` writes the network info in the caller's transaction.

    It claims the identifiers (``devices.services.claim_identifier``), and may set errors through
    IdentifierInUse with ``field`` naming the input. It gives the secrets to show once.
    ``reads_codes``: a QR code of the device (TR005) can fill it (D12); its fields have the names of codes.CARRIED.
    """

    reads_codes = False

    def __init__(self, *args: Any, device: Device, **kwargs: Any) -> None:
        self.device = device
        super().__init__(*args, **kwargs)

    def save(self, *, actor: User) -> list[Secret]:
        raise NotImplementedError

    def claims(self) -> dict[str, str]:
        """Input → what this must be alone in having, as kind:value, for those that are cleaned."""
        return {}


@dataclass(frozen=True, slots=True)
class Card:
    """The connectivity card: lines of (label, value, kind); kind tells the template how to draw the value. A line may
    have an ``action`` (its label) with an ``action_url``, for people who may change the device."""

    title: StrOrPromise
    lines: list[Mapping[str, Any]] = field(default_factory=list)


class Connectivity(ABC):
    """What one kind of connectivity brings. Network methods are called outside transactions, may be called
    again after a crash, and raise NetworkRefused (final) or NetworkUnavailable (later)."""

    slug: str
    label: StrOrPromise
    identifier_label: str
    # The template of the wizard's network step; it gets ``form``, ``device`` and what ``form`` offers.
    step_template: str
    # What ``send`` reads through the device: fields to select with many devices at once.
    needed_to_send: tuple[str, ...] = ()

    @property
    def downlink_timeout(self) -> timedelta:
        """How long an instruction may be Executing where the device type does not say."""
        return timedelta(seconds=settings.DOWNLINK_TIMEOUT_SECONDS[self.slug])

    @abstractmethod
    def network_form(self, device: Device, data: Mapping[str, Any] | None = None) -> NetworkForm:
        """The network step's form, different per type (L1, M1, I1)."""

    @abstractmethod
    def has_network_info(self, device: Device) -> bool: ...

    @abstractmethod
    def card(self, device: Device) -> Card: ...

    @abstractmethod
    def register(self, device: Device) -> None: ...

    @abstractmethod
    def activate(self, device: Device) -> None: ...

    @abstractmethod
    def deactivate(self, device: Device) -> None: ...

    @abstractmethod
    def deregister(self, device: Device) -> None: ...

    @abstractmethod
    def forget(self, device: Device) -> None:
        """Let go, in the caller's transaction, of what outlives the device's own rows."""

    @abstractmethod
    def send(self, device: Device, instruction: Instruction) -> bool:
        """Hand the instruction over; True where the network has it now, False where the device fetches it
        itself later. Repeating it with the same correlation id must not send it twice."""

    def has(self, device: Device, correlation_id: UUID) -> bool:
        """Whether the network has had the instruction: asked before it is sent once more. False where it cannot be
        asked. Raises as ``send``."""
        return False

    def largest_payloads(self, devices: Iterable[Device]) -> Mapping[int, int | None]:
        """By device, the bytes that fit in a message to it now; None or absent where that is not limited."""
        return {}

    def recent_messages(self, device: Device, limit: int) -> list[Message]:
        """The last messages of the device that a codec could read, newest first, as far as they are kept."""
        return []

    def newest(self, devices: Sequence[tuple[int, datetime]], limit: int) -> list[Heard]:
        """The newest ``limit`` messages of these devices together, of each since its moment, newest first; one query
        by the primary key, which reads ``limit`` messages of each device at most."""
        return [
            Heard(device_id, at, messages.in_words(records, size))
            for device_id, at, records, size in messages.newest(devices, limit)
        ]

    def identifier_for_reading(self, identifier: str) -> str:
        """The stored identifier as people write it."""
        return identifier

    def observed(self, device: Device) -> list[tuple[str, str | timedelta]]:
        """What the portal sees of the device from outside (W5) beside its last messages, of the last day: label and
        value. A query or two, bounded, by index."""
        interval = messages.typical_interval(device.pk, timezone.now())
        return [(_("Typical interval"), interval)] if interval else []

    def search(self, text: str, projects: Iterable[int], limit: int) -> list[int]:
        """Ids of up to ``limit`` devices of the Projects with the text, without separators, in what only this
        connectivity knows of them, such as an ICCID."""
        return []

    def moved(self, device_ids: Sequence[int], project: Project) -> None:
        """Take what belongs to these devices along to their new Project, in the transaction of the move."""
        return  # most keep nothing that names the Project

    def import_fields(self, device_type: DeviceType) -> list[ImportField]:
        """The network info of a row of a file (D12)."""
        return []

    def import_form(self, device: Device, data: Mapping[str, Any] | None = None) -> NetworkForm:
        """The form that cleans and saves a row: the network step's own, but for what only a person can choose.

        For checks the device is not saved, and the form is used again with other ``data``.
        """
        return self.network_form(device, data)

    def taken(self, claims: Collection[str], project: Project) -> dict[str, str]:
        """Which of the claims cannot be made by a device of the Project, and a sentence why. Some queries, however
        many claims. It never says whose they are."""
        used = Identity.objects.filter(urn__in=claims).values_list("urn", flat=True)
        return {urn: in_use(urn.partition(":")[0]) for urn in used}

    def types_ready(self, project: Project, device_type: DeviceType) -> str:
        """Why the type cannot be added now, as a sentence; "" where it can."""
        return ""


_registered: dict[str, Connectivity] = {}


def register(connectivity: Connectivity) -> None:
    _registered[connectivity.slug] = connectivity


def of(device: Device) -> Connectivity:
    return _registered[device.type.connectivity]


def by_slug(slug: str) -> Connectivity:
    return _registered[slug]


def largest_payloads(devices: Iterable[Device]) -> dict[int, int | None]:
    """Of devices of any connectivity; as many queries as there are kinds of connectivity that limit them."""
    found: dict[int, int | None] = {}
    for kind, those in groupby(sorted(devices, key=_kind), key=_kind):
        found |= by_slug(kind).largest_payloads(list(those))
    return found


def _kind(device: Device) -> str:
    return device.type.connectivity


def needed_to_send() -> list[str]:
    return [field for each in _registered.values() for field in each.needed_to_send]


def all_registered() -> list[Connectivity]:
    return list(_registered.values())
