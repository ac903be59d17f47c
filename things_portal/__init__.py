"""The whole: settings, root addresses, Celery, ASGI, the embedded services and the ``things`` command."""

from .celery import app as celery_app

__all__ = ["celery_app"]
