"""The doorbells of desired values: ids in, one service call."""

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.utils import timezone

from . import loop


@shared_task
def run_desired(device_id: int) -> None:
    """What is due of the device."""
    _closed_when_struck(device_id)


@shared_task
def sweep_desired() -> None:
    """Reports that did not come, tries that are due, devices that can take an instruction again, lost rings."""
    _closed_when_struck(None)


def _closed_when_struck(device_id: int | None) -> None:
    try:
        loop.sweep(timezone.now(), device_id=device_id)
    except SoftTimeLimitExceeded:
        # It may have struck in the middle of a query: the next task must not get this connection.
        connection.close()
        raise
