"""Device types (T1, T5): those that the person's Projects have, the page of one, and making, changing, withdrawing and
removing a Project's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from accounts.access import PersonRequest, in_projects
from accounts.models import Project, Role
from codec import senml_records
from common.htmx import page
from common.states import StateConflict
from devices import connectivity, controls, types
from devices.access import type_view
from devices.controls import ControlError
from devices.errors import DeviceError
from devices.models import ConnectivityKind, DeviceType, KeySource
from devices.type_forms import StartForm, TypeForm
from devices.type_rows import KINDS, WAYS, span

from .detail import DECODERS, ENCODERS

EDIT = "devices/type_edit.html"


@in_projects()
def type_list(request: PersonRequest) -> HttpResponse:
    projects = {project.pk: project for project in request.person.projects}
    rows = types.of_projects(projects).select_related("project", "codec")
    found = list(rows.order_by("project__name", "connectivity", "name", "pk"))
    context = {
        "nav": "types",
        "own": [row for row in found if row.project_id],
        "portal": [row for row in found if not row.project_id],
        "may_add": bool(_makers(request)),
    }
    return page(request, "devices/types.html", context)


@type_view("GET")
def show(request: PersonRequest, device_type: DeviceType) -> HttpResponse:
    commands, asked = _read(device_type)
    context = {
        "nav": "types",
        "device_type": device_type,
        "count": types.count_of(device_type),
        "counted": types.COUNTED,
        "devices_url": f"{reverse('devices:list')}?{urlencode({'type': device_type.pk})}",
        "connectivity": connectivity.by_slug(device_type.connectivity).label,
        "keys": KeySource(device_type.key_source).label,
        "timeout": span(
            device_type.downlink_timeout_seconds or connectivity.by_slug(device_type.connectivity).downlink_timeout
        ),
        "decoders": [DECODERS.get(slug, slug) for slug in device_type.decoders],
        "encoders": [ENCODERS.get(slug, slug) for slug in device_type.encoders],
        "commands": commands,
        "controls": asked,
        "may_change": request.can_change and device_type.project_id is not None,
    }
    return page(request, "devices/type.html", context)


@in_projects(Role.ADMINISTRATOR, change=Role.ADMINISTRATOR, methods=("GET", "POST"))
def add(request: PersonRequest) -> HttpResponse:
    """First for which Project and connectivity, in the address; then the type itself."""
    makers = _makers(request)
    project = makers[0] if len(makers) == 1 else _project(makers, request.GET.get("project", ""))
    kind = request.GET.get("connectivity", "")
    if project is None or kind not in types.connectivities(project):
        return _start(request, makers, project)
    context = _context(project, ConnectivityKind(kind))
    form = _asked(request, project, ConnectivityKind(kind)) or TypeForm(project=project, of=ConnectivityKind(kind))
    if not form.is_bound:
        return _form(request, form, context)

    def keep(values: dict[str, Any]) -> DeviceType:
        return types.add(project=project, connectivity=kind, actor=request.user, values=values)

    made = _kept(form, keep)
    if made is None:
        return _wrong(request, form, context)
    messages.success(request, _("The device type is made. Its name is among the types of a new device."))
    return redirect("devices:type", device_type_id=made.pk)


@type_view("GET", "POST", own=True)
def edit(request: PersonRequest, device_type: DeviceType) -> HttpResponse:
    assert device_type.project is not None
    project, of = device_type.project, ConnectivityKind(device_type.connectivity)
    version = request.POST.get("version", str(device_type.version))
    context = _context(project, of) | {"device_type": device_type, "count": types.count_of(device_type)}
    context |= {"counted": types.COUNTED, "version": version}
    form = _asked(request, project, of) or TypeForm.of_type(device_type)
    if not form.is_bound:
        return _form(request, form, context)

    def keep(values: dict[str, Any]) -> DeviceType:
        return types.change(device_type=device_type, seen=_number(version), actor=request.user, values=values)

    try:
        kept = _kept(form, keep)
    except types.ChangedMeanwhile:
        rows = DeviceType.objects.filter(pk=device_type.pk)
        now = {"version": rows.values_list("version", flat=True).first(), "meanwhile": True}
        return _wrong(request, form, context | now)
    if kept is None:
        return _wrong(request, form, context)
    messages.success(request, _("The device type is saved."))
    return redirect("devices:type", device_type_id=device_type.pk)


@type_view("POST", own=True)
def offer(request: PersonRequest, device_type: DeviceType) -> HttpResponse:
    """Withdraw the type, or offer it again (``addable``)."""
    addable = request.POST.get("addable") == "1"
    try:
        types.offer(device_type=device_type, addable=addable, actor=request.user)
    except StateConflict:
        messages.warning(request, _("Nothing was changed: somebody else was first."))
    else:
        withdrawn = _("The device type is withdrawn: its devices stay, and no new ones are added.")
        messages.success(request, _("The device type can be chosen for new devices again.") if addable else withdrawn)
    return redirect("devices:type", device_type_id=device_type.pk)


@type_view("GET", "POST", own=True)
def remove(request: PersonRequest, device_type: DeviceType) -> HttpResponse:
    """Remove a type without devices; GET asks first."""
    if request.method != "POST":
        context = {"nav": "types", "device_type": device_type, "count": types.count_of(device_type)}
        return page(request, "devices/type_remove.html", context)
    try:
        types.remove(device_type=device_type, actor=request.user)
    except DeviceError as error:
        messages.warning(request, str(error))
        return redirect("devices:type", device_type_id=device_type.pk)
    messages.success(request, _("The device type %(name)s is removed.") % {"name": device_type.name})
    return redirect("devices:types")


def _makers(request: PersonRequest) -> list[Project]:
    """The Projects that the person can make types for."""
    return [project for project in request.person.projects_with(Role.ADMINISTRATOR) if types.connectivities(project)]


def _project(projects: list[Project], text: str) -> Project | None:
    return next((project for project in projects if str(project.pk) == text), None)


def _number(text: object) -> int:
    return int(str(text)) if str(text).isascii() and str(text).isdecimal() and len(str(text)) < 10 else 0


def _start(request: PersonRequest, makers: list[Project], project: Project | None) -> HttpResponse:
    start = StartForm(request.GET if "connectivity" in request.GET else None, projects=makers, chosen=project)
    if start.is_bound and start.is_valid():
        start.add_error("connectivity", _("The Project's subscription has no such connectivity."))
    context = {"nav": "types", "form": start, "may_add": bool(makers)}
    return page(request, "devices/type_add.html", context, status=422 if start.errors else 200)


def _context(project: Project, of: ConnectivityKind) -> dict[str, Any]:
    units = sorted(senml_records.UNITS, key=str.casefold)
    return {"nav": "types", "project": project, "connectivity": connectivity.by_slug(of).label, "units": units}


def _asked(request: PersonRequest, project: Project, of: ConnectivityKind) -> TypeForm | None:
    """The form that was posted: bound, to be checked and kept, or only with a row more or less; None: none was."""
    if request.method != "POST":
        return None
    if "change" in request.POST:
        return TypeForm.typed(request.POST, request.POST["change"], project=project, of=of)
    return TypeForm.posted(request.POST, project=project, of=of)


def _kept(form: TypeForm, keep: Callable[[dict[str, Any]], DeviceType]) -> DeviceType | None:
    """What the form says, kept; None: the form says why not."""
    if not form.is_valid():
        return None
    try:
        return keep(form.values())
    except (DeviceError, ValidationError) as error:
        _tell(form, error)
    return None


def _form(request: PersonRequest, form: TypeForm, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return page(request, EDIT, context | {"form": form}, partial="type-form", status=status)


def _wrong(request: PersonRequest, form: TypeForm, context: dict[str, Any]) -> HttpResponse:
    form.look(request.POST)
    return _form(request, form, context, status=422)


def _tell(form: TypeForm, error: DeviceError | ValidationError) -> None:
    """The error beside the field that it is about."""
    if isinstance(error, ValidationError):
        form.add_error("name", error.messages)
        return
    field = getattr(error, "field", "")
    form.add_error(field if field in form.fields else None, str(error))


def _read(device_type: DeviceType) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The commands and controls as the page shows them; none where support staff wrote what cannot be read."""
    try:
        commands, asked = controls.commands_of(device_type.commands), controls.controls_of(device_type.controls)
    except ControlError:
        return [], []
    return (
        [{"asked": each, "way": WAYS[each.way.by]} for each in commands],
        [
            {
                "asked": each,
                "way": WAYS[each.way.by],
                "kind": KINDS[each.kind],
                "wait": span(each.wait),
                "give_up": span(each.give_up),
            }
            for each in asked
        ],
    )
