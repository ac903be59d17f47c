"""Day partitions: made ahead, dropped after the retention, rows outside all days kept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from common import day_tables, partitions, tasks

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


# --- the alarm before a day is missing ---

NAMES = ["devices_senmlmessage", "flows_delivery", "lora_frame", "twin_sample"]


def test_alarm_watches_every_partitioned_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname")
        assert [row[0] for row in cursor.fetchall()] == NAMES
    assert sorted(one.table for one in partitions.coverage(datetime.now(UTC))) == NAMES


def test_all_is_well_as_long_as_the_days_are_made() -> None:
    now = datetime.now(UTC)
    partitions.maintain(now)
    assert partitions.alarms(now) == []
    assert {one.ahead for one in partitions.coverage(now)} == {partitions.AHEAD_DAYS}


def test_alarm_comes_days_before_rows_would_land_in_the_default_partition_and_goes_away() -> None:
    """The clock goes on while nobody makes partitions."""
    now = datetime.now(UTC)
    partitions.maintain(now)
    first_alarm = next(day for day in range(30) if partitions.alarms(now + timedelta(days=day)))
    first_lost = next(day for day in range(30) if insert(now + timedelta(days=day)).endswith("_default"))
    assert (first_alarm, first_lost) == (partitions.AHEAD_DAYS - partitions.ALARM_DAYS + 1, partitions.AHEAD_DAYS + 1)
    later = now + timedelta(days=first_alarm)
    until = f"{now + timedelta(days=partitions.AHEAD_DAYS):%Y-%m-%d}"
    assert f"lora_frame: partitions are made until {until}, which is 2 days ahead." in partitions.alarms(later)
    partitions.maintain(later)
    assert partitions.alarms(later) == []


def test_hole_in_the_days_is_an_alarm_whatever_comes_after_it() -> None:
    now = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}_{now + timedelta(days=2):%Y%m%d}")
    assert [one for one in partitions.alarms(now) if "1 day ahead" in one and one.startswith(f"{TABLE}:")]
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}_{now:%Y%m%d}")
    assert f"{TABLE}: there is no partition for today, {now:%Y-%m-%d}." in partitions.alarms(now)


def test_rows_in_the_default_partition_are_told_and_move_into_their_day_once_it_is_made() -> None:
    now = datetime.now(UTC)
    partitions.maintain(now)
    later = now + timedelta(days=20)
    assert insert(later) == f"{TABLE}_default"
    assert f"{TABLE}: 1 row stands outside all days, in {TABLE}_default." in partitions.alarms(now)
    partitions.maintain(later)
    assert partitions.alarms(later) == []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {TABLE} WHERE received_at = %s", [later])
        assert cursor.fetchall() == [(f"{TABLE}_{later:%Y%m%d}",)]
        cursor.execute(f"SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = '{TABLE}_{later:%Y%m%d}'::regclass)")
        assert cursor.fetchone() == (True,)


def test_rows_from_before_all_days_go_with_the_next_round() -> None:
    now = datetime.now(UTC)
    insert(datetime(2018, 10, 19, tzinfo=UTC))
    assert any("outside all days" in alarm for alarm in partitions.alarms(now))
    partitions.maintain(now)
    assert partitions.alarms(now) == []


def test_many_stray_rows_are_not_all_counted() -> None:
    many = partitions.Coverage(TABLE, date(2026, 1, 1), date(2026, 1, 8), partitions.MOST_COUNTED + 1)
    assert many.alarms == [f"{TABLE}: more than 1000 rows stand outside all days, in {TABLE}_default."]


def test_nothing_is_deleted_row_by_row() -> None:
    """What is older than the retention goes as a table."""
    later = datetime.now(UTC) + timedelta(days=5)
    with CaptureQueriesContext(connection) as captured:
        partitions.maintain(later)
    statements = [query["sql"] for query in captured.captured_queries]
    assert sum(statement.startswith("DROP TABLE") for statement in statements) >= 5
    assert not [statement for statement in statements if "DELETE" in statement]


def test_the_hourly_round_writes_an_alarm_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    tasks.maintain_partitions()
    assert caplog.records == []
    insert(datetime.now(UTC) + timedelta(days=300))
    tasks.maintain_partitions()
    assert [record.getMessage() for record in caplog.records] == [
        f"partitions: {TABLE}: 1 row stands outside all days, in {TABLE}_default."
    ]
    assert caplog.records[0].levelname == "ERROR"


def test_readiness_tells_it_and_stays_ready(client: Client) -> None:
    assert client.get("/readyz").json() == {"ready": True, "down": [], "degraded": []}
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}_{datetime.now(UTC) + timedelta(days=1):%Y%m%d}")
    response = client.get("/readyz")
    assert response.status_code == 200
    told = response.json()
    assert told["ready"] and [one.split(":")[0] for one in told["degraded"]] == [TABLE]


def test_support_staff_see_it_first(client: Client) -> None:
    client.force_login(User.objects.create_superuser("support@example.com", "a password of some length"))
    assert "partitions are made until" not in client.get("/admin/").content.decode()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}_{datetime.now(UTC) + timedelta(days=1):%Y%m%d}")
    page = client.get("/admin/").content.decode()
    assert 'role="alert"' in page and f"{TABLE}: partitions are made until" in page


def indexes(name: str) -> dict[str, str]:
    """The valid indexes of each day of the table that belong to the one of this name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text FROM pg_inherits h"
            " JOIN pg_index i ON i.indexrelid = h.inhrelid AND i.indisvalid WHERE h.inhparent = %s::regclass",
            [name],
        )
        return dict(cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_index_is_given_to_every_day_also_when_it_was_interrupted() -> None:
    """As a migration of a running portal does it; days that are made meanwhile have it already."""
    name, today = "lora_frame_test", datetime.now(UTC).date()
    later = today + timedelta(days=partitions.AHEAD_DAYS + 3)
    operation = day_tables.index_of_days(TABLE, name, "device_id", condition="kind = 1")
    with connection.cursor() as cursor, connection.schema_editor(atomic=False) as editor:
        try:
            cursor.execute(f"CREATE INDEX {name} ON ONLY {TABLE} (device_id) WHERE kind = 1")
            half = f"{TABLE}_{today:%Y%m%d}"
            cursor.execute(f"CREATE INDEX {name}_{today:%Y%m%d} ON {half} (device_id) WHERE kind = 1")
            partitions.create(TABLE, later, later)
            assert set(indexes(name)) == {f"{TABLE}_{later:%Y%m%d}"}
            for _ in range(2):
                operation.code(None, editor)
                assert set(indexes(name)) == {f"{TABLE}_default", *partitions.existing(TABLE).values()}
            operation.reverse_code(None, editor)
            cursor.execute("SELECT to_regclass(%s)", [name])
            assert cursor.fetchone() == (None,)
        finally:
            cursor.execute(f"DROP INDEX IF EXISTS {name}")
            cursor.execute(f"DROP TABLE IF EXISTS {TABLE}_{later:%Y%m%d}")


@pytest.mark.parametrize("name", ["lora_frame_join", "lora_frame_error"])
def test_new_days_have_the_indexes_of_the_table(name: str) -> None:
    """Also one whose rows stood in the default partition."""
    later = datetime.now(UTC) + timedelta(days=partitions.AHEAD_DAYS + 3)
    insert(later)
    partitions.create(TABLE, later.date(), later.date())
    assert f"{TABLE}_{later:%Y%m%d}" in indexes(name)
    assert set(indexes(name)) == {f"{TABLE}_default", *partitions.existing(TABLE).values()}
