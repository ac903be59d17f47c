"""What workers do with jobs over many devices (D4): take one, do it set by set, leave it, end it.

The job's row is the queue. Whoever has the job holds a lease: ``not_before`` moved ahead, and moved again by every
set. A set writes only where the row still says so, and says Running: a worker that lost its lease, and one whose
job was paused or cancelled meanwhile, write nothing. Locks are taken in one order everywhere: items not begun,
devices, items under way, jobs.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, F, IntegerField, Min, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import Membership, Role, User
from common import doorbell
from common.states import StateConflict

from . import bulk, live
from .bulk import Asked, BulkAction, Refusal, Result
from .capabilities import NotAllowedForType
from .errors import DeviceError
from .models import Device, Job, JobItem, JobState, Outcome
from .pace import Pace

logger = logging.getLogger(__name__)

# A set takes a second at most, and every set renews the lease.
LEASE: Final = timedelta(seconds=30)
# The worker's other tasks (instructions, registrations) wait so long behind a job.
BUDGET: Final = timedelta(seconds=2)
FIRST_SET, LARGEST_SET = 100, 500
SET_SECONDS: Final = 0.5
# A job that only waits for answers is rung by the last of them; this is for when that ring is lost.
LOOK_AGAIN: Final = timedelta(minutes=1)
REASON_LENGTH: Final = 300
NO_OPERATOR: Final = gettext_lazy("You are not an operator of this device's Project any more.")

Clock = Callable[[], datetime]


class _Lost(Exception):
    """The job is not this worker's any more: paused, cancelled, or its lease ran out. What the set did is undone."""


def first_refusal(refusals: Sequence[Refusal]) -> Case:
    """The index of the first refusal that holds for a device; None where it may go."""
    whens = [When(one.condition, then=Value(index)) for index, one in enumerate(refusals)]
    return Case(*whens, default=None, output_field=IntegerField())


def run(job_id: int, *, now: datetime | None = None, budget: timedelta = BUDGET) -> bool:
    """Go on with the job for about ``budget``, if it is due and nobody else has it; True where this worker had it.

    Where work is left, the job is given back and rung for again. ``now``: stands still for the whole run.
    """
    clock: Clock = timezone.now if now is None else lambda: now
    with scopes_disabled():
        job = _claim(job_id, clock())
        if job is None:
            return False
        person = job.created_by
        try:
            with translation.override((person and person.language) or settings.LANGUAGE_CODE):
                _Worker(job, clock).work(time.monotonic() + budget.total_seconds())
        except _Lost:
            logger.info("job %s is not this worker's any more", job_id)
    return True


def _claim(job_id: int, now: datetime) -> Job | None:
    rows = Job.objects.filter(pk=job_id)
    if not rows.filter(state=JobState.RUNNING, not_before__lte=now).update(
        not_before=now + LEASE, started_at=Coalesce("started_at", Value(now))
    ):
        return None
    return rows.select_related("created_by").get()


@dataclass(slots=True)
class Turn:
    """What became of the items of a set, by number. ``changed``: devices that browsers are told of; ``later``:
    items that are put off."""

    results: dict[int, Result] = field(default_factory=dict)
    later: dict[int, datetime] = field(default_factory=dict)
    changed: list[int] = field(default_factory=list)


