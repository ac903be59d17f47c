"""The page of one reported value's history (W8): chart, figures, table, file; and what the last day tells on the tab.

The name of the value stands in the query of the address: names hold any characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from accounts.access import PersonRequest
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.export.writers import Head, Row, csv_stream
from devices.models import Device
from devices.views import detail
from devices.views.export import until_gone

from . import charts, history, recent
from .charts import Asked, Named
from .models import Twin

TEMPLATE = "twin/history.html"


@device_view("GET")
def value(request: PersonRequest, device: Device) -> HttpResponse:
    """The page; for htmx what depends on the range."""
    asked, named = _asked(request, device)
    context = _figures(device, asked, named) | {
        "ranges": charts.range_links(asked),
        "all_url": reverse("twin:history", kwargs={"device_id": device.pk}) + asked.with_range("all"),
        "retention": settings.VALUE_RETENTION_DAYS,
    }
    if not wants_partial(request):
        context = detail.frame(device, request, active="twin") | context
    return page(request, TEMPLATE, context, partial="history", status=422 if asked.error else 200)


@device_view("GET")
def figures(request: PersonRequest, device: Device) -> HttpResponse:
    """The figures and the table alone, read again when something was reported."""
    asked, named = _asked(request, device)
    if not wants_partial(request):
        return _to_page(device, asked)
    return render(request, f"{TEMPLATE}#history-figures", _figures(device, asked, named))


@device_view("GET")
def data(request: PersonRequest, device: Device) -> HttpResponse:
    """The points of the chart, about as many as ``points`` says that there is room for."""
    asked, named = _asked(request, device)
    if asked.error:
        return JsonResponse({"error": asked.error, "code": "bad-range"}, status=400)
    found = charts.read(device.pk, asked, named, charts.wanted_points(request.GET.get("points", "")))
    return JsonResponse(charts.points(found, named), headers={"Cache-Control": "no-store"})


@device_view("GET")
def download(request: PersonRequest, device: Device) -> HttpResponse:
    """Every value of the range as CSV (RFC 4180), moments in UTC, made while it is taken."""
    asked, named = _asked(request, device)
    if asked.error:
        return _to_page(device, asked)
    kind = "text/csv; charset=utf-8"
    if request.method == "HEAD":
        response = HttpResponse(content_type=kind)
    else:
        value_head = f"{named.name} ({named.unit})" if named.symbol else named.name
        heads = [Head("time", "time (UTC)"), Head("value", value_head)]
        rows = _rows(device.pk, asked)
        chunks = until_gone(request, csv_stream(heads, rows, ZoneInfo("UTC")))
        response = cast("HttpResponse", StreamingHttpResponse(chunks, content_type=kind))
    name = f"{slugify(named.name) or 'values'}-{timezone.localdate():%Y-%m-%d}.csv"
    response["Content-Disposition"] = content_disposition_header(True, name) or ""
    return response


@device_view("GET")
def last_day(request: HttpRequest, device: Device) -> HttpResponse:
    """What the last day tells, for the tab that is there already: a sparkline for each number, and what is observed."""
    if not wants_partial(request):
        return redirect("twin:tab", device_id=device.pk)
    return render(request, "twin/recent.html", recent.of(device, _reported(device), timezone.now()))


def _asked(request: HttpRequest, device: Device) -> tuple[Asked, Named]:
    """404 for a value of which the device neither reports nor keeps anything."""
    now = timezone.now()
    asked = Asked.from_query(request.GET.dict(), now)
    if not asked.name or "\x00" in asked.name:
        raise Http404
    entry = _reported(device).get(asked.name)
    if entry is None and not history.has_any(device.pk, asked.name, now):
        raise Http404
    return asked, Named.of(asked.name, entry)


def _reported(device: Device) -> dict[str, Any]:
    return Twin.objects.filter(device=device).values_list("reported", flat=True).first() or {}


def _figures(device: Device, asked: Asked, named: Named) -> dict[str, Any]:
    found = charts.read(device.pk, asked, named, charts.LINES)
    return {
        "device": device,
        "asked": asked,
        "named": named,
        "found": found,
        "facts": charts.facts(found, named),
        "lines": charts.lines(found, named),
        "resolution": charts.resolution(found),
    }


def _to_page(device: Device, asked: Asked) -> HttpResponse:
    return HttpResponseRedirect(reverse("twin:history", kwargs={"device_id": device.pk}) + asked.query)


def _rows(device_id: int, asked: Asked) -> Iterator[Row]:
    for at, held in history.every(device_id, asked.name, asked.since, asked.until):
        yield _iso(at), held


def _iso(moment: datetime) -> str:
    """ISO 8601 in UTC, with as many digits as the moment has."""
    exact = moment.astimezone(ZoneInfo("UTC"))
    parts = "milliseconds" if exact.microsecond % 1000 == 0 else "microseconds"
    return exact.isoformat(timespec="seconds" if not exact.microsecond else parts).replace("+00:00", "Z")
