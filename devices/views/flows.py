"""The Flows tab (F2, F3): the device's Flows, out of one, into another one or a new one."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page
from devices import flow_problems, services
from devices.access import device_view
from devices.errors import DeviceError
from devices.forms import LinkFlowForm
from devices.models import Device
from flows.models import Flow
from flows.services import create_flow

from .detail import frame, question


@device_view("GET")
def flows(request: PersonRequest, device: Device) -> HttpResponse:
    linked = flow_problems.of_device(device)
    for flow in linked:
        flow.project = request.person.memberships[flow.project_id].project
    rows = [{"flow": flow, "problems": flow_problems.of(flow, device)} for flow in linked]
    context = frame(device, request, active="flows") | {
        "rows": rows,
        "hidden": device.flow_count - len(rows),
        "form": link_form(request, device) if request.can_change else None,
    }
    return page(request, "devices/flows.html", context)


@device_view("GET", "POST", see=Role.OPERATOR)
def link(request: PersonRequest, device: Device) -> HttpResponse:
    """The dialog of the tab, and a page of its own without script. A GET with ``project`` brings its Flows."""
    form = link_form(request, device, bound=request.method == "POST")
    if request.method == "POST" and form.is_valid():
        try:
            flow = chosen_flow(request, device, form)
        except ValidationError as error:
            form.add_error("new_flow", error.messages)
        except DeviceError as error:
            form.add_error("flow", str(error))
        else:
            messages.success(request, _("The device is linked to %(flow)s.") % {"flow": flow.name})
            return redirect("devices:flows", device_id=device.pk)
    context = question(device) | {"form": form}
    return page(request, "devices/link.html", context, partial="flow-field", status=422 if form.errors else 200)


def link_form(request: PersonRequest, device: Device, *, bound: bool = False) -> LinkFlowForm:
    projects = request.person.projects_with(Role.OPERATOR)
    chosen = request.GET.get("project", "")
    return LinkFlowForm(request.POST if bound else None, device=device, projects=projects, chosen=chosen)


@transaction.atomic
def chosen_flow(request: PersonRequest, device: Device, form: LinkFlowForm) -> Flow:
    """Link to the Flow of the form; a new one is made in the same step. Raises ValidationError for its name, and
    DeviceError where the Flow is gone."""
    flow = form.flow or create_flow(project=form.project, name=form.cleaned_data["new_flow"], actor=request.user)
    services.link_flow(device=device, flow=flow, actor=request.user)
    return flow


@device_view("GET", "POST", see=Role.OPERATOR)
def unlink(request: PersonRequest, device: Device) -> HttpResponse:
    """Out of the Flow named by ``flow``. GET asks first, and says what it means."""
    named = (request.POST if request.method == "POST" else request.GET).get("flow", "")
    linked = Flow.objects.filter(device_links__device=device)
    flow = linked.filter(pk=int(named)).first() if named.isdecimal() and len(named) < 19 else None
    if flow is None:
        messages.warning(request, _("The device is not in that Flow any more."))
        return redirect("devices:flows", device_id=device.pk)
    if request.method != "POST":
        return page(request, "devices/unlink.html", question(device) | {"flow": flow})
    services.unlink_flow(device=device, flow=flow, actor=request.user)
    messages.success(request, _("The device is out of %(flow)s.") % {"flow": flow.name})
    return redirect("devices:flows", device_id=device.pk)