class _Worker:
    """One worker's turn with one job, whose lease it holds (``job.not_before``)."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self.job, self.clock = job, clock
        self.action = bulk.by_slug(job.action)
        self.asked = Asked(job.parameters, job.created_by, job.pk)
        self.pace = Pace(job.pace, job.per_second, job.per_minute)
        # Going on after the last one does not look again at the index entries of items that are done.
        self.after = 0

    def work(self, until: float) -> None:
        size = FIRST_SET
        while True:
            now = self.clock()
            allowed = self.pace.allowed(now, size)
            if not allowed:
                return self.leave(self.pace.full_at(now))
            started = time.monotonic()
            if self.one_set(allowed, now):
                if time.monotonic() >= until:
                    return self.leave(now)
                took = max(time.monotonic() - started, 1e-3)
                size = max(1, min(LARGEST_SET, int(size * min(2.0, SET_SECONDS / took))))
            elif self.after:
                self.after = 0  # those that were put off
            else:
                return self.rest(now)

    def one_set(self, size: int, now: datetime) -> int:
        """One set, in one transaction; how many items it looked at. Raises _Lost."""
        with transaction.atomic():
            due = Q(not_before=None) | Q(not_before__lte=now)
            pending = JobItem.objects.filter(due, job=self.job, outcome=Outcome.PENDING, number__gt=self.after)
            items = list(pending.order_by("number").select_for_update()[:size])
            if not items:
                return 0
            turn = self.turn(items, now)
            self.keep(turn, now)
        self.after = items[-1].number
        return len(items)

    def turn(self, items: Sequence[JobItem], now: datetime) -> Turn:
        if self.action is None:
            gone = Result(Outcome.FAILED, _("This action is not available any more."))
            return Turn(dict.fromkeys((item.number for item in items), gone))
        return _devices_turn(self.action, self.asked, self.pace, items, now)

    def keep(self, turn: Turn, now: datetime) -> None:
        """Write the outcomes and the counters. Raises _Lost where the job is not this worker's any more."""
        _write_items(self.job, turn, now)
        counts = Counter(result.outcome for result in turn.results.values())
        if not self.held().update(
            done=F("done") + counts[Outcome.DONE],
            skipped=F("skipped") + counts[Outcome.SKIPPED],
            failed=F("failed") + counts[Outcome.FAILED],
            pace=self.pace.kept(),
            not_before=now + LEASE,
        ):
            raise _Lost
        self.job.not_before = now + LEASE
        if turn.changed:
            changes = [(pk, ("status", "twin", "downlinks")) for pk in turn.changed]
            transaction.on_commit(lambda: live.publish(changes))

    def held(self) -> QuerySet[Job]:
        """The job's row while this worker has it, and nobody has paused or cancelled it."""
        return Job.objects.filter(pk=self.job.pk, state=JobState.RUNNING, not_before=self.job.not_before)

    def rest(self, now: datetime) -> None:
        """Nothing can begin now: wait for what was put off, end, or wait for the answers of networks."""
        pending = JobItem.objects.filter(job=self.job, outcome=Outcome.PENDING)
        first = pending.aggregate(first=Min("not_before"))["first"]
        if first is not None:
            self.leave(first)
        elif not self.finish(now):
            self.held().update(not_before=now + LOOK_AGAIN)

    def leave(self, when: datetime) -> None:
        """Give the job back until then, and ring for it."""
        from . import tasks

        with transaction.atomic():
            if self.held().update(not_before=when, pace=self.pace.kept()):
                seconds = max(0.0, (when - self.clock()).total_seconds())
                doorbell.ring(tasks.run_job, self.job.pk, countdown=seconds)

    def finish(self, now: datetime) -> bool:
        with transaction.atomic():
            over = self.held().filter(total=F("done") + F("skipped") + F("failed"))
            if not over.update(state=JobState.FINISHED, finished_at=now):
                return False
            job = Job.objects.get(pk=self.job.pk)
            after = {"job": job.pk, "action": job.action}
            # The numbers of a job over several Projects are not for people of only one of them.
            if len(job.project_ids) == 1:
                after |= {"done": job.done, "skipped": job.skipped, "failed": job.failed}
            audit.record_many(
                [audit.Change(project, str(job), after=after) for project in job.project_ids],
                actor=self.job.created_by,
                action="job.finished",
            )
        return True


def _devices_turn(action: BulkAction, asked: Asked, pace: Pace, items: Sequence[JobItem], now: datetime) -> Turn:
    """The devices of the items, locked: refused, put off, or changed; in the transaction of their outcomes."""
    turn = Turn()
    ids = sorted({item.device_id for item in items if item.device_id is not None})
    # No key changes: the intake's writes of rows that refer to these devices need not wait.
    locked = Device.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True, of=("self",))
    list(locked.values_list("pk", flat=True))
    refusals = [Refusal(~Q(project__in=_projects_of(asked.actor)), NO_OPERATOR), *action.refusals(asked)]
    # Read after the locks are there: conditions over other tables must not be older than the wait for them.
    found = dict(
        Device.objects.filter(pk__in=ids).annotate(refusal=first_refusal(refusals)).values_list("pk", "refusal")
    )
    able = [item.device_id for item in items if item.device_id in found and found[item.device_id] is None]
    put_off = pace.share(able, action.pace_key(able) if pace.per_minute else {}, now)
    going = [pk for pk in able if pk not in put_off]
    pace.spend(len(going))
    results = apply(action, going, asked) if going else {}
    for item in items:
        pk = item.device_id
        if pk is None or pk not in found:
            turn.results[item.number] = Result(Outcome.SKIPPED, _("It is not there any more."))
        elif (refusal := found[pk]) is not None:
            turn.results[item.number] = Result(Outcome.SKIPPED, str(refusals[refusal].reason))
        elif pk in put_off:
            turn.later[item.number] = put_off[pk]
        else:
            turn.results[item.number] = results.get(pk, Result(Outcome.DONE))
            if turn.results[item.number].outcome in (Outcome.DONE, Outcome.WAITING):
                turn.changed.append(pk)
    return turn


