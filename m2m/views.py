"""The M2M tab with its actions (M2, M3), and the page of all SIM cards (M4)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page, wants_partial
from common.states import StateConflict
from devices.access import device_view
from devices.capabilities import Capability, NotAllowedForType, has
from devices.errors import DeviceError
from devices.messages import last as last_messages
from devices.models import Device
from devices.views import detail
from devices.views import secret as new_secret

from . import services
from .models import M2mIdentity, SimCard
from .numbers import only_digits

SIMS_PER_PAGE = 50
SIMS_TO_CHOOSE = 500


class SimForm(forms.Form):
    """A free SIM of the device's Project."""

    sim = forms.ChoiceField(
        label=gettext_lazy("SIM card"), help_text=gettext_lazy("The free SIM cards of the Project.")
    )

    def __init__(self, *args: Any, device: Device, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        free = SimCard.objects.filter(project=device.project_id, device=None).order_by("iccid")[:SIMS_TO_CHOOSE]
        choices = [("", str(_("Choose a SIM card")))]
        choices += [(str(sim.pk), f"{sim.iccid}  {sim.rate_plan}".strip()) for sim in free]
        self.fields["sim"].choices = choices  # type: ignore[attr-defined]

    @property
    def nothing_free(self) -> bool:
        return len(self.fields["sim"].choices) == 1  # type: ignore[attr-defined]


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    if wants_partial(request):
        context: dict[str, Any] = {"device": device, "messages_received": last_messages(device)}
    else:
        context = _tab(request, device) | {"messages_received": last_messages(device)}
    return page(request, "m2m/tab.html", context, partial="m2m-messages")


@device_view("GET", "POST", see=Role.OPERATOR)
def secret(request: PersonRequest, device: Device) -> HttpResponse:
    return new_secret.replaced(request, device, _tab(request, device), new_secret=services.new_secret, back="m2m:tab")


@device_view("GET", "POST", see=Role.OPERATOR)
def sim(request: PersonRequest, device: Device) -> HttpResponse:
    """Switch the SIM card, or link one where there is none."""
    form = SimForm(request.POST if request.method == "POST" else None, device=device)
    if form.is_valid():
        try:
            chosen = services.switch_sim(device=device, sim_id=int(form.cleaned_data["sim"]), actor=request.user)
        except (DeviceError, NotAllowedForType) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("SIM card %(iccid)s is linked.") % {"iccid": chosen.iccid})
            return redirect("m2m:tab", device_id=device.pk)
    return page(request, "m2m/sim.html", _tab(request, device) | {"form": form}, status=422 if form.errors else 200)


@device_view("GET", "POST", see=Role.OPERATOR)
def unlink(request: PersonRequest, device: Device) -> HttpResponse:
    if request.method != "POST":
        return page(request, "m2m/unlink.html", _tab(request, device))
    try:
        services.unlink_sim(device=device, actor=request.user)
    except (DeviceError, NotAllowedForType) as error:
        messages.error(request, str(error))
    except StateConflict:
        messages.error(request, _("The network is still at work on this device. Try again in a moment."))
    else:
        messages.success(request, _("The SIM card is unlinked and free for another device."))
    return redirect("m2m:tab", device_id=device.pk)


@in_projects()
def sims(request: PersonRequest) -> HttpResponse:
    """All SIM cards of the person's Projects."""
    query = request.GET.get("q", "").strip()
    found = Paginator(_found(query), SIMS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "nav": "sims",
        "query": query,
        "sims": found.object_list,
        "total": found.paginator.count,
        "summary": _("%(first)d–%(last)d of %(total)d SIM cards")
        % {"first": found.start_index(), "last": found.end_index(), "total": found.paginator.count},
        "previous_url": _page_url(request, found.previous_page_number()) if found.has_previous() else "",
        "next_url": _page_url(request, found.next_page_number()) if found.has_next() else "",
        "several_projects": len(request.person.projects) > 1,
    }
    return page(request, "m2m/sims.html", context, partial="sim-list")


def _found(query: str) -> QuerySet[SimCard, Any]:
    """SIM cards whose ICCID or MSISDN has the digits in it, or whose device has the words in its name."""
    rows = SimCard.objects.order_by("iccid")
    if query:
        wanted = Q(device__name__icontains=query) | Q(rate_plan__icontains=query)
        digits = only_digits(query).lstrip("+")
        if digits.isdigit():
            wanted |= Q(iccid__contains=digits) | Q(msisdn__contains=digits)
        rows = rows.filter(wanted)
    return rows.values(
        "iccid", "msisdn", "status", "rate_plan", "early_access", "activated_at", "device_id", "device__name",
        "project__name",
    )  # fmt: skip


def _page_url(request: HttpRequest, number: int) -> str:
    query = request.GET.copy()
    query["page"] = str(number)
    return f"?{query.urlencode()}"


def _tab(request: PersonRequest, device: Device) -> dict[str, Any]:
    return detail.frame(device, request, active="m2m") | {
        "identity": M2mIdentity.objects.filter(device=device).values("imei", "secret_at").first(),
        "sim": SimCard.objects.filter(device=device).first(),
        "may_manage": request.can_change and has(device, Capability.SECRETS),
    }
