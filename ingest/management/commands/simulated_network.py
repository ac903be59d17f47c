"""Runs the simulated LoRaWAN network (L9) beside the portal until it is told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection
from django.utils import timezone
from redis.exceptions import RedisError

from ingest.stream import accept_events
from lora.networks.simulated.runner import Runner

STEP_SECONDS = 0.25
# One simulation at a time: a second one waits for this PostgreSQL advisory lock.
LOCK = 0x51A_0001


class Command(BaseCommand):
    help = "Run the simulated LoRaWAN network."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                self._run(stop)
            except (OperationalError, RedisError) as error:
                # A store is away: take the state up again from what was kept.
                self.stderr.write(f"simulated network: {error}".strip())
                connection.close()
                stop.wait(2)

    def _run(self, stop: threading.Event) -> None:
        while not self._locked():
            if stop.wait(2):
                return
        runner = Runner(seed=settings.SIMULATED_SEED, now=timezone.now(), sink=accept_events)
        runner.load()
        self.stdout.write("simulated network: running")
        while not stop.is_set():
            runner.step(timezone.now())
            stop.wait(STEP_SECONDS)

    @staticmethod
    def _locked() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            return bool(cursor.fetchone()[0])
