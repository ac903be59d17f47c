"""Runs one ingest consumer until it is told to stop; it finishes the batch that it is at."""

from __future__ import annotations

import gc
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from ingest.consumer import Consumer


class Command(BaseCommand):
    help = "Process accepted messages: frames, twin, states."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        # What is loaded by now stays: the collector need not walk it again for the objects of each batch.
        gc.collect()
        gc.freeze()
        Consumer(stop).run()
