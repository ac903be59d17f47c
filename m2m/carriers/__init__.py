"""The carriers whose SIM cards the portal links: what it asks of one, and which one a card is at (M2, M4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m2m.models import SimCard


@dataclass(frozen=True, slots=True)
class Details:
    """What the carrier says of a card. ``status``: a value of SimStatus, ``word``: the carrier's own; ``msisdn`` in
    E.164 and ``rate_plan`` are "" where it does not say."""

    status: str
    word: str
    rate_plan: str = ""
    msisdn: str = ""
    activated_at: datetime | None = None


class Carrier(ABC):
    """What the portal asks of a carrier, outside transactions. Each call but ``send_sms`` may come twice and must then
    do no harm.

    All raise ``devices.errors.NetworkRefused`` for a final no and ``NetworkUnavailable`` for a passing one, within half
    a minute.
    """

    @abstractmethod
    def details(self, card: SimCard) -> Details: ...

    @abstractmethod
    def set_active(self, card: SimCard, *, active: bool) -> Details:
        """Let the card connect, or not; gives what the carrier says of it then. What it is already is success."""

    @abstractmethod
    def send_sms(self, card: SimCard, text: str) -> str:
        """Send a text message to the card; gives the carrier's number of it. Sent once, and never again by itself."""


def of(card: SimCard) -> Carrier:
    """The carrier of the card: its own, else the default one, else the simulated one."""
    from m2m.models import CarrierAccount, CarrierKind

    from .control_center import ControlCenter
    from .simulated import SimulatedCarrier

    account = card.carrier or CarrierAccount.objects.filter(default=True).first()
    if account is None or account.kind == CarrierKind.SIMULATED:
        return SimulatedCarrier()
    return ControlCenter(account.base_url, account.username, account.get_api_key())
