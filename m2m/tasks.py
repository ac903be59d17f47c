"""The doorbells of SIM cards: switched off at their carrier when free, and asked for once a day."""

from celery import shared_task
from django.utils import timezone

from . import cards


@shared_task
def release_card(card_id: int) -> None:
    cards.run_release(card_id)


@shared_task
def sweep_cards() -> None:
    """Ring again for cards whose worker died or whose doorbell was lost."""
    for card_id in cards.due(timezone.now()):
        release_card.apply_async(args=(card_id,))


@shared_task
def refresh_cards() -> None:
    """Some cards that were not asked for in a day."""
    cards.refresh_stale(timezone.now())
