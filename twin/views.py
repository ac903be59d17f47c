"""The Device Twin tab (W1, W2, W5), its metadata (W6), and clearing its measurements (W7)."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.capabilities import NotAllowedForType
from devices.models import Device
from devices.views import detail

from . import panels, reading, services
from .errors import ChangedMeanwhile, TwinRefused
from .forms import PropertyForm, SeenForm
from .panels import TEMPLATE

CLEAR = "twin/clear.html"


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    """``edit`` opens a property of the metadata, ``desire`` a control: the way without script."""
    return panels.whole(request, device, edit=request.GET.get("edit", ""), desire=request.GET.get("desire", ""))


@device_view("GET")
def values(request: PersonRequest, device: Device) -> HttpResponse:
    """The values alone, for the refresh button and for what arrives; the whole tab for a browser without htmx."""
    if not wants_partial(request):
        return redirect("twin:tab", device_id=device.pk)
    response = render(request, f"{TEMPLATE}#twin-values", panels.of_values(request, device, panels.read(device)))
    # The button asks for all values: the other parts hear it and read theirs again.
    by_hand = request.headers.get("HX-Trigger") == "twin-refresh"
    return trigger_client_event(response, "twin-refresh", {}) if by_hand else response


@device_view("GET", "POST", see=Role.OPERATOR)
def clear(request: PersonRequest, device: Device) -> HttpResponse:
    """Asks first and says what goes (W7): as a dialog on the tab, and as a page without script."""
    if request.method != "POST":
        asked = detail.question(device, active="twin") | panels.of_clearing(request, device, panels.read(device))
        return page(request, CLEAR, asked, partial="clear-dialog")
    try:
        gone = services.clear_reported(device=device, actor=request.user)
    except NotAllowedForType as error:
        text, tone = str(error), "warn"
    else:
        text, tone = ngettext("%d value is cleared.", "%d values are cleared.", gone) % gone, "ok"
    if not wants_partial(request):
        messages.add_message(request, messages.WARNING if tone == "warn" else messages.SUCCESS, text)
        return redirect("twin:tab", device_id=device.pk)
    response = render(request, f"{CLEAR}#cleared", panels.of_values(request, device, panels.read(device)))
    return trigger_client_event(response, "toast", {"text": text, "tone": tone})


@device_view("GET", "POST")
def metadata(request: PersonRequest, device: Device) -> HttpResponse:
    """The list of properties, that named by ``edit`` opened (``closed``: it was). A POST sets the property ``key`` to
    ``value``: with ``edit`` one whose value was shown, else a new one."""
    if request.method != "POST":
        if not wants_partial(request):
            return _back(device)
        edit, closed = request.GET.get("edit", ""), request.GET.get("closed", "")
        panel = panels.of_metadata(request, device, panels.read(device), edit=edit, focus=closed)
        return render(request, f"{TEMPLATE}#metadata-rows", panel)
    form = PropertyForm(request.POST, editing=request.POST.get("edit", ""))
    held = None
    if form.is_valid():
        key, text, seen = (form.cleaned_data[name] for name in ("key", "value", "seen"))
        try:
            services.edit_metadata(device=device, key=key, text=text, seen=seen, actor=request.user)
        except ChangedMeanwhile as conflict:
            # Shown where the property stands, with what it holds now: saved once more, this text replaces it.
            held = reading.property_of(key, conflict.held)
            form = PropertyForm(initial={"key": key, "value": text, "seen": held.seen}, editing=key)
        except NotAllowedForType as error:
            return _changed(request, device, str(error), tone="warn")
        except TwinRefused as error:
            form.add_error(None, str(error))
        else:
            return _changed(request, device, _("“%(key)s” is saved.") % {"key": key}, focus=form.editing)
    panel = panels.of_metadata(request, device, panels.read(device), form=form) | {"held": held}
    if wants_partial(request):
        return render(request, f"{TEMPLATE}#twin-metadata", panel, status=422)
    return panels.whole(request, device, panel, status=422)


@device_view("POST")
def remove(request: PersonRequest, device: Device) -> HttpResponse:
    """Remove the property ``key``, where its value is still the one that was shown."""
    form = SeenForm(request.POST)
    key = form.data.get("key", "")
    if not form.is_valid():
        return _changed(request, device, _("There is no such property."), tone="warn")
    try:
        services.edit_metadata(device=device, key=key, text=None, seen=form.cleaned_data["seen"], actor=request.user)
    except ChangedMeanwhile:
        text = _("“%(key)s” was changed meanwhile, so it is not removed. Look at its new value first.")
        return _changed(request, device, text % {"key": key}, tone="warn")
    except (TwinRefused, NotAllowedForType) as error:
        return _changed(request, device, str(error), tone="warn")
    return _changed(request, device, _("“%(key)s” is removed.") % {"key": key})


def _changed(request: PersonRequest, device: Device, text: str, *, tone: str = "ok", focus: str = "") -> HttpResponse:
    """After a change of the metadata: its panel again (htmx), which shows what was done, or the tab with a message.
    The focus goes to the property ``focus``, or to where the next one is added."""
    if not wants_partial(request):
        messages.add_message(request, messages.WARNING if tone == "warn" else messages.SUCCESS, text)
        return _back(device)
    panel = panels.of_metadata(request, device, panels.read(device), focus=focus)
    if not focus:
        panel["adding"].fields["key"].widget.attrs["autofocus"] = True
    response = render(request, f"{TEMPLATE}#twin-metadata", panel)
    return trigger_client_event(response, "toast", {"text": text, "tone": tone}) if tone == "warn" else response


def _back(device: Device) -> HttpResponse:
    return HttpResponseRedirect(reverse("twin:tab", kwargs={"device_id": device.pk}) + "#twin-metadata")
