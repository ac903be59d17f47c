"""Metadata of many devices as a bulk action (D4, T3): what the form asks, whom it leaves alone, what it does."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry
from devices import bulk, jobs
from devices.bulk import Asked
from devices.models import Category, Device, DeviceType, Job, JobItem, Outcome
from tests import factories
from tests.cast import Cast
from twin.bulk import METADATA, MetadataForm
from twin.models import Twin
from twin.services import set_metadata

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def form(cast: Cast, *rows: tuple[str, str, bool]) -> MetadataForm:
    data = {}
    for number, (key, text, remove) in enumerate(rows, 1):
        data |= {f"property{number}_0": key, f"property{number}_1": text} | (
            {f"property{number}_2": "on"} if remove else {}
        )
    return MetadataForm(data, devices=Device.objects.all(), projects=[cast.project])


def apply(ids: list[int], **changes: str | None) -> dict[int, bulk.Result]:
    with transaction.atomic():
        return dict(METADATA.apply(ids, Asked({"changes": changes}, None)))


def texts(device: Device) -> dict[str, str]:
    return {key: entry["v"] for key, entry in Twin.objects.get(device=device).metadata.items()}


def test_action_is_registered() -> None:
    assert bulk.by_slug("metadata") is METADATA


def test_form_gives_what_to_set_and_what_to_remove(cast: Cast) -> None:
    filled = form(cast, ("room", "12", False), ("", "", False), ("floor", "", True), ("a", "ignored", True))
    assert filled.is_valid(), filled.errors
    assert filled.parameters() == {"changes": {"room": "12", "floor": None, "a": None}}
    assert METADATA.summary(filled.parameters()) == "room = 12; “floor” is removed; “a” is removed"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "Write one property at least."),
        ((("", "", False),) * 5, "Write one property at least."),
        ((("room", "", False),), "Write a value, or choose Remove."),
        ((("", "12", False),), "A property needs a key."),
        ((("", "", True),), "A property needs a key."),
        ((("a\tb", "12", False),), "control characters"),
        ((("k" * 101, "12", False),), "at most 100"),
        ((("room", "12", False), ("room", "13", False)), "Each key can be named once."),
    ],
)
def test_form_refuses(cast: Cast, rows: tuple[tuple[str, str, bool], ...], words: str) -> None:
    filled = form(cast, *rows)
    assert not filled.is_valid()
    assert words in str(filled.errors)


def test_form_shows_what_was_filled_in(cast: Cast) -> None:
    shown = str(form(cast, ('"room"', "12", True), ("x", "", False)))
    assert (
        'value="&quot;room&quot;"' in shown
        and 'name="property1_2" id="id_property1_2" aria-label="Property 1: Remove" checked' in shown
    )
    assert shown.count('type="checkbox"') == 5


def test_managed_devices_are_left_alone(cast: Cast) -> None:
    managed_type = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer"
    )
    own, managed = factories.device(cast.project), factories.device(cast.project)
    Device.objects.filter(pk=managed.pk).update(type=managed_type)
    (refusal,) = METADATA.refusals(Asked({}, None))
    assert list(Device.objects.filter(refusal.condition)) == [managed]
    assert not Device.objects.filter(refusal.condition, pk=own.pk).exists()


def test_apply_sets_and_removes_and_repeats_without_effect(cast: Cast) -> None:
    devices = [factories.device(cast.project) for _ in range(3)]
    set_metadata([devices[0].pk], {"floor": "1", "other": "x"}, actor=None)
    ids = [one.pk for one in devices]
    assert apply(ids, room="12", floor=None) == {}
    assert [texts(one) for one in devices] == [{"other": "x", "room": "12"}, {"room": "12"}, {"room": "12"}]
    before = AuditEntry.objects.count()
    assert apply(ids, room="12", floor=None) == {}
    assert AuditEntry.objects.count() == before


def test_full_device_fails_and_the_others_are_done(cast: Cast) -> None:
    full, free = factories.device(cast.project), factories.device(cast.project)
    set_metadata([full.pk], {f"k{index}": "x" for index in range(100)}, actor=None)
    results = apply([full.pk, free.pk], room="12")
    assert {pk: result.outcome for pk, result in results.items()} == {full.pk: Outcome.FAILED}
    assert "at most 100 properties" in results[full.pk].reason
    assert texts(free) == {"room": "12"} and "room" not in texts(full)


def test_apply_takes_as_many_statements_for_many_as_for_few(cast: Cast) -> None:
    ids = [factories.device(cast.project).pk for _ in range(8)]
    counts = []
    for chosen in (ids[:2], ids):
        with CaptureQueriesContext(connection) as queries:
            assert apply(chosen, room=str(len(chosen))) == {}
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 10


def test_job_over_many_devices_ends_in_a_report_for_each(cast: Cast) -> None:
    managed_type = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer"
    )
    plain, full, managed, foreign = (
        factories.device(project) for project in (cast.project, cast.project, cast.project, cast.elsewhere)
    )
    set_metadata([full.pk], {f"k{index}": "x" for index in range(100)}, actor=None)
    Device.objects.filter(pk=managed.pk).update(type=managed_type)
    asked = form(cast, ("room", "12", False), ("floor", "", True))
    assert asked.is_valid()
    job = jobs.create(
        action=METADATA,
        devices=Device.objects.all(),
        parameters=asked.parameters(),
        agreed=4,
        actor=cast.operator,
        projects=[cast.project],
        token=uuid4(),
    )
    assert jobs.run(job.pk)
    report = {item.device_id: (item.outcome, item.reason) for item in JobItem.objects.filter(job=job)}
    assert report == {
        plain.pk: ("done", ""),
        full.pk: ("failed", "A device has at most 100 properties and 32 KB of them."),
        managed.pk: ("skipped", "The portal keeps no metadata for a managed device."),
        foreign.pk: ("skipped", "You are not an operator of this device's Project."),
    }
    assert Job.objects.get(pk=job.pk).state == "finished"
    assert texts(plain) == {"room": "12"}
    assert AuditEntry.objects.get(action="twin.metadata_changed", device_id=plain.pk).actor == cast.operator
