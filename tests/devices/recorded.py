"""Jobs for tests: devices by the hundred, and an action that remembers on which of them it was called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from accounts.models import Membership, Role, User
from devices import bulk, jobs
from devices.bulk import Asked, BulkAction, Refusal, Result
from devices.models import Device, DeviceState, DeviceType, Job, JobItem
from tests.cast import Cast

ONE_SET = timedelta(0)
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def many(cast: Cast, count: int, **fields: Any) -> list[int]:
    """Devices by SQL: a job cares for their number."""
    kind = DeviceType.objects.get(slug="own-lora")
    rows = Device.objects.bulk_create(
        Device(project=fields.get("project", cast.project), type=kind, name=f"Meter {number:04}")
        for number in range(count)
    )
    DeviceState.objects.bulk_create(DeviceState(device=row, project_id=row.project_id) for row in rows)
    return [row.pk for row in rows]


def start(action: BulkAction | str, ids: Sequence[int], actor: User, **fields: Any) -> Job:
    found = bulk.by_slug(action) if isinstance(action, str) else action
    assert found
    projects = [row.project for row in Membership.objects.filter(user=actor).exclude(role=Role.VIEWER)]
    return jobs.create(
        **{
            "action": found,
            "devices": Device.objects.filter(pk__in=ids),
            "parameters": {},
            "agreed": len(ids),
            "actor": actor,
            "projects": projects,
            "token": uuid4(),
        }
        | fields
    )


def outcomes(job: Job) -> Counter[str]:
    return Counter(JobItem.objects.filter(job=job).values_list("outcome", flat=True))


def check_counters(job: Job) -> Job:
    job = Job.objects.get(pk=job.pk)
    items = outcomes(job)
    assert (job.done, job.skipped, job.failed) == (items["done"], items["skipped"], items["failed"])
    assert job.total == items.total()
    return job


class Recorder:
    """An action that remembers on which devices it was called, and does what the test says."""

    def __init__(self) -> None:
        self.sets: list[list[int]] = []
        self.poisoned: dict[int, Exception] = {}
        self.results: dict[int, Result] = {}
        self.keys: dict[int, str] = {}
        self.meanwhile: Any = lambda: None
        self.action = BulkAction(
            slug="recorded",
            label="Record",
            icon="check",
            question="Record devices",
            apply=self.apply,
            pace_key=lambda ids: {pk: self.keys[pk] for pk in ids if pk in self.keys},
            refusals=lambda asked: [
                Refusal(*pair)
                for pair in asked.parameters.get("refusals", [])  # only for tests: not JSON
            ],
        )

    def apply(self, ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
        Device.objects.filter(pk__in=ids).update(description="touched")
        for pk in ids:
            if pk in self.poisoned:
                raise self.poisoned[pk]
        self.sets.append(list(ids))
        self.meanwhile()
        return {pk: result for pk, result in self.results.items() if pk in ids}
