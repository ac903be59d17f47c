"""Jobs over many devices (D4): all of them, one with its progress and what became of each device, its controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page, wants_partial
from common.states import StateConflict
from devices import job_report, jobs
from devices.access import job_view
from devices.errors import DeviceError
from devices.models import Job, JobState

from .bulk import uuid_of
from .export import until_gone

JOBS_PER_PAGE = 50
JOB = "devices/job.html"


@in_projects()
def job_list(request: PersonRequest) -> HttpResponse:
    """The jobs of the person's Projects, newest first."""
    rows = jobs.visible(request.person.memberships).select_related("created_by")
    found = Paginator(rows, JOBS_PER_PAGE).get_page(request.GET.get("page"))
    total = {"first": found.start_index(), "last": found.end_index(), "total": found.paginator.count}
    context = {
        "nav": "devices",
        "rows": [{"job": job, "title": job_report.title(job)} for job in found.object_list],
        "summary": _("%(first)d–%(last)d of %(total)d jobs") % total,
        "previous_url": f"?page={found.previous_page_number()}" if found.has_previous() else "",
        "next_url": f"?page={found.next_page_number()}" if found.has_next() else "",
    }
    return page(request, "devices/jobs.html", context, partial="job-list")


@job_view("GET")
def job(request: PersonRequest, job: Job) -> HttpResponse:
    """The job; htmx asks for its items alone, to page and while they change."""
    asked = job_report.Asked.parse(request.GET)
    context = item_context(job, asked)
    if not wants_partial(request):
        context |= progress_context(request, job, asked) | {
            "nav": "devices",
            "what": job_report.summary(job),
            "retries": list(job.retries.order_by("pk").values_list("pk", flat=True)[:5]),
        }
    return page(request, JOB, context, partial="job-items")


@job_view("GET")
def progress(request: PersonRequest, job: Job) -> HttpResponse:
    """The live part of the page, asked for again while the job runs."""
    asked = job_report.Asked.parse(request.GET)
    if not wants_partial(request):
        return redirect("devices:job", job_id=job.pk)
    context = progress_context(request, job, asked) | {"asked_again": True}
    return page(request, JOB, context, partial="job-progress")


def progress_context(request: PersonRequest, job: Job, asked: job_report.Asked) -> dict[str, Any]:
    now = timezone.now()
    watched = job_report.Watched.parse(request.GET, job)
    speed = job_report.rate(job, now, watched)
    watched = watched or job_report.Watched(now, job.finished_items)
    return {
        "job": job,
        "title": job_report.title(job),
        "asked": asked,
        "figures": job_report.figures(job),
        "rate": speed,
        "time_left": job_report.time_left(job, speed),
        "watching": asked.link(since=int(watched.since.timestamp()), had=watched.finished),
        "running": job.state == JobState.RUNNING,
        "paused": job.state == JobState.PAUSED,
        "can_change": request.can_change,
        "may_retry": request.can_change and job_report.may_retry(job),
        "token": uuid4(),
    }


def item_context(job: Job, asked: job_report.Asked) -> dict[str, Any]:
    found = job_report.item_page(job, asked)
    rows = found.rows
    span = {"first": rows[0]["number"], "last": rows[-1]["number"], "total": job.total} if rows else None
    return {
        "job": job,
        "asked": asked,
        "found": found,
        "cancelled": job.state == JobState.CANCELLED,
        "changing": job.state == JobState.RUNNING and not found.settled,
        "summary": _("No. %(first)d–%(last)d of %(total)d") % span if span else "",
    }


@job_view("GET")
def report(request: PersonRequest, job: Job) -> HttpResponse:
    """What became of each device, as CSV; with ``outcome`` only those."""
    asked = job_report.Asked.parse(request.GET)
    chunks = job_report.report(job, asked.outcome, ZoneInfo(request.user.time_zone))
    response = StreamingHttpResponse(until_gone(request, chunks), content_type="text/csv; charset=utf-8")
    name = f"job-{job.pk}{f'-{asked.outcome}' if asked.outcome else ''}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return cast("HttpResponse", response)


@job_view("POST")
def pause(request: PersonRequest, job: Job) -> HttpResponse:
    return ordered(request, job, jobs.pause, _("The job is paused: what is under way is finished."))


@job_view("POST")
def resume(request: PersonRequest, job: Job) -> HttpResponse:
    return ordered(request, job, jobs.resume, _("The job goes on."))


@job_view("GET", "POST", see=Role.OPERATOR)
def cancel(request: PersonRequest, job: Job) -> HttpResponse:
    """For good. GET asks first, for those without script."""
    if request.method != "POST":
        return page(request, "devices/job_cancel.html", {"nav": "devices", "job": job, "title": job_report.title(job)})
    return ordered(request, job, jobs.cancel, _("The job is cancelled: devices that were not begun stay as they are."))


def ordered(request: PersonRequest, job: Job, order: Callable[..., None], done: str) -> HttpResponse:
    """Carry the order out, and back to the job."""
    try:
        order(job=job, actor=request.user)
    except StateConflict:
        messages.warning(request, _("The job was not in a state for that any more. This is how it is now."))
    else:
        messages.success(request, done)
    return redirect("devices:job", job_id=job.pk)


@job_view("POST")
def retry(request: PersonRequest, job: Job) -> HttpResponse:
    """A new job over the devices that failed; the same token again leads to the same one."""
    token = uuid_of(request.POST.get("token", ""))
    if token is None or not job_report.may_retry(job):
        messages.warning(request, _("There is nothing to try again."))
        return redirect("devices:job", job_id=job.pk)
    projects = request.person.projects_with(Role.OPERATOR)
    try:
        again = jobs.retry_failed(job=job, actor=request.user, projects=projects, token=token)
    except DeviceError as error:
        messages.warning(request, str(error))
        again = job
    except StateConflict:
        messages.warning(request, _("The job was not in a state for that any more. This is how it is now."))
        again = job
    return redirect("devices:job", job_id=again.pk)


@in_projects()
def running(request: PersonRequest) -> HttpResponse:
    """The strip of one's own running jobs, asked for again while there are some."""
    if not wants_partial(request):
        return redirect("devices:jobs")
    return page(request, "devices/_running_jobs.html", running_context(request))


def running_context(request: PersonRequest) -> dict[str, Any]:
    """What ``devices/_running_jobs.html`` needs. One query."""
    found = job_report.running_jobs(request.user, request.person.memberships)
    return {"running_jobs": [{"job": one, "title": job_report.title(one)} for one in found]}
