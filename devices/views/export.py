"""Devices as a file (D4, D11): what the list shows, or what is selected in it, as the person chooses."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Final, cast
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy, ngettext

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from devices.asked import Asked
from devices.chips import chips
from devices.export.source import Table, heads
from devices.export.writers import Format, csv_stream, json_stream
from devices.export.xlsx import xlsx_stream
from devices.filters import all_matching, ordered_ids
from devices.models import Device

FORMATS: Final = {
    each.slug: each
    for each in (
        Format(
            "xlsx",
            gettext_lazy("Spreadsheet (XLSX)"),
            gettext_lazy("To look at and count in. Times are in your time zone."),
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            xlsx_stream,
        ),
        Format(
            "csv",
            gettext_lazy("CSV"),
            gettext_lazy("For other programs: separated by commas, UTF-8, a line per device."),
            "text/csv; charset=utf-8",
            csv_stream,
        ),
        Format(
            "json",
            gettext_lazy("JSON"),
            gettext_lazy("For programmers: an object per device, times in UTC."),
            "application/json",
            json_stream,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The devices that a person wants: those of ``asked``, or of them only the ``selected``."""

    asked: Asked
    projects: Mapping[int, str]
    selected: list[int] | None

    @classmethod
    def parse(cls, request: PersonRequest) -> Chosen:
        projects = {project.pk: project.name for project in request.person.projects}
        selected = None
        if request.method == "POST":
            sent = request.POST.getlist("device")
            selected = sorted({int(pk) for pk in sent if pk.isascii() and pk.isdigit() and len(pk) < 19})
        # The bar under the list sends the address in the body.
        sent_query = QueryDict(request.POST.get("query", "").removeprefix("?"))
        return cls(Asked.parse(request.GET or sent_query, projects), projects, selected)

    def devices(self) -> QuerySet[Device]:
        if self.selected is None:
            return all_matching(self.asked, self.projects)
        return Device.objects.filter(pk__in=self.selected)

    def ids(self) -> Iterator[int]:
        return ordered_ids(self.asked, self.projects, within=self.selected)

    def sentence(self, count: int) -> str:
        """How many devices, and why these."""
        values = {"number": number_format(count, force_grouping=True), "query": self.asked.query}
        if self.selected is not None:
            return ngettext("%(number)s chosen device", "%(number)s chosen devices", count) % values
        if self.asked.query:
            text = ngettext(
                "%(number)s device that matches “%(query)s”", "%(number)s devices that match “%(query)s”", count
            )
            return text % values
        return ngettext("%(number)s device", "%(number)s devices", count) % values


@in_projects(change=Role.VIEWER, methods=("GET", "POST"))
def export(request: PersonRequest) -> HttpResponse:
    """What the file will hold, and which kind of file. A POST names the selected devices; it changes nothing."""
    if request.POST.get("all"):
        return redirect(_address_of_all("devices:export", request.POST))
    chosen = Chosen.parse(request)
    count = chosen.devices().count()
    shown = [head.label for head in heads(chosen.asked, everything=False)]
    kept = [(key, value) for key, value in chosen.asked.pairs() if key != "page"]
    context = {
        "nav": "devices",
        "count": count,
        "sentence": chosen.sentence(count),
        "selected": chosen.selected,
        "kept": kept,
        "query": chosen.asked.address(page=1),
        "formats": FORMATS.values(),
        "chips": chips(chosen.asked, chosen.projects) if chosen.selected is None else [],
        "shown": ", ".join(shown),
        "further": ", ".join(head.label for head in heads(chosen.asked, everything=True) if head.label not in shown),
    }
    return render(request, "devices/export.html", context)


@in_projects(change=Role.VIEWER, methods=("GET", "POST"))
def download(request: PersonRequest, file_format: str) -> HttpResponse:
    """The file itself, made while it is taken."""
    kind = FORMATS.get(file_format)
    if kind is None:
        raise Http404
    if request.POST.get("all"):
        return redirect(_address_of_all("devices:download", request.POST, file_format=file_format))
    if request.method == "HEAD":
        return _named(HttpResponse(content_type=kind.content_type), kind)
    chosen = Chosen.parse(request)
    everything = (request.POST if request.method == "POST" else request.GET).get("columns") == "all"
    table = Table(array("q", chosen.ids()), heads(chosen.asked, everything=everything), chosen.projects)
    chunks = kind.write(table.heads, table.rows(), ZoneInfo(request.user.time_zone))
    response = StreamingHttpResponse(until_gone(request, chunks), content_type=kind.content_type)
    return _named(cast("HttpResponse", response), kind)


def _named(response: HttpResponse, kind: Format) -> HttpResponse:
    name = f"devices-{timezone.localdate():%Y-%m-%d}.{kind.slug}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def until_gone(request: PersonRequest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a file, as long as somebody takes them."""
    gone: Event | None = request.META.get("asgi.scope", {}).get("things.gone")
    for chunk in chunks:
        if gone is not None and gone.is_set():
            return
        yield chunk


def _address_of_all(name: str, sent: QueryDict, **kwargs: str) -> str:
    """Where "all that match" is asked for: the query of the list, as the bar sent it."""
    query = QueryDict(sent.get("query", "").removeprefix("?"), mutable=True)
    if columns := sent.get("columns"):
        query["columns"] = columns
    return f"{reverse(name, kwargs=kwargs)}?{query.urlencode()}"
