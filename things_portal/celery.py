"""The Celery application: downlinks, registrations and sweepers. Rows are the queue, tasks are the doorbell."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "things_portal.settings")

app = Celery("things_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
