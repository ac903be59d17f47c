"""Migration operations for tables that are partitioned by day: the parent, its default partition, further indexes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import migrations

from . import partitions


def partitioned_table(
    table: str,
    columns: str,
    *,
    key: str = "device_id, received_at, seq",
    by: str = "received_at",
    keep_days: int = 31,
) -> list[Any]:
    """Operations that make the parent with primary key ``key``, a default partition for moments (``by``) outside all
    days, and the days of the retention and the week ahead. Locks nothing that exists."""

    def make_days(apps: Any, schema_editor: Any) -> None:
        today = datetime.now(UTC).date()
        partitions.create(table, today - timedelta(days=keep_days), today + timedelta(days=partitions.AHEAD_DAYS))

    return [
        migrations.RunSQL(
            f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key})) PARTITION BY RANGE ({by});"
            f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;",
            f"DROP TABLE {table};",
        ),
        migrations.RunPython(make_days, migrations.RunPython.noop),
    ]


def index_of_days(table: str, name: str, columns: str, *, condition: str) -> Any:
    """Operation that gives the table an index of some of its rows, day by day while messages come. The migration is
    not atomic; where it was interrupted, it goes on."""

    def build(apps: Any, schema_editor: Any) -> None:
        rows = f"({columns}) WHERE {condition}"
        with schema_editor.connection.cursor() as cursor:
            # Days that are made from here on have it from the start.
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON ONLY {table} {rows}")
            cursor.execute(WITHOUT, [table, name])
            for (day,) in cursor.fetchall():
                of_day = f"{name}_{day.removeprefix(f'{table}_')}"
                cursor.execute(f"DROP INDEX IF EXISTS {of_day}")  # of a run that was interrupted
                cursor.execute(f"CREATE INDEX CONCURRENTLY {of_day} ON {day} {rows}")
                cursor.execute(f"ALTER INDEX {name} ATTACH PARTITION {of_day}")

    def drop(apps: Any, schema_editor: Any) -> None:
        schema_editor.execute(f"DROP INDEX IF EXISTS {name}")

    return migrations.RunPython(build, drop)


WITHOUT = """
SELECT day.relname FROM pg_inherits AS link JOIN pg_class AS day ON day.oid = link.inhrelid
WHERE link.inhparent = %s::regclass AND NOT EXISTS (
    SELECT FROM pg_index AS index JOIN pg_inherits AS part ON part.inhrelid = index.indexrelid
    WHERE index.indrelid = day.oid AND part.inhparent = %s::regclass
)
ORDER BY day.relname
"""
