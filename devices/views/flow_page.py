"""The page of a Flow (F4): what it is, its warnings, destinations, devices, and the last messages through it; its
devices linked and unlinked from there, the Flow enabled, disabled and deleted. It stands here, above the Flows, for
what it says of devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_htmx.http import HttpResponseClientRedirect

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.forms import TypedNameForm
from common.htmx import page, wants_partial
from devices import flow_checks, flow_deletion, flow_devices, flow_messages, flow_problems
from devices.errors import DeviceError
from devices.flow_devices import SORTED_BY_NAME
from devices.models import FlowLink
from flows import problems
from flows.access import flow_view
from flows.deliveries import CIRCUIT
from flows.errors import FlowGone
from flows.forms import decoder_label
from flows.models import Destination, Flow
from flows.services import set_enabled
from flows.views import gone

# Destinations that are offered to choose from.
MOST_LINKABLE = 200
# More devices are not chosen on one page.
MOST_CHOSEN = 1000


@flow_view("GET")
def flow_page(request: PersonRequest, flow: Flow) -> HttpResponse:
    """``q`` searches among its devices. While it is being deleted, only how far that is."""
    if flow.deletion_asked_at is not None:
        return page(request, "flows/deletion.html", _deletion(flow))
    query = _query(request)
    projects = [project.pk for project in request.person.projects]
    devices = flow_devices.in_flow(flow, projects, query, _number(request))
    context = {
        "nav": "flows",
        "flow": flow,
        "query": query,
        "devices": devices,
        **_pager(query, devices.number, more=devices.more),
        "can_change": request.can_change,
        "changeable": _changeable(request) if request.can_change else set(),
    }
    if not wants_partial(request):
        context |= _around(flow, projects, devices.total, can_change=request.can_change)
        context |= {"through": flow_messages.newest(flow, projects, timezone.now(), devices=devices.total)}
    return page(request, "flows/flow.html", context, partial="flow-devices")


def _around(flow: Flow, projects: list[int], total: int, *, can_change: bool) -> dict[str, Any]:
    """What the page says beside the devices."""
    found = problems.told(Flow.objects.filter(pk=flow.pk))
    if not found:
        raise Http404
    told = found[0]
    if total <= SORTED_BY_NAME:
        # So few are counted at once; of more, the number is as it was counted last.
        told.unfit = flow_checks.unfit(told)
    return {
        "decoder": decoder_label(flow.decoder),
        # Codecs in trouble have a list of their own.
        "problems": problems.of(told, only=problems.BY_SLUG.keys() - {"codec"}),
        "troubled": flow_problems.troubled(flow, projects),
        "remedy": problems.BY_SLUG["codec"].remedy,
        "destinations": list(flow.destinations.defer("secrets").order_by("name", "pk")),
        "linkable": _linkable(flow) if can_change else [],
        "circuit": CIRCUIT,
    }


def _linkable(flow: Flow) -> list[Destination]:
    rows = Destination.objects.filter(project=flow.project_id).exclude(flow_links__flow=flow).only("pk", "name")
    return list(rows.order_by("name", "pk")[:MOST_LINKABLE])


def _query(request: PersonRequest) -> str:
    return request.GET.get("q", "").replace("\x00", "").strip()[:100]


def _number(request: PersonRequest) -> int:
    text = request.GET.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 6 else 1


def _pager(query: str, number: int, *, more: bool) -> dict[str, str]:
    """What _pager.html needs."""

    def address(of: int) -> str:
        return "?" + urlencode(({"q": query} if query else {}) | {"page": str(of)})

    return {
        "summary": _("Page %(number)d") % {"number": number},
        "previous_url": address(number - 1) if number > 1 else "",
        "next_url": address(number + 1) if more else "",
    }


def _changeable(request: PersonRequest) -> set[int]:
    return {project.pk for project in request.person.projects_with(Role.OPERATOR)}


@flow_view("GET")
def messages_through(request: PersonRequest, flow: Flow) -> HttpResponse:
    """The last messages alone, read again every few seconds; the page for a browser without htmx."""
    if not wants_partial(request):
        return redirect("flows:flow", flow_id=flow.pk)
    projects = [project.pk for project in request.person.projects]
    total = FlowLink.objects.filter(flow=flow)[: SORTED_BY_NAME + 1].count()
    through = flow_messages.newest(flow, projects, timezone.now(), devices=total)
    return page(request, "flows/flow.html", {"flow": flow, "through": through}, partial="flow-messages")


# --- its devices ---


@flow_view("GET", "POST", see=Role.OPERATOR)
def link_devices(request: PersonRequest, flow: Flow) -> HttpResponse:
    """Devices of the Flow's Project that are not in it: searched, chosen, linked. ``q`` and ``page`` as in the list."""
    if flow.deletion_asked_at is not None:
        return gone(request)
    if request.method == "POST":
        return _link(request, flow)
    query = _query(request)
    number = _number(request)
    rows, more = flow_devices.linkable(flow, query, number)
    context = {"nav": "flows", "flow": flow, "query": query, "rows": rows, **_pager(query, number, more=more)}
    return page(request, "flows/link_devices.html", context, partial="linkable-devices")


