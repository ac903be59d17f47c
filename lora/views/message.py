"""One message of the LoRa data history: its page, and its opened row (L4)."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Device
from devices.views import detail
from lora import detail as reading
from lora.search import Cursor
from lora.views.history import HISTORY


@device_view("GET")
def message(request: HttpRequest, device: Device, when: int, seq: str) -> HttpResponse:
    """One frame: a page of its own, or its opened row in the history (``?close``: its closed row)."""
    cursor = Cursor.parse(f"{when}-{seq}")
    shown = reading.detail_of(device, cursor, timezone.now())
    if shown is None:
        raise Http404
    if not wants_partial(request):
        context = detail.frame(device, request, active="lora-history") | {"shown": shown}
        return page(request, "lora/message.html", context)
    part = "frame-closed" if "close" in request.GET else "frame-opened"
    return page(request, HISTORY, {"device": device, "shown": shown, "row": shown.row}, partial=part)
