"""How fast instructions go out: 100,000 devices with one pending each, real workers, and a table full of finished ones.

On devices of their own on the simulated network, whose simulation does not run: its side of the interface takes each
instruction into its table, and nothing reports back but what is measured here.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Project, Subscription
from devices.models import Device
from downlinks import queue, reports, services
from downlinks.models import Downlink
from flows.services import create_flow
from lora.models import Network

PROJECT: Final = "Dispatch"
STEP: Final = 1_000_000
# Devices that are asked something alone while the others wait.
ALONE: Final = 500
ALONE_EVERY: Final = 0.25
# Those that are reported as sent afterwards.
REPORTED: Final = 2_000
PARTS: Final = 10

DEVICES: Final = (
    """
    INSERT INTO devices_device (project_id, type_id, name, barcode, description, identifier, processing_status,
        connection_status, connection_reason, flow_count, created_at, creation_token)
    SELECT %(project)s, (SELECT id FROM devices_devicetype WHERE slug = 'own-lora-preset'), 'Valve ' || n, '', '',
        upper(lpad(to_hex(n::bigint + 2199023255552), 16, '0')), 'active', 'active', '', 1, now(), NULL
    FROM generate_series(1, %(count)s) AS n
    """,
    """
    INSERT INTO devices_flowlink (device_id, flow_id, linked_at)
    SELECT id, %(flow)s, now() FROM devices_device WHERE project_id = %(project)s
    """,
    """
    INSERT INTO lora_loraidentity (device_id, dev_eui, app_eui, app_key, network_id, registered_at, created_at)
    SELECT id, identifier, '70B3D57ED0000001', '', %(network)s, now(), now()
    FROM devices_device WHERE project_id = %(project)s
    """,
    """
    INSERT INTO lora_simulateddevice (dev_eui, app_eui, app_key, registered, enabled, powered, profile,
        interval_seconds, latitude, longitude, faults, state, version)
    SELECT identifier, '70B3D57ED0000001', '', true, true, true, 'climate', 60, 51.92, 4.48, '[]', '', 0
    FROM devices_device WHERE project_id = %(project)s
    """,
)

# In the order in which they would have been finished: one of each device, then the next of each.
FINISHED: Final = """
INSERT INTO downlinks_downlink (device_id, number, correlation_id, state, head, encoder, fport, payload, confirmed,
    source, requested_at, executing_at, accepted_at, sent_at, finished_at, deadline, attempts, cause, reason)
SELECT d.id, round, gen_random_uuid(), 'delivered', false, 'raw-lora', 2, '\\x0102030405'::bytea, false, 'page',
    moment, moment, moment, moment, moment, moment + interval '1 day', 1, '', ''
FROM generate_series(%s, %s) AS round, devices_device AS d,
    LATERAL (SELECT now() - interval '1 minute' * (%s - round)) AS m (moment)
WHERE d.project_id = %s
ORDER BY round, d.id
"""


@dataclass(frozen=True, slots=True)
class Row:
    """With ``finished`` instructions in the table. Dispatched a second over all, and in the slowest and fastest of ten
    parts; milliseconds of an instruction asked for alone meanwhile; milliseconds each to ask for (in thousands) and to
    end one by the network's report."""

    finished: int
    rate: float
    slowest: float
    fastest: float
    alone: tuple[float, float, float]
    asked: float
    ended: float


def prepare(devices: int) -> float:
    """Make the devices unless a former run has; seconds."""
    if Project.objects.filter(name=PROJECT).exists():
        return 0.0
    started = time.perf_counter()
    with transaction.atomic():
        project = Project.objects.create(name=PROJECT, subscription=Subscription.objects.get(slug="modular"))
        flow = create_flow(project=project, name="Everything", actor=None)
        network = Network.objects.get(slug="simulated")
        named = {"project": project.pk, "flow": flow.pk, "network": network.pk, "count": devices + ALONE}
        with connection.cursor() as cursor:
            for statement in DEVICES:
                cursor.execute(statement, named)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return time.perf_counter() - started


