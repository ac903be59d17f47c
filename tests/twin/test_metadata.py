"""Metadata of many devices in one statement (W6, D4): what may stand in it, who wins, what is kept of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry
from codec.measurements import Measurement
from devices import live
from devices.capabilities import NotAllowedForType
from devices.models import Category, Device, DeviceType
from tests import factories
from tests.cast import Cast
from twin.content import LONGEST_TEXT, MOST_KEYS
from twin.errors import ChangedMeanwhile, TwinFull, TwinRefused
from twin.models import Twin
from twin.services import edit_metadata, set_metadata, update_reported

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project)


def metadata(device: Device) -> dict[str, Any]:
    return dict(Twin.objects.get(device=device).metadata)


def texts(device: Device) -> dict[str, str]:
    return {key: entry["v"] for key, entry in metadata(device).items()}


def put(device: Device, now: datetime = NOW, /, **changes: str | None) -> set[int]:
    return set_metadata([device.pk], changes, actor=None, now=now)


def test_metadata_is_set_changed_and_removed(device: Device) -> None:
    assert put(device, room="12", floor="1") == {device.pk}
    assert metadata(device) == {"room": {"v": "12", "t": NOW.timestamp()}, "floor": {"v": "1", "t": NOW.timestamp()}}
    assert put(device, LATER, room="13", floor=None, building="B") == {device.pk}
    assert metadata(device) == {
        "room": {"v": "13", "t": LATER.timestamp()},
        "building": {"v": "B", "t": LATER.timestamp()},
    }
    assert Twin.objects.get(device=device).version == 2


def test_metadata_that_stands_there_already_is_no_change(device: Device) -> None:
    put(device, room="12", floor="1")
    assert put(device, LATER, room="12", cellar=None) == set()
    assert put(device, LATER, room="12", floor="2") == {device.pk}
    assert metadata(device)["room"]["t"] == NOW.timestamp()
    assert Twin.objects.get(device=device).version == 2
    assert AuditEntry.objects.filter(device_id=device.pk, action="twin.metadata_changed").count() == 2


def test_metadata_change_is_audited_per_device_with_what_changed(cast: Cast) -> None:
    devices = [factories.device(cast.project, name=f"D{index}") for index in range(3)]
    put(devices[0], room="12", floor="1", gone="x")
    put(devices[1], room="13")
    AuditEntry.objects.all().delete()
    set_metadata([one.pk for one in devices], {"room": "13", "floor": "1", "gone": None}, actor=cast.operator, now=NOW)
    entries = AuditEntry.objects.filter(action="twin.metadata_changed").order_by("target")
    assert [(one.target, one.project_id, one.actor_label, one.before, one.after) for one in entries] == [
        ("D0", cast.project.pk, "operator@example.com", {"room": "12", "gone": "x"}, {"room": "13"}),
        ("D1", cast.project.pk, "operator@example.com", {}, {"floor": "1"}),
        ("D2", cast.project.pk, "operator@example.com", {}, {"room": "13", "floor": "1"}),
    ]


def test_metadata_leaves_the_reported_values_and_the_other_way_round(device: Device) -> None:
    put(device, room="12")
    update_reported({device.pk: [Measurement(name="t", value=21.5, time=100.0, unit="Cel")]}, NOW)
    put(device, LATER, room="13")
    twin = Twin.objects.get(device=device)
    assert (twin.reported["t"]["v"], texts(device), twin.version) == (21.5, {"room": "13"}, 3)


def test_metadata_of_many_takes_as_many_statements_as_of_few(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(6)]

    def statements(ids: list[int], text: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert set_metadata(ids, {"room": text}, actor=None, now=NOW) == set(ids)
        return len(queries)

    assert statements(devices[:2], "1") == statements(devices, "2") == 7  # with a savepoint's two


def test_metadata_change_is_told_to_who_watches(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    devices = sorted(factories.device(cast.project).pk for _ in range(3))
    told: list[Any] = []
    monkeypatch.setattr(live, "publish", lambda changes: told.append(list(changes)))
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            set_metadata(devices, {"room": "1"}, actor=None, now=NOW)
    assert told == [[(pk, ("twin",)) for pk in devices]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"": "x"}, "key"),
        ({"  ": "x"}, "key"),
        ({" a": "x"}, "key"),
        ({"k" * 101: "x"}, "key"),
        ({"a\nb": "x"}, "key"),
        ({"a\x00": None}, "key"),
        ({"a\ud800": "x"}, "key"),
        ({"a": "x" * (LONGEST_TEXT + 1)}, "value"),
        ({"a": "x\x00"}, "value"),
        ({"a": "\udfff"}, "value"),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused(device: Device, changes: dict[str, str | None], field: str) -> None:
    with pytest.raises(TwinRefused) as refused:
        set_metadata([device.pk], changes, actor=None)
    assert refused.value.field == field
    assert not Twin.objects.filter(device=device).exists()


def test_metadata_of_any_letters_is_kept(device: Device) -> None:
    put(device, **{"k" * 100: "x" * LONGEST_TEXT, "ключ 🌡 é": "“é” \n\t\\ '"})
    assert texts(device) == {"k" * 100: "x" * LONGEST_TEXT, "ключ 🌡 é": "“é” \n\t\\ '"}


def test_full_device_is_named_and_nothing_is_changed(cast: Cast) -> None:
    full, free, heavy = (factories.device(cast.project) for _ in range(3))
    put(full, **{f"k{index}": "x" for index in range(MOST_KEYS)})
    put(heavy, **{f"k{index}": "x" * 1000 for index in range(31)})
    with pytest.raises(TwinFull) as refused:
        set_metadata([full.pk, free.pk, heavy.pk], {"room": "y" * 1000, "floor": "y" * 900}, actor=None)
    assert refused.value.device_ids == {full.pk, heavy.pk}
    assert not Twin.objects.filter(device=free, metadata__has_key="room").exists()
    assert put(full, k0="changed", k1=None, room="1") == {full.pk}


def test_managed_device_has_no_metadata_of_ours(cast: Cast, device: Device) -> None:
    managed = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer"
    )
    Device.objects.filter(pk=device.pk).update(type=managed)
    own = factories.device(cast.project)
    with pytest.raises(NotAllowedForType):
        set_metadata([own.pk, device.pk], {"room": "1"}, actor=None)
    assert not Twin.objects.exists()


def test_device_that_is_gone_is_no_error(device: Device) -> None:
    assert set_metadata([device.pk, 0], {"room": "1"}, actor=None) == {device.pk}
    assert set_metadata([0], {"room": "1"}, actor=None) == set()


def edit(device: Device, text: str | None, seen: float | None, now: datetime = LATER) -> bool:
    return edit_metadata(device=device, key="room", text=text, seen=seen, actor=None, now=now)


def test_edit_changes_the_value_that_was_seen(device: Device) -> None:
    assert edit(device, "12", None, NOW)
    assert edit(device, "13", NOW.timestamp())
    assert edit(device, None, LATER.timestamp())
    assert metadata(device) == {}


@pytest.mark.parametrize("seen", [None, NOW.timestamp() - 1])
def test_edit_of_a_value_that_was_changed_meanwhile_is_refused_and_told(device: Device, seen: float | None) -> None:
    put(device, room="12")
    for text in ("14", None):
        with pytest.raises(ChangedMeanwhile) as refused:
            edit(device, text, seen)
        assert refused.value.held == {"v": "12", "t": NOW.timestamp()}
    assert texts(device) == {"room": "12"}


def test_edit_of_a_value_that_was_removed_meanwhile(device: Device) -> None:
    with pytest.raises(ChangedMeanwhile) as refused:
        edit(device, "13", NOW.timestamp())
    assert refused.value.held is None
    assert not edit(device, None, NOW.timestamp())


def test_edit_to_what_another_has_made_of_it_is_no_conflict(device: Device) -> None:
    put(device, room="13")
    assert not edit(device, "13", None)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_add_the_same_property_at_once_one_wins(cast: Cast) -> None:
    device = factories.device(cast.project)
    barrier, outcomes = threading.Barrier(4), []

    def add(text: str) -> None:
        barrier.wait(10)
        try:
            outcomes.append(edit(device, text, None))
        except ChangedMeanwhile as conflict:
            outcomes.append(conflict.held and conflict.held["v"])
        finally:
            connection.close()

    threads = [threading.Thread(target=add, args=(f"by {index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, outcomes)) == sorted(["True", *[texts(device)["room"]] * 3])


@pytest.mark.django_db(transaction=True)
def test_metadata_and_reported_values_at_once_lose_nothing(cast: Cast) -> None:
    devices = [factories.device(cast.project).pk for _ in range(4)]
    barrier, errors = threading.Barrier(3), []

    def write(index: int) -> None:
        try:
            barrier.wait(10)
            for round_ in range(10):
                if index:
                    set_metadata(devices[::-1], {f"k{index}": str(round_)}, actor=None)
                else:
                    with transaction.atomic():
                        measured = [Measurement(name="t", value=float(round_), time=float(round_), unit=None)]
                        update_reported(dict.fromkeys(devices, measured), NOW)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    for twin in Twin.objects.all():
        kept = {key: entry["v"] for key, entry in twin.metadata.items()}
        assert (kept, twin.reported["t"]["v"], twin.version) == ({"k1": "9", "k2": "9"}, 9.0, 30)
