"""The LoRa tab (L2) and the LoRa data history (L3, L4, L5)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts.access import PersonRequest
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Connection, Device
from devices.views import detail

from . import frames
from . import history as reading
from .models import LoraIdentity

HISTORY = "lora/history.html"
REGISTRABLE = frozenset({Connection.NOT_LINKED.value, Connection.FAILED.value, Connection.INVENTORY.value})


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    identity = LoraIdentity.objects.select_related("network").defer("app_key").filter(device=device).first()
    context = detail.frame(device, request, active="lora") | {
        "identity": identity,
        "joining": reading.joining(frames.page(device.pk, since=reading.oldest(timezone.now()))),
        "register_offered": request.can_change
        and not device.type.is_managed
        and device.connection_status in REGISTRABLE,
    }
    return page(request, "lora/tab.html", context)


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


@device_view("GET")
def message(request: HttpRequest, device: Device, when: int, seq: str) -> HttpResponse:
    """One frame: a page of its own, or its opened row in the history (``?close``: its closed row)."""
    cursor = reading.Cursor.parse(f"{when}-{seq}")
    shown = reading.detail_of(device, cursor, timezone.now())
    if shown is None:
        raise Http404
    if not wants_partial(request):
        context = detail.frame(device, request, active="lora-history") | {"shown": shown}
        return page(request, "lora/message.html", context)
    part = "frame-closed" if "close" in request.GET else "frame-opened"
    return page(request, HISTORY, {"device": device, "shown": shown, "row": shown.row}, partial=part)


def _listed(device: Device, asked: reading.Asked, found: reading.Found) -> dict[str, Any]:
    return {
        "device": device,
        "asked": asked,
        "found": found,
        "kinds": reading.kind_links(asked),
        "retention": settings.FRAME_RETENTION_DAYS,
    }
