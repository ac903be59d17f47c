"""Rings for a worker after the commit. The row is the queue: a ring that is lost is heard by the sweeper."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

# The priority of what may wait for everything else (Redis has four: 0, 3, 6, 9).
LAST = 9


def ring(task: Task[Any, Any], *args: Any, countdown: float = 0, priority: int = 0) -> None:
    """Publish the task when the surrounding transaction has committed; a broker that is away is no error."""

    def publish() -> None:
        try:
            task.apply_async(args=args, countdown=countdown, priority=priority, retry=False)
        except OperationalError as error:
            logger.warning("%s not rung, left to the sweeper: %s", task.name, error)

    transaction.on_commit(publish)
