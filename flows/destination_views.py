"""The destinations of a person's Projects: list, page with what was delivered, add, edit, test, send again (F5)."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.csrf import csrf_exempt

from accounts.access import PersonRequest, in_projects, public
from accounts.models import Role
from common.forms import TypedNameForm
from common.htmx import page

from . import deliveries
from . import destination_inbox as inbox
from . import destination_services as services
from .access import destination_view, flow_view
from .deliveries import CIRCUIT
from .destination_forms import DestinationForm
from .errors import FlowGone
from .models import DeliveryState, Destination, Flow, Kind
from .views import gone

PAGE_SIZE = 50
STATES = {"waiting": DeliveryState.WAITING, "delivered": DeliveryState.DELIVERED, "dead": DeliveryState.DEAD}


@in_projects()
def destination_list(request: PersonRequest) -> HttpResponse:
    rows = Destination.objects.defer("secrets").select_related("project").annotate(used=Count("flow_links"))
    found = Paginator(rows.order_by("name", "pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "nav": "flows",
        "found": found,
        "circuit": CIRCUIT,
        "may_add": bool(request.person.projects_with(Role.OPERATOR)),
    }
    return page(request, "flows/destinations.html", context)


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def add(request: PersonRequest) -> HttpResponse:
    """Which kind is asked first; a shared secret that the portal makes is shown once, in the answer."""
    kind = request.GET.get("kind", "")
    if kind not in Kind.values:
        return page(request, "flows/destination_kinds.html", {"nav": "flows", "kinds": Kind.choices})
    data = request.POST if request.method == "POST" else None
    form = DestinationForm(data, kind=Kind(kind), projects=request.person.projects_with(Role.OPERATOR))
    if request.method == "POST" and form.is_valid():
        secrets, key = form.secrets(), inbox.new_key() if kind == Kind.TEST else ""
        facts: dict[str, Any] = {"kind": Kind(kind), "facts": form.facts(), "secrets": secrets, "key": key}
        try:
            made = services.create(project=form.project, actor=request.user, **facts)
        except ValidationError as error:
            form.add_error("name", error.messages)
        else:
            told = bool(form.cleaned_data.get("shared_secret"))
            return _made(request, made, _shown(request, secrets, key) if kind != Kind.MQTT and not told else {})
    context = {"nav": "flows", "form": form, "kind": Kind(kind).label}
    return page(request, "flows/destination_edit.html", context, status=422 if form.errors else 200)


def _shown(request: PersonRequest, secrets: dict[str, Any], key: str = "") -> dict[str, str]:
    """What is shown this once."""
    address = {_("Address"): request.build_absolute_uri(reverse("flows:arrive", args=[key]))} if key else {}
    return address | {_("Shared secret"): str(secrets.get("shared_secret", ""))}


def _made(request: PersonRequest, made: Destination, shown: dict[str, str]) -> HttpResponse:
    if not shown:
        messages.success(request, _("The destination is made. Link it on the pages of the Flows that it is for."))
        return redirect("flows:destination", destination_id=made.pk)
    return page(request, "flows/destination_made.html", {"nav": "flows", "destination": made, "secrets": shown})


@destination_view("GET")
def show(request: PersonRequest, destination: Destination) -> HttpResponse:
    now, state = timezone.now(), request.GET.get("state", "")
    if destination.kind == Kind.TEST:
        return _endpoint(request, destination, now)
    context = {
        "nav": "flows",
        "destination": destination,
        "now": now,
        "open": destination.open_until is not None and destination.open_until > now,
        "circuit": CIRCUIT,
        "flows": destination.flows.order_by("name", "pk"),
        "counts": deliveries.counts(destination.pk, now),
        "rows": deliveries.newest(destination, now, state=STATES.get(state)),
        "state": state if state in STATES else "",
        "states": [("", _("All")), *((key, each.label) for key, each in STATES.items())],
        "can_change": request.can_change,
    }
    return page(request, "flows/destination.html", context, partial="destination-deliveries")


def _endpoint(request: PersonRequest, destination: Destination, now: datetime) -> HttpResponse:
    context = {
        "nav": "flows",
        "destination": destination,
        "circuit": CIRCUIT,
        "flows": destination.flows.order_by("name", "pk"),
        "arrived": inbox.newest(destination, now),
        "waiting": deliveries.counts(destination.pk, now)[DeliveryState.WAITING],
        "can_change": request.can_change,
    }
    return page(request, "flows/destination.html", context, partial="destination-arrived")


@destination_view("GET", "POST", see=Role.OPERATOR)
def edit(request: PersonRequest, destination: Destination) -> HttpResponse:
    data, kind = request.POST if request.method == "POST" else None, Kind(destination.kind)
    form = DestinationForm(data, kind=kind, destination=destination)
    if request.method == "POST" and form.is_valid():
        try:
            services.edit(destination=destination, facts=form.facts(), secrets=form.secrets(), actor=request.user)
        except ValidationError as error:
            form.add_error("name", error.messages)
        else:
            messages.success(request, _("The destination is saved."))
            return redirect("flows:destination", destination_id=destination.pk)
    context = {"nav": "flows", "form": form, "kind": kind.label, "destination": destination}
    return page(request, "flows/destination_edit.html", context, status=422 if form.errors else 200)


@destination_view("POST", see=Role.OPERATOR)
def new_address(request: PersonRequest, destination: Destination) -> HttpResponse:
    """Another address of a test endpoint, shown this once with its shared secret; the old one leads nowhere."""
    if destination.kind != Kind.TEST:
        messages.info(request, _("Only a test endpoint has an address in the portal."))
        return redirect("flows:destination", destination_id=destination.pk)
    key = services.new_address(endpoint=destination, actor=request.user)
    return _made(request, destination, _shown(request, destination.get_secrets(), key))


@csrf_exempt
@public("receivers have no account: whoever knows the unguessable address may post to it", methods=("POST",))
def arrive(request: HttpRequest, key: str) -> HttpResponse:
    """Take what arrives at a test endpoint, for its page."""
    endpoint = inbox.find(key)
    if endpoint is None:
        raise Http404
    length = request.headers.get("Content-Length", "")
    if not length.isdecimal() or len(length) > 9 or int(length) > inbox.MOST_BYTES:
        return HttpResponse(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    headers = sorted(request.headers.items())
    inbox.keep(endpoint, [inbox.Arrived(timezone.now(), headers, request.body)])
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


@destination_view("GET", "POST", see=Role.OPERATOR)
def delete(request: PersonRequest, destination: Destination) -> HttpResponse:
    """After the name was typed: secrets and what waits are lost."""
    form = TypedNameForm(request.POST if request.method == "POST" else None, name=destination.name)
    if request.method == "POST" and form.is_valid():
        services.delete(destination=destination, actor=request.user)
        messages.success(request, _("The destination %s is deleted.") % destination.name)
        return redirect("flows:destinations")
    context = {
        "nav": "flows",
        "destination": destination,
        "form": form,
        "flows": destination.flows.order_by("name", "pk"),
    }
    return page(request, "flows/destination_delete.html", context, status=422 if form.errors else 200)


@destination_view("POST", see=Role.OPERATOR)
@transaction.atomic
def test(request: PersonRequest, destination: Destination) -> HttpResponse:
    if destination.enabled:
        deliveries.test(destination, timezone.now())
        deliveries.try_now(destination.pk, timezone.now())
        messages.success(request, _("A test message is on its way: its outcome stands below in a moment."))
    else:
        messages.warning(request, _("The destination is disabled: enable it first."))
    return redirect("flows:destination", destination_id=destination.pk)


@destination_view("POST", see=Role.OPERATOR)
@transaction.atomic
def again(request: PersonRequest, destination: Destination) -> HttpResponse:
    """What was given up is sent again: the one that ``delivery`` names, or all."""
    chosen = None
    if named := request.POST.get("delivery", ""):
        chosen = deliveries.named(0, "", 0)
        device, _sep, rest = named.partition(" ")
        moment, _sep, seq = rest.partition(" ")
        if device.isdecimal() and seq.isdecimal() and len(device) < 19 and len(seq) < 11:
            chosen = deliveries.named(int(device), moment, int(seq))
    count = deliveries.again(destination, timezone.now(), chosen=chosen)
    told = ngettext("%d message is sent again.", "%d messages are sent again.", count) % count
    messages.success(request, told) if count else messages.info(request, _("Nothing was there to send again."))
    return redirect("flows:destination", destination_id=destination.pk)


@flow_view("POST", see=Role.OPERATOR)
def link(request: PersonRequest, flow: Flow) -> HttpResponse:
    named = request.POST.get("destination", "")
    rows = Destination.objects.filter(project=flow.project_id)
    found = rows.filter(pk=int(named)).first() if named.isdecimal() and len(named) < 19 else None
    if found is None:
        messages.warning(request, _("Choose a destination."))
        return redirect("flows:flow", flow_id=flow.pk)
    try:
        if services.link(flow=flow, destination=found, actor=request.user):
            messages.success(request, _("New data of this Flow goes to %s.") % found.name)
    except FlowGone:
        return gone(request)
    return redirect("flows:flow", flow_id=flow.pk)


@flow_view("POST", see=Role.OPERATOR)
def unlink(request: PersonRequest, flow: Flow) -> HttpResponse:
    named = request.POST.get("destination", "")
    found = flow.destinations.filter(pk=int(named)).first() if named.isdecimal() and len(named) < 19 else None
    if found is not None and services.unlink(flow=flow, destination=found, actor=request.user):
        messages.success(request, _("New data of this Flow does not go to %s any more.") % found.name)
    return redirect("flows:flow", flow_id=flow.pk)
