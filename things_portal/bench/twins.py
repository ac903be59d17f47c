"""The bench of the Device Twin at a million: the tab and its parts over HTTP, and batches of updates."""

from __future__ import annotations

import gc
import random
import statistics
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from codec.measurements import Measurement
from common import partitions
from devices.models import Device
from ingest import stream
from ingest.pipeline import process
from ingest.reading import Entry
from twin import samples, services

from . import fleet, pages

NAMES: Final = ("temperature", *(f"value{number}" for number in range(1, 20)))
BATCH: Final = 1000
# One device has a month of values, every so many seconds; the others that are looked at have a day of them.
MONTH: Final = timedelta(days=31)
MONTH_EVERY: Final = 60
DAY_EVERY: Final = 600
LOOKED_AT: Final = 200

SAMPLES: Final = """
INSERT INTO twin_sample (device_id, name_id, at, kind, number)
SELECT device, name, at, 0,
    20 + 10 * sin(extract(epoch FROM at) / 7000 + name) + (extract(minute FROM at)::int %% 7) / 10.0
FROM generate_series(%(since)s::timestamptz, %(now)s::timestamptz, make_interval(secs => %(every)s)) AS at,
    unnest(%(names)s::int[]) AS name, unnest(%(devices)s::bigint[]) AS device
ON CONFLICT DO NOTHING
"""

# What is measured → the part of the device's address: of one device after another, so that none is warm because it
# was just asked for; and of the device with a month of values.
MANY: Final = {
    "Device Twin tab, 20 values": "twin/",
    "sparklines and observed, 20 values": "twin/recent/",
    "chart of a day": "twin/history/data/?name=temperature&points=600",
}
ONE: Final = {
    "chart of a month, 44,640 values": "twin/history/data/?name=temperature&range=month&points=600",
    "page of a month, 44,640 values": "twin/history/?name=temperature&range=month",
}


@dataclass(frozen=True, slots=True)
class Updates:
    """Milliseconds of a batch of ``messages``, each of another device, with ``values`` measurements each."""

    messages: int
    values: int
    p50: float
    p95: float


def prepare(now: datetime) -> float:
    """Give some devices of the fleet a history, unless a former run has; seconds."""
    started = time.perf_counter()
    partitions.maintain(now)
    numbers = list(samples.name_numbers(NAMES).values())
    first, *others = _looked_at()
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM twin_sample WHERE device_id = %s)", [first])
        if cursor.fetchone()[0]:
            return 0.0
        asked: dict[str, Any] = {"now": now, "names": numbers}
        cursor.execute(SAMPLES, asked | {"since": now - MONTH, "every": MONTH_EVERY, "devices": [first]})
        day = timedelta(days=1)
        cursor.execute(SAMPLES, asked | {"since": now - day, "every": DAY_EVERY, "devices": others})
        cursor.execute("VACUUM ANALYZE twin_sample")
    return time.perf_counter() - started


def warm() -> None:
    """Have the twins in memory, where those of a fleet that sends are, and the process as a consumer's is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(version) FROM twin_twin")
    gc.collect()
    gc.freeze()


def _fleet() -> range:
    """The ids of the fleet, which was loaded in one go."""
    rows = Device.objects.filter(project__name=fleet.PROJECT).order_by("pk").values_list("pk", flat=True)
    first, last = rows.first(), rows.last()
    if first is None or last is None:
        raise LookupError(fleet.PROJECT)
    return range(first, last + 1)


def _looked_at() -> list[int]:
    """Some devices that are spread over the fleet: the same in each run."""
    return random.Random(1).sample(_fleet(), LOOKED_AT)  # noqa: S311


def measure(port: int) -> list[pages.PageTime]:
    person = User.objects.get(email=fleet.OPERATOR)
    first, *others = _looked_at()
    found = [
        pages.measure(port, person, name, *(f"/devices/{pk}/{part}" for pk in others), htmx=part == "twin/recent/")
        for name, part in MANY.items()
    ]
    return found + [
        pages.measure(port, person, name, f"/devices/{first}/{part}", rounds=50) for name, part in ONE.items()
    ]


def update(values: int, *, batches: int = 22) -> Updates:
    """Process batches of real entries: messages, twins, columns, history, states and notifications."""
    chance = random.Random(values)  # noqa: S311
    ids, times = _fleet(), []
    for number in range(batches):
        now = timezone.now().timestamp()
        entries = [
            _entry(pk, f"{int(now * 1000)}-{index}", now, values, number)
            for index, pk in enumerate(chance.sample(ids, BATCH))
        ]
        started = time.perf_counter()
        result = process(entries)
        times.append((time.perf_counter() - started) * 1000)
        if result.processed != BATCH:
            raise RuntimeError(f"only {result.processed} of {BATCH} messages were processed")
    times = sorted(times[2:])
    return Updates(BATCH, values, statistics.median(times), times[int(len(times) * 0.95)])


def merge(values: int, *, batches: int = 22) -> Updates:
    """The twins' part of it alone: values, columns that people search, history; committed."""
    chance = random.Random(values + 1)  # noqa: S311
    ids, times = _fleet(), []
    for number in range(batches):
        now = timezone.now()
        batch = {
            pk: [
                Measurement(name=name, value=number + index / 10, unit="Cel", time=now.timestamp())
                for index, name in enumerate(NAMES[:values])
            ]
            for pk in chance.sample(ids, BATCH)
        }
        started = time.perf_counter()
        with transaction.atomic():
            changed = services.update_reported(batch, now)
        times.append((time.perf_counter() - started) * 1000)
        if len(changed) != BATCH:
            raise RuntimeError(f"only {len(changed)} of {BATCH} twins were changed")
    times = sorted(times[2:])
    return Updates(BATCH, values, statistics.median(times), times[int(len(times) * 0.95)])


def _entry(device_id: int, entry_id: str, now: float, values: int, number: int) -> Entry:
    records = [{"n": name, "v": number + index / 10, "u": "Cel"} for index, name in enumerate(NAMES[:values])]
    records[0] |= {"bn": "urn:dev:DVNUUID:0f8fad5b-d9cb-469f-a165-70867728950e:", "bt": now}
    meta = {"device_id": device_id, "received_at": now, "way": "internet", "cbor": False}
    return Entry(entry_id, stream.SENML, orjson.dumps(records), meta)
