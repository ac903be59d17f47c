"""The Send instruction tab (S1, S2, S3): its forms, the status table, one instruction, cancelling, sending again."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms import UUIDField
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page, wants_partial
from common.states import StateConflict
from devices.access import device_view
from devices.capabilities import NotAllowedForType
from devices.models import Device, Processing
from devices.views import detail

from . import reading, services
from .errors import InstructionRefused
from .forms import InstructionForm, forms_for

TEMPLATE = "downlinks/send.html"
INSTRUCTION = "downlinks/instruction.html"
QUESTION = "downlinks/question.html"


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


@device_view("GET")
def instruction(request: PersonRequest, device: Device, number: int) -> HttpResponse:
    """One instruction with all that is known of it, at an address that can be sent to others."""
    row = _row(device, number)
    context = _may(request, device) | {
        "device": device,
        "row": row,
        "frames": reading.frames_of(device, row) if row.lora else [],
        "address": request.build_absolute_uri(),
    }
    if wants_partial(request):
        return render(request, f"{INSTRUCTION}#instruction", context)
    return page(request, INSTRUCTION, detail.frame(device, request, active="send") | context)


@device_view("GET", "POST", see=Role.OPERATOR)
def cancel(request: PersonRequest, device: Device) -> HttpResponse:
    """Cancel the pending instruction ``number``; GET asks first."""
    if request.method != "POST":
        row = _row(device, reading.parse_number(request.GET.get("number", "")))
        return _question(request, device, "cancel", {"row": row, "before": request.GET.get("before", "")})
    number = reading.parse_number(request.POST.get("number", ""))
    try:
        services.cancel(device=device, number=number or 0, actor=request.user)
    except StateConflict:
        return _changed(request, device, _("Nothing was cancelled: only a pending instruction can be."), "warn")
    return _changed(request, device, _("The instruction is cancelled."))


@device_view("GET", "POST", see=Role.OPERATOR)
def cancel_all(request: PersonRequest, device: Device) -> HttpResponse:
    """Cancel all that are pending; GET asks first and says how many."""
    if request.method != "POST":
        count = reading.count_pending(device)
        return _question(request, device, "cancel-all", {"count": count, "counted": reading.COUNTED})
    count = services.cancel_all(device=device, actor=request.user)
    if not count:
        return _changed(request, device, _("Nothing was cancelled: no instruction is pending."), "warn")
    text = ngettext("%d instruction is cancelled.", "%d instructions are cancelled.", count) % count
    return _changed(request, device, text)


@device_view("GET", "POST", see=Role.OPERATOR)
def again(request: PersonRequest, device: Device, number: int) -> HttpResponse:
    """Ask once more for what a finished instruction said; GET asks first and shows the content."""
    if request.method != "POST":
        return _question(request, device, "again", {"row": _row(device, number), "token": uuid.uuid4()})
    token = UUIDField(required=False)
    try:
        named = token.clean(request.POST.get("token", ""))
        made = services.send_again(device=device, number=number, actor=request.user, token=named)
    except (InstructionRefused, NotAllowedForType) as error:
        return _changed(request, device, str(error), "warn")
    except (StateConflict, ValidationError):
        return _changed(request, device, _("Nothing was sent: only a finished instruction can be sent again."), "warn")
    return _changed(request, device, _("It is in the queue again, as no. %d.") % made.number)


def _row(device: Device, number: int | None) -> reading.Row:
    row = reading.one(device, number) if number and number < 2**31 else None
    if row is None:
        raise Http404
    return row


def _question(request: PersonRequest, device: Device, asked: str, context: dict[str, Any]) -> HttpResponse:
    """A question before something is done: as a dialog on the tab, and as a page without script."""
    context = detail.question(device, active="send") | _may(request, device) | context | {"asked": asked}
    return page(request, QUESTION, context, partial="send-question")


def _changed(request: PersonRequest, device: Device, text: str, tone: str = "ok") -> HttpResponse:
    if wants_partial(request):
        response = render(request, f"{QUESTION}#send-changed", _listed(request, device))
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
    return _may(request, device) | {
        "device": device,
        "found": reading.page_of(device, before),
        "in_no_flow": device.processing_status == Processing.NOT_LINKED,
        "deactivated": device.processing_status == Processing.DEACTIVATED,
    }


def _may(request: PersonRequest, device: Device) -> dict[str, Any]:
    """What the person can do here. ``repeatable``: the forms whose instructions can be asked for once more."""
    return {
        "can_change": request.can_change,
        "repeatable": [str(form.encoder) for form in _offered(request, device)],
    }
