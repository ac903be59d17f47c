"""The desired values on the Device Twin tab (W3, W4): edited where they stand, sent again, removed."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from common.htmx import wants_partial
from common.states import StateConflict
from devices.access import device_view
from devices.capabilities import NotAllowedForType
from devices.controls import ControlError
from devices.models import Device

from . import desired as reading
from . import loop, panels
from .errors import DesiredChanged, TwinRefused
from .forms import AsItWasForm, DesiredForm

PANEL = f"{panels.TEMPLATE}#twin-desired"


@device_view("GET", "POST")
def desired(request: PersonRequest, device: Device) -> HttpResponse:
    """The list of desired values, that of the control named by ``edit`` opened (``closed``: it was). A POST asks for
    ``value`` of the control ``name``."""
    if request.method != "POST":
        if not wants_partial(request):
            return _back(device)
        panel = _panel(request, device, edit=request.GET.get("edit", ""), focus=request.GET.get("closed", ""))
        return render(request, f"{panels.TEMPLATE}#desired-rows", panel)
    name = request.POST.get("name", "")
    control = next((one for one in reading.controls(device.type) if one.name == name), None)
    if control is None:
        return _changed(request, device, _("This device type has no such control."), tone="warn")
    form = DesiredForm(request.POST, control=control)
    held = None
    if form.is_valid():
        value, seen = form.cleaned_data["value"], form.cleaned_data["seen"] or 0
        try:
            loop.request(device=device, name=name, value=value, seen=seen, actor=request.user)
        except DesiredChanged as conflict:
            # Shown with what stands there now: saved once more, this value replaces it.
            held = reading.held(control, conflict.held)
            form = DesiredForm(
                initial={"name": name, "value": reading.text_to_edit(value), "seen": held.seen}, control=control
            )
        except NotAllowedForType as error:
            return _changed(request, device, str(error), tone="warn")
        except (ControlError, TwinRefused) as error:
            form.add_error("value", str(error))
        else:
            return _changed(request, device, _("“%(name)s” is requested.") % {"name": control.label}, focus=name)
    panel = _panel(request, device, form=form) | {"held_desired": held}
    if wants_partial(request):
        return render(request, PANEL, panel, status=422)
    return panels.whole(request, device, panel, status=422)


@device_view("POST")
def again(request: PersonRequest, device: Device) -> HttpResponse:
    """Ask once more for the value that failed, or that the device has left."""
    return _as_it_was(request, device, loop.send_again, _("“%(name)s” is requested again."))


@device_view("POST")
def remove(request: PersonRequest, device: Device) -> HttpResponse:
    """Desire nothing of it any more."""
    return _as_it_was(request, device, loop.drop, _("“%(name)s” is no longer desired."))


def _as_it_was(request: PersonRequest, device: Device, service: Any, done: str) -> HttpResponse:
    """Call the service where the value is still the one that was shown."""
    form = AsItWasForm(request.POST)
    if not form.is_valid():
        return _changed(request, device, _("There is no such desired value."), tone="warn")
    name = form.cleaned_data["name"]
    try:
        service(device=device, name=name, seen=form.cleaned_data["seen"] or 0, actor=request.user)
    except DesiredChanged:
        text = _("“%(name)s” was changed meanwhile, so nothing is done. Look at its new value first.")
        return _changed(request, device, text % {"name": name}, tone="warn", focus=name)
    except StateConflict:
        return _changed(request, device, _("It is underway already, so nothing is done."), tone="warn", focus=name)
    except (ControlError, TwinRefused, NotAllowedForType) as error:
        return _changed(request, device, str(error), tone="warn", focus=name)
    return _changed(request, device, done % {"name": name}, focus=name)


def _changed(request: PersonRequest, device: Device, text: str, *, tone: str = "ok", focus: str = "") -> HttpResponse:
    """After a change: the panel again (htmx), which shows what was done, or the tab with a message."""
    if not wants_partial(request):
        messages.add_message(request, messages.WARNING if tone == "warn" else messages.SUCCESS, text)
        return _back(device)
    response = render(request, PANEL, _panel(request, device, focus=focus))
    return trigger_client_event(response, "toast", {"text": text, "tone": tone}) if tone == "warn" else response


def _panel(request: PersonRequest, device: Device, **asked: Any) -> dict[str, Any]:
    return panels.of_desired(request, device, panels.read(device), **asked)


def _back(device: Device) -> HttpResponse:
    return HttpResponseRedirect(reverse("twin:tab", kwargs={"device_id": device.pk}) + "#twin-desired")
