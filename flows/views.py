"""The Flows of a person's Projects (F1): list, a new one, editing. The page of one is ``devices.views.flow_page``."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import IntegerField, Subquery
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page, wants_partial

from . import problems, services
from .access import flow_view
from .errors import FlowGone
from .forms import FlowForm, decoder_label
from .models import Flow

PAGE_SIZE = 50
# Devices of one Flow are counted so far in the list; its page knows them all.
MOST_COUNTED = 10_000


@in_projects()
def flow_list(request: PersonRequest) -> HttpResponse:
    """``warning``: a kind of problem, or any; the Flows that have it."""
    kind = request.GET.get("warning", "")
    kind = kind if kind in {problems.ANY, *problems.BY_SLUG} else ""
    everything = Flow.objects.all()
    wanted = problems.having(everything, kind) if kind else everything
    pages = Paginator(wanted.order_by("name", "pk").values_list("pk", flat=True), PAGE_SIZE)
    found = pages.get_page(request.GET.get("page"))
    context = {
        "nav": "flows",
        "found": found,
        "rows": _rows(list(found.object_list)),
        "kind": kind,
        "kinds": [("", _("All")), (problems.ANY, _("With warnings")), *((r.slug, r.kind) for r in problems.RULES)],
        "part": wants_partial(request),
        "kept": f"warning={kind}&" if kind else "",
        "may_add": bool(request.person.projects_with(Role.OPERATOR)),
    }
    return page(request, "flows/list.html", context, partial="flow-list")


def _rows(ids: list[int]) -> list[dict[str, Any]]:
    """Flows with their devices, counted so far, and their problems; in the order of ``ids``."""
    counted = RawCount(problems.device_links.values("device_id")[: MOST_COUNTED + 1])
    found = problems.told(Flow.objects.filter(pk__in=ids).annotate(devices=counted).select_related("project"))
    rows = {flow.pk: flow for flow in found}
    return [_row(rows[pk]) for pk in ids if pk in rows]


def _row(flow: Any) -> dict[str, Any]:
    return {
        "flow": flow,
        "decoder": decoder_label(flow.decoder),
        "devices": min(flow.devices, MOST_COUNTED),
        "more": flow.devices > MOST_COUNTED,
        "problems": problems.of(flow),
    }


class RawCount(Subquery):
    """How many rows a query gives."""

    template = "(SELECT count(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def add(request: PersonRequest) -> HttpResponse:
    data = request.POST if request.method == "POST" else None
    form = FlowForm(data, projects=request.person.projects_with(Role.OPERATOR))
    if request.method == "POST" and form.is_valid():
        values = {key: form.cleaned_data[key] for key in ("name", "description", "decoder", "enabled")}
        try:
            flow = services.create_flow(project=form.project, actor=request.user, **values)
        except ValidationError as error:
            form.add_error("name", error.messages)
        else:
            messages.success(request, _("The Flow is made. Link devices and a destination to it."))
            return redirect("flows:flow", flow_id=flow.pk)
    return page(request, "flows/add.html", {"nav": "flows", "form": form}, status=422 if form.errors else 200)


@flow_view("GET", "POST", see=Role.OPERATOR)
def edit(request: PersonRequest, flow: Flow) -> HttpResponse:
    if flow.deletion_asked_at is not None:
        return gone(request)
    form = FlowForm(request.POST if request.method == "POST" else None, flow=flow)
    if request.method == "POST" and form.is_valid():
        try:
            services.edit_flow(flow=flow, actor=request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error("name", error.messages)
        except FlowGone:
            return gone(request)
        else:
            messages.success(request, _("The Flow is saved."))
            return redirect("flows:flow", flow_id=flow.pk)
    context = {"nav": "flows", "flow": flow, "form": form}
    return page(request, "flows/edit.html", context, status=422 if form.errors else 200)


def gone(request: PersonRequest) -> HttpResponse:
    """For a change that came too late."""
    messages.warning(request, _("Nothing was changed: the Flow was deleted, or is being deleted."))
    return redirect("flows:list")
