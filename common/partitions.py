"""Day partitions of the growing tables: made ahead, dropped after the retention, never deleted from row by row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

AHEAD_DAYS = 7
_SUFFIX = re.compile(r"_(\d{8})$")


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table that is partitioned by the UTC day of a moment in it; ``keep_days`` of history are kept."""

    table: str
    keep_days: int


_registered: dict[str, Partitioned] = {}


def register(table: str, *, keep_days: int) -> None:
    """Called from ``AppConfig.ready`` by the app that owns the table."""
    _registered[table] = Partitioned(table, keep_days)


def registered() -> list[Partitioned]:
    return list(_registered.values())


def _name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def existing(table: str) -> dict[date, str]:
    """The day partitions that the table has, by day; its default partition is left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = %s::regclass",
            [table],
        )
        names = [row[0] for row in cursor.fetchall()]
    found = {}
    for name in names:
        match = _SUFFIX.search(name)
        if match:
            found[datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC).date()] = name
    return found


def create(table: str, first: date, last: date) -> int:
    """Make the missing partitions of the days ``first`` to ``last``; how many were made."""
    have = existing(table)
    made = 0
    day = first
    while day <= last:
        if day not in have:
            # Two at once would both find it missing: the lock makes the second wait and see it.
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext('partitions'))")
                span = f"FROM ('{day:%Y-%m-%d} 00:00+00') TO ('{day + timedelta(days=1):%Y-%m-%d} 00:00+00')"
                cursor.execute(f"CREATE TABLE IF NOT EXISTS {_name(table, day)} PARTITION OF {table} FOR VALUES {span}")
            made += 1
        day += timedelta(days=1)
    return made


def maintain(now: datetime) -> dict[str, tuple[int, int]]:
    """For every registered table: partitions from the retention to a week ahead, older ones dropped.

    Gives (made, dropped) by table. Takes a short exclusive lock on the parent for each.
    """
    result = {}
    today = now.astimezone(UTC).date()
    for entry in registered():
        oldest = today - timedelta(days=entry.keep_days)
        made = create(entry.table, oldest, today + timedelta(days=AHEAD_DAYS))
        old = [name for day, name in existing(entry.table).items() if day < oldest]
        for name in old:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {name}")
        result[entry.table] = (made, len(old))
    return result
