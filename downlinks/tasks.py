"""The doorbells of instructions: ids in, one service call."""

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.utils import timezone

from . import execution


@shared_task
def run_downlink(device_id: int) -> None:
    try:
        execution.run(device_id)
    except SoftTimeLimitExceeded:
        # It may have struck in the middle of a query: the next task must not get this connection.
        connection.close()
        raise


@shared_task
def sweep_downlinks() -> None:
    """What a dead worker, a lost ring or the end of time left behind."""
    execution.sweep(timezone.now())
