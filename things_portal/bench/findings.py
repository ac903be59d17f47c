"""The bench of the diagnosis (L6): a month of one device's findings made anew, and the summaries of a batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from lora import diagnosis as d
from lora import evidence, health
from lora.diagnosis import Seen

# No device has these ids, and all is undone.
FIRST_ID: Final = -2_000_000
# A device that sends every minute, and one that sends every five: 31 days of each, with its downlinks.
MONTHS: Final = (45_000, 8_640)
BATCH: Final = 1000

# One number in forty is missing; one frame in thirty is a downlink with a MAC request, which the next uplink answers;
# one in fifty is confirmed, and now and then the device joins.
FRAMES: Final = """
INSERT INTO lora_frame (device_id, received_at, seq, fcnt, rssi, snr, esp, frequency_hz, fport, direction, kind,
    spreading_factor, gateway_count, confirmed, adr, channel, latitude, longitude, payload, mac, detail)
SELECT %(device)s, %(now)s::timestamptz - (%(frames)s - n) * %(step)s::interval, n, n + n / 40,
    -60 - n %% 60, 10 - n %% 25, -62 - n %% 60, 868100000, 1, CASE WHEN n %% 30 = 7 THEN 1 ELSE 0 END,
    CASE WHEN n %% 15000 = 3 THEN 0 WHEN n %% 15000 = 4 THEN 1 ELSE 2 END, 7 + n %% 6, 1 + n %% 4, n %% 50 = 0, true,
    'LC1', CASE WHEN n %% 9 = 0 THEN 52.0 END, CASE WHEN n %% 9 = 0 THEN 4.4 END, decode(md5(n::text), 'hex'),
    CASE n %% 30 WHEN 7 THEN '\\x06'::bytea WHEN 8 THEN '\\x06ff0a'::bytea ELSE ''::bytea END,
    '{"mic": "0A1B2C3D", "dev_addr": "14000001", "receptions": [{"gateway": "7076FF0056060B8A", "rssi": -100}]}'
FROM generate_series(1, %(frames)s) AS n
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds."""

    name: str
    p50: float
    p95: float


def measure(rounds: int = 40, months: tuple[int, ...] = MONTHS, batch: int = BATCH) -> Iterator[Timing]:
    now = timezone.now()
    with transaction.atomic():
        for number, frames in enumerate(months):
            _fill(FIRST_ID + number, frames, now)
        for number, frames in enumerate(months):
            device_id = FIRST_ID + number
            yield _timed(f"findings of a month, {frames:,} frames", lambda pk=device_id: _told(pk, now), rounds)  # type: ignore[misc]
        yield _batches(batch, rounds)
        transaction.set_rollback(True)


def _fill(device_id: int, frames: int, now: datetime) -> None:
    step = timedelta(days=30) / frames
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"device": device_id, "frames": frames, "now": now, "step": step}
        cursor.execute(FRAMES, values)
        cursor.execute("ANALYZE lora_frame")


def _told(device_id: int, now: datetime) -> int:
    """All that the page asks for: the findings with their messages."""
    found = health.diagnose(device_id, now, locates=True)
    return sum(len(evidence.of(one, found)) for one in found.findings)


def _batches(size: int, rounds: int) -> Timing:
    """A message of each of so many devices, which all have a summary already."""
    ids = range(FIRST_ID + 1000, FIRST_ID + 1000 + size)
    at = health.microseconds(timezone.now())

    def take(number: int) -> None:
        health.take({pk: [Seen(at + number * d.SECOND, number, d.UP | d.SLOWEST, number)] for pk in ids})

    for number in range(5):
        take(number)
    numbers = iter(range(5, 5 + rounds))
    return _timed(f"summaries of a batch of {size:,} messages", lambda: take(next(numbers)), rounds)


def _timed(name: str, run: Callable[[], object], rounds: int) -> Timing:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        taken.append((time.perf_counter() - started) * 1000)
    return Timing(name, statistics.median(taken), sorted(taken)[min(len(taken) - 1, round(0.95 * len(taken)))])
