"""The SIM cards of a person's Projects (M4): the list, as a file and from a file, and the page of one card."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access import InProject, PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page
from common.states import StateConflict
from devices.capabilities import Capability, NotAllowedForType, has
from devices.errors import DeviceError
from devices.import_file import FileUnreadable
from devices.views.export import until_gone

from . import cards, services, sim_file
from .models import SimCard, SimStatus
from .sim_forms import DeviceForm, EarlyAccessForm, FileForm, SmsForm
from .sim_list import LINKED, Asked, plans

PER_PAGE = 50
PROBLEMS_SHOWN = 200


def _card(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    rows = SimCard.objects.select_related("project", "carrier", "device__type", "device__project")
    card = rows.filter(pk=kwargs["sim_id"]).first()
    if card is None:
        raise Http404
    return "sim", card


# A view of one SIM card; it receives ``sim`` in place of ``sim_id``.
sim_view = partial(in_projects, resolve=_card, names="SIM card")


@in_projects()
def sims(request: PersonRequest) -> HttpResponse:
    asked = Asked.parse(request.GET)
    found = Paginator(asked.cards(), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "nav": "sims",
        "asked": asked,
        "query": asked.query,
        "sims": found.object_list,
        "total": found.paginator.count,
        "summary": _("%(first)d–%(last)d of %(total)d SIM cards")
        % {"first": found.start_index(), "last": found.end_index(), "total": found.paginator.count},
        "previous_url": asked.address(page=str(found.previous_page_number())) if found.has_previous() else "",
        "next_url": asked.address(page=str(found.next_page_number())) if found.has_next() else "",
        "heads": asked.heads(),
        "statuses": SimStatus.choices,
        "links": LINKED.items(),
        "plans": plans(),
        "export_query": asked.address(),
        "several_projects": len(request.person.projects) > 1,
        "may_add": bool(request.person.projects_with(Role.OPERATOR)),
    }
    return page(request, "m2m/sims.html", context, partial="sim-list")


@in_projects()
def export(request: PersonRequest) -> HttpResponse:
    """What the list shows, all pages of it, as CSV."""
    chunks = until_gone(request, sim_file.stream(Asked.parse(request.GET).cards()))
    response = cast("HttpResponse", StreamingHttpResponse(chunks, content_type="text/csv; charset=utf-8"))
    response["Content-Disposition"] = f'attachment; filename="sim-cards-{timezone.now():%Y-%m-%d}.csv"'
    return response


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def take_in(request: PersonRequest) -> HttpResponse:
    """SIM cards from a file; the answer says what was done, or row by row why nothing was."""
    projects = request.person.projects_with(Role.OPERATOR)
    form = FileForm(*((request.POST, request.FILES) if request.method == "POST" else ()), projects=projects)
    report = None
    if request.method == "POST" and form.is_valid():
        content = form.cleaned_data["file"].read()
        try:
            report = sim_file.take_in(project=form.project, content=content, actor=request.user)
        except FileUnreadable as error:
            form.add_error("file", str(error))
    context = {
        "nav": "sims",
        "form": form,
        "report": report,
        "problems": report.problems[:PROBLEMS_SHOWN] if report else [],
        "more": max(len(report.problems) - PROBLEMS_SHOWN, 0) if report else 0,
    }
    refused = bool(form.errors) or bool(report and report.problems)
    return page(request, "m2m/sims_import.html", context, status=422 if refused else 200)


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def add(request: PersonRequest) -> HttpResponse:
    """An early access SIM card that is in no device yet."""
    data = request.POST if request.method == "POST" else None
    form = EarlyAccessForm(data, projects=request.person.projects_with(Role.OPERATOR))
    if request.method == "POST" and form.is_valid():
        values = {key: form.cleaned_data[key] for key in ("iccid", "msisdn")}
        try:
            card = services.add_sim(project=form.project, early_access=True, actor=request.user, **values)
        except DeviceError as error:
            form.add_error("iccid", str(error))
        else:
            messages.success(request, _("SIM card %(iccid)s is added.") % {"iccid": card.iccid})
            return redirect("m2m:sim_page", sim_id=card.pk)
    return page(request, "m2m/sims_add.html", {"nav": "sims", "form": form}, status=422 if form.errors else 200)


@sim_view()
def sim_page(request: PersonRequest, sim: SimCard) -> HttpResponse:
    return page(request, "m2m/sim_page.html", _page(request, sim))


@sim_view(Role.OPERATOR, methods=("GET", "POST"))
def link(request: PersonRequest, sim: SimCard) -> HttpResponse:
    """Put a free card into a device that has none."""
    form = DeviceForm(request.POST if request.method == "POST" else None, card=sim)
    if request.method == "POST" and form.is_valid():
        device = form.cleaned_data["device"]
        try:
            services.switch_sim(device=device, sim_id=sim.pk, actor=request.user)
        except (DeviceError, NotAllowedForType) as error:
            form.add_error(None, str(error))
        except StateConflict:
            form.add_error(None, _("The network is still at work on this device. Try again in a moment."))
        else:
            messages.success(request, _("SIM card %(iccid)s is linked.") % {"iccid": sim.iccid})
            return redirect("m2m:sim_page", sim_id=sim.pk)
    context = {"nav": "sims", "sim": sim, "form": form}
    return page(request, "m2m/sim_link.html", context, status=422 if form.errors else 200)


@sim_view(methods=("POST",))
def refresh(request: PersonRequest, sim: SimCard) -> HttpResponse:
    """Ask the carrier how the card is."""
    trouble = cards.refresh(sim)
    if trouble:
        messages.error(request, trouble)
    else:
        messages.success(request, _("The carrier has answered."))
    return redirect("m2m:sim_page", sim_id=sim.pk)


@sim_view(methods=("POST",))
def sms(request: PersonRequest, sim: SimCard) -> HttpResponse:
    form = SmsForm(request.POST)
    if form.is_valid():
        try:
            cards.send_sms(card=sim, text=form.cleaned_data["text"], actor=request.user)
        except DeviceError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("The carrier has taken the text message."))
            return redirect("m2m:sim_page", sim_id=sim.pk)
    return page(request, "m2m/sim_page.html", _page(request, sim) | {"sms_form": form}, status=422)


def _page(request: PersonRequest, sim: SimCard) -> dict[str, Any]:
    return {
        "nav": "sims",
        "sim": sim,
        "can_change": request.can_change,
        # T3: the SIM card of a managed device stays in it.
        "may_unlink": request.can_change and sim.device is not None and has(sim.device, Capability.SECRETS),
        "sms_form": SmsForm() if request.can_change and sim.status == SimStatus.ACTIVE else None,
    }
