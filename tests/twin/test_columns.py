"""Twin values as columns of All Devices (D11): shown, sorted, filtered, and never behind the twin."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import Membership, Role
from codec.measurements import Measurement
from devices import filters, tasks, values
from devices.asked import ValueKey
from devices.models import ColumnValue, Device, ValueColumn
from tests import factories
from tests.cast import Cast
from tests.processes import wait_for
from twin import services

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TEMPERATURE, BATCH = ValueKey("reported", "temperature"), ValueKey("metadata", "batch")


def report(device: Device, seconds: float = 0, **values: Any) -> None:
    batch = [
        Measurement(name=name, unit="Cel", value=value, time=NOW.timestamp() + seconds)
        for name, value in values.items()
    ]
    services.update_reported({device.pk: batch}, NOW)


def names(client: Client, **query: object) -> list[str]:
    response = client.get("/devices/", query)
    assert response.status_code == 200
    return re.findall(r'class="row-link" href="/devices/\d+/">([^<]*)<', response.content.decode())


@pytest.fixture
def fleet(cast: Cast, unscoped: None) -> dict[str, Device]:
    """Six devices: temperatures 20.5, 30, -5, 100; "C" reports a text; "None" nothing. Batches 7, "07", A7, -, -, -."""
    made = {name: factories.device(cast.project, name=name) for name in ("A", "B", "C", "D", "E", "None")}
    for name, temperature in {"A": 20.5, "B": 30, "C": "Warm", "D": -5, "E": 100}.items():
        report(made[name], temperature=temperature)
    for name, batch in {"A": "7", "B": "07", "C": "A7"}.items():
        services.set_metadata([made[name].pk], {"batch": batch}, actor=None, now=NOW)
    return made


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("reported:temperature>25", ["B", "E"]),
        ("reported:temperature>=30", ["B", "E"]),
        ("reported:temperature<0", ["D"]),
        ("reported:temperature<=20,5", ["A", "D"]),
        ("reported:temperature=100", ["E"]),
        ("reported:temperature!=100", ["A", "B", "C", "D"]),
        ("reported:temperature=warm", ["C"]),
        ("reported:temperature~AR", ["C"]),
        ("reported:temperature?", ["A", "B", "C", "D", "E"]),
        ("reported:temperature!", ["None"]),
        ("metadata:batch=7", ["A", "B"]),
        ("metadata:batch=a7", ["C"]),
        ("metadata:batch>6", ["A", "B"]),
        ("metadata:batch>a", ["C"]),
        ("metadata:nothing=1", []),
        ("metadata:nothing!", ["A", "B", "C", "D", "E", "None"]),
    ],
)
def test_filter_on_a_value(cast: Cast, fleet: dict[str, Device], where: str, expected: list[str]) -> None:
    assert names(cast.client(cast.viewer), where=where) == expected


def test_several_conditions_all_hold(cast: Cast, fleet: dict[str, Device]) -> None:
    where = ["reported:temperature>25", "metadata:batch=7"]
    assert names(cast.client(cast.viewer), where=where) == ["B"]


@pytest.mark.parametrize("matches", [10_000, 2])
def test_sort_by_a_value_puts_those_without_it_last(
    cast: Cast, fleet: dict[str, Device], monkeypatch: pytest.MonkeyPatch, matches: int
) -> None:
    monkeypatch.setattr(filters, "PAGE_SIZE", 2)
    monkeypatch.setattr(filters, "MATCHES", matches)
    client = cast.client(cast.viewer)

    def walk(**query: object) -> list[str]:
        return [name for page in (1, 2, 3) for name in names(client, page=page, **query)]

    assert walk(sort="reported:temperature") == ["D", "A", "B", "E", "C", "None"]
    assert walk(sort="-reported:temperature") == ["C", "E", "B", "A", "D", "None"]
    searched = walk(sort="-reported:temperature", processing="not_linked")
    # More than are counted: the pages end there, in the same order.
    assert searched[:2] == ["C", "E"]
    assert len(set(searched)) == (6 if matches > 6 else 2)


def test_many_matches_are_walked_in_the_order_of_every_sort(
    cast: Cast, fleet: dict[str, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what is counted the index of the sort is walked; the first pages are the same."""
    client = cast.client(cast.viewer)
    for sort in (
        "name",
        "-name",
        "type",
        "last_message",
        "-last_message",
        "flows",
        "added",
        "-project",
        "-metadata:batch",
    ):
        monkeypatch.setattr(filters, "MATCHES", 10_000)
        few = names(client, sort=sort, where="metadata:nothing!")
        monkeypatch.setattr(filters, "MATCHES", 4)
        many = names(client, sort=sort, where="metadata:nothing!")
        assert many == few[:4]


