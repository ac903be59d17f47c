"""S4 with real Celery workers: killed in the middle of sending, and between sending and writing it down."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from devices import connectivity
from downlinks import reports, tasks
from downlinks.models import Downlink
from lora.models import SimulatedDownlink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import again, ask
from tests.processes import celery_worker, database_url, kill, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]


def waiting(table: str) -> list[int]:
    """The database processes that wait for a lock with a statement about the table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE %s",
            [f"%{table}%"],
        )
        return [row[0] for row in cursor.fetchall()]


def die(worker: object, table: str) -> None:
    """The worker and its open statement end, as with a machine that loses its power."""
    pids = waiting(table)
    kill(worker)  # type: ignore[arg-type]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) pid", [pids])


def lease_runs_out() -> None:
    Downlink.objects.filter(state="executing").update(due_at=timezone.now())


def test_killed_workers_lose_nothing_and_send_nothing_twice(cast: Cast, tmp_path: Path) -> None:
    device = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
    connectivity.of(device).register(device)
    log = tmp_path / "worker.log"
    url = database_url()
    with psycopg.connect(url) as network, psycopg.connect(url) as row:
        # The network's answer is held back: whoever sends waits for this lock.
        network.execute("LOCK TABLE lora_simulateddownlink IN ACCESS EXCLUSIVE MODE")
        with celery_worker(log) as worker:
            first, second = ask(device, now=None), ask(device, now=None)
            wait_for(lambda: waiting("lora_simulateddownlink"), "the first worker to send", log=log)
            die(worker, "lora_simulateddownlink")
        network.rollback()
        assert not SimulatedDownlink.objects.exists()
        assert (again(first).state, again(first).attempts) == ("executing", 1)
        network.execute("LOCK TABLE lora_simulateddownlink IN ACCESS EXCLUSIVE MODE")
        lease_runs_out()
        with celery_worker(log) as worker:
            tasks.sweep_downlinks()
            wait_for(lambda: waiting("lora_simulateddownlink"), "the second worker to send", log=log)
            # The network takes it, but that cannot be written down.
            row.execute("SELECT 1 FROM downlinks_downlink WHERE number = 1 FOR UPDATE")
            network.rollback()
            wait_for(lambda: waiting("downlinks_downlink"), "the second worker to write it down", log=log)
            die(worker, "downlinks_downlink")
        row.rollback()
    assert SimulatedDownlink.objects.count() == 1
    assert (again(first).state, again(first).attempts, again(first).accepted_at) == ("executing", 2, None)
    lease_runs_out()
    with celery_worker(log):
        tasks.sweep_downlinks()
        wait_for(lambda: again(first).accepted_at, "the third worker to finish", log=log)
        assert list(SimulatedDownlink.objects.values_list("pk", flat=True)) == [first.correlation_id]
        reports.on_sent(device.pk, str(first.correlation_id), timezone.now())
        wait_for(lambda: again(second).accepted_at, "the next one to start", log=log, seconds=5)
    assert (again(first).state, again(first).attempts) == ("delivered", 3)
    assert set(SimulatedDownlink.objects.values_list("pk", flat=True)) == {first.correlation_id, second.correlation_id}


def test_next_one_starts_within_two_seconds_of_the_end(cast: Cast, tmp_path: Path) -> None:
    """Of many in a row, each: by the ring alone, for no sweeper runs here."""
    device = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
    connectivity.of(device).register(device)
    log = tmp_path / "worker.log"
    with celery_worker(log):
        made = [ask(device, now=None) for _index in range(10)]
        for each in made:
            wait_for(lambda each=each: again(each).accepted_at, "the network to have it", log=log)
            reports.on_sent(device.pk, str(each.correlation_id), timezone.now())
    rows = [again(each) for each in made]
    gaps = sorted(after.executing_at - before.finished_at for before, after in pairwise(rows))
    assert gaps[0] > timedelta(0)
    assert gaps[-1] < timedelta(seconds=2), f"median {gaps[len(gaps) // 2]}, longest {gaps[-1]}"
