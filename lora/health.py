"""How well a LoRa device is heard, judged from each message as it arrives (L6): the list computes nothing."""

from __future__ import annotations

from typing import Final

from devices.models import Health

from .events import JoinRequest, Uplink
from .frames import esp_of

# Estimated signal power at the best gateway, in dBm. Below the first, messages get lost with a little bad weather;
# below the second, near the demodulation floor of the slowest spreading factor, most of them do.
WEAK: Final = -120.0
VERY_WEAK: Final = -130.0


def judge(event: Uplink | JoinRequest) -> Health:
    """A device that asks to join is not connected yet; one that sends data is as well as its signal."""
    if isinstance(event, JoinRequest):
        return Health.ATTENTION
    if not event.receptions:
        return Health.GOOD
    esp = esp_of(event.receptions[0])
    if esp < VERY_WEAK:
        return Health.PROBLEM
    return Health.ATTENTION if esp < WEAK else Health.GOOD
