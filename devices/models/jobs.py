"""Jobs over many devices (D4, D12): the job, and one item per device or row with what became of it."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User


class JobState(models.TextChoices):
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    CANCELLED = "cancelled", _("Cancelled")
    FINISHED = "finished", _("Finished")


JOB_ALLOWED = {
    JobState.RUNNING.value: frozenset({JobState.PAUSED.value, JobState.CANCELLED.value, JobState.FINISHED.value}),
    JobState.PAUSED.value: frozenset({JobState.RUNNING.value, JobState.CANCELLED.value}),
}


class Outcome(models.TextChoices):
    """What became of one item. PENDING: not begun; WAITING: begun, and the answer of a network is awaited."""

    PENDING = "pending", _("Not begun")
    WAITING = "waiting", _("Under way")
    DONE = "done", _("Done")
    SKIPPED = "skipped", _("Skipped")
    FAILED = "failed", _("Failed")


class Job(models.Model):
    """An action on many devices. The row is the queue, Celery the doorbell.

    ``project_ids``: the Projects of its devices; whoever may not see all of them does not see the job.
    ``not_before``: when a worker may take it; the one that has it moves it ahead (a lease). The counters are those
    of the items, kept in the transaction that writes the items. ``pace``: what was sent in the present minute.
    """

    action = models.CharField(_("action"), max_length=40)
    parameters = models.JSONField(_("parameters"), default=dict)
    project_ids = ArrayField(models.BigIntegerField(), verbose_name=_("Projects"))
    selection = models.TextField(_("selection"), blank=True, default="")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("by"))
    created_at = models.DateTimeField(_("asked for"), default=timezone.now)
    # Names the request that made the job: a second submit of the same page makes no second job.
    token = models.UUIDField(_("token"), unique=True)
    retry_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="retries")
    state = models.CharField(_("status"), max_length=9, choices=JobState.choices, default=JobState.RUNNING)
    total = models.PositiveIntegerField(_("total"), default=0)
    done = models.PositiveIntegerField(_("done"), default=0)
    skipped = models.PositiveIntegerField(_("skipped"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    per_second = models.PositiveIntegerField(_("a second"), null=True)
    per_minute = models.PositiveIntegerField(_("a minute and gateway"), null=True)
    pace = models.JSONField(_("pace"), default=dict)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        constraints = [models.CheckConstraint(condition=models.Q(state__in=JobState.values), name="job_state_known")]
        indexes = [
            GinIndex(fields=["project_ids"], name="job_projects"),
            models.Index(fields=["not_before"], condition=models.Q(state=JobState.RUNNING), name="job_due"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.pk}"

    @property
    def finished_items(self) -> int:
        return self.done + self.skipped + self.failed


class JobItem(models.Model):
    """One device, or one row of a file, of a job. ``label`` and ``identifier``: as known when the job was made,
    for the report outlives the device. ``data``: the row of a file. ``reason``: a sentence in the asker's language.
    """

    pk = models.CompositePrimaryKey("job_id", "number")
    # No index of its own: before the first ANALYZE of a new job the planner would prefer it, and sort all its items.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items", db_index=False)
    number = models.PositiveIntegerField(_("number"))
    device_id = models.BigIntegerField(_("device"), null=True)
    label = models.CharField(_("name"), max_length=100, blank=True, default="")
    identifier = models.CharField(_("identifier"), max_length=36, blank=True, default="")
    outcome = models.CharField(_("outcome"), max_length=7, choices=Outcome.choices, default=Outcome.PENDING)
    reason = models.CharField(_("reason"), max_length=300, blank=True, default="")
    data = models.JSONField(_("row"), null=True)
    not_before = models.DateTimeField(_("not before"), null=True)
    at = models.DateTimeField(_("when"), null=True)

    class Meta:
        verbose_name = _("item of a job")
        verbose_name_plural = _("items of jobs")
        constraints = [
            models.CheckConstraint(condition=models.Q(outcome__in=Outcome.values), name="item_outcome_known")
        ]
        indexes = [
            models.Index(fields=["job", "outcome", "number"], name="item_by_outcome"),
            models.Index(fields=["job", "number"], condition=models.Q(outcome=Outcome.PENDING), name="item_pending"),
            models.Index(fields=["device_id"], condition=models.Q(outcome=Outcome.WAITING), name="item_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number} {self.outcome}"
