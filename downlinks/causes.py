"""Why an instruction failed, in plain words: the codes of the networks and of the portal (S3).

Sources: the operator's platform reference, section 2.6 (ThingPark); the networks' reference, D.1 (ChirpStack's log
codes), D.2 (events of The Things Stack) and D.3 (ThingPark).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from .models import Cause

TOO_LARGE: Final = _("The payload was too large for the data rate that the device had by then.")
QUEUE_LOST: Final = _("The network dropped what was waiting when the device joined again. Send it again.")
NO_ACK: Final = _("It was sent, and the device did not acknowledge it.")
TOO_LATE: Final = _("It was not valid any more when it could have gone out.")

WORDS: Final[Mapping[str, StrOrPromise]] = {
    # Actility ThingPark. 00 and C0 are no failures; they stand here for what the network adds to one.
    "00": _("The network names no cause."),
    "A0": _("The gateway's radio had stopped."),
    "A1": _("The gateway's radio for sending had stopped."),
    "A2": _("The moment at which the device listens (ping slot) was not available."),
    "A3": _("The gateway was busy with another message. Send it again."),
    "A4": _("The radio channel was in use by others. Send it again."),
    "A5": _("The gateway's radio board reported an error."),
    "A6": _("The software that sends for the gateway failed."),
    "B0": _("It reached the gateway too late: the device was not listening any more. Send it again."),
    "C0": _("The network chose the second moment at which the device listens; that is no failure."),
    "D0": _("The gateway had used up the time that it may send (duty cycle). Send it again later."),
    "DA": _("The network had used up the time that it may send (duty cycle). Send it again later."),
    "DB": _("It would have been longer on air than is permitted (dwell time). Send fewer bytes."),
    "DC": _("No gateway with GPS time was near the device."),
    "DD": _("No gateway near the device was connected."),
    "DE": _("The partner network over which the device is heard refused it."),
    "DF": _("The device's network number (NetID) is not that of this network."),
    "E0": _("The device always listens (class C), and it still could not be sent within 60 seconds."),
    "E1": _("The network's queue of the device was full."),
    "E2": _("The counter of messages to the device (FCntDown) was not valid."),
    "E3": TOO_LATE,
    "E4": QUEUE_LOST,
    # ChirpStack
    "DOWNLINK_PAYLOAD_SIZE": TOO_LARGE,
    "DOWNLINK_GATEWAY": _("The gateway could not send it."),
    "DOWNLINK_CODEC": _("The network could not make bytes of it."),
    "F_CNT_DOWN": _("The counter of messages to the device (FCntDown) was not valid."),
    "EXPIRED": TOO_LATE,
    # The Things Stack
    "DOWNLINK_NACK": NO_ACK,
    "DOWNLINK_QUEUE_INVALIDATED": QUEUE_LOST,
    # The simulated network
    "NO_ACK": NO_ACK,
    "TOO_LARGE": TOO_LARGE,
    "NOT_REGISTERED": _("The network does not know this device."),
}


def words(cause: str, reason: str) -> str:
    """A sentence for people: of the code where it is known, else the network's own words."""
    if cause in Cause.values:
        return str(Cause(cause).label)
    known = WORDS.get(cause.upper())
    return str(known) if known is not None else reason or cause


def code(cause: str) -> str:
    """The network's code, to be named beside the sentence; "" where the portal itself gave the reason."""
    return "" if cause in Cause.values or cause in {"refused", "network"} else cause
