"""One message of the LoRa data history: its page, and its opened row (L4)."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Device
from devices.views import detail
from lora import detail as reading
from lora import frames
from lora.search import Cursor, oldest
from lora.views.history import HISTORY


@device_view("GET")
def message(request: HttpRequest, device: Device, when: int, seq: str) -> HttpResponse:
    """One frame: a page of its own, or its opened row in the history (``?close``: its closed row)."""
    now = timezone.now()
    cursor = Cursor.parse(f"{when}-{seq}")
    shown = reading.detail_of(device, cursor, now)
    if shown is None or cursor is None:
        raise Http404
    address = reverse("lora:message", kwargs={"device_id": device.pk, "when": when, "seq": seq})
    context = {
        "device": device,
        "shown": shown,
        "row": shown.row,
        "address": request.build_absolute_uri(address),
        "tiles": settings.MAP_TILES,
    }
    if wants_partial(request):
        part = "frame-closed" if "close" in request.GET else "frame-opened"
        return page(request, HISTORY, context, partial=part)
    older, newer = frames.neighbours(device.pk, cursor.at, cursor.seq, since=oldest(now))
    context |= detail.frame(device, request, active="lora-history")
    context |= {"older": older and Cursor(*older), "newer": newer and Cursor(*newer)}
    return page(request, "lora/message.html", context)
