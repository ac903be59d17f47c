"""Desired values, and the count of those that the device has not reported (W3, W4)."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry
from codec.measurements import Measurement
from devices.models import Device, DeviceState
from tests import factories
from tests.cast import Cast
from twin.content import MOST_KEYS
from twin.errors import TwinFull, TwinRefused
from twin.models import Twin
from twin.services import set_desired, update_reported

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project)


def put(device: Device, changes: Mapping[str, Any], now: datetime = NOW) -> set[int]:
    return set_desired([device.pk], changes, actor=None, now=now)


def value(name: str, content: Any, time: float) -> Measurement:
    return Measurement(name=name, value=content, time=time, unit=None)


def report(device: Device, values: Mapping[str, Any], time: float = 100.0) -> None:
    update_reported({device.pk: [value(name, content, time) for name, content in values.items()]}, NOW)


def out_of_sync(device: Device) -> int:
    return DeviceState.objects.get(device=device).out_of_sync


def test_desired_value_is_kept_with_its_moment_until_it_is_removed(device: Device) -> None:
    assert put(device, {"setpoint": 21.5, "days": ["mo", "tu"], "fan": {"speed": 2}, "on": False}) == {device.pk}
    kept = Twin.objects.get(device=device).desired
    assert kept["fan"] == {"v": {"speed": 2}, "t": NOW.timestamp()}
    assert [kept[key]["v"] for key in ("setpoint", "days", "on")] == [21.5, ["mo", "tu"], False]
    put(device, {"days": None, "fan": None, "on": None}, LATER)
    assert Twin.objects.get(device=device).desired == {"setpoint": {"v": 21.5, "t": NOW.timestamp()}}


def test_same_value_again_is_a_new_request(device: Device) -> None:
    put(device, {"setpoint": 21})
    assert put(device, {"setpoint": 21}, LATER) == {device.pk}
    twin = Twin.objects.get(device=device)
    assert (twin.desired["setpoint"]["t"], twin.version) == (LATER.timestamp(), 2)
    entry = AuditEntry.objects.filter(action="twin.desired_changed").latest("pk")
    assert (entry.before, entry.after) == ({"setpoint": 21}, {"setpoint": 21})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 4001, "\x00", ["\ud800"], {"a\x00": 1}, object()])
def test_desired_value_that_cannot_be_kept_is_refused(device: Device, value: Any) -> None:
    with pytest.raises(TwinRefused):
        put(device, {"a": value})


def test_full_device_is_named(cast: Cast, device: Device) -> None:
    put(device, {f"k{index}": index for index in range(MOST_KEYS)})
    other = factories.device(cast.project)
    with pytest.raises(TwinFull) as refused:
        set_desired([device.pk, other.pk], {"one": 1}, actor=None)
    assert refused.value.device_ids == {device.pk}
    assert out_of_sync(other) == 0


def test_count_follows_desired_and_reported(device: Device) -> None:
    put(device, {"setpoint": 21, "on": True})
    assert out_of_sync(device) == 2
    report(device, {"setpoint": 21.0, "other": 5.0})
    assert out_of_sync(device) == 1
    report(device, {"setpoint": 20.0, "on": True}, 200.0)
    assert out_of_sync(device) == 1
    put(device, {"setpoint": None})
    assert out_of_sync(device) == 0
    put(device, {"on": False})
    assert out_of_sync(device) == 1


def test_desired_value_may_be_set_after_the_report_that_meets_it(device: Device) -> None:
    report(device, {"setpoint": 21.0})
    put(device, {"setpoint": 21})
    assert out_of_sync(device) == 0


def test_late_report_does_not_count(device: Device) -> None:
    put(device, {"setpoint": 21})
    report(device, {"setpoint": 20.0}, 200.0)
    report(device, {"setpoint": 21.0}, 100.0)
    assert out_of_sync(device) == 1


def test_batch_takes_more_statements_only_for_desired_values(cast: Cast) -> None:
    devices = [factories.device(cast.project) for _ in range(4)]

    def statements(time: float) -> int:
        with CaptureQueriesContext(connection) as queries:
            changed = update_reported({one.pk: [value("a", time, time)] for one in devices}, NOW)
        assert len(changed) == 4
        return len(queries)

    assert statements(1.0) == 2
    put(devices[0], {"a": 3})
    put(devices[1], {"a": 4})
    assert statements(3.0) == 4
    assert [out_of_sync(one) for one in devices] == [0, 1, 0, 0]


# --- against a model in Python ---

NAMES = ("a", "b", "c")
VALUES: tuple[Any, ...] = (0, 1, 1.0, 21.5, 1e20, True, False, "", "1", "true", "é")
WIDE: tuple[Any, ...] = (*VALUES, 100000000000000000000, [1, 2], [2, 1], [], {"x": 1}, {"x": 1.0}, {})


def equal(one: Any, other: Any) -> bool:
    """JSON's idea of equality: numbers by value, and true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


class Model:
    """What a twin should hold: reported name → (time, value), desired name → value."""

    def __init__(self) -> None:
        self.reported: dict[str, tuple[float, Any]] = {}
        self.desired: dict[str, Any] = {}

    def report(self, name: str, value: Any, time: float) -> None:
        if name not in self.reported or time >= self.reported[name][0]:
            self.reported[name] = (time, value)

    def wish(self, changes: Mapping[str, Any]) -> None:
        self.desired = {key: value for key, value in (self.desired | changes).items() if value is not None}

    @property
    def out_of_sync(self) -> int:
        return sum(
            name not in self.reported or not equal(value, self.reported[name][1])
            for name, value in self.desired.items()
        )


@pytest.mark.parametrize("seed", range(6))
def test_count_is_that_of_a_model(cast: Cast, seed: int) -> None:
    chance = random.Random(seed)
    devices = [factories.device(cast.project).pk for _ in range(3)]
    models = {pk: Model() for pk in devices}
    for _step in range(25):
        chosen = chance.sample(devices, chance.randint(1, 3))
        if chance.random() < 0.5:
            changes = {name: chance.choice([None, *WIDE]) for name in chance.sample(NAMES, chance.randint(1, 3))}
            set_desired(chosen, changes, actor=None, now=NOW)
            for pk in chosen:
                models[pk].wish(changes)
        else:
            batch: dict[int, list[Measurement]] = {}
            for pk in chosen:
                batch[pk] = [
                    value(chance.choice(NAMES), chance.choice(VALUES), float(chance.randint(0, 4)))
                    for _ in range(chance.randint(0, 3))
                ]
                for one in batch[pk]:
                    models[pk].report(one.name, one.value, one.time)
            update_reported(batch, NOW)
        counts = dict(DeviceState.objects.filter(pk__in=devices).values_list("pk", "out_of_sync"))
        assert counts == {pk: model.out_of_sync for pk, model in models.items()}


@pytest.mark.django_db(transaction=True)
def test_count_is_right_after_reports_and_requests_at_once(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(4)]
    barrier, errors = threading.Barrier(4), []

    def write(index: int) -> None:
        try:
            barrier.wait(10)
            for round_ in range(12):
                order = devices if index % 2 else devices[::-1]
                if index < 2:
                    set_desired(order, {f"a{index}": round_}, actor=None)
                else:
                    with transaction.atomic():
                        measured = [value(f"a{index - 2}", float(round_), float(round_))]
                        update_reported(dict.fromkeys(order, measured), NOW)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert set(DeviceState.objects.values_list("out_of_sync", flat=True)) == {0}
