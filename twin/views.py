"""The Device Twin tab (W1, W2, W5) and its metadata (W6)."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django_htmx.http import trigger_client_event

from accounts.access import PersonRequest
from common.htmx import page, wants_partial
from devices import capabilities
from devices.access import device_view
from devices.capabilities import Capability, NotAllowedForType
from devices.models import Device, Processing
from devices.views import detail

from . import reading, services
from .errors import ChangedMeanwhile, TwinRefused
from .forms import PropertyForm, SeenForm
from .models import Twin

TEMPLATE = "twin/tab.html"


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    return _tab(request, device, _metadata(request, device, edit=request.GET.get("edit", "")))


@device_view("GET")
def values(request: HttpRequest, device: Device) -> HttpResponse:
    """The values alone, for the refresh button and for what arrives; the whole tab for a browser without htmx."""
    if not wants_partial(request):
        return redirect("twin:tab", device_id=device.pk)
    return render(request, f"{TEMPLATE}#twin-values", _values(device) | {"device": device})


@device_view("GET", "POST")
def metadata(request: PersonRequest, device: Device) -> HttpResponse:
    """The list of properties, that named by ``edit`` opened (``closed``: it was). A POST sets the property ``key`` to
    ``value``: with ``edit`` one whose value was shown, else a new one."""
    if request.method != "POST":
        if not wants_partial(request):
            return _back(device)
        panel = _metadata(request, device, edit=request.GET.get("edit", ""), focus=request.GET.get("closed", ""))
        return render(request, f"{TEMPLATE}#metadata-list", panel)
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
    context = _metadata(request, device, form=form) | {"held": held}
    if wants_partial(request):
        return render(request, f"{TEMPLATE}#twin-metadata", context, status=422)
    return _tab(request, device, context, status=422)


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
    panel = _metadata(request, device, focus=focus)
    if not focus:
        panel["adding"].fields["key"].widget.attrs["autofocus"] = True
    response = render(request, f"{TEMPLATE}#twin-metadata", panel)
    return trigger_client_event(response, "toast", {"text": text, "tone": tone}) if tone == "warn" else response


def _back(device: Device) -> HttpResponse:
    return HttpResponseRedirect(reverse("twin:tab", kwargs={"device_id": device.pk}) + "#twin-metadata")


def _tab(request: PersonRequest, device: Device, panel: dict[str, Any], *, status: int = 200) -> HttpResponse:
    context = detail.frame(device, request, active="twin") | _values(device) | panel
    return page(request, TEMPLATE, context, partial="twin-values", status=status)


def _values(device: Device) -> dict[str, Any]:
    twin = Twin.objects.filter(device=device).values("reported", "updated_at").first()
    reported = reading.reported(twin["reported"] if twin else {})
    return {
        "reported": reported,
        "count": reading.count_of(reported),
        "updated_at": twin["updated_at"] if twin else None,
        "interval": reading.send_interval(device.state.last_message_at, device.state.previous_message_at),
        "in_no_flow": device.flow_count == 0,
        "deactivated": device.processing_status == Processing.DEACTIVATED,
        "controls": device.type.controls,
    }


def _metadata(
    request: PersonRequest, device: Device, *, edit: str = "", form: PropertyForm | None = None, focus: str = ""
) -> dict[str, Any]:
    """What the panel of the metadata shows. ``edit``: the key of the property to open; ``form``: what was sent and
    is shown again, in its property or as the new one; ``focus``: the key of the property that gets the focus."""
    held = Twin.objects.filter(device=device).values_list("metadata", flat=True).first()
    properties = reading.properties(held or {})
    has_metadata = capabilities.has(device, Capability.TWIN_METADATA)
    may_edit = request.can_change and has_metadata
    opened = next((one for one in properties if one.key == edit), None) if may_edit else None
    if opened is not None:
        form = PropertyForm(initial={"key": opened.key, "value": opened.text, "seen": opened.seen}, editing=opened.key)
    editing = form if form is not None and form.editing else None
    return {
        "device": device,
        "properties": properties,
        "has_metadata": has_metadata,
        "may_edit": may_edit,
        "editing": editing,
        # Removed by somebody else while its value was edited: it has no line of its own to be shown in.
        "editing_removed": editing is not None and all(one.key != editing.editing for one in properties),
        "adding": form if form is not None and not form.editing else PropertyForm(),
        "held": None,
        "focus": focus,
    }
