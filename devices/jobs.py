"""Jobs over many devices (D4): asked for with an agreed number, carried out in sets, each device exactly once.

A set's changes, its items' outcomes and the job's counters are one transaction: a worker that dies leaves no half
set, and the next one goes on after the last that was committed. Here is what people ask of jobs; what workers do
with them is in :mod:`devices.job_runner`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import Project, User
from common import doorbell, states

from . import bulk
from .bulk import Asked, BulkAction
from .errors import DeviceError
from .job_runner import LEASE, due, first_refusal, run, settle
from .models import JOB_ALLOWED, Device, Job, JobItem, JobState, Outcome

__all__ = [
    "LEASE",
    "MAX_DEVICES",
    "Preview",
    "SelectionChanged",
    "cancel",
    "create",
    "due",
    "pause",
    "preview",
    "resume",
    "retry_failed",
    "run",
    "settle",
    "visible",
]

MAX_DEVICES: Final = 1_000_000
NOT_YOURS: Final = gettext_lazy("You are not an operator of this device's Project.")


class SelectionChanged(Exception):
    """The chosen devices are not as many as was agreed to: nothing was done, and the person is asked again.

    ``found``: how many there are now.
    """

    def __init__(self, found: int) -> None:
        super().__init__(f"{found} devices now")
        self.found = found


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do now. ``refused``: (sentence, how many) in the order of the refusals, only above 0."""

    total: int
    can: int
    refused: list[tuple[str, int]]


def preview(action: BulkAction, devices: QuerySet[Device], asked: Asked, projects: Sequence[Project]) -> Preview:
    """How many of the devices the action would change and leave alone, in one query.

    ``projects``: those in which the person is operator.
    """
    refusals = [
        bulk.Refusal(~Q(project__in=[project.pk for project in projects]), NOT_YOURS),
        *action.refusals(asked),
    ]
    with scopes_disabled():
        rows = Device.objects.filter(pk__in=devices.order_by().values("pk"))
        counts = dict(
            rows.annotate(refusal=first_refusal(refusals)).values_list("refusal").annotate(Count("pk")).order_by()
        )
    return Preview(
        total=sum(counts.values()),
        can=counts.get(None, 0),
        refused=[(str(one.reason), counts[index]) for index, one in enumerate(refusals) if index in counts],
    )


# The rows as one snapshot sees them. A device of a Project in which the person is not operator is skipped from the
# start: rights that the person gets later are not what was agreed to.
ITEMS: Final = """
WITH chosen AS MATERIALIZED (
    SELECT id, project_id, name, identifier FROM devices_device WHERE id IN ({chosen})
), made AS (
    INSERT INTO devices_jobitem (job_id, number, device_id, label, identifier, outcome, reason, at)
    SELECT %s, row_number() OVER (ORDER BY id), id, name, identifier,
        CASE WHEN project_id = ANY(%s) THEN 'pending' ELSE 'skipped' END,
        CASE WHEN project_id = ANY(%s) THEN '' ELSE %s END,
        CASE WHEN project_id = ANY(%s) THEN NULL ELSE %s END
    FROM chosen
)
SELECT project_id, count(*) FROM chosen GROUP BY project_id ORDER BY project_id
"""


def create(
    *,
    action: BulkAction,
    devices: QuerySet[Device],
    parameters: Mapping[str, Any],
    agreed: int,
    actor: User,
    projects: Sequence[Project],
    token: UUID,
    selection: str = "",
    per_second: int | None = None,
    per_minute: int | None = None,
    retry_of: Job | None = None,
) -> Job:
    """A job over the devices, which a worker begins at once.

    ``agreed``: how many devices the person saw; ``projects``: those in which the person is operator (devices of
    others become skipped items); ``token``: names the request, the same one again gives the job that it made first.
    ``selection``: what was chosen, as a sentence. ``per_second``, ``per_minute`` (for each key of the action's
    ``pace_key``): None for as fast as it goes.
    Raises SelectionChanged, DeviceError where there are none or too many, StateConflict for somebody else's token.
    """
    if not 0 < agreed <= MAX_DEVICES:
        raise DeviceError(
            _("Choose at least one device.")
            if agreed < 1
            else _("A job takes %(most)s devices at most. Choose fewer.") % {"most": f"{MAX_DEVICES:,}"}
        )
    with scopes_disabled(), transaction.atomic():
        job = _with_token(
            Job(
                action=action.slug,
                parameters=dict(parameters),
                project_ids=[],
                selection=selection,
                created_by=actor,
                token=token,
                per_second=per_second,
                per_minute=per_minute,
                retry_of=retry_of,
            )
        )
        if job.total:
            return job
        counts = _insert_items(job, devices, [project.pk for project in projects])
        job.total = sum(counts.values())
        if job.total != agreed:
            raise SelectionChanged(job.total)
        allowed = {project.pk for project in projects}
        job.skipped = sum(count for project, count in counts.items() if project not in allowed)
        job.project_ids = list(counts)
        Job.objects.filter(pk=job.pk).update(total=job.total, skipped=job.skipped, project_ids=job.project_ids)
        audit.record_many(
            [
                audit.Change(project, str(job), after={"job": job.pk, "action": job.action, "devices": count})
                for project, count in counts.items()
                if project in allowed
            ],
            actor=actor,
            action="job.started",
        )
        _ring(job)
    return job


