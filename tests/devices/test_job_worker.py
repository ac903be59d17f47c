"""D4 with real Celery workers: one is killed in the middle of a set, another does what is left, each device once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry
from devices import bulk, jobs, tasks
from devices.models import Device, DeviceType, Job, JobItem, Processing
from tests.cast import Cast
from tests.processes import celery_worker, database_url, kill, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]

COUNT = 700


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE '%device%'"
        )
        return bool(cursor.fetchone()[0])


def test_worker_killed_in_the_middle_of_a_set(cast: Cast, tmp_path: Path) -> None:
    kind = DeviceType.objects.get(slug="own-lora")
    devices = Device.objects.bulk_create(
        Device(project=cast.project, type=kind, name=f"Meter {number}") for number in range(COUNT)
    )
    action = bulk.by_slug("deactivate")
    assert action
    log = tmp_path / "worker.log"
    # Somebody holds a device of the second set: the worker has the set half locked, and waits.
    with psycopg.connect(database_url()) as holder:
        holder.execute("SELECT 1 FROM devices_device WHERE id = %s FOR UPDATE", [devices[150].pk])
        with celery_worker(log) as first:
            job = jobs.create(
                action=action,
                devices=Device.objects.all(),
                parameters={},
                agreed=COUNT,
                actor=cast.operator,
                projects=[cast.project],
                token=uuid4(),
            )
            wait_for(waits_for_a_lock, "the worker to be in the middle", log=log)
            kill(first)
        holder.rollback()
    job.refresh_from_db()
    assert 0 < job.done < COUNT, "the sets that were committed, and no more"
    assert Device.objects.filter(processing_status=Processing.DEACTIVATED).count() == job.done
    # The lease of the dead worker runs out.
    Job.objects.update(not_before=timezone.now())
    with celery_worker(log):
        tasks.sweep_jobs()
        wait_for(lambda: Job.objects.get(pk=job.pk).state == "finished", "the second worker to finish", log=log)
    job.refresh_from_db()
    assert (job.total, job.done, job.skipped, job.failed) == (COUNT, COUNT, 0, 0)
    assert Counter(JobItem.objects.values_list("outcome", flat=True)) == {"done": COUNT}
    recorded = Counter(AuditEntry.objects.filter(action="device.deactivated").values_list("device_id", flat=True))
    assert recorded == Counter(device.pk for device in devices), "each device exactly once"
