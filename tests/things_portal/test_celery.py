"""A worker that outlives its database connection: after a restart of PostgreSQL the next task must work again."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from devices import network
from devices.models import Connection, Device
from tests import factories
from tests.cast import Cast
from tests.processes import celery_worker, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]


def register(cast: Cast, log: Path) -> None:
    device = factories.lora_device(cast.project, connection=Connection.NOT_LINKED)
    network.request_registration(device=device, actor=cast.operator)
    wait_for(
        lambda: Device.objects.filter(pk=device.pk, connection_status=Connection.ACTIVE).exists(),
        "the worker to register the device",
        log=log,
    )


def test_worker_goes_on_after_its_connection_is_dropped(cast: Cast, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with celery_worker(log):
        register(cast, log)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert cursor.fetchone()[0] >= 1, "the worker keeps its connection"
        register(cast, log)
