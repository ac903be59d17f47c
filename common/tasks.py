"""The hourly round of the house: partitions made ahead and dropped."""

from celery import shared_task
from django.utils import timezone

from . import partitions


@shared_task
def maintain_partitions() -> None:
    partitions.maintain(timezone.now())