def fill(finished: int) -> float:
    """Empty the table and put so many finished instructions into it; seconds."""
    started = time.perf_counter()
    ids = _ids()
    rounds = finished // len(ids)
    with connection.cursor() as cursor, _without_indexes():
        cursor.execute("TRUNCATE downlinks_downlink, lora_simulateddownlink CASCADE")
        step = max(1, STEP // len(ids))
        for first in range(1, rounds + 1, step):
            last = min(first + step - 1, rounds)
            cursor.execute(FINISHED, [first, last, rounds, Project.objects.get(name=PROJECT).pk])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE downlinks_downlink")
        cursor.execute("CHECKPOINT")
    return time.perf_counter() - started


@contextlib.contextmanager
def _without_indexes() -> Iterator[None]:
    """Keys and indexes are made afterwards, sorted, which takes a tenth of the time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'downlinks_downlink'::regclass AND contype IN ('p', 'u', 'f') ORDER BY contype DESC"
        )
        keys = cursor.fetchall()
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'downlinks_downlink'"
            " AND NOT indexname = ANY(%s)",
            [[name for name, _definition in keys]],
        )
        indexes = cursor.fetchall()
        for name, _definition in keys:
            cursor.execute(f'ALTER TABLE downlinks_downlink DROP CONSTRAINT "{name}"')
        for name, _definition in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET maintenance_work_mem = '1GB'")
            for _name, definition in indexes:
                cursor.execute(definition)
            for name, definition in keys:
                cursor.execute(f'ALTER TABLE downlinks_downlink ADD CONSTRAINT "{name}" {definition}')


def _ids() -> list[int]:
    devices = Device.objects.filter(project__name=PROJECT).order_by("pk")
    return list(devices.values_list("pk", flat=True))


def measure(*, waiting: int, workers: int = 2) -> Row:
    """One instruction for each of ``waiting`` devices, dispatched by real workers as ``things up`` starts them. They
    stay as they are: :func:`fill` empties the table."""
    ids = _ids()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM downlinks_downlink")
        finished = cursor.fetchone()[0]
    # Spread over all, so that their rows and index entries are too.
    many, alone = ids[ALONE :: (len(ids) - ALONE) // waiting][:waiting], ids[:ALONE]
    asked = _ask(many)
    with _running(workers):
        started = timezone.now()
        queue.ring(*many)
        waited = _watch(alone)
    moments = sorted(_accepted(many).values())
    marks = [started, *(moments[len(moments) * part // PARTS - 1] for part in range(1, PARTS + 1))]
    rates = [len(many) / PARTS / (after - before).total_seconds() for before, after in pairwise(marks)]
    rate = len(many) / (marks[-1] - started).total_seconds()
    return Row(finished, rate, min(rates), max(rates), waited, asked, _end(many[:REPORTED]))


def _ask(ids: list[int]) -> float:
    """Put one instruction into the queue of each device, without its ring; milliseconds for each."""
    took = 0.0
    for first in range(0, len(ids), 1000):
        devices = list(Device.objects.select_related("type", "project").filter(pk__in=ids[first : first + 1000]))
        started = time.perf_counter()
        with transaction.atomic():
            services.request_many(devices=devices, encoder="raw-lora", fport=2, payload=b"\x01", actor=None)
            # Nobody may hear of them before all are there.
            connection.run_on_commit.clear()
        took += time.perf_counter() - started
    return took * 1000 / len(ids)


def _watch(alone: list[int]) -> tuple[float, float, float]:
    """Until nothing waits, ask single devices for something all the while; p50, p95 and the longest of them in
    milliseconds, from the request until the network has it."""
    asked: dict[int, datetime] = {}
    for device in Device.objects.select_related("type", "project").filter(pk__in=alone):
        if not _waiting():
            break
        made = services.request(device=device, encoder="raw-lora", fport=2, payload=b"\x02", actor=None)
        asked[device.pk] = made.requested_at
        time.sleep(ALONE_EVERY)
    while _waiting():
        time.sleep(ALONE_EVERY)
    accepted = _accepted(list(asked))
    times = sorted((accepted[pk] - moment).total_seconds() * 1000 for pk, moment in asked.items())
    return statistics.median(times), times[int(len(times) * 0.95)], times[-1]


def _waiting() -> bool:
    """Those that the network has are looked at again at their deadline only."""
    due = Downlink.objects.filter(accepted_at=None, due_at__lt=timezone.now() + timedelta(hours=1))
    return due.exists()


def _accepted(ids: list[int]) -> dict[int, datetime]:
    rows = Downlink.objects.filter(device_id__in=ids, head=True, accepted_at__isnull=False)
    return {pk: moment for pk, moment in rows.values_list("device_id", "accepted_at") if moment}


def _end(ids: list[int]) -> float:
    """Report one after another as sent; milliseconds for each."""
    rows = list(Downlink.objects.filter(device_id__in=ids, head=True).values_list("device_id", "correlation_id"))
    started = time.perf_counter()
    for device_id, correlation_id in rows:
        reports.on_sent(device_id, str(correlation_id), timezone.now())
    return (time.perf_counter() - started) * 1000 / len(rows)


@contextlib.contextmanager
def _running(workers: int) -> Iterator[None]:
    """A worker of so many processes, and beat for the sweeper."""
    celery = [sys.executable, "-m", "celery", "-A", "things_portal"]
    options = ["--pool", "prefork", "--without-gossip", "--without-mingle", "--concurrency", str(workers)]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "worker.log"
        with log.open("wb") as output:
            processes = [
                subprocess.Popen([*celery, *command], cwd=settings.BASE_DIR, stdout=output, stderr=output)
                for command in (
                    ["worker", *options, "--loglevel", "INFO"],
                    ["beat", "-s", f"{folder}/beat", "--pidfile="],
                )
            ]
        try:
            for _ in range(300):
                if b" ready." in log.read_bytes():
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError("the worker is not ready")
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(60)