def test_index_follows_every_change_of_the_twin(cast: Cast, fleet: dict[str, Device]) -> None:
    client = cast.client(cast.viewer)
    assert names(client, where="reported:temperature>25") == ["B", "E"]
    report(fleet["A"], seconds=5, temperature=31)
    report(fleet["B"], seconds=5, temperature=3)
    assert names(client, where="reported:temperature>25") == ["A", "E"]
    # A late message does not change the twin, nor its index.
    report(fleet["A"], seconds=1, temperature=0)
    assert names(client, where="reported:temperature>25") == ["A", "E"]
    assert names(client, where="metadata:batch=7") == ["A", "B"]
    services.set_metadata([fleet["A"].pk], {"batch": None}, actor=None, now=NOW)
    services.set_metadata([fleet["D"].pk], {"batch": "7.0"}, actor=None, now=NOW)
    assert names(client, where="metadata:batch=7") == ["B", "D"]
    services.set_desired([fleet["D"].pk], {"temperature": 22}, actor=None, now=NOW)
    assert names(client, where="desired:temperature=22") == ["D"]
    assert names(client, sync="out") == ["D"]
    report(fleet["D"], seconds=9, temperature=22)
    assert names(client, sync="out") == []


def test_column_shows_value_unit_and_moment(cast: Cast, fleet: dict[str, Device]) -> None:
    query = {"col": ["name", "reported:temperature", "metadata:batch", "desired:none"]}
    html = cast.client(cast.viewer).get("/devices/", query).content.decode()
    assert re.search(r'20\.5 <span class="unit">°C</span>.*?1 Nov 2026 13:00:00 CET', html)
    assert ">Temperature<" in html
    assert "None (desired)" in html
    assert "Own LoRa" not in html
    assert ValueColumn.objects.count() == 0  # shown is not searched


def test_value_columns_cost_one_query_and_none_per_row(
    cast: Cast, fleet: dict[str, Device], django_assert_num_queries: Any
) -> None:
    client = cast.client(cast.viewer)
    columns = ["name", "reported:temperature", "metadata:batch"]
    with django_assert_num_queries(10):
        assert len(names(client, col=columns)) == 6
    for number in range(20):
        report(factories.device(cast.project, name=f"F{number}"), temperature=number)
    with django_assert_num_queries(10):
        assert len(names(client, col=columns)) == 26


def test_searched_values_are_prepared_once(
    cast: Cast, fleet: dict[str, Device], django_assert_num_queries: Any
) -> None:
    client = cast.client(cast.viewer)
    assert names(client, where="reported:temperature>25") == ["B", "E"]
    column = ValueColumn.objects.get()
    assert column.filled_to is None
    assert ColumnValue.objects.filter(column=column).count() == 5
    with django_assert_num_queries(12):  # one for the column, one for those that meet it, one for those here
        assert names(client, where="reported:temperature>25") == ["B", "E"]


def test_of_several_projects_each_has_its_index(cast: Cast, fleet: dict[str, Device]) -> None:
    other = factories.device(cast.elsewhere, name="Z")
    report(other, temperature=50)
    assert names(cast.client(cast.viewer), where="reported:temperature>25") == ["B", "E"]
    assert names(cast.client(cast.stranger), where="reported:temperature>25") == ["Z"]
    Membership.objects.create(user=cast.viewer, project=cast.elsewhere, role=Role.VIEWER)
    client = cast.client(cast.viewer)
    assert names(client, where="reported:temperature>25", sort="reported:temperature") == ["B", "Z", "E"]
    assert names(client, sort="-reported:temperature") == ["C", "E", "Z", "B", "A", "D", "None"]
    assert ValueColumn.objects.count() == 2


