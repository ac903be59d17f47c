"""The M2M tab with its actions (M2, M3)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.access import PersonRequest
from accounts.models import Role, User
from common.htmx import page, wants_partial
from common.states import StateConflict
from devices.access import device_view
from devices.capabilities import Capability, NotAllowedForType, has
from devices.errors import DeviceError, IdentifierInUse
from devices.example import examples
from devices.models import Device
from devices.shared_secret import old_secret
from devices.views import detail
from devices.views import secret as new_secret
from devices.views.received import received

from . import services
from .forms import EARLY_ACCESS, ICCID_PROBLEMS, OwnNameForm
from .models import M2mIdentity, SimCard
from .numbers import iccid_problem, only_digits

INGESTION_PATH = "/ingestion/m2m/senml/v1"

SIMS_TO_CHOOSE = 500


class SimForm(forms.Form):
    """A free SIM of the device's Project, or an early access SIM whose ICCID is typed in."""

    sim = forms.ChoiceField(
        label=gettext_lazy("SIM card"), help_text=gettext_lazy("The free SIM cards of the Project.")
    )
    iccid = forms.CharField(
        label=gettext_lazy("ICCID of the early access SIM"),
        max_length=28,
        required=False,
        help_text=gettext_lazy("19 or 20 digits."),
    )

    def __init__(self, *args: Any, device: Device, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        free = SimCard.objects.filter(project=device.project_id, device=None).order_by("iccid")[:SIMS_TO_CHOOSE]
        choices = [("", str(_("Choose a SIM card")))]
        choices += [(str(sim.pk), f"{sim.iccid}  {sim.rate_plan}".strip()) for sim in free]
        choices.append((EARLY_ACCESS, str(_("Add early access SIM"))))
        self.fields["sim"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("sim") == EARLY_ACCESS and "iccid" not in self.errors:
            data["iccid"] = only_digits(data.get("iccid", ""))
            problem = iccid_problem(data["iccid"]) if data["iccid"] else "length"
            if problem:
                self.add_error("iccid", ICCID_PROBLEMS[problem])
        return data

    def link(self, device: Device, actor: User) -> SimCard:
        """Raises DeviceError, NotAllowedForType."""
        if self.cleaned_data["sim"] == EARLY_ACCESS:
            return services.switch_to_early_access(device=device, iccid=self.cleaned_data["iccid"], actor=actor)
        return services.switch_sim(device=device, sim_id=int(self.cleaned_data["sim"]), actor=actor)


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    context = {"device": device} | received(request, device, "m2m:tab")
    if not wants_partial(request):
        context |= _tab(request, device)
    return page(request, "m2m/tab.html", context, partial="m2m-messages")


@device_view("GET", "POST", see=Role.OPERATOR)
def secret(request: PersonRequest, device: Device) -> HttpResponse:
    return new_secret.replaced(request, device, _tab(request, device), new_secret=services.new_secret, back="m2m:tab")


@device_view("POST")
def revoke(request: PersonRequest, device: Device) -> HttpResponse:
    return new_secret.revoked(request, device, revoke=services.revoke_old_secret, back="m2m:tab")


@device_view("GET", "POST", see=Role.OPERATOR)
def own_name(request: PersonRequest, device: Device) -> HttpResponse:
    context = _tab(request, device)
    present = context["identity"].own_name if context["identity"] else ""
    form = OwnNameForm(request.POST if request.method == "POST" else None, initial={"own_name": present})
    if form.is_valid():
        try:
            services.set_own_name(device=device, name=form.cleaned_data["own_name"], actor=request.user)
        except IdentifierInUse as error:
            form.add_error("own_name", str(error))
        except (DeviceError, NotAllowedForType) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("The base name of the firmware is kept."))
            return redirect("m2m:tab", device_id=device.pk)
    return page(request, "m2m/own_name.html", context | {"form": form}, status=422 if form.errors else 200)


@device_view("GET", "POST", see=Role.OPERATOR)
def sim(request: PersonRequest, device: Device) -> HttpResponse:
    """Switch the SIM card, or link one where there is none."""
    form = SimForm(request.POST if request.method == "POST" else None, device=device)
    if form.is_valid():
        try:
            chosen = form.link(device, request.user)
        except (DeviceError, NotAllowedForType) as error:
            form.add_error("iccid" if isinstance(error, IdentifierInUse) else None, str(error))
        except StateConflict:
            form.add_error(None, _("The network is still at work on this device. Try again in a moment."))
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


def _tab(request: PersonRequest, device: Device) -> dict[str, Any]:
    identity = M2mIdentity.objects.filter(device=device).defer("secret", "old_secret").first()
    return detail.frame(device, request, active="m2m") | {
        "identity": identity,
        "old_secret": old_secret(identity, timezone.now()),
        "examples": examples(request, INGESTION_PATH, identity.base_name) if identity else [],
        "sim": SimCard.objects.filter(device=device).first(),
        "may_manage": request.can_change and has(device, Capability.SECRETS),
        "revoke_url": reverse("m2m:revoke", args=[device.pk]),
    }
