"""Deleting a device from its page (D9): what goes is told, and the name is typed."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.access import PersonRequest
from accounts.models import Role
from common.forms import TypedNameForm
from common.htmx import page
from common.states import StateConflict
from devices import capabilities, connectivity, deletion
from devices.access import device_view
from devices.capabilities import Capability
from devices.models import Device
from flows.models import Flow

from .detail import question


@device_view("GET", "POST", see=Role.OPERATOR)
def delete(request: PersonRequest, device: Device) -> HttpResponse:
    """A managed device is deleted by support staff alone (T3)."""
    if not capabilities.has(device, Capability.ADD_REMOVE):
        raise PermissionDenied
    if deletion.is_under_way(device):
        return redirect("devices:detail", device_id=device.pk)
    form = TypedNameForm(request.POST if request.method == "POST" else None, name=device.name)
    if request.method == "POST" and form.is_valid():
        try:
            deletion.request(device=device, actor=request.user)
        except StateConflict:
            text = _("Nothing was changed: the network is still at work on this device. Try again in a moment.")
            messages.warning(request, text)
            return redirect("devices:device", device_id=device.pk)
        messages.success(request, _("%(name)s is being deleted.") % {"name": device.name})
        return redirect("devices:list")
    network = connectivity.of(device)
    context = question(device) | {
        "form": form,
        "flows": Flow.objects.filter(device_links__device=device).order_by("name"),
        "reading": network.identifier_for_reading(device.identifier),
        "registered": network.has_network_info(device),
    }
    return page(request, "devices/delete.html", context, status=422 if form.errors else 200)
