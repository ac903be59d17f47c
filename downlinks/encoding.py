"""The content of an instruction: hexadecimal as people write it, SenML with its base name, what fits (S2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from codec import senml
from common import hexadecimal
from devices import connectivity
from devices.models import ConnectivityKind, Device, Encoder
from lora import frames
from lora.models import Direction, Frame

from .errors import InstructionRefused, NotNow

# FPort 0 carries MAC commands, 224 and up are reserved (LoRaWAN 1.0.4, section 4.3.2).
FPORTS: Final = range(1, 224)
# The largest FRMPayload of any EU868 data rate without FOpts (RP002-1.0.4, section 2.4.6).
LARGEST_LORA: Final = 242
# The kind of identifier in the SenML base name, by connectivity.
URN_KINDS: Final = {ConnectivityKind.M2M: "IMEI", ConnectivityKind.INTERNET: "DVNUUID"}


@dataclass(frozen=True, slots=True)
class Room:
    """``size``: the bytes that fit in a message to a LoRa device now, at the data rate of its last uplink, whose
    spreading factor and moment are given; None where nothing was heard and the slowest is assumed."""

    size: int
    factor: int | None = None
    heard_at: datetime | None = None
    largest: int = LARGEST_LORA


def room_of(device: Device) -> Room | None:
    """None where the size is not limited."""
    size = connectivity.largest_payloads([device]).get(device.pk)
    if size is None:
        return None
    uplinks = Frame.objects.filter(
        device_id=device.pk,
        received_at__gte=frames.oldest_kept(timezone.now()),
        direction=Direction.UPLINK,
        spreading_factor__isnull=False,
    )
    last = uplinks.order_by("-received_at", "-seq").values_list("spreading_factor", "received_at").first()
    return Room(size, *last) if last else Room(size)


def from_hexadecimal(text: str) -> bytes:
    """Bytes from hexadecimal in any spacing. Raises InstructionRefused."""
    try:
        return hexadecimal.read(text)
    except hexadecimal.NotHexadecimal as error:
        told = _("Character %(place)d: %(error)s") % {"place": error.place + 1, "error": error}
        raise InstructionRefused(told, "payload") from error


def base_name(device: Device) -> str:
    """The SenML base name of the device's packs; "" while it has no network info, and for LoRa devices."""
    kind = URN_KINDS.get(ConnectivityKind(device.type.connectivity))
    if kind is None or not device.identifier:
        return ""
    return f"urn:dev:{kind}:{connectivity.of(device).identifier_for_reading(device.identifier)}:"


def encoded(
    device: Device, *, encoder: str, fport: int | None, payload: bytes, confirmed: bool, room: int | None
) -> bytes:
    """The payload as it goes out. Raw SenML: checked (RFC 8428), with the base name; else unchanged.

    ``room``: the bytes that fit in a message to the device now (``connectivity.largest_payloads``); None: not known.
    Raises InstructionRefused for an FPort, size or content that the device's connectivity does not take.
    """
    if device.type.connectivity != ConnectivityKind.LORA:
        if fport is not None or confirmed:
            raise InstructionRefused(_("FPort and confirmation belong to LoRa."), "fport")
        name = base_name(device)
        if not name:
            raise NotNow(_("The device has no network info yet, so SenML has no base name."))
        return packed(payload, name)
    if encoder == Encoder.RAW_SENML:
        raise InstructionRefused(_("SenML cannot be sent to a LoRa device."))
    check_lora(fport, payload, LARGEST_LORA if room is None else room)
    return payload


def check_lora(fport: int | None, payload: bytes, room: int) -> None:
    """Raises InstructionRefused for an FPort or size that LoRaWAN does not take."""
    if fport not in FPORTS:
        raise InstructionRefused(_("The FPort is a number from 1 to 223."), "fport")
    if not payload:
        raise InstructionRefused(_("There is nothing to send."), "payload")
    if len(payload) > LARGEST_LORA:
        raise InstructionRefused(
            _("The payload has %(size)d bytes; at most %(largest)d fit in a LoRa message.")
            % {"size": len(payload), "largest": LARGEST_LORA},
            "payload",
        )
    if len(payload) > room:
        raise NotNow(
            _("The payload has %(size)d bytes; at the device's present data rate at most %(room)d fit.")
            % {"size": len(payload), "room": room},
            "payload",
        )


def packed(payload: bytes, name: str) -> bytes:
    """The SenML list with the base name. Raises InstructionRefused for what is no valid pack."""
    try:
        records = senml.add_base(senml.read_json(payload), name)
    except senml.SenmlError as error:
        raise InstructionRefused(str(error), "payload") from error
    return json.dumps(records, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
