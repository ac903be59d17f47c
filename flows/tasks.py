"""Work of the portal's own clock on destinations."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from . import destination_inbox as inbox


@shared_task
def drop_received() -> int:
    return inbox.drop_old(timezone.now())
