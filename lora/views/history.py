"""The LoRa data history: its list, what came since, older ones (L3, L5, L7)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Device
from devices.views import detail
from lora import history as reading

HISTORY = "lora/history.html"


@device_view("GET")
def history(request: HttpRequest, device: Device) -> HttpResponse:
    """A page of frames, newest first: all, or up to the moment ``until``, or those older than ``before``."""
    asked = reading.Asked.from_query(request.GET)
    found = reading.page_of(device, asked, timezone.now())
    if asked.before and wants_partial(request):
        return page(request, HISTORY, _listed(device, asked, found), partial="frame-rows")
    context = detail.frame(device, request, active="lora-history") | _listed(device, asked, found)
    return page(request, HISTORY, context, partial="frames", status=422 if asked.error else 200)


@device_view("GET")
def newer(request: HttpRequest, device: Device) -> HttpResponse:
    """What has come since the newest frame on the person's page, to be put on top of it; opened rows stay as they
    are. Where that is more than a page, the list is read again."""
    asked = reading.Asked.from_query(request.GET)
    if not wants_partial(request) or asked.after is None:
        return redirect("lora:history", device_id=device.pk)
    found = reading.newer_than(device, asked, asked.after, timezone.now())
    if found is not None:
        return render(request, f"{HISTORY}#frames-newer", _listed(device, asked, found))
    fresh = asked.without_cursor()
    response = render(
        request, f"{HISTORY}#frames", _listed(device, fresh, reading.page_of(device, fresh, timezone.now()))
    )
    response["HX-Retarget"] = "#frames"
    response["HX-Reswap"] = "outerHTML"
    return response


def _listed(device: Device, asked: reading.Asked, found: reading.Found) -> dict[str, Any]:
    return {
        "device": device,
        "asked": asked,
        "found": found,
        "kinds": reading.kind_links(asked),
        "retention": settings.FRAME_RETENTION_DAYS,
    }
