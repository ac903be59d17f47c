"""Day partitions: made ahead, dropped after the retention, rows outside all days kept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection

from common import partitions

TABLE = "lora_frame"
pytestmark = pytest.mark.django_db


def insert(moment: datetime) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} (device_id, received_at, seq, direction, kind) VALUES (1, %s, 1, 0, 2)"
            " RETURNING tableoid::regclass::text",
            [moment],
        )
        return str(cursor.fetchone()[0])


def test_migration_made_the_retention_and_a_week_ahead() -> None:
    days = partitions.existing(TABLE)
    today = datetime.now(UTC).date()
    assert {today - timedelta(days=31), today, today + timedelta(days=7)} <= set(days)


def test_maintain_moves_the_window_and_drops_what_is_too_old() -> None:
    now = datetime.now(UTC)
    before = set(partitions.existing(TABLE))
    later = now + timedelta(days=10)
    made, dropped = partitions.maintain(later)[TABLE]
    after = set(partitions.existing(TABLE))
    assert (made, dropped) == (10, 10)
    assert min(after) == min(before) + timedelta(days=10)
    assert max(after) == max(before) + timedelta(days=10)
    assert partitions.maintain(later)[TABLE] == (0, 0)


def test_row_lands_in_the_partition_of_its_utc_day() -> None:
    now = datetime.now(UTC)
    assert insert(now) == f"{TABLE}_{now:%Y%m%d}"


def test_row_with_a_moment_outside_all_days_is_kept() -> None:
    assert insert(datetime(2018, 10, 19, tzinfo=UTC)) == f"{TABLE}_default"


def test_creating_what_exists_makes_nothing() -> None:
    today = datetime.now(UTC).date()
    assert partitions.create(TABLE, today, today) == 0
    assert partitions.create(TABLE, date(2020, 1, 1), date(2020, 1, 3)) == 3
