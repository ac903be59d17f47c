"""The Device Twin tab (W1, W2, W5)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Device, Processing
from devices.views import detail

from . import reading
from .models import Twin

TEMPLATE = "twin/tab.html"


@device_view("GET")
def tab(request: HttpRequest, device: Device) -> HttpResponse:
    context = detail.frame(device, request, active="twin") | _values(device)
    return page(request, TEMPLATE, context, partial="twin-values")


@device_view("GET")
def values(request: HttpRequest, device: Device) -> HttpResponse:
    """The values alone, for the refresh button and for what arrives; the whole tab for a browser without htmx."""
    if not wants_partial(request):
        return redirect("twin:tab", device_id=device.pk)
    return render(request, f"{TEMPLATE}#twin-values", _values(device) | {"device": device})


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
