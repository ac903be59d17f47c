"""The reported state: the newest value of every measurement, many devices in one statement (W2)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from codec.measurements import Measurement
from devices.models import Device
from tests import factories
from tests.cast import Cast
from twin.models import Twin
from twin.services import update_reported

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project)


def value(name: str, content: Any, time: float = 100.0, unit: str | None = None) -> Measurement:
    return Measurement(name=name, value=content, time=time, unit=unit)


def update(device: Device, *measurements: Measurement, now: datetime = NOW) -> bool:
    changed = update_reported({device.pk: measurements}, now)
    assert changed <= {device.pk}
    return bool(changed)


def reported(device: Device) -> dict[str, Any]:
    return dict(Twin.objects.get(device=device).reported)


def test_values_are_kept_in_their_form(device: Device) -> None:
    values: Sequence[Any] = (21.5, 7.0, True, False, "", "é \U0001f321", b"\x00\xff", 1e20, -0.5)
    update(device, *(value(f"v{index}", content, unit="Cel") for index, content in enumerate(values)))
    kept = reported(device)
    assert [kept[f"v{index}"]["v"] for index in range(9)] == [*values[:6], "AP8=", *values[7:]]
    assert all((entry["u"], entry["t"]) == ("Cel", 100.0) for entry in kept.values())
    assert [name for name, entry in kept.items() if entry.get("b")] == ["v6"]


def test_value_without_unit(device: Device) -> None:
    update(device, value("presence", True))
    assert reported(device) == {"presence": {"v": True, "u": None, "t": 100.0}}


def test_newest_value_stands_in_whatever_order_they_come(device: Device) -> None:
    for time in (100.0, 300.0, 200.0):
        update(device, value("t", time, time))
    assert reported(device)["t"]["v"] == 300.0
    update(device, value("t", 500.0, 500.0), value("t", 400.0, 400.0))
    assert reported(device)["t"]["v"] == 500.0


def test_of_one_moment_the_last_in_the_message_stands(device: Device) -> None:
    update(device, value("t", 1.0), value("t", 2.0))
    assert reported(device)["t"]["v"] == 2.0
    update(device, value("t", 3.0))
    assert reported(device)["t"]["v"] == 3.0


def test_other_values_stay(device: Device) -> None:
    update(device, value("a", 1.0), value("b", 1.0))
    update(device, value("b", 2.0, 200.0), value("c", 3.0))
    assert {name: entry["v"] for name, entry in reported(device).items()} == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_late_message_brings_only_what_is_not_known_better(device: Device) -> None:
    update(device, value("a", 1.0, 200.0))
    assert update(device, value("a", 0.0, 150.0), value("b", 5.0, 150.0))
    assert {name: (entry["v"], entry["t"]) for name, entry in reported(device).items()} == {
        "a": (1.0, 200.0), "b": (5.0, 150.0)
    }  # fmt: skip


def test_version_grows_with_each_change_and_only_then(device: Device) -> None:
    later = datetime(2026, 3, 2, tzinfo=UTC)
    assert update(device, value("a", 1.0), value("b", 1.0))
    assert not update(device, value("a", 1.0), now=later)
    assert not update(device, value("a", 7.0, 50.0), now=later)
    twin = Twin.objects.get(device=device)
    assert (twin.version, twin.updated_at) == (1, NOW)
    assert update(device, value("a", 1.0, 101.0), now=later)
    twin.refresh_from_db()
    assert (twin.version, twin.updated_at) == (2, later)


def test_nothing_to_report_makes_no_twin(device: Device) -> None:
    assert update_reported({}, NOW) == set() == update_reported({device.pk: []}, NOW)
    assert not Twin.objects.filter(device=device).exists()


def test_two_statements_for_any_number_of_devices(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(6)]

    def statements(ids: list[int], time: float) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert update_reported({pk: [value("t", time, time)] for pk in ids}, NOW) == set(ids)
        return len(queries)

    assert statements(devices[:2], 1.0) == statements(devices, 2.0) == 2  # and the columns that people search
    assert update_reported({pk: [value("t", 2.0, 2.0)] for pk in devices[:3]}, NOW) == set()
    assert update_reported({pk: [value("t", 3.0, 3.0)] for pk in devices[4:]}, NOW) == set(devices[4:])


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_lose_nothing_and_wait_for_no_ring(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(4)]
    barrier, errors = threading.Barrier(4), []

    def write(index: int) -> None:
        try:
            barrier.wait(10)
            for round_ in range(10):
                order = devices if index % 2 else devices[::-1]
                update_reported({pk: [value(f"w{index}", float(round_), float(round_))] for pk in order}, NOW)
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
    for twin in Twin.objects.all():
        assert {name: entry["v"] for name, entry in twin.reported.items()} == {f"w{index}": 9.0 for index in range(4)}
        assert twin.version == 40
