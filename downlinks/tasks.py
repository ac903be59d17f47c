"""The doorbells of instructions: ids in, one service call."""

import contextlib
from collections.abc import Iterator

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.utils import timezone

from . import dispatch, execution


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    try:
        yield
    except SoftTimeLimitExceeded:
        # It may have struck in the middle of a query: the next task must not get this connection.
        connection.close()
        raise


@shared_task
def run_downlink(device_id: int) -> None:
    with _limited():
        execution.run(device_id)


@shared_task
def run_downlinks(device_ids: list[int]) -> None:
    with _limited():
        dispatch.run_many(device_ids)


@shared_task
def sweep_downlinks() -> None:
    """What a dead worker, a lost ring or the end of time left behind."""
    execution.sweep(timezone.now())
