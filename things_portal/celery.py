"""The Celery application: downlinks, registrations and sweepers. Rows are the queue, tasks are the doorbell."""

import os
from typing import Any

from celery import Celery, signals
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "things_portal.settings")

app = Celery("things_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.task_prerun.connect
def look_at_the_connection(**_signal: Any) -> None:
    """Workers keep their connection over tasks (CELERY_DB_REUSE_MAX). What a request start does for pages is done
    here for tasks: one that PostgreSQL has dropped is found by its health check and made anew."""
    close_old_connections()
