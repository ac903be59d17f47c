"""A carrier for demos and tests, on a table of its own: it knows every card, and has the faults that it is given."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from devices.errors import NetworkRefused, NetworkUnavailable

from . import Carrier, Details

if TYPE_CHECKING:
    from m2m.models import SimCard, SimulatedSim

RATE_PLAN: Final = "Things M2M 5 MB"
# What a card of the simulated carrier can be given in the admin.
UNKNOWN, REFUSED, AWAY, SLOW = "unknown", "refused", "away", "slow"
FAULTS: Final = (UNKNOWN, REFUSED, AWAY, SLOW)


class SimulatedCarrier(Carrier):
    def details(self, card: SimCard) -> Details:
        return self._details(self._known(card))

    def set_active(self, card: SimCard, *, active: bool) -> Details:
        from m2m.models import SimStatus, SimulatedSim

        known = self._known(card)
        if REFUSED in known.faults:
            raise NetworkRefused(_("The carrier does not let this SIM card be changed."))
        wanted = SimStatus.ACTIVE if active else SimStatus.DEACTIVATED
        rows = SimulatedSim.objects.filter(pk=known.pk)
        if known.status != wanted:
            rows.update(status=wanted, changes=F("changes") + 1)
        if active:
            rows.filter(activated_at=None).update(activated_at=timezone.now())
        if SLOW in known.faults:
            # It has done what was asked, and its answer is lost: once.
            rows.update(faults=[fault for fault in known.faults if fault != SLOW])
            raise NetworkUnavailable(_("The carrier did not answer in time."))
        known.refresh_from_db()
        return self._details(known)

    def send_sms(self, card: SimCard, text: str) -> str:
        from m2m.models import SimulatedSim

        known = self._known(card)
        SimulatedSim.objects.filter(pk=known.pk).update(last_sms=text[:320])
        return uuid4().hex

    @staticmethod
    def _known(card: SimCard) -> SimulatedSim:
        """The carrier's row of the card, made when it is first asked for."""
        from m2m.models import SimulatedSim

        number = zlib.crc32(card.iccid.encode()) % 10**9
        known, _made = SimulatedSim.objects.get_or_create(
            iccid=card.iccid,
            defaults={
                "status": card.status,
                "msisdn": card.msisdn or f"+3197{number:09d}",
                "rate_plan": card.rate_plan or RATE_PLAN,
                "activated_at": card.activated_at,
            },
        )
        if AWAY in known.faults:
            raise NetworkUnavailable(_("The carrier does not answer."))
        if UNKNOWN in known.faults:
            raise NetworkRefused(_("The carrier does not know this ICCID."))
        return known

    @staticmethod
    def _details(known: SimulatedSim) -> Details:
        return Details(known.status, known.status, known.rate_plan, known.msisdn, known.activated_at)
