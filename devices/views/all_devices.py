"""All Devices (D1–D4, D11): a table that is searched, filtered, sorted, paged and chosen from; its state is the
address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page, wants_partial
from common.templatetags.portal import managed
from devices import bulk, cells, health, saved_views
from devices.asked import Asked
from devices.chips import chips, columns_panel, filter_panel
from devices.filters import MATCHES, DevicePage, all_matching, device_page

from .jobs import running_context

# Page numbers shown on either side of the present one.
AROUND = 2
PANELS = {"filter": filter_panel, "columns": columns_panel}


@in_projects()
def start(request: PersonRequest) -> HttpResponse:
    """The root address."""
    return redirect("devices:list")


@in_projects()
def all_devices(request: PersonRequest) -> HttpResponse:
    """``panel`` (filter, columns) opens one under the tools, ``select`` (page, all) chooses rows; neither belongs to
    what the address asks for."""
    projects = {project.pk: project.name for project in request.person.projects}
    asked = Asked.parse(request.GET, projects)
    found = device_page(asked, projects)
    panel = request.GET.get("panel", "")
    shown = cells.columns(asked, found.rows)
    lock = managed(template.Context({"operator_name": settings.OPERATOR_NAME}))
    for row in found.rows:
        row["cells"] = cells.cells(row, shown, lock)
    context = {
        "nav": "devices",
        "asked": asked,
        "found": found,
        "summary": summary(found, searched=asked.filtered),
        "unwell": unwell(asked, projects),
        "query": asked.query,
        "columns": [(column, *heading(asked, column)) for column in shown],
        "pairs": [(name, value) for name, value in asked.pairs() if name not in {"q", "page"}],
        "address": asked.address(),
        "numbers": numbers(asked, found),
        "previous_url": asked.address(page=found.number - 1) if found.number > 1 else "",
        "next_url": asked.address(page=found.number + 1) if found.number < found.pages else "",
        "chips": chips(asked, projects),
        "bare_url": asked.address(**NOTHING),
        "panel": panel if panel in PANELS else "",
        "offer": PANELS[panel](asked, projects) if panel in PANELS else {},
        "views": saved_views.menu(request, asked),
        "may_add": bool(request.person.projects_with(Role.OPERATOR)),
    }
    context |= chosen(request, asked, found, projects)
    if not wants_partial(request):
        context |= running_context(request)
    response = page(request, "devices/list.html", context, partial="device-list")
    if wants_partial(request):
        # The one spelling of what a form asked for; a choice of rows is no place to come back to.
        response["HX-Push-Url"] = "false" if "select" in request.GET else f"{request.path}{asked.address()}"
    return response


# Nothing left out: the same columns and sort without search and filters.
NOTHING: dict[str, Any] = {
    "query": "", "projects": (), "types": (), "connectivity": (), "processing": (), "connection": (), "flows": (),
    "silent": "", "out_of_sync": False, "health": (), "where": (), "page": 1,
}  # fmt: skip


def chosen(request: PersonRequest, asked: Asked, found: DevicePage, projects: dict[int, str]) -> dict[str, Any]:
    """The choice of rows and the actions for them; none for those who only look."""
    if not request.can_change or not found.rows:
        return {"actions": []}
    select = request.GET.get("select", "")
    everything = found.found
    if select == "all" and found.more:
        everything = all_matching(asked, projects).count()
    return {
        "actions": list(bulk.all_registered()),
        "select": select,
        "everything": everything,
        "everything_known": select == "all" or not found.more,
        "matches": number_format(MATCHES, force_grouping=True),
        "select_page_url": f"{asked.address()}&select=page",
        "select_all_url": f"{asked.address()}&select=all",
    }


def heading(asked: Asked, column: cells.Column) -> tuple[str, str]:
    """The present order by the column ("ascending", "descending", "none"), and the address of the next one (D3)."""
    if not column.sortable:
        return "", ""
    order = {column.key: "ascending", f"-{column.key}": "descending"}.get(asked.sort, "none")
    return order, asked.address(page=1, sort=f"-{column.key}" if order == "ascending" else column.key)


def summary(found: DevicePage, *, searched: bool) -> str:
    """How many devices are shown, as a sentence; with a search: how many it found, and of how many."""
    values = {"first": found.first, "last": found.last, "found": found.found, "total": found.total}
    figures = {key: number_format(value, force_grouping=True) for key, value in values.items()}
    if not searched:
        if found.pages > 1:
            return _("%(first)s–%(last)s of %(total)s devices") % figures
        return ngettext("%(total)s device", "%(total)s devices", found.total) % figures
    if found.more:
        return _("%(first)s–%(last)s of more than %(found)s found, out of %(total)s devices") % figures
    if found.pages > 1:
        return _("%(first)s–%(last)s of %(found)s found, out of %(total)s devices") % figures
    return ngettext("%(found)s of %(total)s device", "%(found)s of %(total)s devices", found.total) % figures


def unwell(asked: Asked, projects: Iterable[int]) -> list[tuple[str, str, str]]:
    """State, how many devices have it, the address that shows them: of all the person's Projects or those chosen."""
    kept = NOTHING | {"projects": asked.projects}
    counted = health.unwell(asked.projects or projects)
    return [
        (state.name.lower(), _number(count), asked.address(**kept | {"health": (state.name.lower(),)}))
        for state, count in counted
        if count
    ]


def _number(count: int) -> str:
    most = number_format(min(count, health.MOST), force_grouping=True)
    return f"{most}+" if count > health.MOST else most


def numbers(asked: Asked, found: DevicePage) -> list[tuple[int, str]]:
    """The pages to go to: first, last and those around this one; number 0 stands for a gap."""
    near = range(max(1, found.number - AROUND), min(found.pages, found.number + AROUND) + 1)
    wanted = sorted({1, found.pages, *near})
    links: list[tuple[int, str]] = []
    for number in wanted:
        if links and number - links[-1][0] > 1:
            links.append((0, ""))
        links.append((number, asked.address(page=number)))
    return links
