"""The Flows of a person's Projects (F1), and the page of one (F4)."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page

from . import problems, services
from .access import flow_view
from .deliveries import CIRCUIT
from .forms import FlowForm, decoder_label
from .models import Destination, Flow

PAGE_SIZE = 50
# Sorting by name joins every device of the Flow; a larger Flow is shown in the order of adding.
SORTED_BY_NAME = 2000
# Destinations that are offered to choose from.
MOST_LINKABLE = 200


@in_projects()
def flow_list(request: PersonRequest) -> HttpResponse:
    rows = Flow.objects.annotate(devices=Count("device_links")).select_related("project").order_by("name", "pk")
    found = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "nav": "flows",
        "found": found,
        "rows": [{"flow": row, "decoder": decoder_label(row.decoder)} for row in found.object_list],
        "may_add": bool(request.person.projects_with(Role.OPERATOR)),
    }
    return page(request, "flows/list.html", context)


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
            messages.success(request, _("The Flow is made. Link devices from their Flows tabs."))
            return redirect("flows:flow", flow_id=flow.pk)
    return page(request, "flows/add.html", {"nav": "flows", "form": form}, status=422 if form.errors else 200)


@flow_view("GET")
def flow_page(request: PersonRequest, flow: Flow) -> HttpResponse:
    return page(request, "flows/flow.html", _context(request, flow), partial="flow-devices")


@flow_view("GET", "POST", see=Role.OPERATOR)
def edit(request: PersonRequest, flow: Flow) -> HttpResponse:
    form = FlowForm(request.POST if request.method == "POST" else None, flow=flow)
    if request.method == "POST" and form.is_valid():
        try:
            services.edit_flow(flow=flow, actor=request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error("name", error.messages)
        else:
            messages.success(request, _("The Flow is saved."))
            return redirect("flows:flow", flow_id=flow.pk)
    context = {"nav": "flows", "flow": flow, "form": form}
    return page(request, "flows/edit.html", context, status=422 if form.errors else 200)


def _context(request: PersonRequest, flow: Flow) -> dict[str, Any]:
    """Devices of other Projects that the person is not in are counted and not named (P1)."""
    links = flow.device_links.all()
    total = links.count()
    projects = [project.pk for project in request.person.projects]
    seen = links.filter(device__project_id__in=projects)
    order = ("device__name", "device_id") if total <= SORTED_BY_NAME else ("device_id",)
    rows = seen.order_by(*order).values(
        "device_id", "device__name", "device__type__name", "device__type__category", "device__project__name",
        "device__processing_status", "device__connection_status", "linked_at",
    )  # fmt: skip
    found = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return {
        "nav": "flows",
        "flow": flow,
        "decoder": decoder_label(flow.decoder),
        "total": total,
        "found": found,
        "elsewhere": total - found.paginator.count,
        "problems": problems.of(flow, devices=total),
        "troubled": problems.troubled(flow, projects),
        "destinations": list(flow.destinations.defer("secrets").order_by("name", "pk")),
        "linkable": _linkable(flow) if request.can_change else [],
        "circuit": CIRCUIT,
        "can_change": request.can_change,
    }


def _linkable(flow: Flow) -> list[Destination]:
    rows = Destination.objects.filter(project=flow.project_id).exclude(flow_links__flow=flow).only("pk", "name")
    return list(rows.order_by("name", "pk")[:MOST_LINKABLE])
