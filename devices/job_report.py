"""A job as people read it (D4): what it does, how far it is, what became of each device, and all of it as CSV.

Every query is bounded and from an index: a page of a job over a million devices costs what one over fifty does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User

from . import bulk, jobs
from .export.writers import Head, Row, csv_stream
from .models import Category, Device, Job, JobItem, JobState, Outcome

PAGE_SIZE: Final = 50
# Beyond this many, "under way" and "not begun" are told as "more than".
MOST_COUNTED: Final = 10_000
# Running jobs that All Devices tells of.
MOST_RUNNING: Final = 3
COLUMNS: Final = ("number", "device_id", "label", "identifier", "outcome", "reason", "at")
# Items that the report reads at a time: no query stays open while somebody takes the file.
CHUNK: Final = 2000


def title(job: Job) -> str:
    """The action's name; its slug for one that this release does not know."""
    action = bulk.by_slug(job.action)
    return str(action.label) if action else job.action


def summary(job: Job) -> str:
    """What was asked, as a sentence; "" where the action asks nothing."""
    action = bulk.by_slug(job.action)
    return action.summary(job.parameters) if action else ""


def may_retry(job: Job) -> bool:
    over = job.state in {JobState.FINISHED, JobState.CANCELLED}
    return over and job.failed > 0 and bulk.by_slug(job.action) is not None


@dataclass(frozen=True, slots=True)
class Figure:
    """How many items have this outcome ("" for all), or ``more`` than ``number``."""

    outcome: str
    number: int
    more: bool = False


def figures(job: Job) -> list[Figure]:
    """All outcomes; at most two queries, each of bounded length."""
    unsettled = max(0, job.total - job.finished_items)
    waiting = _bounded(job, Outcome.WAITING) if unsettled else Figure(Outcome.WAITING, 0)
    pending = _bounded(job, Outcome.PENDING) if waiting.more else Figure(Outcome.PENDING, unsettled - waiting.number)
    settled = [
        Figure(Outcome.DONE, job.done), Figure(Outcome.SKIPPED, job.skipped), Figure(Outcome.FAILED, job.failed)
    ]  # fmt: skip
    return [Figure("", job.total), *settled, waiting, pending]


def _bounded(job: Job, outcome: Outcome) -> Figure:
    count = job.items.filter(outcome=outcome).values("number")[: MOST_COUNTED + 1].count()
    return Figure(outcome, min(count, MOST_COUNTED), more=count > MOST_COUNTED)


@dataclass(frozen=True, slots=True)
class Watched:
    """Since when somebody watches, and how many were finished then: what a job does now, whatever pauses it had."""

    since: datetime
    finished: int

    @classmethod
    def parse(cls, data: QueryDict, job: Job) -> Watched | None:
        """From ``since`` (a Unix time) and ``had``; None where they are missing or cannot be."""
        since, had = _number(data.get("since", ""), 11), _number(data.get("had", ""))
        if not since or had > job.finished_items:
            return None
        return cls(datetime.fromtimestamp(since, UTC), had)


def rate(job: Job, now: datetime, watched: Watched | None = None) -> float | None:
    """Devices per second since it is watched, or since it started; None where nothing is known or it does not run."""
    if job.state != JobState.RUNNING or job.started_at is None:
        return None
    if watched is None or watched.since >= now or watched.finished == job.finished_items:
        watched = Watched(job.started_at, 0)
    finished = job.finished_items - watched.finished
    return finished / max(1.0, (now - watched.since).total_seconds()) if finished else None


