"""All Devices (D1, D2, D3): a table that is searched, sorted and paged; its state is the address."""

from __future__ import annotations

from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page
from devices.filters import Asked, DevicePage, device_page

# Page numbers shown on either side of the present one.
AROUND = 2
# The columns in their order: key to sort by, head, class.
COLUMNS = [
    ("name", gettext_lazy("Name"), ""),
    ("type", gettext_lazy("Type"), ""),
    ("identifier", gettext_lazy("Identifier"), ""),
    ("processing", gettext_lazy("Processing"), ""),
    ("connection", gettext_lazy("Connectivity"), ""),
    ("last_message", gettext_lazy("Last message"), ""),
    ("project", gettext_lazy("Project"), ""),
    ("flows", gettext_lazy("Flows"), "right"),
]


@in_projects()
def start(request: PersonRequest) -> HttpResponse:
    """The root address."""
    return redirect("devices:list")


@in_projects()
def all_devices(request: PersonRequest) -> HttpResponse:
    projects = {project.pk: project.name for project in request.person.projects}
    asked = Asked.parse(request.GET, projects)
    found = device_page(asked, projects)
    context = {
        "nav": "devices",
        "found": found,
        "summary": summary(found, searched=bool(asked.query)),
        "query": asked.query,
        "sort": asked.sort,
        "columns": COLUMNS,
        "project": asked.project,
        "kept": {"sort": request.GET.get("sort", ""), "project": asked.project or ""},
        "numbers": numbers(request.GET, found),
        "previous_url": address(request.GET, page=found.number - 1) if found.number > 1 else "",
        "next_url": address(request.GET, page=found.number + 1) if found.number < found.pages else "",
        "chips": chips(request.GET, projects, asked.project),
        "may_add": bool(request.person.projects_with(Role.OPERATOR)),
    }
    return page(request, "devices/list.html", context, partial="device-list")


def address(query: QueryDict, **changes: object) -> str:
    """The same list with something changed; "" drops the key."""
    data = query.copy()
    for key, value in changes.items():
        if value == "":
            data.pop(key, None)
        else:
            data[key] = str(value)
    return f"?{data.urlencode()}"


def summary(found: DevicePage, *, searched: bool) -> str:
    """How many devices are shown, as a sentence; with a search: how many it found, and of how many."""
    values = {"first": found.first, "last": found.last, "found": found.found, "total": found.total}
    figures = {key: number_format(value, force_grouping=True) for key, value in values.items()}
    if not searched:
        if found.pages > 1:
            return _("%(first)s–%(last)s of %(total)s devices") % figures
        return ngettext("%(total)s device", "%(total)s devices", found.total) % figures
    if found.more:
        text = _(
            "%(first)s–%(last)s of the first %(found)s that match, out of %(total)s devices. "
            "Type more to narrow it down."
        )
        return text % figures
    if found.pages > 1:
        return _("%(first)s–%(last)s of %(found)s found, out of %(total)s devices") % figures
    return ngettext("%(found)s of %(total)s device", "%(found)s of %(total)s devices", found.total) % figures


def numbers(query: QueryDict, found: DevicePage) -> list[tuple[int, str]]:
    """The pages to go to: first, last and those around this one; number 0 stands for a gap."""
    near = range(max(1, found.number - AROUND), min(found.pages, found.number + AROUND) + 1)
    wanted = sorted({1, found.pages, *near})
    links: list[tuple[int, str]] = []
    for number in wanted:
        if links and number - links[-1][0] > 1:
            links.append((0, ""))
        links.append((number, address(query, page=number)))
    return links


def chips(query: QueryDict, projects: dict[int, str], chosen: int | None) -> list[tuple[str, str, bool]]:
    """(name, address, chosen) per Project, "all" first; none where there is nothing to choose."""
    if len(projects) < 2:
        return []
    every = [("", address(query, project="", page=""), chosen is None)]
    return every + [(name, address(query, project=pk, page=""), pk == chosen) for pk, name in projects.items()]
