"""Runs the simulated M2M and Internet devices of the demo beside the portal until it is told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, connection
from django.utils import timezone

from ingest import simulated

STEP_SECONDS = 1.0
# One simulation at a time: a second one waits for this PostgreSQL advisory lock.
LOCK = 0x51A_0002


class Command(BaseCommand):
    help = "Run the simulated M2M and Internet devices."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--address", required=True, help="where the portal is, such as http://127.0.0.1:8000")

    def handle(self, *args: Any, address: str, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                self._run(stop, address)
            except OperationalError as error:
                self.stderr.write(f"simulated senders: {error}".strip())
                connection.close()
                stop.wait(2)

    def _run(self, stop: threading.Event, address: str) -> None:
        while not self._locked():
            if stop.wait(2):
                return
        self.stdout.write("simulated senders: running")
        while not stop.is_set():
            simulated.step(address, timezone.now())
            stop.wait(STEP_SECONDS)

    @staticmethod
    def _locked() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            return bool(cursor.fetchone()[0])
