"""The LoRa data history as a file (L8): the range and the kind of file, and the file itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from zoneinfo import ZoneInfo

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from accounts.access import PersonRequest
from devices.access import device_view
from devices.export.writers import Format
from devices.models import Device
from devices.views.export import until_gone
from lora import export as source
from lora.history import AHEAD
from lora.search import Asked, moment_of, oldest


@dataclass(frozen=True, slots=True)
class Range:
    """From when to when, as fields take it and as moments; ``faults`` in sentences, by field."""

    texts: dict[str, str]
    since: datetime
    until: datetime
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, request: HttpRequest, now: datetime) -> Range:
        """All that is kept where nothing is said; from before that, from there on. The list's ``until`` is the end."""
        texts = {
            "from": request.GET.get("from", "").strip()[:40],
            "to": (request.GET.get("to") or request.GET.get("until", "")).strip()[:40],
        }
        moments, faults = {"from": oldest(now), "to": now + AHEAD}, {}
        for name, text in texts.items():
            try:
                if text:
                    moments[name] = moment_of(text)
            except ValueError as error:
                faults[name] = str(error)
        if not faults and moments["from"] > moments["to"]:
            faults["to"] = _("The end lies before the beginning.")
        return cls(texts, max(moments["from"], oldest(now)), moments["to"], faults)


def _asked(request: HttpRequest, now: datetime) -> tuple[Asked, Range]:
    """The filters of the list, without its moment, which is the end of the range."""
    names = request.GET.copy()
    names.pop("until", None)
    return Asked.from_query(names, now), Range.parse(request, now)


def _chosen(request: HttpRequest, device: Device, asked: Asked, span: Range, *, status: int = 200) -> HttpResponse:
    context = {
        "device": device,
        "asked": asked,
        "span": span,
        "faults": [*asked.faults.values(), *span.faults.values()],
        "formats": source.FORMATS.values(),
        "columns": ", ".join(source.NAMES),
    }
    return render(request, "lora/export.html", context, status=status)


@device_view("GET")
def export(request: HttpRequest, device: Device) -> HttpResponse:
    """What the file will hold, and which kind of file."""
    asked, span = _asked(request, timezone.now())
    return _chosen(request, device, asked, span, status=422 if asked.faults or span.faults else 200)


@device_view("GET")
def download(request: PersonRequest, device: Device, file_format: str) -> HttpResponse:
    """The file itself, made while it is taken."""
    kind = source.FORMATS.get(file_format)
    if kind is None:
        raise Http404
    now = timezone.now()
    asked, span = _asked(request, now)
    if asked.faults or span.faults:
        return _chosen(request, device, asked, span, status=422)
    if request.method == "HEAD":
        return _named(HttpResponse(content_type=kind.content_type), kind, device)
    taken = source.records(device.pk, asked, span.since, span.until, now)
    chunks = kind.write(source.HEADS, taken, ZoneInfo(request.user.time_zone))  # type: ignore[arg-type]
    response = StreamingHttpResponse(until_gone(request, chunks), content_type=kind.content_type)
    return _named(cast("HttpResponse", response), kind, device)


def _named(response: HttpResponse, kind: Format, device: Device) -> HttpResponse:
    name = f"{slugify(device.name)[:40] or 'device'}-lora-{timezone.localdate():%Y-%m-%d}.{kind.slug}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
