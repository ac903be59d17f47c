"""SIM cards at their carrier: what it says of them is noted here, and cards that nobody needs are switched off.

A card that becomes free is switched off later, outside the transaction: ``release_at`` is the queue. A worker that
dies leaves it set, its lease runs out, and the sweeper has it done again.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import User
from common import doorbell
from devices.errors import DeviceError, NetworkRefused, NetworkUnavailable
from devices.models import Connection
from devices.network import BACKOFF, LEASE

from . import carriers
from .models import SimCard, SimStatus

logger = logging.getLogger(__name__)
# How old what the carrier said may be, and how many cards are asked for in one round.
STALE: Final = timedelta(days=1)
ROUND: Final = 50


def note(card: SimCard, said: carriers.Details, *, now: datetime | None = None) -> None:
    """Keep what the carrier says. Status, rate plan and number are the carrier's to say, as far as it says them.

    A free card that is not switched on is in the inventory, whatever the carrier calls it.
    """
    now = now or timezone.now()
    changes: dict[str, Any] = {"carrier_says": said.word[:30], "asked_at": now, "trouble": ""}
    changes |= {"rate_plan": said.rate_plan} if said.rate_plan else {}
    changes |= {"msisdn": said.msisdn} if said.msisdn else {}
    rows = SimCard.objects.filter(pk=card.pk)
    rows.update(**changes)
    rows.filter(device__isnull=False).update(status=said.status)
    free = SimStatus.ACTIVE if said.status == SimStatus.ACTIVE else SimStatus.INVENTORY
    rows.filter(device=None).update(status=free)
    if said.activated_at or said.status == SimStatus.ACTIVE:
        rows.filter(activated_at=None).update(activated_at=said.activated_at or now)


def refresh(card: SimCard, *, now: datetime | None = None) -> str:
    """Ask the carrier how the card is; why it did not say, "" where it did."""
    now = now or timezone.now()
    try:
        note(card, carriers.of(card).details(card), now=now)
    except (NetworkRefused, NetworkUnavailable) as error:
        SimCard.objects.filter(pk=card.pk).update(trouble=str(error)[:300], asked_at=now)
        return str(error)
    return ""


def refresh_stale(now: datetime) -> int:
    """Ask for the cards that were not asked for in a day, longest ago first; how many. One that does not answer has
    had its turn."""
    with scopes_disabled():
        rows = SimCard.objects.select_related("carrier").order_by(F("asked_at").asc(nulls_first=True))
        found = [card for card in rows[:ROUND] if card.asked_at is None or card.asked_at < now - STALE]
        for card in found:
            refresh(card, now=now)
    return len(found)


def send_sms(*, card: SimCard, text: str, actor: User) -> str:
    """Send a text message to the card; gives the carrier's number of it. Recorded before it is sent, without its text:
    a message that may have gone is not sent again. Raises DeviceError."""
    if card.status != SimStatus.ACTIVE:
        raise DeviceError(_("This SIM card is not active."))
    with transaction.atomic():
        audit.record(
            project_id=card.project_id,
            actor=actor,
            action="sim.sms_sent",
            target=card.iccid,
            device_id=card.device_id,
            after={"characters": len(text)},
        )
    try:
        return carriers.of(card).send_sms(card, text)
    except (NetworkRefused, NetworkUnavailable) as error:
        raise DeviceError(str(error)) from error


# --- switched off when free ---


def free(rows: QuerySet[SimCard]) -> None:
    """Take these cards out of their devices, in the caller's transaction. Those that are on are switched off then."""
    from . import tasks

    on = list(rows.filter(status=SimStatus.ACTIVE).values_list("pk", flat=True))
    SimCard.objects.filter(pk__in=on).update(release_at=timezone.now(), release_attempts=0)
    rows.update(device=None, status=SimStatus.INVENTORY)
    for pk in on:
        doorbell.ring(tasks.release_card, pk)


def stop_release(card: SimCard) -> None:
    """The card is needed again. Raises NetworkUnavailable while its switching off is under way."""
    now = timezone.now()
    SimCard.objects.filter(pk=card.pk, release_at__lte=now).update(release_at=None)
    if SimCard.objects.filter(pk=card.pk, release_at__isnull=False).exists():
        raise NetworkUnavailable(_("The SIM card is still being switched off."))


def run_release(card_id: int, *, now: datetime | None = None) -> bool:
    """Have the card switched off, if that is due and nobody else is at it. True where it is done."""
    with scopes_disabled():
        now = now or timezone.now()
        claimed = (
            _unneeded()
            .filter(pk=card_id, release_at__lte=now)
            .update(release_at=now + LEASE, release_attempts=F("release_attempts") + 1)
        )
        if not claimed:
            return False
        card = SimCard.objects.select_related("carrier").get(pk=card_id)
        mine = SimCard.objects.filter(pk=card_id, release_at=now + LEASE)
        try:
            said = carriers.of(card).set_active(card, active=False)
        except NetworkRefused as error:
            # A final no: the card stays as the carrier has it, and says so.
            mine.update(release_at=None, trouble=str(error)[:300])
            return False
        except Exception as error:  # an error of our own must not lose the work: it is due again later
            if not isinstance(error, NetworkUnavailable):
                logger.exception("switching off SIM card %s", card_id)
            wait = BACKOFF[min(card.release_attempts - 1, len(BACKOFF) - 1)]
            mine.update(release_at=now + timedelta(seconds=wait), trouble=str(error)[:300])
            return False
        note(card, said, now=now)
        mine.update(release_at=None)
        return True


def due(now: datetime, limit: int = 200) -> list[int]:
    """Cards that wait to be switched off longer than they should."""
    with scopes_disabled():
        rows = _unneeded().filter(release_at__lte=now).order_by("release_at")
        return list(rows.values_list("pk", flat=True)[:limit])


def _unneeded() -> QuerySet[SimCard]:
    """Free cards, and those of devices that are to stay off. The registration of any other device takes its card off
    the queue."""
    return SimCard.objects.filter(Q(device=None) | Q(device__connection_status=Connection.DEACTIVATED))
