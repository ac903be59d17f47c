"""The pages of jobs over many devices (D4): the list, a job and its report, its controls, the strip of running ones."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse, QueryDict
from django.test import Client
from django.utils import timezone

from accounts.models import Membership, Role
from devices import bulk, job_report
from devices.models import Device, Job, JobItem, JobState, Outcome
from tests import factories
from tests.cast import Cast

HTMX = {"HX-Request": "true"}
ALL_OUTCOMES = (Outcome.DONE, Outcome.SKIPPED, Outcome.FAILED, Outcome.WAITING, Outcome.PENDING)
CONTROLS = ("pause", "resume", "cancel", "retry")


def nothing(ids: Sequence[int], asked: bulk.Asked) -> Mapping[int, bulk.Result]:
    return {}


@pytest.fixture(autouse=True)
def wash(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bulk, "_registered", dict(bulk._registered))
    bulk.register(
        bulk.BulkAction(
            slug="wash",
            label="Wash",
            icon="edit",
            question="Wash these?",
            apply=nothing,
            summary=lambda parameters: f"With {parameters['soap']}",
        )
    )
    yield


@pytest.fixture
def devices(cast: Cast) -> list[Device]:
    return [factories.device(cast.project, name=f"House {number}") for number in range(1, 6)]


@pytest.fixture
def job(cast: Cast, devices: list[Device]) -> Job:
    """One device of each outcome, while the job runs."""
    return factories.job(
        cast.project,
        devices,
        ALL_OUTCOMES,
        reason="Because.",
        action="wash",
        parameters={"soap": "soap"},
        selection="all devices",
        created_by=cast.operator,
        started_at=timezone.now(),
    )


def url(job: Job, part: str = "") -> str:
    return f"/devices/jobs/{job.pk}/{part}"


def text(response: HttpResponse) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def body(response: HttpResponse) -> str:
    return response.content.decode()


def moved(job: Job, state: JobState) -> Job:
    Job.objects.filter(pk=job.pk).update(state=state, finished_at=timezone.now())
    return job


def names(response: HttpResponse) -> list[str]:
    return re.findall(r'class="m-main">(?:<a[^>]*>)?([^<]+)<', body(response))


class TestList:
    def test_row_tells_what_how_many_by_whom_and_how_far(self, cast: Cast, job: Job) -> None:
        response = cast.client(cast.viewer).get("/devices/jobs/")
        assert f'href="{url(job)}">Wash<' in body(response)
        assert "Wash Running 3 of 5 1 failed operator@example.com" in text(response)
        assert 'value="3" max="5"' in body(response)

    def test_newest_comes_first_and_fifty_to_a_page(self, cast: Cast, devices: list[Device]) -> None:
        made = [factories.job(cast.project, devices[:1], action=f"act-{number}") for number in range(51)]
        client = cast.client(cast.viewer)
        found = re.findall(r'class="row-link" href="/devices/jobs/(\d+)/"', body(client.get("/devices/jobs/")))
        assert found == [str(each.pk) for each in reversed(made[1:])]
        part = client.get("/devices/jobs/?page=2", headers=HTMX)
        assert body(part).strip().startswith('<section class="panel" id="job-list"')
        assert "act-0" in text(part)
        assert "51–51 of 51 jobs" in text(part)

    def test_stranger_sees_none_of_it(self, cast: Cast, job: Job) -> None:
        assert "No jobs yet" in text(cast.client(cast.stranger).get("/devices/jobs/"))

    def test_job_over_a_foreign_project_too_is_not_listed(self, cast: Cast, devices: list[Device]) -> None:
        factories.job(cast.project, devices, project_ids=[cast.project.pk, cast.elsewhere.pk])
        assert "No jobs yet" in text(cast.client(cast.operator).get("/devices/jobs/"))

    def test_wrong_method_is_refused(self, cast: Cast) -> None:
        assert cast.client(cast.operator).post("/devices/jobs/").status_code == 405

    def test_query_count_does_not_grow(self, cast: Cast, devices: list[Device], django_assert_num_queries) -> None:
        client = cast.client(cast.viewer)
        for _ in range(2):
            factories.job(cast.project, devices, created_by=cast.operator)
        with django_assert_num_queries(4):
            client.get("/devices/jobs/")
        for _ in range(18):
            factories.job(cast.project, devices, created_by=factories.user())
        with django_assert_num_queries(4):
            client.get("/devices/jobs/")


class TestJob:
    def test_page_tells_all_of_it(self, cast: Cast, job: Job) -> None:
        response = cast.client(cast.viewer).get(url(job))
        said = text(response)
        for part in ("Wash 5 devices", "With soap", "all devices", "by operator@example.com", "Running", "3 of 5"):
            assert part in said, part
        assert 'value="3" max="5"' in body(response)
        assert "All 5 Done 1 Skipped 1 Failed 1 Under way 1 Not begun 1" in said

    def test_item_tells_device_outcome_and_reason(self, cast: Cast, job: Job, devices: list[Device]) -> None:
        response = cast.client(cast.viewer).get(url(job))
        assert names(response) == [f"House {number}" for number in range(1, 6)]
        assert f'class="row-link" href="/devices/{devices[0].pk}/">House 1<' in body(response)
        assert "House 2 – Skipped Because." in text(response)

    def test_device_that_is_gone_is_named_and_not_linked(self, cast: Cast, job: Job, devices: list[Device]) -> None:
        Device.objects.with_scopes_disabled().filter(pk=devices[0].pk).update(project=cast.elsewhere)
        JobItem.objects.filter(job=job, number=2).update(device_id=None)
        response = cast.client(cast.viewer).get(url(job))
        assert names(response)[:2] == ["House 1", "House 2"]
        assert f"/devices/{devices[0].pk}/" not in body(response)
        assert f"/devices/{devices[2].pk}/" in body(response)

    @pytest.mark.parametrize("outcome", ALL_OUTCOMES)
    def test_items_are_filtered_by_outcome(self, cast: Cast, job: Job, outcome: Outcome) -> None:
        response = cast.client(cast.viewer).get(url(job), {"outcome": outcome.value})
        assert names(response) == [f"House {ALL_OUTCOMES.index(outcome) + 1}"]
        assert body(response).count('aria-current="true"') == 1
        assert f'report.csv?outcome={outcome.value}"' in body(response)

    @pytest.mark.parametrize("query", [{"outcome": "x"}, {"after": "x"}, {"after": "-1"}, {"before": "9" * 40}])
    def test_nonsense_in_the_address_falls_back(self, cast: Cast, job: Job, query: dict[str, str]) -> None:
        assert len(names(cast.client(cast.viewer).get(url(job), query))) == 5

    def test_outcome_that_nothing_has_offers_all(self, cast: Cast, devices: list[Device]) -> None:
        job = factories.job(cast.project, devices)
        response = cast.client(cast.viewer).get(url(job), {"outcome": "done"})
        assert "No device of this job has this outcome." in text(response)
        assert f'href="{url(job)}">Show all<' in body(response)

    def test_items_are_paged_forwards_and_backwards(self, cast: Cast, devices: list[Device]) -> None:
        job = factories.job(cast.project, devices[:1] * 120)
        client = cast.client(cast.viewer)
        first = client.get(url(job), headers=HTMX)
        assert body(first).strip().startswith('<section class="panel" id="job-items"')
        assert "No. 1–50 of 120" in text(first)
        assert 'rel="prev"' not in body(first)
        assert 'hx-get="?after=50" rel="next"' in body(first)
        assert "No. 51–100 of 120" in text(second := client.get(url(job), {"after": 50}))
        assert 'hx-get="?before=51" rel="prev"' in body(second)
        assert "No. 101–120 of 120" in text(last := client.get(url(job), {"after": 100}))
        assert 'rel="next"' not in body(last)
        assert "No. 51–100 of 120" in text(client.get(url(job), {"before": 101}))
        back = client.get(url(job), {"before": 51})
        assert "No. 1–50 of 120" in text(back)
        assert 'rel="prev"' not in body(back)

    def test_page_keeps_its_outcome(self, cast: Cast, devices: list[Device]) -> None:
        job = factories.job(cast.project, devices[:1] * 60, [Outcome.FAILED] * 60)
        response = cast.client(cast.viewer).get(url(job), {"outcome": "failed"})
        assert 'hx-get="?outcome=failed&amp;after=50" rel="next"' in body(response)

    def test_cancelled_job_says_so_of_what_was_not_begun(self, cast: Cast, job: Job) -> None:
        assert "Not begun: cancelled" in text(cast.client(cast.viewer).get(url(moved(job, JobState.CANCELLED))))

    def test_action_that_is_not_known_any_more_is_named(self, cast: Cast, devices: list[Device]) -> None:
        job = factories.job(cast.project, devices, [Outcome.FAILED], action="bleach", state=JobState.FINISHED)
        response = cast.client(cast.operator).get(url(job))
        assert "bleach 5 devices" in text(response)
        assert "job-retry" not in body(response)

    def test_numbers_beyond_what_is_counted(self, cast: Cast, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(job_report, "MOST_COUNTED", 1)
        JobItem.objects.filter(job=job, outcome=Outcome.DONE).update(outcome=Outcome.WAITING)
        Job.objects.filter(pk=job.pk).update(done=0)
        assert "Under way more than 1 Not begun 1" in text(cast.client(cast.viewer).get(url(job)))

    def test_query_count_does_not_grow(self, cast: Cast, devices: list[Device], django_assert_num_queries) -> None:
        client = cast.client(cast.viewer)
        for number in (2, 20):
            job = factories.job(cast.project, devices[:1] * number)
            with django_assert_num_queries(7):
                client.get(url(job))


class TestLive:
    def test_part_is_asked_for_only_while_the_job_runs(self, cast: Cast, job: Job) -> None:
        client = cast.client(cast.viewer)
        page = client.get(url(job), {"outcome": "failed"})
        following = re.search(rf'hx-get="({url(job, "progress/")}[^"]*)" hx-trigger="every 2s"', body(page))
        assert following
        assert "?outcome=failed&amp;since=" in following[1]
        part = client.get(unescape(following[1]), headers=HTMX)
        assert following[1] in body(part), "watched since the same moment"
        assert body(part).strip().startswith('<section class="panel" id="job-progress"')
        assert "every 2s" in body(part)
        assert 'id="announce"' not in body(part)

    @pytest.mark.parametrize("state", [JobState.PAUSED, JobState.CANCELLED, JobState.FINISHED])
    def test_end_stops_the_asking_and_is_announced(self, cast: Cast, job: Job, state: JobState) -> None:
        moved(job, state)
        part = cast.client(cast.viewer).get(url(job, "progress/"), headers=HTMX)
        assert "hx-trigger" not in body(part)
        assert re.search(r'<div id="announce" hx-swap-oob="innerHTML">.*1 done, 1 skipped, 1 failed', body(part))
        assert "hx-trigger" not in body(cast.client(cast.viewer).get(url(job))).split('id="main"')[1]

    def test_items_are_asked_for_while_they_can_change(self, cast: Cast, devices: list[Device]) -> None:
        client = cast.client(cast.viewer)
        job = factories.job(cast.project, devices[:1] * 60, [Outcome.DONE] * 50)
        assert "every 2s" not in body(client.get(url(job), headers=HTMX))
        assert "every 2s" in body(client.get(url(job), {"after": 50}, headers=HTMX))
        moved(job, JobState.FINISHED)
        assert "every 2s" not in body(client.get(url(job), {"after": 50}, headers=HTMX))

    def test_address_alone_leads_to_the_job(self, cast: Cast, job: Job) -> None:
        assert cast.client(cast.viewer).get(url(job, "progress/"))["Location"] == url(job)

    @pytest.mark.parametrize(
        ("left", "said"),
        [(590, "less than a minute left"), (600, "about 1 minute left"), (1200, "about 2 minutes left"),
         (36_000, "about 60 minutes left"), (72_000, "about 2 hours left")],
    )  # fmt: skip
    def test_time_left_follows_the_rate(self, left: int, said: str) -> None:
        now = timezone.now()
        job = Job(total=100 + left, done=90, failed=10, started_at=now - timedelta(seconds=10))
        assert job_report.rate(job, now) == 10
        assert job_report.time_left(job, job_report.rate(job, now)) == said

    def test_rate_is_that_since_somebody_watches(self) -> None:
        """A night's pause does not make a job slow."""
        now = timezone.now().replace(microsecond=0)
        job = Job(total=1000, done=100, started_at=now - timedelta(hours=10))
        query = QueryDict(f"since={int(now.timestamp()) - 5}&had=50")
        assert job_report.rate(job, now, job_report.Watched.parse(query, job)) == 10
        for wrong in ("", "since=x&had=1", "since=5&had=101", "had=5"):
            assert job_report.Watched.parse(QueryDict(wrong), job) is None
        for useless in (f"since={int(now.timestamp())}&had=50", f"since={int(now.timestamp()) - 5}&had=100"):
            watched = job_report.Watched.parse(QueryDict(useless), job)
            assert job_report.rate(job, now, watched) == job_report.rate(job, now)

    @pytest.mark.parametrize("fields", [{"done": 0}, {"started_at": None}, {"state": JobState.PAUSED}])
    def test_nobody_can_say_how_long(self, fields: dict[str, Any]) -> None:
        now = timezone.now()
        job = Job(**{"total": 10, "done": 1, "started_at": now, **fields})
        assert job_report.rate(job, now) is None
        assert job_report.time_left(job, None) == ""


