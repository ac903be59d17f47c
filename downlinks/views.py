"""The Send instruction tab (S1, S2, S3): its forms, the status table, cancelling."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from common.htmx import page, wants_partial
from common.states import StateConflict
from devices.access import device_view
from devices.capabilities import NotAllowedForType
from devices.models import Connection, Device, Processing
from devices.views import detail

from . import reading, services
from .errors import InstructionRefused
from .forms import InstructionForm, forms_for

TEMPLATE = "downlinks/send.html"


@device_view("GET", "POST")
def send(request: PersonRequest, device: Device) -> HttpResponse:
    """The tab; a POST asks for an instruction in the form that ``encoder`` names. With ``show`` it tells what would be
    sent, and asks for nothing."""
    if request.method != "POST":
        return _tab(request, device, [form(device=device) for form in _offered(request, device)])
    asked = request.POST.get("encoder", "")
    kinds = forms_for(device)
    forms = [kind(request.POST if kind.encoder == asked else None, device=device) for kind in kinds]
    form = next((form for form in forms if form.is_bound), None)
    if form is None:
        messages.warning(request, _("This device takes no such instruction."))
        return redirect("downlinks:send", device_id=device.pk)
    if "show" in request.POST:
        return _looked(request, device, forms, form)
    if not form.is_valid() or not _requested(request, device, form):
        return _tab(request, device, forms, status=422)
    text = _("The instruction is in the queue.")
    if wants_partial(request):
        fresh = [kind(device=device) for kind in _offered(request, device)]
        return trigger_client_event(_tab(request, device, fresh), "toast", {"text": text, "tone": "ok"})
    messages.success(request, text)
    return redirect("downlinks:send", device_id=device.pk)


@device_view("GET")
def table(request: PersonRequest, device: Device) -> HttpResponse:
    """The status table alone, where it was; the whole tab for a browser without htmx."""
    if not wants_partial(request):
        return redirect("downlinks:send", device_id=device.pk)
    return render(request, f"{TEMPLATE}#downlink-table", _listed(request, device))


@device_view("POST")
def cancel(request: PersonRequest, device: Device) -> HttpResponse:
    """Cancel the pending instruction ``number``."""
    number = reading.parse_number(request.POST.get("number", ""))
    text, tone = _("The instruction is cancelled."), "ok"
    try:
        services.cancel(device=device, number=number or 0, actor=request.user)
    except StateConflict:
        text, tone = _("Nothing was cancelled: only a pending instruction can be."), "warn"
    if wants_partial(request):
        response = render(request, f"{TEMPLATE}#downlink-table", _listed(request, device))
        return trigger_client_event(response, "toast", {"text": text, "tone": tone})
    messages.add_message(request, messages.WARNING if tone == "warn" else messages.SUCCESS, text)
    return redirect("downlinks:send", device_id=device.pk)


def _looked(
    request: PersonRequest, device: Device, forms: list[InstructionForm], form: InstructionForm
) -> HttpResponse:
    """What would be sent, or what is wrong so far; alone for htmx."""
    valid = form.is_valid()
    if wants_partial(request):
        return render(request, f"{TEMPLATE}#{form.part}", {"form": form, "looked": form.part})
    return _tab(request, device, forms, looked=form.part, status=200 if valid else 422)


def _requested(request: PersonRequest, device: Device, form: InstructionForm) -> bool:
    """Ask for what the form holds; False with the errors beside its fields where the service refuses."""
    try:
        services.request(device=device, encoder=form.encoder, actor=request.user, **form.instruction())
    except InstructionRefused as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
    except NotAllowedForType as error:
        form.add_error(None, str(error))
    else:
        return True
    return False


def _offered(request: PersonRequest, device: Device) -> list[type[InstructionForm]]:
    """The forms of the page: none for people who may not send, or while the device takes no instructions."""
    return forms_for(device) if request.can_change and device.processing_status == Processing.ACTIVE else []


def _tab(
    request: PersonRequest, device: Device, forms: list[InstructionForm], *, looked: str = "", status: int = 200
) -> HttpResponse:
    context = detail.frame(device, request, active="send") | _listed(request, device)
    context |= {"forms": forms, "takes_instructions": bool(forms_for(device)), "looked": looked}
    return page(request, TEMPLATE, context, partial="send-tab", status=status)


def _listed(request: PersonRequest, device: Device) -> dict[str, Any]:
    before = reading.parse_number(request.POST.get("before", "") or request.GET.get("before", ""))
    return {
        "device": device,
        "can_change": request.can_change,
        "found": reading.page_of(device.pk, before),
        "in_no_flow": device.processing_status == Processing.NOT_LINKED,
        "deactivated": device.processing_status == Processing.DEACTIVATED,
        "off_network": device.connection_status != Connection.ACTIVE,
    }
