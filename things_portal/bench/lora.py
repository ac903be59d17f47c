"""The bench of the LoRa data history: frames by the hundred million, straight into day partitions, and their pages."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from common import partitions
from devices.models import Device
from lora.models import Frame

from . import load, pages

TABLE: Final = "lora_frame"
SPAN: Final = timedelta(days=30)
# Every tenth frame is of one of these.
HOT_DEVICES: Final = 1000
# The last device of all sends once a minute besides: about 43,000 messages, for the charts.
BUSY_EVERY: Final = timedelta(minutes=1)
# A frame with its place in the key, and what stays free beside them.
BYTES_PER_FRAME: Final = 330
SPARE: Final = 8 * 2**30
LOOKED_AT: Final = 300
ROUNDS: Final = 300

INTO: Final = """
INSERT INTO {table} (device_id, received_at, seq, fcnt, rssi, snr, esp, frequency_hz, fport, direction, kind,
    spreading_factor, gateway_count, adr, channel, payload, mac, detail)
SELECT device, at, n %% 2000000000, fcnt, -60 - n %% 60, 10 - n %% 25, -62 - n %% 60,
    (ARRAY[868100000, 868300000, 868500000, 867100000])[1 + n %% 4], CASE WHEN joins THEN NULL ELSE 1 + n %% 3 END,
    CASE WHEN down THEN 1 ELSE 0 END, CASE WHEN joins THEN 0 ELSE 2 END, 7 + n %% 6,
    CASE WHEN down THEN 0 ELSE 1 + n %% 4 END, true, 'LC' || 1 + n %% 8, decode(md5(n::text), 'hex'),
    CASE WHEN n %% 50 = 0 THEN '\\x0605'::bytea ELSE ''::bytea END,
    '{{"mic": "0A1B2C3D", "dev_addr": "14000001", "receptions": [{{"gateway": "7076FF0056060B8A", "rssi": -100,
       "snr": 5, "esp": -101.2}}]}}'
FROM (
    SELECT n, %(low)s + place AS device, fcnt, at, fcnt %% 20 = 7 AS down, fcnt %% 300 = 0 AS joins
    FROM ({source}) AS numbered
) AS placed
"""
# Nine of ten frames are spread over the devices that are neither hot nor the last.
MANY: Final = """
SELECT n, %(start)s::timestamptz + n * %(step)s::interval AS at,
    CASE WHEN n %% 10 = 0 THEN (n / 10) %% %(hot)s ELSE %(hot)s + (n - n / 10) %% %(cold)s END AS place,
    CASE WHEN n %% 10 = 0 THEN (n / 10) / %(hot)s ELSE (n - n / 10) / %(cold)s END AS fcnt
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
# One number in seventy is missing, now and then there is a gap of hours.
BUSY: Final = """
SELECT n, %(start)s::timestamptz + n * %(step)s::interval AS at, %(devices)s - 1 AS place, n AS fcnt
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n WHERE n %% 70 <> 3 AND n / 180 %% 40 <> 7
"""