class TestReport:
    def rows(self, client: Client, job: Job, **query: str) -> list[list[str]]:
        response = client.get(url(job, "report.csv"), query)
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        return list(csv.reader(io.StringIO(b"".join(response).decode("utf-8-sig"))))

    def test_line_for_each_device(self, cast: Cast, job: Job) -> None:
        at = timezone.now().replace(microsecond=0)
        JobItem.objects.filter(job=job, number=2).update(at=at)
        head, *lines = self.rows(cast.client(cast.viewer), job)
        assert head == ["No.", "Name", "Identifier", "Outcome", "Reason", "When"]
        assert [line[1] for line in lines] == [f"House {number}" for number in range(1, 6)]
        assert lines[1][3:5] == ["Skipped", "Because."]
        assert lines[1][5][:10] == timezone.localtime(at).date().isoformat()

    def test_outcome_is_kept(self, cast: Cast, job: Job) -> None:
        client = cast.client(cast.viewer)
        assert [line[0] for line in self.rows(client, job, outcome="failed")[1:]] == ["3"]
        assert 'filename="job-' in client.get(url(job, "report.csv"))["Content-Disposition"]

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@a", "\t=1"])
    def test_formulas_are_texts(self, cast: Cast, job: Job, name: str) -> None:
        JobItem.objects.filter(job=job, number=1).update(label=name, reason=name)
        line = self.rows(cast.client(cast.viewer), job)[1]
        assert (line[1], line[4]) == (f"'{name}", f"'{name}")

    def test_semicolons_quotes_and_lines_stay_in_their_cell(self, cast: Cast, job: Job) -> None:
        JobItem.objects.filter(job=job, number=1).update(label='a;=1"b\nc')
        raw = b"".join(cast.client(cast.viewer).get(url(job, "report.csv"))).decode()
        assert '"a;=1""b\nc"' in raw
        assert self.rows(cast.client(cast.viewer), job)[1][1] == 'a;=1"b\nc'

    def test_long_report_is_read_in_parts(self, cast: Cast, devices: list[Device], monkeypatch) -> None:
        monkeypatch.setattr(job_report, "CHUNK", 2)
        job = factories.job(cast.project, devices)
        assert [line[0] for line in self.rows(cast.client(cast.viewer), job)[1:]] == ["1", "2", "3", "4", "5"]

    def test_stranger_and_wrong_method(self, cast: Cast, job: Job) -> None:
        assert cast.client(cast.stranger).get(url(job, "report.csv")).status_code == 404
        assert cast.client(cast.operator).post(url(job, "report.csv")).status_code == 405


