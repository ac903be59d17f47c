"""The charts of a LoRa device, and the figures of one as a file (L8)."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.http import Http404, HttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header

from accounts.access import PersonRequest
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.export.writers import Head, csv_stream
from devices.models import Device
from devices.views import detail
from lora import chart_parts, chart_ranges
from lora import charts as reading

CSV: Final = "text/csv; charset=utf-8"


@device_view("GET")
def charts(request: PersonRequest, device: Device) -> HttpResponse:
    """All charts over a day, a week or a month; for htmx without the page around them."""
    now = timezone.now()
    asked = chart_ranges.Asked.from_query(request.GET.dict(), now)
    found = chart_parts.of(device.pk, asked)
    context = {
        "device": device,
        "asked": asked,
        "found": found,
        "charts": list(reading.drawn(found)) if found.spans else [],
        "events": reading.events(found),
        "ranges": chart_ranges.range_links(asked),
        "days": chart_ranges.span_text(asked),
        "before": asked.moved(-1, now),
        "after": asked.moved(1, now),
        "retention": settings.FRAME_RETENTION_DAYS,
    }
    if not wants_partial(request):
        context = detail.frame(device, request, active="lora-history") | context
    return page(request, "lora/charts.html", context, partial="charts")


@device_view("GET")
def charts_csv(request: PersonRequest, device: Device, chart: str) -> HttpResponse:
    """What the chart draws, as CSV (RFC 4180); moments in the person's zone with their offset."""
    if chart not in reading.CHARTS:
        raise Http404
    asked = chart_ranges.Asked.from_query(request.GET.dict(), timezone.now())
    table = reading.CHARTS[chart].table(chart_parts.of(device.pk, asked))
    heads = [Head(str(number), head) for number, head in enumerate(table.heads)]
    chunks = csv_stream(heads, table.rows, timezone.get_current_timezone())
    response = HttpResponse(b"".join(chunks), content_type=CSV)
    name = f"{chart}-{asked.range}-{timezone.localdate(asked.until):%Y-%m-%d}.csv"
    response["Content-Disposition"] = content_disposition_header(True, name) or ""
    return response
