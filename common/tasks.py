"""The hourly round of the house: partitions made ahead and dropped, and an alarm where that did not work."""

import logging

from celery import shared_task
from django.utils import timezone

from . import partitions

logger = logging.getLogger(__name__)


@shared_task
def maintain_partitions() -> None:
    now = timezone.now()
    try:
        partitions.maintain(now)
    finally:
        for alarm in partitions.alarms(now):
            logger.error("partitions: %s", alarm)