class TestControls:
    @pytest.mark.parametrize(
        ("state", "offered"),
        [(JobState.RUNNING, {"pause", "cancel"}), (JobState.PAUSED, {"resume", "cancel"}),
         (JobState.CANCELLED, {"retry"}), (JobState.FINISHED, {"retry"})],
    )  # fmt: skip
    def test_state_decides_what_is_offered(self, cast: Cast, job: Job, state: JobState, offered: set[str]) -> None:
        moved(job, state)
        html = body(cast.client(cast.operator).get(url(job)))
        assert {name for name in CONTROLS if f'id="job-{name}"' in html} == offered
        assert not {name for name in CONTROLS if f'id="job-{name}"' in body(cast.client(cast.viewer).get(url(job)))}

    def test_pause_resume_and_cancel(self, cast: Cast, job: Job) -> None:
        client = cast.client(cast.operator)
        for name, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
            assert client.post(url(job, f"{name}/"))["Location"] == url(job)
            job.refresh_from_db()
            assert job.state == state

    @pytest.mark.parametrize("name", ["pause", "resume", "cancel"])
    def test_order_that_comes_too_late_is_told(self, cast: Cast, job: Job, name: str) -> None:
        moved(job, JobState.FINISHED)
        response = cast.client(cast.operator).post(url(job, f"{name}/"), follow=True)
        assert "was not in a state for that any more" in text(response)
        job.refresh_from_db()
        assert job.state == JobState.FINISHED

    def test_cancelling_is_asked_without_script(self, cast: Cast, job: Job) -> None:
        response = cast.client(cast.operator).get(url(job, "cancel/"))
        assert "Cancel this job?" in text(response)
        assert "cannot be resumed" in text(response)
        job.refresh_from_db()
        assert job.state == JobState.RUNNING

    def test_failed_ones_are_tried_again_once(self, cast: Cast, job: Job) -> None:
        moved(job, JobState.FINISHED)
        client, token = cast.client(cast.operator), uuid4()
        first = client.post(url(job, "retry/"), {"token": token})
        again = Job.objects.get(retry_of=job)
        assert first["Location"] == url(again)
        assert client.post(url(job, "retry/"), {"token": token})["Location"] == url(again)
        assert [item.label for item in again.items.all()] == ["House 3"]
        assert f'href="{url(again)}">attempt 1<' in body(client.get(url(job)))
        assert f'href="{url(job)}"' in body(client.get(url(again)))

    @pytest.mark.parametrize(
        ("state", "token"), [(JobState.RUNNING, "7f9811b8-4510-49d9-8b1e-a5f15db3d61f"), (JobState.FINISHED, "x")]
    )
    def test_nothing_to_try_again(self, cast: Cast, job: Job, state: JobState, token: str) -> None:
        moved(job, state)
        response = cast.client(cast.operator).post(url(job, "retry/"), {"token": token}, follow=True)
        assert "There is nothing to try again." in text(response)
        assert Job.objects.count() == 1

    @pytest.mark.parametrize("name", CONTROLS)
    def test_viewer_stranger_and_wrong_method(self, cast: Cast, job: Job, name: str) -> None:
        assert cast.client(cast.viewer).post(url(job, f"{name}/")).status_code == 403
        assert cast.client(cast.stranger).post(url(job, f"{name}/")).status_code == 404
        assert cast.client(cast.operator).put(url(job, f"{name}/")).status_code == 405
        job.refresh_from_db()
        assert job.state == JobState.RUNNING


