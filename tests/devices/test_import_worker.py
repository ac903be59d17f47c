"""D12 with real Celery workers: one is killed while it adds devices from a file, another adds the rest, each once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry
from devices import import_columns, imports, tasks
from devices.models import Device, DeviceType, Identity, ImportFile, ImportRow, ImportState, Outcome
from tests.cast import Cast
from tests.processes import celery_worker, database_url, kill, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]

COUNT = 120


def waits_for(holder: psycopg.Connection) -> bool:
    """Whether somebody waits for this connection; others of the server wait for each other."""
    with connection.cursor() as cursor:
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND %s = ANY (pg_blocking_pids(pid))"
        cursor.execute(blocked, [holder.info.backend_pid])
        return bool(cursor.fetchone()[0])


def test_worker_killed_while_it_adds_devices(cast: Cast, tmp_path: Path) -> None:
    rows = [f"Meter {number},{number:016X},70B3D57ED0000001,{'AB' * 16}" for number in range(1, COUNT + 1)]
    made = imports.upload(
        project=cast.project,
        device_type=DeviceType.objects.get(slug="own-lora-preset"),
        name="meters.csv",
        content="\n".join(["Name,DevEUI,AppEUI,AppKey", *rows]).encode(),
        actor=cast.operator,
    )
    imports.choose_columns(upload=made, mapping=import_columns.guess(made.header, made.type), actor=cast.operator)
    made.refresh_from_db()
    assert (made.state, made.ready) == (ImportState.CHECKED, COUNT)
    log = tmp_path / "worker.log"
    # Somebody claims an identifier of the second set: the worker has half of the set, and waits to see how that ends.
    with psycopg.connect(database_url()) as holder:
        holder.execute(
            "INSERT INTO devices_identity (urn, device_id, since) VALUES (%s, NULL, now())", [f"DEVEUI:{75:016X}"]
        )
        with celery_worker(log) as first:
            imports.accept(upload=made, agreed=COUNT, actor=cast.operator)
            wait_for(lambda: waits_for(holder), "the worker to be in the middle", log=log)
            kill(first)
        holder.rollback()
    there = Device.objects.count()
    assert 0 < there < COUNT, "the sets that were committed, and no more"
    # The lease of the dead worker runs out.
    ImportFile.objects.update(not_before=timezone.now())
    with celery_worker(log):
        tasks.sweep_imports()
        wait_for(lambda: ImportFile.objects.get().state == ImportState.DONE, "the second worker to finish", log=log)
    made.refresh_from_db()
    assert (made.done, made.failed) == (COUNT, 0)
    assert Counter(ImportRow.objects.values_list("outcome", flat=True)) == {Outcome.DONE: COUNT}
    assert sorted(Device.objects.values_list("name", flat=True)) == sorted(f"Meter {n}" for n in range(1, COUNT + 1))
    assert Identity.objects.exclude(device_id=None).count() == COUNT
    recorded = Counter(AuditEntry.objects.filter(action="device.added").values_list("device_id", flat=True))
    assert recorded == Counter(Device.objects.values_list("pk", flat=True)), "each device exactly once"
