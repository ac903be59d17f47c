"""The history of reported values (W8): what is kept, once; and how the database reduces it."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from codec.measurements import Measurement
from common import partitions, spans
from devices import deletion
from devices.models import Device, NetworkTask
from tests import factories
from tests.cast import Cast
from twin import history, samples
from twin.models import Sample, ValueName
from twin.services import update_reported

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
# Days have partitions around today only. A whole minute, so that spans begin where it does.
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project)


def value(name: str, content: Any, at: datetime = NOW) -> Measurement:
    return Measurement(name=name, value=content, time=at.timestamp(), unit=None)


def report(device: Device, *values: Measurement, now: datetime = NOW) -> None:
    update_reported({device.pk: values}, now)


def kept(device: Device) -> list[tuple[str, datetime, float | bool | str]]:
    names = dict(ValueName.objects.values_list("id", "name"))
    rows = Sample.objects.filter(device_id=device.pk).values_list("name_id", "at", "kind", "number", "text")
    return sorted((names[number], at, history.value_of(kind, figure, text)) for number, at, kind, figure, text in rows)


def fill(device: Device, name: str, values: Sequence[Any], *, first: datetime, step: timedelta) -> None:
    report(device, *(value(name, one, first + step * index) for index, one in enumerate(values)))


# --- writing ---


def test_every_value_of_a_message_is_kept_and_not_only_the_newest(device: Device) -> None:
    report(device, *(value("t", float(minute), NOW - minute * MINUTE) for minute in range(3)), value("on", True))
    assert kept(device) == [
        ("on", NOW, True),
        ("t", NOW - 2 * MINUTE, 2.0),
        ("t", NOW - MINUTE, 1.0),
        ("t", NOW, 0.0),
    ]


def test_late_value_that_does_not_change_the_twin_is_kept(device: Device) -> None:
    report(device, value("t", 2.0))
    report(device, value("t", 1.0, NOW - DAY))
    assert [content for _name, _at, content in kept(device)] == [1.0, 2.0]


def test_bytes_are_not_kept_and_texts_are_cut(device: Device) -> None:
    report(device, value("raw", b"\x01"), value("mode", "é" * 300), value("n" * 201, 1.0), value("n" * 200, False))
    assert kept(device) == [("mode", NOW, "é" * 200), ("n" * 200, NOW, False)]


def test_of_two_values_of_one_moment_the_later_in_the_message_is_kept(device: Device) -> None:
    report(device, value("t", 1.0), value("t", 2.0))
    report(device, value("t", 3.0))
    assert kept(device) == [("t", NOW, 2.0)]


def test_moments_without_a_day_are_left_out(device: Device) -> None:
    first = samples.oldest_kept(NOW)
    report(device, value("t", 1.0, first - MINUTE), value("t", 2.0, first))
    report(device, value("t", 3.0, NOW + DAY), value("t", 4.0, NOW + DAY + MINUTE))
    assert [content for _name, _at, content in kept(device)] == [2.0, 3.0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM twin_sample_default")
        assert cursor.fetchone()[0] == 0


def test_repeated_batch_changes_nothing(device: Device) -> None:
    batch = [value("t", 1.0), value("mode", "eco"), value("on", False, NOW - MINUTE)]
    report(device, *batch)
    before, names = kept(device), list(ValueName.objects.values_list())
    report(device, *batch)
    assert (kept(device), list(ValueName.objects.values_list())) == (before, names)


def test_as_many_statements_however_many_and_one_less_once_the_names_are_known(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(4)]

    def statements(ids: list[int], *names: str, at: datetime) -> int:
        batch = {pk: [value(name, 1.0, at) for name in names] for pk in ids}
        with CaptureQueriesContext(connection) as queries:
            samples.keep(batch, NOW)
        return len(queries)

    few, many = statements(devices[:1], "a", at=NOW), statements(devices, "a", "b", "c", at=NOW - 2 * MINUTE)
    assert few == many == 4
    samples._remember(samples.name_numbers({"a", "b", "c"}))
    assert statements(devices, "a", "b", "c", at=NOW - MINUTE) == 3  # and its savepoint
    assert statements([], at=NOW) == statements(devices, "a", at=NOW - 400 * DAY) == 0


def test_batch_of_which_some_are_kept_already_keeps_the_others(device: Device) -> None:
    samples.keep({device.pk: [value("a", 1.0)]}, NOW)
    samples.keep({device.pk: [value("a", 9.0), value("b", 2.0), value("c", "on")]}, NOW)
    found = Sample.objects.order_by("name_id").values_list("number", "text")
    assert list(found) == [(1.0, None), (2.0, None), (None, "on")]


def test_name_of_a_batch_that_was_undone_is_not_remembered(device: Device) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        report(device, value("t", 1.0))
        raise ZeroDivisionError
    assert samples._numbers == {}
    assert not ValueName.objects.exists()


def test_process_remembers_only_so_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_NAMES", 2)
    samples._remember({"a": 1, "b": 2})
    samples._remember({"c": 3})
    assert samples._numbers == {"c": 3}


def test_days_are_made_ahead_and_dropped_after_the_retention() -> None:
    assert partitions.maintain(NOW)["twin_sample"] == (0, 0)
    assert partitions.maintain(NOW + 3 * DAY)["twin_sample"] == (3, 3)
    assert min(partitions.existing("twin_sample")) == (NOW + 3 * DAY).date() - settings.VALUE_RETENTION_DAYS * DAY


def test_history_goes_with_its_device(cast: Cast, device: Device) -> None:
    other = factories.device(cast.project)
    for one in (device, other):
        report(one, value("t", 1.0))
    task = NetworkTask.objects.create(device=device, operation=NetworkTask.Operation.DELETE)
    deletion.finish(task, refused="")
    assert list(Sample.objects.values_list("device_id", flat=True)) == [other.pk]


@pytest.mark.django_db(transaction=True)
def test_writers_of_the_same_new_names_at_once(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(4)]
    barrier, errors = threading.Barrier(4), []

    def write(index: int) -> None:
        try:
            barrier.wait(10)
            for round_ in range(8):
                names = [f"n{number}" for number in range(round_, round_ + 4)]
                with transaction.atomic():
                    measured = [value(name, float(round_)) for name in (names if index % 2 else names[::-1])]
                    update_reported({devices[index]: measured}, NOW)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    names = dict(ValueName.objects.values_list("name", "id"))
    assert len(names) == 11
    assert samples._numbers.items() <= names.items()
    rows = Sample.objects.filter(device_id__in=devices)
    assert rows.count() == 44
    assert set(rows.values_list("name_id", flat=True)) == set(names.values())
    # Django empties the tables of its own models only.
    rows.delete()


# --- reading ---


def read(device: Device, name: str, span: timedelta, points: int, **kwargs: Any) -> history.Series:
    return history.series(device.pk, name, NOW - span, NOW, points, **kwargs)


def test_few_numbers_come_as_they_are(device: Device) -> None:
    fill(device, "t", [1.0, 5.0, 3.0], first=NOW - 3 * MINUTE, step=MINUTE)
    found = read(device, "t", DAY, 3)
    assert (found.width, found.count, found.last) == (None, 3, NOW - MINUTE)
    assert [(span.at, span.low, span.high, span.average) for span in found.spans] == [
        (NOW - 3 * MINUTE, 1.0, 1.0, 1.0),
        (NOW - 2 * MINUTE, 5.0, 5.0, 5.0),
        (NOW - MINUTE, 3.0, 3.0, 3.0),
    ]


def test_many_numbers_come_in_spans_as_a_model_in_python_says(device: Device) -> None:
    chance = random.Random(4)
    values = [round(chance.uniform(-20, 40), 2) for _ in range(600)]
    first = NOW - timedelta(hours=10)
    fill(device, "t", values, first=first, step=MINUTE)
    found = read(device, "t", timedelta(hours=10), 40)
    assert found.width == timedelta(minutes=15)
    model: dict[datetime, list[float]] = {}
    for index, one in enumerate(values):
        at = first + index * MINUTE
        model.setdefault(at.replace(minute=at.minute // 15 * 15), []).append(one)
    assert [(span.at, span.low, span.high, span.count) for span in found.spans] == [
        (at, min(held), max(held), len(held)) for at, held in sorted(model.items())
    ]
    assert [span.average for span in found.spans] == pytest.approx(
        [sum(v) / len(v) for _at, v in sorted(model.items())]
    )
    assert (found.count, found.low, found.high) == (600, min(values), max(values))
    assert found.average == pytest.approx(sum(values) / 600)


@pytest.mark.parametrize(("span", "points"), [(MINUTE, 20), (DAY, 48), (7 * DAY, 400), (93 * DAY, 48), (93 * DAY, 20)])
def test_spans_are_never_more_than_asked_for(span: timedelta, points: int) -> None:
    width = spans.width_of(span, points)
    assert width * points >= span
    assert width in spans.WIDTHS


def test_states_come_only_where_they_change(device: Device) -> None:
    states = [False, False, True, True, True, False]
    fill(device, "on", states, first=NOW - 6 * MINUTE, step=MINUTE)
    found = read(device, "on", timedelta(minutes=6), 20)
    assert [(change.at, change.value) for change in found.changes] == [
        (NOW - 6 * MINUTE, False),
        (NOW - 4 * MINUTE, True),
        (NOW - MINUTE, False),
    ]
    assert (found.count, found.width, found.spans) == (6, None, [])


def test_range_begins_with_the_state_from_before_it(device: Device) -> None:
    report(device, value("door", "open", NOW - 5 * DAY), value("door", "closed", NOW - MINUTE))
    found = read(device, "door", DAY, 20)
    assert [(change.at, change.value) for change in found.changes] == [(NOW - DAY, "open"), (NOW - MINUTE, "closed")]
    report(device, value("door", "closed", NOW - 2 * DAY))
    assert [(change.at, change.value) for change in read(device, "door", DAY, 20).changes] == [(NOW - DAY, "closed")]


def test_numbers_that_stand_for_states_are_changes(device: Device) -> None:
    fill(device, "mode", [1.0, 1.0, 2.0], first=NOW - 3 * MINUTE, step=MINUTE)
    assert [change.value for change in read(device, "mode", DAY, 20, enum=True).changes] == [1.0, 2.0]


def test_states_that_change_too_often_are_bounded(device: Device) -> None:
    fill(device, "payload", [f"{index:04x}" for index in range(600)], first=NOW - 600 * MINUTE, step=MINUTE)
    found = read(device, "payload", timedelta(hours=10), 40)
    assert (found.width, found.count) == (timedelta(minutes=15), 600)
    assert 40 <= len(found.changes) <= 41
    assert found.changes[-1].value == "0257"


def test_value_that_changed_its_kind_is_drawn_as_what_it_is_now(device: Device) -> None:
    report(
        device,
        value("t", "starting", NOW - 3 * MINUTE),
        value("t", 4.0, NOW - 2 * MINUTE),
        value("t", 5.0, NOW - MINUTE),
    )
    assert [span.average for span in read(device, "t", DAY, 20).spans] == [4.0, 5.0]
    report(device, value("t", "broken"), now=NOW)
    found = history.series(device.pk, "t", NOW - DAY, NOW + MINUTE, 20)
    assert [change.value for change in found.changes] == ["starting", 4.0, 5.0, "broken"]


def test_nothing_and_another_devices_values(cast: Cast, device: Device) -> None:
    report(factories.device(cast.project), value("t", 1.0, NOW - MINUTE))
    assert read(device, "t", DAY, 20) == history.Series(NOW - DAY, NOW)
    assert not history.has_any(device.pk, "t", NOW)
    assert read(device, "unheard of", DAY, 20).count == 0


def test_every_value_is_read_in_sets(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "CHUNK", 2)
    fill(device, "t", [1.0, 2.0, 3.0, 4.0, 5.0], first=NOW - 5 * MINUTE, step=MINUTE)
    found = history.every(device.pk, "t", NOW - 4 * MINUTE, NOW - MINUTE)
    assert [content for _at, content in found] == [2.0, 3.0, 4.0]


def plan(statement: str, values: dict[str, Any]) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}", values)
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("statement", ["NEWEST", "SPANS", "CHANGES", "LASTS"])
def test_only_the_days_of_the_range_are_read_by_their_key(device: Device, statement: str) -> None:
    fill(device, "t", [1.0] * 10, first=NOW - 10 * MINUTE, step=MINUTE)
    until = NOW.replace(hour=12)
    asked = {"device": device.pk, "name": "t", "since": until - 2 * DAY, "until": until, "limit": 100}
    text = plan(getattr(history, statement), asked | {"width": MINUTE, "origin": until})
    days = {f"twin_sample_{until - days * DAY:%Y%m%d}" for days in range(3)}
    assert set(re.findall(r"twin_sample_\d{8}", text)) == days
    assert "twin_sample_default" not in text
    assert text.count("_pkey") >= 3
    assert "Seq Scan on twin_sample" not in text


def test_sparks_look_up_so_many_numbers_and_no_more(device: Device) -> None:
    fill(device, "t", [float(minute) for minute in range(24 * 60)], first=NOW - DAY, step=MINUTE)
    report(device, value("on", True, NOW - MINUTE), value("old", 1.0, NOW - 2 * DAY))
    with CaptureQueriesContext(connection) as queries:
        found = history.sparks(device.pk, ["t", "on", "old", "never"], NOW)
    assert len(queries) == 1
    assert list(found) == ["t"]
    assert [number for _at, number in found["t"]] == [36.0 * slot + 35 for slot in range(40)]
    assert history.sparks(device.pk, [], NOW) == {}
    asked = {"device": device.pk, "names": ["t"], "since": NOW - DAY, "until": NOW, "width": DAY / 40}
    text = plan(history.SPARKS, asked)
    assert "Seq Scan on twin_sample" not in text
    assert f"twin_sample_{NOW - 3 * DAY:%Y%m%d}" not in text