def time_left(job: Job, speed: float | None) -> str:
    """How long it will still take at ``speed`` (devices per second), roughly, in words; "" where nobody can say."""
    if not speed:
        return ""
    minutes = (job.total - job.finished_items) / speed / 60
    if minutes < 1:
        return _("less than a minute left")
    if minutes < 90:
        return ngettext("about %(n)d minute left", "about %(n)d minutes left", round(minutes)) % {"n": round(minutes)}
    hours = round(minutes / 60)
    return ngettext("about %(n)d hour left", "about %(n)d hours left", hours) % {"n": hours}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks of the items: one outcome or all, from a number on; nonsense falls back."""

    outcome: str = ""
    after: int = 0
    before: int = 0

    @classmethod
    def parse(cls, data: QueryDict) -> Asked:
        outcome = data.get("outcome", "")
        after, before = _number(data.get("after", "")), _number(data.get("before", ""))
        return cls(outcome if outcome in Outcome.values else "", after, before)

    @property
    def query(self) -> str:
        return self.link(after=self.after, before=self.before)

    def link(self, **place: int) -> str:
        values = {"outcome": self.outcome, **place}
        return f"?{urlencode({key: value for key, value in values.items() if value})}"


def _number(text: str, digits: int = 9) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= digits else 0


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items as dicts of COLUMNS, ``linked`` (the device is there for this person) and ``managed``; queries of
    the next."""

    rows: list[dict[str, Any]]
    previous_url: str
    next_url: str

    @property
    def settled(self) -> bool:
        """Nothing on it can change any more."""
        open_outcomes = {Outcome.PENDING, Outcome.WAITING}
        return len(self.rows) == PAGE_SIZE and not any(row["outcome"] in open_outcomes for row in self.rows)


def item_page(job: Job, asked: Asked) -> ItemPage:
    """A page by number, forwards or backwards, inside the person's scope. Two queries."""
    items = _items(job, asked.outcome)
    if asked.before:
        rows = list(items.filter(number__lt=asked.before).order_by("-number")[: PAGE_SIZE + 1])
        earlier, later = len(rows) > PAGE_SIZE, True
        rows = rows[PAGE_SIZE - 1 :: -1] if earlier else rows[::-1]
    else:
        rows = list(items.filter(number__gt=asked.after).order_by("number")[: PAGE_SIZE + 1])
        earlier, later = asked.after > 0, len(rows) > PAGE_SIZE
        rows = rows[:PAGE_SIZE]
    devices = Device.objects.filter(pk__in=[row["device_id"] for row in rows])
    there = dict(devices.values_list("pk", "type__category"))
    for row in rows:
        row["linked"] = row["device_id"] in there
        row["managed"] = there.get(row["device_id"]) == Category.MANAGED
    return ItemPage(
        rows,
        previous_url=asked.link(before=rows[0]["number"]) if rows and earlier else "",
        next_url=asked.link(after=rows[-1]["number"]) if rows and later else "",
    )


def _items(job: Job, outcome: str) -> QuerySet[Any, dict[str, Any]]:
    rows: QuerySet[Any, Any] = JobItem.objects.filter(job=job)
    return (rows.filter(outcome=outcome) if outcome else rows).values(*COLUMNS)


def running_jobs(person: User, projects: Iterable[int]) -> list[Job]:
    """The person's own jobs that run, newest first, for the strip ``devices/_running_jobs.html``. One query."""
    return list(jobs.visible(projects).filter(created_by=person, state=JobState.RUNNING)[:MOST_RUNNING])


def report(job: Job, outcome: str, zone: ZoneInfo) -> Iterator[bytes]:
    """What became of each device as CSV, in chunks, in the language of this call and with the times of ``zone``."""
    words = {value: str(label) for value, label in Outcome.choices}
    heads = [
        Head("number", _("No.")),
        Head("name", _("Name")),
        Head("identifier", _("Identifier")),
        Head("outcome", _("Outcome")),
        Head("reason", _("Reason")),
        Head("at", _("When"), moment=True),
    ]

    def rows() -> Iterator[Row]:
        items, last = _items(job, outcome).order_by("number"), 0
        while chunk := list(items.filter(number__gt=last)[:CHUNK]):
            for item in chunk:
                yield (
                    item["number"], item["label"], item["identifier"], words[item["outcome"]], item["reason"],
                    item["at"],
                )  # fmt: skip
            last = chunk[-1]["number"]

    # Everything in quotes: a spreadsheet that separates by semicolons must not find a new cell within a text.
    return csv_stream(heads, rows(), zone, quoting=csv.QUOTE_ALL)
