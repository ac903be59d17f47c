"""Migration operations for tables that are partitioned by day: the parent, its default partition, free space."""

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
