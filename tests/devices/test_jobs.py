"""Jobs over many devices (D4): agreed to, carried out in sets, each device exactly once, paused, cancelled, paced."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, Membership, Role, User
from common.states import StateConflict
from devices import bulk, job_runner, jobs
from devices.bulk import Asked, Result
from devices.errors import DeviceError
from devices.models import Device, Job, JobItem, JobState, Outcome, Processing
from tests.cast import Cast
from tests.devices.recorded import ONE_SET, Recorder, check_counters, many, outcomes, start

pytestmark = pytest.mark.usefixtures("unscoped")


def test_job_does_each_device_once_and_ends(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 230)
    job = start(recorder.action, ids, cast.operator)
    assert jobs.run(job.pk)
    job = check_counters(job)
    assert (job.state, job.done, job.total) == (JobState.FINISHED, 230, 230)
    assert [pk for each in recorder.sets for pk in each] == ids
    assert len(recorder.sets) > 1, "one set and the next"
    assert job.started_at and job.finished_at
    assert not jobs.run(job.pk), "it is over"
    entries = AuditEntry.objects.filter(action__startswith="job.").order_by("pk")
    assert [entry.action for entry in entries] == ["job.started", "job.finished"]
    assert entries[1].after == {"job": job.pk, "action": "recorded", "done": 230, "skipped": 0, "failed": 0}


def test_another_number_than_was_agreed_does_nothing(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 3)
    with pytest.raises(jobs.SelectionChanged) as raised:
        start(recorder.action, ids, cast.operator, agreed=2)
    assert raised.value.found == 3
    with pytest.raises(jobs.SelectionChanged):
        start(recorder.action, ids, cast.operator, devices=Device.objects.none())
    assert (
        not Job.objects.exists()
        and not JobItem.objects.exists()
        and not AuditEntry.objects.filter(action="job.started")
    )


@pytest.mark.parametrize("agreed", [0, -1, jobs.MAX_DEVICES + 1])
def test_none_or_too_many_devices_are_refused(cast: Cast, recorder: Recorder, agreed: int) -> None:
    with pytest.raises(DeviceError):
        start(recorder.action, [], cast.operator, agreed=agreed)


def test_same_token_gives_the_same_job(cast: Cast, recorder: Recorder) -> None:
    ids, token = many(cast, 2), uuid4()
    first = start(recorder.action, ids, cast.operator, token=token)
    assert start(recorder.action, ids, cast.operator, token=token) == first
    assert JobItem.objects.count() == 2
    with pytest.raises(StateConflict):
        start(recorder.action, ids, cast.administrator, token=token)


@pytest.mark.django_db(transaction=True)
def test_two_submits_at_once_make_one_job(cast: Cast, recorder: Recorder) -> None:
    ids, token, made = many(cast, 5), uuid4(), []
    barrier = threading.Barrier(4)

    def submit() -> None:
        try:
            barrier.wait(10)
            with scopes_disabled():
                made.append(start(recorder.action, ids, cast.operator, token=token).pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and len(set(made)) == 1
    assert JobItem.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_share_nothing(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 400)
    job = start(recorder.action, ids, cast.operator)
    barrier = threading.Barrier(3)

    def work() -> None:
        try:
            barrier.wait(10)
            while Job.objects.filter(pk=job.pk, state=JobState.RUNNING).exists():
                jobs.run(job.pk, budget=ONE_SET)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pk for each in recorder.sets for pk in each) == ids
    assert check_counters(job).done == 400


def test_worker_that_lost_its_lease_writes_nothing(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 3)
    job = start(recorder.action, ids, cast.operator)
    later = timezone.now() + job_runner.LEASE + timedelta(seconds=1)
    recorder.meanwhile = lambda: Job.objects.filter(pk=job.pk).update(not_before=later + job_runner.LEASE)
    jobs.run(job.pk)
    assert outcomes(job) == {"pending": 3}
    assert not Device.objects.filter(description="touched").exists()


def test_pause_between_sets_and_resume(cast: Cast, recorder: Recorder) -> None:
    job = start(recorder.action, many(cast, 150), cast.operator)
    jobs.run(job.pk, budget=ONE_SET)
    assert outcomes(job) == {"done": 100, "pending": 50}
    jobs.pause(job=job, actor=cast.operator)
    assert not jobs.run(job.pk)
    with pytest.raises(StateConflict):
        jobs.pause(job=job, actor=cast.operator)
    jobs.resume(job=job, actor=cast.operator)
    jobs.run(job.pk)
    assert check_counters(job).state == JobState.FINISHED
    actions = AuditEntry.objects.filter(action__startswith="job.").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["job.started", "job.paused", "job.resumed", "job.finished"]


@pytest.mark.parametrize("move", [jobs.pause, jobs.cancel])
def test_set_that_is_overtaken_is_undone_whole(cast: Cast, recorder: Recorder, move: Any) -> None:
    job = start(recorder.action, many(cast, 5), cast.operator)
    recorder.meanwhile = lambda: move(job=job, actor=cast.operator)
    jobs.run(job.pk)
    # The test's own move was in the set's transaction and went with it; nobody else's would.
    assert outcomes(job) == {"pending": 5}
    assert not Device.objects.filter(description="touched").exists()


def test_cancelled_job_begins_nothing_more(cast: Cast, recorder: Recorder) -> None:
    job = start(recorder.action, many(cast, 150), cast.operator)
    jobs.run(job.pk, budget=ONE_SET)
    jobs.cancel(job=job, actor=cast.operator)
    assert not jobs.run(job.pk)
    job = check_counters(job)
    assert (job.state, job.done, job.total) == (JobState.CANCELLED, 100, 150)
    assert outcomes(job)["pending"] == 50
    with pytest.raises(StateConflict):
        jobs.resume(job=job, actor=cast.operator)


def test_role_lost_in_the_middle_skips_the_rest(cast: Cast, recorder: Recorder) -> None:
    job = start(recorder.action, many(cast, 150), cast.operator)
    jobs.run(job.pk, budget=ONE_SET)
    Membership.objects.filter(user=cast.operator).update(role=Role.VIEWER)
    jobs.run(job.pk)
    assert outcomes(job) == {"done": 100, "skipped": 50}
    assert JobItem.objects.filter(reason="You are not an operator of this device's Project any more.").count() == 50


def test_devices_of_other_projects_are_skipped(cast: Cast, recorder: Recorder) -> None:
    Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
    ids = [*many(cast, 2), *many(cast, 3, project=cast.elsewhere)]
    job = start(recorder.action, ids, cast.operator)
    assert job.project_ids == [cast.project.pk, cast.elsewhere.pk]
    # Rights that come later are not what was agreed to.
    Membership.objects.filter(user=cast.operator).update(role=Role.OPERATOR)
    jobs.run(job.pk)
    assert outcomes(job) == {"done": 2, "skipped": 3}
    assert check_counters(job).state == JobState.FINISHED
    assert recorder.sets == [ids[:2]]
    assert not AuditEntry.objects.filter(project=cast.elsewhere, action="job.started").exists()


def test_job_is_seen_by_those_who_see_all_of_it(cast: Cast, recorder: Recorder) -> None:
    Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
    both = start(recorder.action, [*many(cast, 1), *many(cast, 1, project=cast.elsewhere)], cast.operator)
    one = start(recorder.action, many(cast, 1), cast.operator)
    assert list(jobs.visible([cast.project.pk])) == [one]
    assert list(jobs.visible([cast.project.pk, cast.elsewhere.pk])) == [one, both]
    assert not jobs.visible([]).exists()


def test_device_that_is_gone_is_skipped(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 3)
    job = start(recorder.action, ids, cast.operator)
    Device.objects.filter(pk=ids[1]).delete()
    jobs.run(job.pk)
    item = JobItem.objects.get(job=job, device_id=ids[1])
    assert (item.outcome, item.reason, item.label) == ("skipped", "It is not there any more.", "Meter 0001")
    assert recorder.sets == [[ids[0], ids[2]]]


def test_failing_device_harms_no_other(cast: Cast, recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    ids = many(cast, 5)
    recorder.poisoned = {ids[1]: DeviceError("It is glued shut."), ids[3]: ZeroDivisionError("of our own")}
    job = start(recorder.action, ids, cast.operator)
    jobs.run(job.pk)
    assert outcomes(job) == {"done": 3, "failed": 2}
    reasons = JobItem.objects.filter(outcome="failed").order_by("number").values_list("reason", flat=True)
    assert list(reasons) == ["It is glued shut.", "An error of the portal; it is logged."]
    assert "of our own" in caplog.text and "glued" not in caplog.text
    touched = Device.objects.filter(description="touched").values_list("pk", flat=True)
    assert set(touched) == {ids[0], ids[2], ids[4]}, "what a failing device had written is undone"


def test_broken_reference_fails_one_device_only(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 3)
    recorder.meanwhile = lambda: (
        recorder.sets[-1].count(ids[1]) and Device.objects.filter(pk=ids[1]).update(project_id=0)
    )
    job = start(recorder.action, ids, cast.operator)
    jobs.run(job.pk)
    assert outcomes(job) == {"done": 2, "failed": 1}


def test_retry_takes_the_failed_ones_that_are_left(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 4)
    recorder.poisoned = {pk: DeviceError("Not now.") for pk in ids[:3]}
    job = start(recorder.action, ids, cast.operator)
    with pytest.raises(StateConflict):
        jobs.retry_failed(job=job, actor=cast.operator, projects=[cast.project], token=uuid4())
    jobs.run(job.pk)
    job.refresh_from_db()
    Device.objects.filter(pk=ids[0]).delete()
    recorder.poisoned = {}
    again = jobs.retry_failed(job=job, actor=cast.operator, projects=[cast.project], token=uuid4())
    jobs.run(again.pk)
    assert again.retry_of == job
    assert list(again.items.order_by("number").values_list("device_id", "outcome")) == [
        (ids[1], "done"),
        (ids[2], "done"),
    ]
    again.refresh_from_db()
    with pytest.raises(DeviceError):
        jobs.retry_failed(job=again, actor=cast.operator, projects=[cast.project], token=uuid4())


def test_answers_that_are_waited_for_end_the_job(
    cast: Cast, recorder: Recorder, django_capture_on_commit_callbacks: Any
) -> None:
    ids = many(cast, 3)
    recorder.results = {pk: Result(Outcome.WAITING) for pk in ids[:2]}
    job = start(recorder.action, ids, cast.operator)
    jobs.run(job.pk, now=timezone.now())
    assert outcomes(job) == {"waiting": 2, "done": 1}
    assert job.pk not in jobs.due(timezone.now()), "it sleeps until an answer comes"
    jobs.settle([ids[0]], Outcome.DONE, action="another")
    assert outcomes(job)["waiting"] == 2
    jobs.settle([ids[0]], Outcome.DONE, action="recorded")
    jobs.settle([ids[0]], Outcome.FAILED, action="recorded")
    assert check_counters(job).state == JobState.RUNNING
    jobs.settle([ids[1]], Outcome.FAILED, "The network says no.", action="recorded")
    assert jobs.due(timezone.now()) == [job.pk]
    jobs.run(job.pk)
    job = check_counters(job)
    assert (job.state, job.done, job.failed) == (JobState.FINISHED, 2, 1)


def test_answers_reach_a_cancelled_job(cast: Cast, recorder: Recorder) -> None:
    ids = many(cast, 1)
    recorder.results = {ids[0]: Result(Outcome.WAITING)}
    job = start(recorder.action, ids, cast.operator)
    jobs.run(job.pk)
    jobs.cancel(job=job, actor=cast.operator)
    jobs.settle(ids, Outcome.DONE, action="recorded")
    assert check_counters(job).state == JobState.CANCELLED


def test_sentences_are_in_the_language_of_who_asked(cast: Cast, recorder: Recorder) -> None:
    from django.utils import translation

    spoken = []
    recorder.meanwhile = lambda: spoken.append(translation.get_language())
    User.objects.filter(pk=cast.operator.pk).update(language="nl")
    jobs.run(start(recorder.action, many(cast, 1), cast.operator).pk)
    assert spoken == ["nl"]


def test_action_that_is_gone_fails_its_items(cast: Cast, recorder: Recorder) -> None:
    job = start(recorder.action, many(cast, 2), cast.operator)
    Job.objects.update(action="withdrawn")
    jobs.run(job.pk)
    assert outcomes(job) == {"failed": 2}


def test_due_gives_jobs_whose_worker_died(cast: Cast, recorder: Recorder) -> None:
    job = start(recorder.action, many(cast, 1), cast.operator)
    now = timezone.now()
    assert jobs.due(now) == [job.pk]
    assert job_runner._claim(job.pk, now)
    assert jobs.due(now) == []
    assert jobs.due(now + job_runner.LEASE) == [job.pk]


# --- queries ---


def test_queries_of_a_set_do_not_grow_with_it(cast: Cast) -> None:
    counted = []
    for size in (20, 200):
        job = start("deactivate", many(cast, size), cast.operator)
        held = job_runner._claim(job.pk, timezone.now())
        assert held
        worker = job_runner._Worker(held, timezone.now)
        with CaptureQueriesContext(connection) as queries:
            assert worker.one_set(500, timezone.now()) == size
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 14


def test_items_of_a_new_job_are_found_in_their_order(cast: Cast, recorder: Recorder) -> None:
    """Whatever the planner knows of the table: sorting all items for every set would make a long job slow."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_jobitem")
    job = start(recorder.action, many(cast, 300), cast.operator)
    pending = JobItem.objects.filter(job=job, outcome=Outcome.PENDING, number__gt=0).order_by("number")
    plan = pending[:100].explain()
    assert "Sort" not in plan and "Index Scan" in plan, plan


def test_preview_is_one_query(cast: Cast, django_assert_num_queries: Any) -> None:
    Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
    ids = [*many(cast, 4), *many(cast, 2, project=cast.elsewhere)]
    Device.objects.filter(pk=ids[0]).update(processing_status=Processing.DEACTIVATED)
    action = bulk.by_slug("deactivate")
    assert action
    with django_assert_num_queries(1):
        seen = jobs.preview(
            action, Device.objects.filter(pk__in=ids).order_by("name"), Asked({}, cast.operator), [cast.project]
        )
    assert (seen.total, seen.can) == (6, 3)
    assert seen.refused == [
        ("You are not an operator of this device's Project.", 2),
        ("It is deactivated already.", 1),
    ]
