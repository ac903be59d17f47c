"""Celery tasks of LoRa."""

from celery import shared_task
from django.utils import timezone

from devices import live

from . import health

# A sweep ends here; what is left is due still and is taken by the next.
MOST_ROUNDS = 40


@shared_task
def sweep_silent() -> None:
    """Devices whose time has come without a message (L6), in batches."""
    for _round in range(MOST_ROUNDS):
        looked_at, changed = health.sweep_silent(timezone.now())
        if changed:
            live.publish((device_id, {"frames"}) for device_id in changed)
        if looked_at < health.SWEEP:
            return