def loaded() -> int:
    """How many frames a former run has loaded."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(%s::regclass)", [TABLE])
        said = str(cursor.fetchone()[0] or "")
    return int(said.removeprefix("bench ")) if said.startswith("bench ") else 0


def prepare(frames: int) -> float:
    """Load so many frames over the last 30 days unless a former run has; seconds that it took (0 where they were
    there). Others are dropped. Raises RuntimeError where the disk has no room for them."""
    if loaded() == frames:
        return 0.0
    started = time.perf_counter()
    now = timezone.now()
    _empty()
    need = frames * BYTES_PER_FRAME + SPARE
    if shutil.disk_usage(settings.BASE_DIR).free < need:
        raise RuntimeError(f"{frames:,} frames need {need / 2**30:.0f} GiB of free disk")
    facts = _facts(frames, now)
    for day in _days(now):
        _fill(day, facts, now)
    partitions.maintain(now)
    with connection.cursor() as cursor:
        cursor.execute(f"COMMENT ON TABLE {TABLE} IS 'bench {frames}'")
        cursor.execute("ANALYZE lora_frame")
    return time.perf_counter() - started


def _facts(frames: int, now: datetime) -> dict[str, Any]:
    devices = Device.objects.filter(project__name=load.PROJECT).order_by("pk")
    count = devices.count()
    hot = HOT_DEVICES if count > 2 * HOT_DEVICES else 1
    return {
        "low": devices.values_list("pk", flat=True)[0],
        "devices": count,
        "hot": hot,
        "cold": count - hot - 1,
        "start": now - SPAN,
        "step": SPAN / frames,
        "frames": frames,
    }


def _empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"COMMENT ON TABLE {TABLE} IS NULL")
        cursor.execute(f"TRUNCATE {TABLE}_default")
        for name in partitions.existing(TABLE).values():
            cursor.execute(f"DROP TABLE {name}")


def _days(now: datetime) -> Iterator[datetime]:
    day = (now - SPAN).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= now:
        yield day
        day += timedelta(days=1)


def _fill(day: datetime, facts: dict[str, Any], now: datetime) -> None:
    """One day's partition: the rows first, its key after them, then it is hung into the table."""
    name, until = f"{TABLE}_{day:%Y%m%d}", day + timedelta(days=1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS)")
        for source, step in ((MANY, SPAN / facts["frames"]), (BUSY, BUSY_EVERY)):
            start = now - SPAN
            first = max(-((start - day) // step), 1)
            last = min(-((start - until) // step) - 1, int(SPAN / step))
            if last < first:
                continue
            values = facts | {"first": first, "last": last, "step": step}
            cursor.execute(INTO.format(table=name, source=source), values)
        cursor.execute(f"ALTER TABLE {name} ADD PRIMARY KEY (device_id, received_at, seq)")
        # Known to hold, it need not be checked again where the partition is attached.
        span = f"received_at >= '{day:%Y-%m-%d} 00:00+00' AND received_at < '{until:%Y-%m-%d} 00:00+00'"
        cursor.execute(f"ALTER TABLE {name} ADD CONSTRAINT day CHECK ({span})")
        cursor.execute(
            f"ALTER TABLE {TABLE} ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{day:%Y-%m-%d} 00:00+00') TO ('{until:%Y-%m-%d} 00:00+00')"
        )
        cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT day")
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) {name}")


def size() -> tuple[int, int]:
    """Bytes of the frames' rows, and of their keys."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_table_size(inhrelid)), 0)::bigint, coalesce(sum(pg_indexes_size(inhrelid)), 0)"
            "::bigint FROM pg_inherits WHERE inhparent = %s::regclass",
            [TABLE],
        )
        rows, keys = cursor.fetchone()
    return int(rows), int(keys)


def measure(port: int) -> Iterator[pages.PageTime]:
    """The pages of many devices, one after another, so that none is warm because it was just asked for."""
    person = User.objects.get(email=load.OPERATOR)
    ids = list(Device.objects.filter(project__name=load.PROJECT).order_by("pk").values_list("pk", flat=True))
    chance = random.Random(6)  # noqa: S311
    some = chance.sample(ids[HOT_DEVICES:-1] or ids, min(LOOKED_AT, len(ids) - 1))
    hot = chance.sample(ids[:HOT_DEVICES], min(LOOKED_AT, len(ids)))

    def many(devices: list[int], part: str) -> list[str]:
        return [f"/devices/{pk}/lora/history/{part}" for pk in devices]

    yield pages.measure(port, person, "first page, any device", *many(some, ""), rounds=ROUNDS)
    yield pages.measure(port, person, "first page, again", *many(some, ""), rounds=ROUNDS)
    yield pages.measure(port, person, "first page, devices that send often", *many(hot, ""), rounds=ROUNDS)
    yield pages.measure(port, person, "the list alone", *many(some, ""), rounds=ROUNDS, htmx=True)
    older = [f"/devices/{pk}/lora/history/?before={_place(pk, 0.5)}" for pk in some]
    yield pages.measure(port, person, "load older, from the middle", *older, rounds=ROUNDS, htmx=True)
    last = [f"/devices/{pk}/lora/history/?before={_place(pk, 0.05)}" for pk in some]
    yield pages.measure(port, person, "load older, the last of all", *last, rounds=ROUNDS, htmx=True)
    yield pages.measure(port, person, "joins, any device", *many(some, "?kind=join"), rounds=ROUNDS)
    yield pages.measure(port, person, "downlinks, devices that send often", *many(hot, "?kind=downlink"), rounds=ROUNDS)
    for word in ("day", "week", "month"):
        charts = f"/devices/{ids[-1]}/lora/history/charts/?range={word}"
        yield pages.measure(port, person, f"charts of a {word}, one a minute", charts, rounds=20)


def _place(device_id: int, share: float) -> str:
    """A cursor at this share of the retention, from its oldest end."""
    newest = Frame.objects.filter(device_id=device_id, received_at__gte=timezone.now() - SPAN).order_by("-received_at")
    at = newest.values_list("received_at", flat=True)[0] - SPAN * (1 - share)
    return f"{(at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)}-0"
