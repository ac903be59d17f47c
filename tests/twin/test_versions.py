"""Every part of the twin has a version beside the whole's (W8), and clearing the reported values (W7)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from accounts.models import AuditEntry
from codec.measurements import Measurement
from devices.capabilities import NotAllowedForType
from devices.models import Category, ColumnValue, Device, DeviceType, ValueColumn
from tests import factories
from tests.cast import Cast
from twin.models import Twin
from twin.services import clear_reported, set_desired, set_metadata, update_reported

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project)


def report(device: Device, time: float = 100.0, **values: Any) -> None:
    told = [Measurement(name=name, value=value, time=time, unit=None) for name, value in values.items()]
    update_reported({device.pk: told}, NOW)


def versions(device: Device) -> tuple[int, int, int, int]:
    return (
        Twin.objects.filter(pk=device.pk)
        .values_list("version", "reported_version", "desired_version", "metadata_version")
        .get()
    )


def test_part_that_changes_counts_its_version_and_the_wholes(device: Device) -> None:
    report(device, temperature=21)
    assert versions(device) == (1, 1, 0, 0)
    set_desired([device.pk], {"x": 1}, actor=None)
    assert versions(device) == (2, 1, 1, 0)
    set_metadata([device.pk], {"room": "12"}, actor=None)
    assert versions(device) == (3, 1, 1, 1)
    report(device, time=200.0, temperature=22)
    assert versions(device) == (4, 2, 1, 1)


def test_what_changes_nothing_counts_nothing(device: Device) -> None:
    report(device, temperature=21)
    set_metadata([device.pk], {"room": "12"}, actor=None)
    before = versions(device)
    report(device, temperature=21)
    report(device, time=50.0, temperature=20)
    set_metadata([device.pk], {"room": "12", "other": None}, actor=None)
    assert versions(device) == before


def test_clearing_removes_the_reported_values_and_nothing_else(cast: Cast, device: Device) -> None:
    report(device, temperature=21, humidity=50)
    set_desired([device.pk], {"x": 1}, actor=None)
    set_metadata([device.pk], {"room": "12"}, actor=None)
    assert clear_reported(device=device, actor=cast.operator, now=NOW) == 2
    twin = Twin.objects.get(pk=device.pk)
    assert (twin.reported, list(twin.desired), list(twin.metadata)) == ({}, ["x"], ["room"])
    assert (versions(device), twin.updated_at) == ((4, 2, 1, 1), NOW)
    entry = AuditEntry.objects.get(action="twin.measurements_cleared")
    assert (entry.actor, entry.device_id, entry.before) == (cast.operator, device.pk, {"values": 2})
    report(device, time=1.0, temperature=20)
    assert list(Twin.objects.get(pk=device.pk).reported) == ["temperature"], "it fills again"


def test_clearing_nothing_writes_nothing(device: Device) -> None:
    assert clear_reported(device=device, actor=None) == 0
    report(device, temperature=21)
    clear_reported(device=device, actor=None)
    before = versions(device)
    assert clear_reported(device=device, actor=None) == 0
    assert versions(device) == before
    assert AuditEntry.objects.filter(action="twin.measurements_cleared").count() == 1


def test_clearing_empties_the_columns_of_all_devices(cast: Cast, device: Device) -> None:
    column = ValueColumn.objects.create(project=cast.project, source="reported", key="temperature")
    report(device, temperature=21)
    assert ColumnValue.objects.filter(device=device, column=column).exists()
    clear_reported(device=device, actor=None)
    assert not ColumnValue.objects.filter(device=device, column=column).exists()


def test_managed_device_is_not_cleared(device: Device) -> None:
    managed = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer"
    )
    report(device, temperature=21)
    device.type = managed
    with pytest.raises(NotAllowedForType):
        clear_reported(device=device, actor=None)
    assert versions(device) == (1, 1, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_two_who_clear_at_once_make_one_record(device: Device) -> None:
    report(device, temperature=21)
    gone: list[int] = []

    def clear() -> None:
        gone.append(clear_reported(device=device, actor=None))
        connection.close()

    threads = [threading.Thread(target=clear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(gone) == [0, 0, 0, 1]
    assert AuditEntry.objects.filter(action="twin.measurements_cleared").count() == 1
    assert versions(device)[:2] == (2, 2)