def _with_token(job: Job) -> Job:
    """The job, saved, or the one that its token has made already; of two at once, one waits for the other."""
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError as error:
        made = Job.objects.filter(token=job.token, created_by=job.created_by).first()
        if made is None:
            raise states.StateConflict("somebody else's token") from error
        return made
    return job


def _insert_items(job: Job, devices: QuerySet[Device], projects: list[int]) -> dict[int, int]:
    """One item per device, numbered by device id; how many devices each Project has in the job."""
    try:
        chosen, chosen_parameters = devices.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            ITEMS.format(chosen=chosen),
            [*chosen_parameters, job.pk, projects, projects, str(NOT_YOURS), projects, timezone.now()],
        )
        return dict(cursor.fetchall())


def pause(*, job: Job, actor: User) -> None:
    """Nothing more is begun until somebody resumes it. Raises StateConflict."""
    _move(job, JobState.PAUSED, actor, "job.paused")


def resume(*, job: Job, actor: User) -> None:
    """Go on where it was paused. Raises StateConflict."""
    # What was put off while it stood still must not come all at once.
    with transaction.atomic():
        _move(job, JobState.RUNNING, actor, "job.resumed", not_before=timezone.now())
        _ring(job)


def cancel(*, job: Job, actor: User) -> None:
    """Begin nothing more, for good: what was not begun stays so. Raises StateConflict."""
    _move(job, JobState.CANCELLED, actor, "job.cancelled", finished_at=timezone.now())


def _move(job: Job, to: JobState, actor: User, action: str, **changes: Any) -> None:
    with scopes_disabled(), transaction.atomic():
        states.move(Job.objects.filter(pk=job.pk), field="state", to=to, allowed=JOB_ALLOWED, **changes)
        audit.record_many(
            [
                audit.Change(project, str(job), before={"status": job.state}, after={"job": job.pk, "status": to.value})
                for project in job.project_ids
            ],
            actor=actor,
            action=action,
        )
    job.state = to


def retry_failed(*, job: Job, actor: User, projects: Sequence[Project], token: UUID) -> Job:
    """A new job over the devices that failed in a finished or cancelled one, where they are still there.

    Raises StateConflict while the job may go on, DeviceError where there is nothing to try again.
    """
    action = bulk.by_slug(job.action)
    if job.state not in (JobState.FINISHED, JobState.CANCELLED):
        raise states.StateConflict("not over")
    if action is None:
        raise DeviceError(_("This action is not available any more."))
    with scopes_disabled():
        failed = JobItem.objects.filter(job=job, outcome=Outcome.FAILED).values("device_id")
        devices = Device.objects.filter(pk__in=failed, project__in=projects)
        return create(
            action=action,
            devices=devices,
            parameters=job.parameters,
            agreed=devices.count(),
            actor=actor,
            projects=projects,
            token=token,
            selection=_("Failed in job %(number)s") % {"number": job.pk},
            per_second=job.per_second,
            per_minute=job.per_minute,
            retry_of=job,
        )


def visible(projects: Iterable[int]) -> QuerySet[Job]:
    """Jobs all of whose Projects are among these, newest first."""
    return Job.objects.filter(project_ids__contained_by=list(projects)).order_by("-pk")


def _ring(job: Job) -> None:
    from . import tasks

    doorbell.ring(tasks.run_job, job.pk)
