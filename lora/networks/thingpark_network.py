"""Actility ThingPark as a network: devices are made known there by its own tools, instructions go by HTTP.

Sending and provisioning through ThingPark's interfaces is not built yet: what is received is (``thingpark``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devices.connectivity import Instruction
from devices.errors import NetworkRefused
from lora.networks import LoraNetwork

if TYPE_CHECKING:
    from lora.models import LoraIdentity, Network


class ThingParkNetwork(LoraNetwork):
    """Registration succeeds at once: the device must have been made known on ThingPark with the same keys."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def register(self, identity: LoraIdentity) -> None:
        """Nothing to ask: messages that ThingPark pushes for this DevEUI are accepted from now on."""

    def deregister(self, identity: LoraIdentity) -> None:
        """Nothing to ask: the device is removed on ThingPark itself."""

    def set_enabled(self, identity: LoraIdentity, *, enabled: bool) -> None:
        raise NetworkRefused(_("On this network a device is activated and deactivated in ThingPark itself."))

    def send(self, identity: LoraIdentity, instruction: Instruction) -> None:
        raise NetworkRefused(_("Sending through this network is not set up."))