class TestSeveralProjects:
    """A job over two Projects is seen by people of both, and controlled by operators of both."""

    @pytest.fixture
    def job(self, cast: Cast, devices: list[Device]) -> Job:
        return factories.job(cast.project, devices, project_ids=[cast.project.pk, cast.elsewhere.pk])

    def test_person_of_one_of_them_finds_nothing(self, cast: Cast, job: Job) -> None:
        for person in (cast.operator, cast.stranger):
            assert cast.client(person).get(url(job)).status_code == 404
            assert cast.client(person).post(url(job, "pause/")).status_code == 404

    def test_weakest_role_counts(self, cast: Cast, job: Job) -> None:
        row = Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
        client = cast.client(cast.operator)
        assert client.get(url(job)).status_code == 200
        assert 'id="job-pause"' not in body(client.get(url(job)))
        assert client.post(url(job, "pause/")).status_code == 403
        Membership.objects.filter(pk=row.pk).update(role=Role.OPERATOR)
        assert client.post(url(job, "pause/")).status_code == 302

    def test_job_of_no_project_is_nobodys(self, cast: Cast, job: Job) -> None:
        Job.objects.filter(pk=job.pk).update(project_ids=[])
        assert cast.client(cast.operator).get(url(job)).status_code == 404


class TestRunning:
    def test_own_running_jobs_are_told(self, cast: Cast, job: Job, django_assert_num_queries) -> None:
        client = cast.client(cast.operator)
        with django_assert_num_queries(3):
            part = client.get("/devices/jobs/running/", headers=HTMX)
        assert f'href="{url(job)}"' in body(part)
        assert "Wash 3 of 5" in text(part)

    def test_others_and_finished_ones_are_not(self, cast: Cast, job: Job) -> None:
        assert body(cast.client(cast.viewer).get("/devices/jobs/running/", headers=HTMX)).strip() == ""
        moved(job, JobState.FINISHED)
        assert body(cast.client(cast.operator).get("/devices/jobs/running/", headers=HTMX)).strip() == ""

    def test_address_alone_leads_to_the_jobs(self, cast: Cast) -> None:
        assert cast.client(cast.viewer).get("/devices/jobs/running/")["Location"] == "/devices/jobs/"
