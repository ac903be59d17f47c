"""Runs one deliverer until it is told to stop; it finishes the messages that it is at."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from flows.deliverer import Deliverer


class Command(BaseCommand):
    help = "Deliver processed messages to the destinations of Flows."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Deliverer(stop).run()
