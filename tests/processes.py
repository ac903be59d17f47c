"""Real processes on the test's own database and Redis, to be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo


def database_url() -> str:
    """The address of the database that the running test uses."""
    parts = connection.settings_dict
    return make_conninfo(
        dbname=parts["NAME"],
        user=parts["USER"] or None,
        password=parts["PASSWORD"] or None,
        host=parts["HOST"] or None,
        port=parts["PORT"] or None,
    )


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``python command…`` in a process group of its own, which is killed whole at the end."""
    environment = os.environ | {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=settings.BASE_DIR,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and its children, as a machine that dies would do it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextlib.contextmanager
def celery_worker(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as ``things up`` starts it, ready to take tasks."""
    options = ["--pool", "prefork", "--concurrency", "1", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    with running("-m", "celery", "-A", "things_portal", "worker", *options, log=log) as process:
        wait_for(lambda: b" ready." in log.read_bytes(), "the worker to be ready", log=log)
        yield process


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 20, log: Path | None = None) -> None:
    """Return as soon as the condition holds. Raises AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-3000:] if log else ""
            raise AssertionError(f"waited {seconds} s for {what}\n{tail}")
        time.sleep(0.02)


def waiting_for_us() -> int:
    """How many wait for a lock that this connection holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return int(cursor.fetchone()[0])
