"""Day partitions of the growing tables: made ahead, dropped after the retention, never deleted from row by row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection, transaction

AHEAD_DAYS = 7
# With fewer days ahead something is wrong with what makes them, and there is still time.
ALARM_DAYS = 3
# Rows outside all days that are counted; beyond that it is "more than".
MOST_COUNTED = 1000
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
    """Make the missing partitions of the days ``first`` to ``last``; how many were made. Rows of such a day that
    stand in the default partition move into it."""
    have = existing(table)
    made = 0
    day = first
    while day <= last:
        if day not in have:
            # Two at once would both find it missing: the lock makes the second wait and see it.
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext('partitions'))")
                if day not in existing(table):
                    _create(cursor, table, day)
            made += 1
        day += timedelta(days=1)
    return made


def _create(cursor: Any, table: str, day: date) -> None:
    name, default = _name(table, day), f"{table}_default"
    begin, end = f"{day:%Y-%m-%d} 00:00+00", f"{day + timedelta(days=1):%Y-%m-%d} 00:00+00"
    by = _moment_column(cursor, table)
    within = f"{by} >= '{begin}' AND {by} < '{end}'"
    cursor.execute(f"SELECT EXISTS (SELECT FROM {default} WHERE {within})")
    if cursor.fetchone()[0]:
        # They are in the way of the partition: nothing may come to them until it hangs in the table.
        cursor.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
        cursor.execute(
            f"WITH moved AS (DELETE FROM {default} WHERE {within} RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        )
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')")
    else:
        cursor.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{begin}') TO ('{end}')")


def _moment_column(cursor: Any, table: str) -> str:
    cursor.execute("SELECT pg_get_partkeydef(%s::regclass)", [table])
    return str(cursor.fetchone()[0]).removeprefix("RANGE (").removesuffix(")")


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
        _empty_default(entry.table, oldest)
        result[entry.table] = (made, len(old))
    return result


def _empty_default(table: str, oldest: date) -> None:
    """Rows that came with a moment before all days go at once, as the days do; those after them wait for their day."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {table}_default)")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT max({_moment_column(cursor, table)}) FROM {table}_default")
        if cursor.fetchone()[0] < datetime.combine(oldest, datetime.min.time(), UTC):
            cursor.execute(f"TRUNCATE {table}_default")


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a table's partitions reach. ``until``: the last day, from ``today`` on without a hole, that has one (the
    day before today: not even today). ``stray``: rows that stand in the default partition, up to MOST_COUNTED + 1."""

    table: str
    today: date
    until: date
    stray: int

    @property
    def ahead(self) -> int:
        """Days after today that are made; -1: today is not."""
        return (self.until - self.today).days

    @property
    def alarms(self) -> list[str]:
        """What is wrong, in sentences; empty as long as all is well. In English: they are for logs and programs too."""
        said = []
        if self.ahead < 0:
            said.append(f"{self.table}: there is no partition for today, {self.today:%Y-%m-%d}.")
        elif self.ahead < ALARM_DAYS:
            days = f"{self.ahead} day{'' if self.ahead == 1 else 's'}"
            said.append(f"{self.table}: partitions are made until {self.until:%Y-%m-%d}, which is {days} ahead.")
        if self.stray:
            count = f"more than {MOST_COUNTED}" if self.stray > MOST_COUNTED else str(self.stray)
            rows = "1 row stands" if self.stray == 1 else f"{count} rows stand"
            said.append(f"{self.table}: {rows} outside all days, in {self.table}_default.")
        return said


def coverage(now: datetime) -> list[Coverage]:
    """How far the partitions of every registered table reach; two short queries for each."""
    today = now.astimezone(UTC).date()
    found = []
    for entry in registered():
        days, until = existing(entry.table), today - timedelta(days=1)
        while until + timedelta(days=1) in days:
            until += timedelta(days=1)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM (SELECT FROM {entry.table}_default LIMIT %s) AS stray", [MOST_COUNTED + 1]
            )
            found.append(Coverage(entry.table, today, until, int(cursor.fetchone()[0])))
    return found


def alarms(now: datetime) -> list[str]:
    return [alarm for one in coverage(now) for alarm in one.alarms]
