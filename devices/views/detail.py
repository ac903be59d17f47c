"""The detail page's frame (D6): cards and tabs around every tab, the cards alone for live updates, the Device tab."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from accounts.models import AuditEntry, Role
from codec import decoders
from common.htmx import page, wants_partial
from common.states import StateConflict
from devices import capabilities, codecs, connectivity, deletion, flow_problems, services, tabs, timeline
from devices.access import device_view
from devices.capabilities import Capability, NotAllowedForType
from devices.forms import DeviceForm
from devices.models import Connection, Device, Encoder, NetworkTask

ENTRIES_PER_PAGE = 20
DECODERS = {"senml": "SenML", **decoders.LABELS}
ENCODERS = dict(Encoder.choices)

# What is under way, as the connectivity card says it beside the status, which follows the network's answer.
UNDERWAY = {
    NetworkTask.Operation.REGISTER: lambda: _("Registering on the network"),
    NetworkTask.Operation.ACTIVATE: lambda: _("Activating"),
    NetworkTask.Operation.DEACTIVATE: lambda: _("Deactivating"),
    NetworkTask.Operation.DEREGISTER: lambda: _("Removing from the network"),
    NetworkTask.Operation.DELETE: lambda: _("Being deleted"),
}


def frame(device: Device, request: HttpRequest, *, active: str) -> dict[str, Any]:
    """What ``devices/_detail.html`` needs, for every app that brings a tab. ``active``: the tab's slug.

    Keys: device, tabs, active, nav, connectivity, card, network_task, underway, has_network_info, flows,
    codec_problem, may_switch, may_register, may_delete, being_deleted, can_change (the person's role in the device's
    Project).
    """
    return {"tabs": tabs.links(device, active), "nav": "devices"} | cards_context(device, request, active=active)


def question(device: Device, *, active: str = "") -> dict[str, Any]:
    """What a page beside the tabs needs: a question, a step of the wizard. ``active``: where to go back to."""
    return {"device": device, "nav": "devices", "active": active, "connectivity": connectivity.of(device)}


def cards_context(device: Device, request: HttpRequest, *, active: str) -> dict[str, Any]:
    """What the two cards show, and which of their controls this person has for this kind of device."""
    can_change = bool(getattr(request, "can_change", False))
    network = connectivity.of(device)
    task: NetworkTask | None = getattr(device, "network_task", None)
    problem = codecs.problem_of(device)
    waits = device.connection_status in {Connection.INVENTORY, Connection.FAILED}
    return {
        "device": device,
        "active": active,
        "connectivity": network,
        "card": network.card(device),
        "connectivity_url": tabs.url(device, network.slug),
        "network_task": task,
        "underway": UNDERWAY[NetworkTask.Operation(task.operation)]() if task else "",
        "has_network_info": waits and network.has_network_info(device),
        "flows": flow_problems.of_device(device),
        "codec_problem": problem,
        "can_change": can_change,
        "may_switch": can_change and capabilities.has(device, Capability.SWITCH),
        "being_deleted": deletion.is_under_way(device),
        "may_delete": can_change and capabilities.has(device, Capability.ADD_REMOVE),
        "may_register": can_change and capabilities.has(device, Capability.SECRETS),
    }


@device_view("GET")
def detail(request: PersonRequest, device: Device) -> HttpResponse:
    """The address of the device itself: its twin once it is in a Flow, before that the Device tab (which can
    always say something)."""
    return redirect((tabs.url(device, "twin") if device.flow_count else "") or tabs.url(device, "device"))


@device_view("GET")
def cards(request: PersonRequest, device: Device) -> HttpResponse:
    """The two cards alone, read again when something about them changed; the whole page for a browser without htmx."""
    active = request.GET.get("tab", "")
    if not wants_partial(request):
        return back(device, active)
    return render(request, "devices/_cards.html", cards_context(device, request, active=active))


@device_view("GET", "POST")
def device_tab(request: PersonRequest, device: Device) -> HttpResponse:
    """The Device tab (D10): values, type facts, what was done; a POST edits name, barcode and description."""
    may_edit = request.can_change and capabilities.has(device, Capability.EDIT)
    form = DeviceForm(request.POST if request.method == "POST" else None, device=device)
    if request.method == "POST" and form.is_valid():
        try:
            services.edit_device(device=device, actor=request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _("The device is saved."))
            return redirect("devices:device", device_id=device.pk)
    entries = Paginator(AuditEntry.objects.filter(device_id=device.pk).order_by("-at", "-pk"), ENTRIES_PER_PAGE)
    entries_page = entries.get_page(request.GET.get("page"))
    return page(
        request,
        "devices/device.html",
        frame(device, request, active="device")
        | {
            "form": form,
            "may_edit": may_edit,
            "entries": [timeline.entry(row) for row in entries_page.object_list],
            "entries_page": entries_page,
            "category": device.type.get_category_display(),
            "decoder_labels": [
                DECODERS.get(slug, slug.capitalize())
                for slug in [*([decoders.CODEC] if device.type.codec_id else []), *device.type.decoders]
            ],
            "encoder_labels": [ENCODERS.get(slug, slug) for slug in device.type.encoders],
        },
        status=422 if form.errors else 200,
    )


@device_view("GET", "POST", see=Role.OPERATOR)
def deactivate(request: PersonRequest, device: Device) -> HttpResponse:
    """Asks first, with what it means beside deleting (D9); the same question as the dialog on the page."""
    if request.method != "POST":
        return page(request, "devices/deactivate.html", question(device, active=request.GET.get("tab", "")))
    try:
        services.deactivate(device=device, actor=request.user)
    except (StateConflict, NotAllowedForType) as error:
        return changed(request, device, conflict(error), tone="warn")
    return changed(request, device, _("%(name)s is deactivated.") % {"name": device.name})


@device_view("POST")
def activate(request: PersonRequest, device: Device) -> HttpResponse:
    try:
        services.activate(device=device, actor=request.user)
    except (StateConflict, NotAllowedForType) as error:
        return changed(request, device, conflict(error), tone="warn")
    return changed(request, device, _("%(name)s is active again.") % {"name": device.name})


def conflict(error: Exception) -> str:
    """The sentence for a change that came too late or makes no sense now."""
    if isinstance(error, StateConflict):
        return _("Nothing was changed: the device is in another state by now.")
    return str(error)


def back(device: Device, slug: str) -> HttpResponse:
    """To the tab ``slug``; where the device has no such tab, to the device."""
    return HttpResponseRedirect(tabs.url(device, slug) or reverse("devices:detail", kwargs={"device_id": device.pk}))


def changed(request: PersonRequest, device: Device, text: str, *, tone: str = "ok") -> HttpResponse:
    """After a change from the cards: the cards again (htmx), or the tab that the person was on with a message."""
    active = request.POST.get("tab", "")
    if wants_partial(request):
        fresh = Device.objects.select_related("type", "project", "state", "network_task").get(pk=device.pk)
        response = render(request, "devices/_cards.html", cards_context(fresh, request, active=active))
        return trigger_client_event(response, "toast", {"text": text, "tone": tone})
    messages.add_message(request, messages.WARNING if tone == "warn" else messages.SUCCESS, text)
    return back(device, active)
