"""How fast jobs go (D4), and that their counters are right in any order of events."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.states import StateConflict
from devices import job_runner, jobs
from devices.bulk import Result
from devices.errors import DeviceError
from devices.models import Device, Job, JobState, Outcome, Processing
from devices.pace import Pace
from tests.cast import Cast
from tests.devices.recorded import NOON, ONE_SET, Recorder, check_counters, many, outcomes, start

pytestmark = pytest.mark.usefixtures("unscoped")


# --- pace ---


def test_so_many_a_second(cast: Cast, recorder: Recorder) -> None:
    job = start(recorder.action, many(cast, 12), cast.operator, per_second=5)
    Job.objects.update(not_before=NOON)
    went = []
    for half_seconds in range(8):
        jobs.run(job.pk, now=NOON + timedelta(seconds=half_seconds / 2))
        went.append(outcomes(job)["done"])
    # What a second brings is there at first; then the bucket is full each second, and never fuller.
    assert went == [5, 5, 10, 10, 12, 12, 12, 12]
    assert check_counters(job).state == JobState.FINISHED


def test_pause_saves_no_pace_up() -> None:
    pace = Pace({}, per_second=5, per_minute=None)
    assert pace.allowed(NOON, 100) == 5
    pace.spend(5)
    later = Pace(pace.kept(), per_second=5, per_minute=None)
    assert later.allowed(NOON + timedelta(seconds=0.2), 100) == 1
    assert later.allowed(NOON + timedelta(hours=1), 100) == 5
    assert later.allowed(NOON + timedelta(hours=1), 3) == 3


def test_so_many_a_minute_and_gateway(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 9)
    # Six behind one gateway, two behind another, and one that nobody has heard.
    recorder.keys = dict.fromkeys(ids[:6], "near") | dict.fromkeys(ids[6:8], "far")
    job = start(recorder.action, ids, cast.operator, per_minute=2)
    Job.objects.update(not_before=NOON)
    went = []
    for seconds in (0, 30, 60, 119, 120):
        jobs.run(job.pk, now=NOON + timedelta(seconds=seconds))
        went.append(outcomes(job)["done"])
    assert went == [5, 5, 7, 7, 9]
    assert recorder.sets[0] == [ids[0], ids[1], ids[6], ids[7], ids[8]], "others go first"
    assert check_counters(job).state == JobState.FINISHED


def test_minutes_that_went_by_are_not_made_up_for(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 8)
    recorder.keys = dict.fromkeys(ids, "near")
    job = start(recorder.action, ids, cast.operator, per_minute=2)
    Job.objects.update(not_before=NOON)
    jobs.run(job.pk, now=NOON)
    went = []
    for minutes in (60, 61, 62):
        jobs.run(job.pk, now=NOON + timedelta(minutes=minutes))
        went.append(outcomes(job)["done"])
    assert went == [4, 6, 8]


def test_skipped_devices_use_no_pace(cast: Cast) -> None:
    ids = many(cast, 6)
    Device.objects.filter(pk__in=ids[:4]).update(processing_status=Processing.DEACTIVATED)
    job = start("deactivate", ids, cast.operator, per_second=5)
    jobs.run(job.pk, now=timezone.now())
    assert outcomes(job) == {"skipped": 4, "done": 2}


# --- any order of events ---


STEPS = st.lists(
    st.sampled_from(["run", "run", "pause", "resume", "cancel", "answer", "die", "delete"]), min_size=3, max_size=12
)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_counters_are_those_of_the_items_whatever_happens(cast: Cast, recorder: Recorder, steps: list[str]) -> None:
    recorder.sets = []
    ids = many(cast, 130)
    recorder.results = {pk: Result(Outcome.WAITING) for pk in ids[::10]}
    recorder.poisoned = {ids[7]: DeviceError("Never.")}
    job, now = start(recorder.action, ids, cast.operator), timezone.now()
    for number, step in enumerate(steps):
        now += timedelta(minutes=2)
        if step == "run":
            jobs.run(job.pk, now=now, budget=ONE_SET)
        elif step == "answer":
            jobs.settle(ids[: 20 * number], Outcome.DONE, action="recorded", now=now)
        elif step == "die":
            job_runner._claim(job.pk, now)
        elif step == "delete":
            Device.objects.filter(pk=ids[-1 - number]).delete()
        else:
            with contextlib.suppress(StateConflict):
                {"pause": jobs.pause, "resume": jobs.resume, "cancel": jobs.cancel}[step](job=job, actor=cast.operator)
        check_counters(job)
    if Job.objects.get(pk=job.pk).state == JobState.PAUSED:
        jobs.resume(job=job, actor=cast.operator)
    for _ in range(4):
        now += timedelta(hours=1)
        jobs.run(job.pk, now=now)
        jobs.settle(ids, Outcome.DONE, action="recorded", now=now)
    assert check_counters(job).state in (JobState.FINISHED, JobState.CANCELLED)
    begun = Counter(pk for each in recorder.sets for pk in each)
    assert not begun or max(begun.values()) == 1, "each device at most once"
