"""The registry of bulk actions (D4): what each asks, which devices it leaves alone and why, and how it changes many.

An action is written for sets: ``refusals`` are conditions, counted in one query before it starts and looked at again
for each device when its turn comes; ``apply`` changes some hundreds of devices in the transaction of their outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django_stubs_ext import StrOrPromise

from accounts.models import Project, User

from .models import Device, Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """Devices that meet ``condition`` are skipped, with ``reason`` as the sentence in the report."""

    condition: Q
    reason: StrOrPromise


@dataclass(frozen=True, slots=True)
class Asked:
    """An action as a person asked for it: ``parameters`` as :meth:`ActionForm.parameters` gave them (JSON)."""

    parameters: Mapping[str, Any]
    actor: User | None
    job_id: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a device that was not simply done."""

    outcome: Outcome
    reason: str = ""


class ActionForm(forms.Form):
    """What an action asks before it starts. ``devices``: the chosen ones; ``projects``: where the person may change.

    ``parameters`` gives the cleaned input as JSON; ``summary`` says it in a sentence for the job's page.
    """

    def __init__(self, *args: Any, devices: QuerySet[Device], projects: Sequence[Project], **kwargs: Any) -> None:
        self.devices, self.projects = devices, projects
        super().__init__(*args, **kwargs)

    def parameters(self) -> dict[str, Any]:
        return {}


def nothing_refused(asked: Asked) -> Sequence[Refusal]:
    return ()


def no_pace(ids: Sequence[int]) -> Mapping[int, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAction:
    """One entry of the bar under All Devices.

    ``label``: on the button; ``question``: the heading of the page that asks; ``explanation``: what it means;
    ``form``: None where nothing is asked. ``refusals``: in the order in which they are tried, first match counts.
    ``apply``: gets ids of devices that are locked, in a transaction; gives those that are not simply done; an error
    that it raises undoes the set, which is then tried device by device. ``summary``: the parameters as a sentence.
    ``typed_number``: the person types how many devices (D9). ``paced``: the form asks how fast; ``pace_key``: the
    gateway (or other thing to spare) of each device. ``explanation_template``: more to read, with ``devices``.
    """

    slug: str
    label: StrOrPromise
    icon: str
    question: StrOrPromise
    explanation: StrOrPromise = ""
    explanation_template: str = ""
    danger: bool = False
    typed_number: bool = False
    paced: bool = False
    order: int = 50
    form: type[ActionForm] | None = None
    refusals: Callable[[Asked], Sequence[Refusal]] = nothing_refused
    apply: Callable[[Sequence[int], Asked], Mapping[int, Result]] = field()
    pace_key: Callable[[Sequence[int]], Mapping[int, str]] = no_pace
    summary: Callable[[Mapping[str, Any]], str] = lambda parameters: ""


_registered: dict[str, BulkAction] = {}


def register(*actions: BulkAction) -> None:
    for action in actions:
        _registered[action.slug] = action


def by_slug(slug: str) -> BulkAction | None:
    return _registered.get(slug)


def all_registered() -> Iterable[BulkAction]:
    return sorted(_registered.values(), key=lambda action: action.order)