def _projects_of(actor: User | None) -> list[int]:
    """Where the person may change things at this moment."""
    if actor is None:
        return []
    roles = [role for role in Role if role.covers(Role.OPERATOR)]
    rows = Membership.objects.filter(user=actor, user__is_active=True, role__in=roles)
    return list(rows.values_list("project_id", flat=True))


def apply(action: BulkAction, ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    """Change the devices; where that fails, each by itself, so that one cannot harm the others. In a transaction."""
    try:
        with transaction.atomic():
            results = action.apply(ids, asked)
            # A broken reference shows here, where it costs one device, and not at the end of the set.
            connection.check_constraints()
            return results
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        if len(ids) == 1:
            return {ids[0]: _failed(action, ids[0], error)}
    return {key: result for pk in ids for key, result in apply(action, [pk], asked).items()}


def _failed(action: BulkAction, device_id: int, error: Exception) -> Result:
    if isinstance(error, DeviceError | NotAllowedForType):
        return Result(Outcome.FAILED, str(error))
    if isinstance(error, StateConflict):
        return Result(Outcome.FAILED, _("Somebody else has changed the device at the same moment."))
    logger.error("%s of device %s", action.slug, device_id, exc_info=error)
    return Result(Outcome.FAILED, _("An error of the portal; it is logged."))


WRITE_ITEMS: Final = """
UPDATE devices_jobitem AS item
SET outcome = new.outcome, reason = new.reason, not_before = new.not_before,
    at = CASE WHEN new.outcome = 'pending' THEN NULL ELSE %s END
FROM unnest(%s::int[], %s::text[], %s::text[], %s::timestamptz[]) AS new (number, outcome, reason, not_before)
WHERE item.job_id = %s AND item.number = new.number AND item.number BETWEEN %s AND %s
"""


def _write_items(job: Job, turn: Turn, now: datetime) -> None:
    rows: list[tuple[int, str, str, datetime | None]] = [
        (number, result.outcome.value, result.reason[:REASON_LENGTH], None) for number, result in turn.results.items()
    ]
    rows += [(number, Outcome.PENDING.value, "", moment) for number, moment in turn.later.items()]
    with connection.cursor() as cursor:
        columns = [list(column) for column in zip(*rows, strict=True)]
        # The bounds keep a planner that knows nothing of a new job from reading all of it.
        cursor.execute(WRITE_ITEMS, [now, *columns, job.pk, min(columns[0]), max(columns[0])])


SETTLE: Final = """
UPDATE devices_jobitem AS item SET outcome = %s, reason = %s, at = %s
FROM devices_job AS job
WHERE job.id = item.job_id AND job.action = %s AND item.outcome = 'waiting' AND item.device_id = ANY(%s)
RETURNING item.job_id
"""


def settle(
    device_ids: Iterable[int], outcome: Outcome, reason: str = "", *, action: str, now: datetime | None = None
) -> None:
    """The answer that the devices' items under way have waited for has come: write it, in the caller's transaction,
    which holds the devices' locks. Jobs that are paused or cancelled get it too: those items were begun."""
    from . import tasks

    now = now or timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(SETTLE, [outcome.value, reason[:REASON_LENGTH], now, action, list(device_ids)])
            counts = Counter(job_id for (job_id,) in cursor.fetchall())
        for job_id in sorted(counts):
            rows = Job.objects.filter(pk=job_id)
            rows.update(**{outcome.value: F(outcome.value) + counts[job_id]})
            over = rows.filter(state=JobState.RUNNING, total=F("done") + F("skipped") + F("failed"))
            if over.update(not_before=now):
                doorbell.ring(tasks.run_job, job_id)


def due(now: datetime, limit: int = 500) -> list[int]:
    """Jobs that wait longer than they should: their worker or doorbell was lost."""
    with scopes_disabled():
        rows = Job.objects.filter(state=JobState.RUNNING, not_before__lte=now).order_by("not_before")
        return list(rows.values_list("pk", flat=True)[:limit])