def test_large_project_is_filled_by_a_worker_and_says_so(
    cast: Cast, fleet: dict[str, Device], monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(values, "AT_ONCE", 3)
    monkeypatch.setattr(values, "SET", 2)
    client = cast.client(cast.viewer)
    html = client.get("/devices/", {"where": "reported:temperature>25"}).content.decode()
    assert "searched for the first time: 0 %" in html
    column = ValueColumn.objects.get()
    assert not values.fill(column.pk, sets=1)
    # What changes meanwhile is in, also where the worker has not been yet.
    report(fleet["E"], seconds=5, temperature=26)
    assert names(client, where="reported:temperature>25") == ["B", "E"]
    assert values.unfilled() == [column.pk]
    tasks.fill_value_column(column.pk)
    assert values.unfilled() == []
    assert (
        "searched for the first time"
        not in client.get("/devices/", {"where": "reported:temperature>25"}).content.decode()
    )
    assert names(client, where="reported:temperature>-100") == ["A", "B", "D", "E"]
    assert values.fill(column.pk)  # again: nothing to do
    assert ColumnValue.objects.count() == 5


def test_too_many_values_are_refused_with_a_sentence(
    cast: Cast, fleet: dict[str, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "MOST", 1)
    client = cast.client(cast.viewer)
    assert names(client, where="reported:temperature>25") == ["B", "E"]
    html = client.get("/devices/", {"where": "metadata:batch=7"}).content.decode()
    assert "Too many different values" in html
    assert ValueColumn.objects.count() == 1


def test_unused_index_is_given_up(cast: Cast, fleet: dict[str, Device]) -> None:
    assert names(cast.client(cast.viewer), where="reported:temperature>25") == ["B", "E"]
    assert values.give_up_unused(timezone.now() + timedelta(days=29)) == 0
    assert values.give_up_unused(timezone.now() + timedelta(days=31)) == 1
    assert ColumnValue.objects.count() == 0
    assert names(cast.client(cast.viewer), where="reported:temperature>25") == ["B", "E"]


@pytest.mark.parametrize("value", [True, "x" * 5000, "1e400", 1e308, -0.0, "", " 7 ", "٣", "a%b_c\\", "NaN"])
def test_any_value_can_be_indexed(cast: Cast, unscoped: None, value: Any) -> None:
    device = factories.device(cast.project, name="A")
    report(device, x=value)
    client = cast.client(cast.viewer)
    assert names(client, sort="reported:x") == ["A"]
    assert names(client, where="reported:x?") == ["A"]
    kept = ColumnValue.objects.get()
    assert (kept.number is None) != (kept.text is None)


def test_lists_and_objects_are_shown_and_not_searched(cast: Cast, unscoped: None) -> None:
    device = factories.device(cast.project, name="A")
    services.set_desired([device.pk], {"plan": [1, 2]}, actor=None, now=NOW)
    client = cast.client(cast.viewer)
    assert "[1,2]" in client.get("/devices/", {"col": "desired:plan"}).content.decode()
    assert names(client, where="desired:plan!") == ["A"]


def test_panels_offer_the_values_that_devices_have(cast: Cast, fleet: dict[str, Device]) -> None:
    client = cast.client(cast.viewer)
    html = client.get("/devices/", {"panel": "filter"}).content.decode()
    assert '<option value="reported:temperature">Temperature (°C)</option>' in html
    assert '<option value="metadata:batch">Batch</option>' in html
    html = client.get("/devices/", {"panel": "columns", "col": ["name", "metadata:batch"]}).content.decode()
    assert re.search(r'name="col" value="metadata:batch" checked', html)
    assert re.search(r'name="col" value="reported:temperature">', html)
    assert "temperature" not in cast.client(cast.stranger).get("/devices/", {"panel": "columns"}).content.decode()


def locked() -> bool:
    """Whether somebody waits for a lock in this database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_change_under_way_while_the_index_is_filled_is_in_it(cast: Cast) -> None:
    """A batch that began before the column was there writes the twin and not the index: the filler waits for it."""
    with scopes_disabled():
        device = factories.device(cast.project, name="A")
        report(device, temperature=1)
    written, go_on = threading.Event(), threading.Event()

    def batch() -> None:
        try:
            with scopes_disabled(), transaction.atomic():
                # As a batch does whose statement for the columns has run before the column was there.
                with connection.cursor() as cursor:
                    cursor.execute(
                        "UPDATE twin_twin SET reported = jsonb_set(reported, '{temperature,v}', '99')"
                        " WHERE device_id = %s",
                        [device.pk],
                    )
                written.set()
                go_on.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=batch)
    thread.start()
    assert written.wait(10)
    found: list[list[str]] = []

    def search() -> None:
        try:
            found.append(names(cast.client(cast.viewer), where="reported:temperature=99"))
        finally:
            connection.close()

    searcher = threading.Thread(target=search)
    searcher.start()
    # The search waits for the row that the batch holds.
    wait_for(locked, "the search to wait")
    go_on.set()
    thread.join(10)
    searcher.join(10)
    assert found == [["A"]]
