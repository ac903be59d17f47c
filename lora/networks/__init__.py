"""The LoRaWAN network servers that the portal registers on, receives from and sends through: one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING
from uuid import UUID

from devices.connectivity import Instruction

if TYPE_CHECKING:
    from lora.models import LoraIdentity


class LoraNetwork(ABC):
    """What the portal asks of a network server. Each call may come twice and must then do no harm.

    ``locates``: it computes positions for the devices, so that one without any is worth a note.

    All raise ``devices.errors.NetworkRefused`` for a final no and ``NetworkUnavailable`` for a passing one.
    """

    locates = False

    @abstractmethod
    def register(self, identity: LoraIdentity) -> None:
        """Make the device known, with its keys. The same keys again is success, others is NetworkRefused."""

    @abstractmethod
    def deregister(self, identity: LoraIdentity) -> None: ...

    @abstractmethod
    def set_enabled(self, identity: LoraIdentity, *, enabled: bool) -> None:
        """Let the network accept or refuse the device; its session and registration stay."""

    @abstractmethod
    def send(self, identity: LoraIdentity, instruction: Instruction) -> None:
        """Queue a downlink under the instruction's correlation id."""

    def has(self, identity: LoraIdentity, correlation_id: UUID) -> bool:
        """Whether it has had the downlink of this id; False where it cannot be asked."""
        return False


def of(identity: LoraIdentity) -> LoraNetwork:
    """The network that the identity is (to be) registered on."""
    from lora.models import NetworkKind

    from .simulated.network import SimulatedNetwork
    from .thingpark_network import ThingParkNetwork

    if identity.network.kind == NetworkKind.SIMULATED:
        return SimulatedNetwork()
    return ThingParkNetwork(identity.network)


def locates(identity: LoraIdentity) -> bool:
    return of(identity).locates
