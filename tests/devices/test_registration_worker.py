"""D8 with real Celery workers: one is killed in the middle of registering, another finishes the work."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from devices import deletion, network, tasks
from devices.models import Connection, Device, NetworkTask
from lora.models import LoraIdentity, SimulatedDevice
from tests import factories
from tests.cast import Cast
from tests.processes import celery_worker, database_url, kill, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]


def status(device: Device) -> str:
    return Device.objects.values_list("connection_status", flat=True).get(pk=device.pk)


def waits_for_a_lock(table: str = "simulateddevice") -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE %s",
            [f"%{table}%"],
        )
        return bool(cursor.fetchone()[0])


def test_worker_killed_while_the_network_is_asked(cast: Cast, tmp_path: Path) -> None:
    device = factories.lora_device(cast.project, connection=Connection.NOT_LINKED)
    log = tmp_path / "worker.log"
    # The network's answer is held back: whoever registers waits for this lock.
    with psycopg.connect(database_url()) as holder:
        holder.execute("LOCK TABLE lora_simulateddevice IN ACCESS EXCLUSIVE MODE")
        with celery_worker(log) as first:
            network.request_registration(device=device, actor=cast.operator)
            wait_for(waits_for_a_lock, "the worker to ask the network", log=log)
            kill(first)
        assert status(device) == "pending_create", "nothing is claimed that the network did not say"
        holder.rollback()
    assert NetworkTask.objects.get().attempts == 1
    # The lease of the dead worker runs out.
    NetworkTask.objects.update(not_before=timezone.now())
    with celery_worker(log):
        tasks.sweep_network_tasks()
        wait_for(lambda: status(device) == "active", "the second worker to finish", log=log)
    assert SimulatedDevice.objects.count() == 1
    assert not NetworkTask.objects.exists()


def test_worker_killed_while_the_device_is_removed(cast: Cast, tmp_path: Path) -> None:
    device = factories.lora_device(cast.project, connection=Connection.ACTIVE)
    log = tmp_path / "worker.log"
    # The removal's transaction is held at its next to last table.
    with psycopg.connect(database_url()) as holder:
        holder.execute("LOCK TABLE devices_identity IN ACCESS EXCLUSIVE MODE")
        with celery_worker(log) as first:
            deletion.request(device=device, actor=cast.operator)
            wait_for(lambda: waits_for_a_lock("devices_identity"), "the worker to remove the rows", log=log)
            kill(first)
        holder.rollback()
    assert LoraIdentity.objects.filter(device=device).exists(), "nothing of it is gone"
    assert NetworkTask.objects.get().operation == "delete"
    NetworkTask.objects.update(not_before=timezone.now())
    with celery_worker(log):
        tasks.sweep_network_tasks()
        wait_for(lambda: not Device.objects.filter(pk=device.pk).exists(), "the second worker to finish", log=log)
    assert not LoraIdentity.objects.exists()
    assert not NetworkTask.objects.exists()
