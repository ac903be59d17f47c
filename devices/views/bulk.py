"""The page that asks before a bulk action (D4): for which devices, what it cannot do and why; then the job is made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self
from uuid import UUID, uuid4

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page
from devices import bulk as registry
from devices import jobs
from devices.bulk import ActionForm, BulkAction
from devices.errors import DeviceError
from devices.models import Job
from devices.selection import Selection

# Fields of this page's own; an action's form has other names.
RESERVED = frozenset(
    {"device", "all", "query", "count", "asked", "confirmed", "agreed", "shown", "token", "typed"}
    | {"per_second", "per_minute"}
)


class PaceForm(forms.Form):
    """How fast a job sends that the air or a network must carry."""

    per_second = forms.IntegerField(
        label=gettext_lazy("Devices per second"), min_value=1, max_value=100, initial=5, help_text=gettext_lazy("1–100")
    )
    per_minute = forms.IntegerField(
        label=gettext_lazy("Devices per minute and gateway"),
        min_value=1,
        max_value=600,
        initial=30,
        help_text=gettext_lazy("1–600. A gateway may be on the air only a small part of the time."),
    )


@dataclass(frozen=True, slots=True)
class Question:
    """What the page shows. ``preview``: None as long as the action's fields are not filled in."""

    action: BulkAction
    selection: Selection
    form: ActionForm | None
    pace: PaceForm | None
    parameters: dict[str, Any] | None
    preview: jobs.Preview | None

    @classmethod
    def of(cls, request: PersonRequest, action: BulkAction, selection: Selection) -> Self:
        """From the request; the fields are bound once the page itself has been sent. One query counts."""
        data = request.POST if {"asked", "confirmed"} & request.POST.keys() else None
        projects = request.person.projects_with(Role.OPERATOR)
        form = action.form(data, devices=selection.devices, projects=projects) if action.form else None
        parameters = {} if form is None else form.parameters() if form.is_valid() else None
        preview = None
        if parameters is not None:
            asked = registry.Asked(parameters, request.user)
            preview = jobs.preview(action, selection.devices, asked, projects)
        return cls(action, selection, form, PaceForm(data) if action.paced else None, parameters, preview)

    @property
    def shown(self) -> str:
        """Stands for the parameters that the numbers on the page belong to."""
        text = json.dumps(self.parameters, sort_keys=True, default=str)
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def startable(self) -> bool:
        return self.preview is not None and self.preview.can > 0 and not self.too_many

    @property
    def too_many(self) -> bool:
        return self.preview is not None and self.preview.total > jobs.MAX_DEVICES

    @property
    def invalid(self) -> bool:
        return bool((self.form and self.form.errors) or (self.pace and self.pace.errors))


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def bulk(request: PersonRequest, action: str) -> HttpResponse:
    """``action`` for the chosen devices. The first POST asks, ``confirmed=1`` starts; a GET has no selection."""
    found = registry.by_slug(action)
    if found is None:
        raise Http404
    if request.method != "POST":
        messages.warning(request, _("Choose devices first."))
        return redirect("devices:list")
    selection = Selection.parse(request.POST, request.person)
    if selection.empty:
        messages.warning(request, _("Choose devices first."))
        return redirect(selection.back)
    question = Question.of(request, found, selection)
    if "confirmed" in request.POST:
        return start(request, question)
    return asking(request, question, status=422 if question.invalid else 200)


def asking(request: PersonRequest, question: Question, *, status: int = 200, problem: str = "") -> HttpResponse:
    """The page, with a new token: one per page that is shown. ``problem``: why nothing was started."""
    preview, selection = question.preview, question.selection
    context = {
        "nav": "devices",
        "question": question,
        "action": question.action,
        "selection": selection,
        "preview": preview,
        "token": uuid4(),
        "problem": problem,
        "start_label": start_label(question) if preview else "",
        "changed_since": preview is not None and selection.seen not in {None, preview.total},
        "most": jobs.MAX_DEVICES,
    }
    return page(request, "devices/bulk.html", context, partial="bulk-preview", status=status)


def start(request: PersonRequest, question: Question) -> HttpResponse:
    """Make the job of a confirmed page, or say what is in the way: 409 where the devices are others by now."""
    token, agreed = uuid_of(request.POST.get("token", "")), number_of(request.POST.get("agreed", ""))
    made = Job.objects.filter(token=token, created_by=request.user).first() if token else None
    if made:
        return redirect("devices:job", job_id=made.pk)
    preview = question.preview
    problem = objection(request, question, complete=token is not None and agreed is not None)
    if problem or question.invalid or preview is None or token is None or agreed is None:
        return asking(request, question, status=422, problem=problem)
    if preview.total != agreed:
        return asking(request, question, status=409, problem=changed(agreed, preview.total))
    pace = question.pace.cleaned_data if question.pace else {}
    try:
        job = jobs.create(
            action=question.action,
            devices=question.selection.devices,
            parameters=question.parameters or {},
            agreed=agreed,
            actor=request.user,
            projects=request.person.projects_with(Role.OPERATOR),
            token=token,
            selection=question.selection.description,
            **pace,
        )
    except jobs.SelectionChanged as error:
        again = Question.of(request, question.action, question.selection)
        return asking(request, again, status=409, problem=changed(agreed, error.found))
    except DeviceError as error:
        return asking(request, question, status=409, problem=str(error))
    return redirect("devices:job", job_id=job.pk)


def objection(request: PersonRequest, question: Question, *, complete: bool) -> str:
    """Why a confirmed page is shown again; "" where nothing speaks against it but perhaps its fields."""
    preview = question.preview
    if preview is None:
        return ""
    if not complete or request.POST.get("shown", question.shown) != question.shown:
        return _("Nothing was started: look at the numbers once more.")
    if not question.startable:
        return _("Nothing was started: there is no device that this can be done to.")
    if question.action.typed_number and number_of(request.POST.get("typed", "")) != preview.can:
        return _("Nothing was started: type the number %(number)s to confirm.") % {"number": preview.can}
    return ""


def changed(agreed: int, found: int) -> str:
    figures = {"agreed": grouped(agreed), "found": grouped(found)}
    return (
        ngettext(
            "Nothing was done: you agreed to %(agreed)s, and meanwhile it is %(found)s device.",
            "Nothing was done: you agreed to %(agreed)s, and meanwhile it is %(found)s devices.",
            found,
        )
        % figures
    )


def start_label(question: Question) -> str:
    """What the button says: the action and how many devices it will change."""
    can = question.preview.can if question.preview else 0
    text = ngettext("%(action)s: %(number)s device", "%(action)s: %(number)s devices", can)
    return text % {"action": question.action.label, "number": grouped(can)}


def grouped(number: int) -> str:
    return number_format(number, force_grouping=True)


def number_of(text: str) -> int | None:
    """A whole number as people type it, with or without separators of thousands."""
    digits = text.translate({ord(mark): None for mark in ",.'  \N{NARROW NO-BREAK SPACE}"})
    return int(digits) if digits.isdecimal() and len(digits) < 12 else None


def uuid_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
