"""The LoRa data history: its list, what came since, older ones (L3, L5, L7)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Device
from devices.views import detail
from lora import history as reading
from lora.search import DIRECTIONS, KINDS, ONLY, Asked

from .diagnosis import at_once

HISTORY = "lora/history.html"


@device_view("GET", also=("lora",))
def history(request: HttpRequest, device: Device) -> HttpResponse:
    """A page of frames, newest first: all, or up to the moment ``until``, or those older than ``before``; down to
    ``to`` where a person comes back to a list that they had read on."""
    now = timezone.now()
    asked = Asked.from_query(request.GET, now)
    found = reading.page_of(device, asked, now)
    listed = _listed(device, asked, found, now)
    part = wants_partial(request)
    if asked.before and part:
        response = page(request, HISTORY, listed, partial="frame-rows")
        response["HX-Replace-Url"] = _address_with(request, device, found, now)
        return response
    context = listed
    if not part:
        context = detail.frame(device, request, active="lora-history") | listed | {"diagnosis": at_once(device, now)}
    response = page(request, HISTORY, context, partial="frames", status=422 if asked.faults else 200)
    if part:
        # A form sends its empty fields too: they have no place in the address.
        response["HX-Push-Url"] = _history_of(device) + asked.query()
    return response


@device_view("GET")
def newer(request: HttpRequest, device: Device) -> HttpResponse:
    """What has come since, to be put among the rows of the person's page; opened rows stay as they are. Where that
    is more than a page, or the page shows none yet (``empty``), the list is read again."""
    now = timezone.now()
    asked = Asked.from_query(request.GET, now)
    if not wants_partial(request) or asked.after is None:
        return redirect("lora:history", device_id=device.pk)
    found = reading.newer_than(device, asked, asked.after, now)
    if found is not None and not (found.rows and "empty" in request.GET):
        return render(request, f"{HISTORY}#frames-newer", _listed(device, asked, found, now))
    fresh = Asked(asked.texts, asked.faults, asked.numbers)
    listed = _listed(device, fresh, reading.page_of(device, fresh, now), now)
    response = render(request, f"{HISTORY}#frames", listed)
    response["HX-Retarget"] = "#frames"
    response["HX-Reswap"] = "outerHTML"
    return response


def _history_of(device: Device) -> str:
    return reverse("lora:history", kwargs={"device_id": device.pk})


def _address_with(request: HttpRequest, device: Device, found: reading.Found, now: datetime) -> str:
    """The address of the list that the person has now: whoever comes back to it, or reloads it, finds their place."""
    current = urlsplit(request.headers.get("HX-Current-URL", ""))
    asked = Asked.from_query(QueryDict(current.query), now)
    last = found.end or (found.rows[-1].cursor if found.rows else asked.to)
    return _history_of(device) + asked.query(before=str(asked.before or ""), to=str(last or ""))


def _listed(device: Device, asked: Asked, found: reading.Found, now: datetime) -> dict[str, Any]:
    return {
        "device": device,
        "asked": asked,
        "found": found,
        "older": asked.query(before=str(found.end)) if found.end else "",
        "pause": asked.query(after=str(found.newest), paused="" if asked.paused else "1"),
        "choices": {
            "direction": [(word, label) for word, (label, _direction) in DIRECTIONS.items()],
            "kind": [(word, label) for word, (label, _condition) in KINDS.items()],
            "only": [(word, label, word in asked.texts) for word, (label, _condition) in ONLY.items()],
        },
        "jumps": asked.jumps(now),
        "retention": settings.FRAME_RETENTION_DAYS,
        "tiles": settings.MAP_TILES,
    }