def _link(request: PersonRequest, flow: Flow) -> HttpResponse:
    ids = _ids(request.POST.getlist("device"))
    if not ids:
        messages.warning(request, _("Choose devices first."))
        return redirect("flows:link_devices", flow_id=flow.pk)
    try:
        count = flow_devices.link(flow=flow, ids=ids, actor=request.user)
    except DeviceError:
        return gone(request)
    text = ngettext("%(count)d device is linked.", "%(count)d devices are linked.", count) % {"count": count}
    messages.success(request, text) if count else messages.info(request, _("They were in this Flow already."))
    return redirect("flows:flow", flow_id=flow.pk)


@flow_view("POST")
def unlink_devices(request: PersonRequest, flow: Flow) -> HttpResponse:
    """The first POST asks, with what it means; ``confirmed`` does it. ``one``: the row whose button was pressed,
    whatever else is chosen."""
    named = request.POST.getlist("one") or request.POST.getlist("device")
    chosen = flow_devices.chosen(flow, _ids(named), list(_changeable(request)))
    if not chosen.ids:
        messages.warning(request, _("Choose devices that are in this Flow, of Projects in which you are an operator."))
        return redirect("flows:flow", flow_id=flow.pk)
    if "confirmed" not in request.POST:
        return page(request, "flows/unlink_devices.html", {"nav": "flows", "flow": flow, "chosen": chosen})
    projects = list(_changeable(request))
    count = flow_devices.unlink(flow=flow, ids=chosen.ids, projects=projects, actor=request.user)
    text = ngettext("%(count)d device is out of this Flow.", "%(count)d devices are out of this Flow.", count)
    messages.success(request, text % {"count": count})
    return redirect("flows:flow", flow_id=flow.pk)


def _ids(texts: Iterable[str]) -> list[int]:
    found = [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 19]
    return sorted(set(found))[:MOST_CHOSEN]


# --- whether it processes ---


@flow_view("POST")
def enable(request: PersonRequest, flow: Flow) -> HttpResponse:
    return _set_enabled(request, flow, enabled=True, told=_("The Flow is enabled: new data is processed."))


@flow_view("GET", "POST", see=Role.OPERATOR)
def disable(request: PersonRequest, flow: Flow) -> HttpResponse:
    """GET asks first, and says what it means for the devices."""
    if request.method == "POST":
        return _set_enabled(request, flow, enabled=False, told=_("The Flow is disabled."))
    if flow.deletion_asked_at is not None:
        return gone(request)
    only_here, elsewhere = flow_devices.processed(flow)
    destinations = list(flow.destinations.only("pk", "name").order_by("name", "pk"))
    context = {"nav": "flows", "flow": flow, "only_here": only_here, "elsewhere": elsewhere}
    return page(request, "flows/disable.html", context | {"destinations": destinations})


def _set_enabled(request: PersonRequest, flow: Flow, *, enabled: bool, told: str) -> HttpResponse:
    try:
        set_enabled(flow=flow, enabled=enabled, actor=request.user)
    except FlowGone:
        return gone(request)
    messages.success(request, told)
    return redirect("flows:flow", flow_id=flow.pk)


# --- its end ---


@flow_view("GET", "POST", see=Role.OPERATOR)
def delete(request: PersonRequest, flow: Flow) -> HttpResponse:
    """After the name was typed. A large Flow is deleted by workers; its page shows how far they are."""
    if flow.deletion_asked_at is not None:
        return redirect("flows:flow", flow_id=flow.pk)
    form = TypedNameForm(request.POST if request.method == "POST" else None, name=flow.name)
    if request.method == "POST" and form.is_valid():
        if flow_deletion.delete(flow=flow, actor=request.user):
            messages.success(request, _("The Flow %(name)s is deleted.") % {"name": flow.name})
            return redirect("flows:list")
        return redirect("flows:flow", flow_id=flow.pk)
    context = {"nav": "flows", "flow": flow, "form": form, "meaning": flow_deletion.meaning(flow)}
    return page(request, "flows/delete.html", context, status=422 if form.errors else 200)


@in_projects()
def deletion(request: PersonRequest, flow_id: int) -> HttpResponse:
    """How far the deletion of a Flow is, asked again and again: no longer there means that it is done. Of a Flow that
    never was, or of others, it says the same."""
    flow = Flow.objects.select_related("project").filter(pk=flow_id).first()
    if flow is None:
        messages.success(request, _("The Flow is deleted."))
        url = reverse("flows:list")
        return HttpResponseClientRedirect(url) if wants_partial(request) else redirect(url)
    if flow.deletion_asked_at is None or not wants_partial(request):
        return redirect("flows:flow", flow_id=flow.pk)
    return page(request, "flows/deletion.html", _deletion(flow), partial="flow-deletion")


def _deletion(flow: Flow) -> dict[str, Any]:
    left = FlowLink.objects.filter(flow=flow).count()
    total = max(flow.deletion_devices, left)
    return {"nav": "flows", "flow": flow, "total": total, "done": total - left}
