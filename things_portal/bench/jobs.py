"""A job over all devices: how long it takes to make, how many devices a second, and whether its end is as fast."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

from accounts.models import Project, User
from devices import bulk, jobs
from devices.models import Device, Job, JobState

from . import load, pages, watch


@dataclass(frozen=True, slots=True)
class Row:
    """One action over ``devices``. Seconds to make the job; devices a second over all, and in the first and the last
    tenth of it; p50 and p95 in milliseconds of All Devices, asked for all the while."""

    action: str
    devices: int
    made: float
    rate: float
    first: float
    last: float
    page: tuple[float, float]


def measure(slug: str, port: int) -> Row:
    """Carry the action out over all devices of the bench, by one worker: this process."""
    action = bulk.by_slug(slug)
    if action is None:
        raise LookupError(slug)
    person = User.objects.get(email=load.OPERATOR)
    project = Project.objects.get(name=load.PROJECT)
    devices = Device.objects.filter(project=project)
    count = devices.count()
    started = time.perf_counter()
    job = jobs.create(
        action=action,
        devices=devices,
        parameters={},
        agreed=count,
        actor=person,
        projects=[project],
        token=uuid4(),
    )
    made = time.perf_counter() - started
    # (seconds since the start, items that are finished)
    marks = [(0.0, 0)]
    started = time.perf_counter()
    with watch.watched(port, pages.session_cookie(person), "/devices/") as page:
        while Job.objects.filter(pk=job.pk, state=JobState.RUNNING).exists():
            jobs.run(job.pk, budget=timedelta(seconds=0.5))
            marks.append((time.perf_counter() - started, Job.objects.get(pk=job.pk).finished_items))
    return Row(
        slug,
        count,
        made,
        count / marks[-1][0],
        _rate(marks, 0, count / 10),
        _rate(marks, count * 9 / 10, count),
        page[0],
    )


def _rate(marks: list[tuple[float, int]], low: float, high: float) -> float:
    """Items a second between two numbers of items; between marks, time passes evenly."""
    return (high - low) / (_moment(marks, high) - _moment(marks, low))


def _moment(marks: list[tuple[float, int]], items: float) -> float:
    for (before, fewer), (after, more) in pairwise(marks):
        if fewer <= items <= more and more > fewer:
            return before + (after - before) * (items - fewer) / (more - fewer)
    return marks[-1][0]
