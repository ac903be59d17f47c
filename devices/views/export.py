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
from devices.export.source import Table, heads, in_order, ordered_ids
from devices.export.writers import Format, csv_stream, json_stream
from devices.export.xlsx import xlsx_stream
from devices.filters import Asked, all_matching
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
# What the address of the list holds that says nothing about which devices.
NOT_KEPT: Final = frozenset({"page", "columns"})


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
        return cls(Asked.parse(request.GET, projects), projects, selected)

    def devices(self) -> QuerySet[Device]:
        if self.selected is None:
            return all_matching(self.asked, self.projects)
        return Device.objects.filter(pk__in=self.selected)

    def ids(self) -> Iterator[int]:
        if self.selected is None:
            return ordered_ids(self.asked, self.projects)
        return in_order(self.devices(), self.asked.sort, self.projects)

    def sentence(self, count: int) -> str:
        """How many devices, and why these."""
        values = {
            "number": number_format(count, force_grouping=True),
            "query": self.asked.query,
            "project": self.projects.get(self.asked.project or 0, ""),
        }
        if self.selected is not None:
            return ngettext("%(number)s selected device", "%(number)s selected devices", count) % values
        if self.asked.query and self.asked.project:
            text = ngettext(
                "%(number)s device of %(project)s that matches “%(query)s”",
                "%(number)s devices of %(project)s that match “%(query)s”",
                count,
            )
        elif self.asked.query:
            text = ngettext(
                "%(number)s device that matches “%(query)s”", "%(number)s devices that match “%(query)s”", count
            )
        elif self.asked.project:
            text = ngettext("%(number)s device of %(project)s", "%(number)s devices of %(project)s", count)
        else:
            text = ngettext("%(number)s device", "%(number)s devices", count)
        return text % values


@in_projects(change=Role.VIEWER, methods=("GET", "POST"))
def export(request: PersonRequest) -> HttpResponse:
    """What the file will hold, and which kind of file. A POST names the selected devices; it changes nothing."""
    if request.POST.get("all"):
        return redirect(_address_of_all("devices:export", request.POST))
    chosen = Chosen.parse(request)
    count = chosen.devices().count()
    kept = [(key, value) for key, values in request.GET.lists() if key not in NOT_KEPT for value in values]
    context = {
        "nav": "devices",
        "count": count,
        "sentence": chosen.sentence(count),
        "selected": chosen.selected,
        "kept": kept,
        "query": _query(request.GET),
        "formats": FORMATS.values(),
        "shown": ", ".join(head.label for head in heads(everything=False)),
        "further": ", ".join(head.label for head in heads(everything=True)[len(heads(everything=False)) :]),
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
    table = Table(array("q", chosen.ids()), heads(everything=everything), chosen.projects)
    chunks = kind.write(table.heads, table.rows(), ZoneInfo(request.user.time_zone))
    gone = request.META.get("asgi.scope", {}).get("things.gone")
    response = StreamingHttpResponse(_until(gone, chunks), content_type=kind.content_type)
    return _named(cast("HttpResponse", response), kind)


def _named(response: HttpResponse, kind: Format) -> HttpResponse:
    name = f"devices-{timezone.localdate():%Y-%m-%d}.{kind.slug}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _until(gone: Event | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, as long as somebody takes them."""
    for chunk in chunks:
        if gone is not None and gone.is_set():
            return
        yield chunk


def _query(data: QueryDict) -> str:
    kept = data.copy()
    for key in NOT_KEPT:
        kept.pop(key, None)
    return f"?{kept.urlencode()}" if kept else ""


def _address_of_all(name: str, sent: QueryDict, **kwargs: str) -> str:
    """Where "all that match" is asked for: the query of the list, as the bar sent it."""
    query = QueryDict(sent.get("query", "").removeprefix("?"), mutable=True)
    if columns := sent.get("columns"):
        query["columns"] = columns
    return f"{reverse(name, kwargs=kwargs)}?{query.urlencode()}"
