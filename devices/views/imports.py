"""Devices from a file (D12): choose type and file, choose columns, look at what was found, add, take the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.access import Decorator, InProject, PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page
from common.states import StateConflict
from devices import import_columns, import_file, import_runner, imports
from devices.connectivity import ImportField
from devices.errors import DeviceError
from devices.forms import AddDeviceForm
from devices.import_file import FileUnreadable
from devices.models import ImportFile, ImportRow, ImportState

ROWS = 50
SHOWN = {"all": gettext_lazy("All"), "ready": gettext_lazy("Ready"), "errors": gettext_lazy("With errors")}


class UploadForm(AddDeviceForm):
    """Project and type as in the wizard, and the file."""

    token = name = barcode = description = None  # type: ignore[assignment]
    file = forms.FileField(
        label=gettext_lazy("CSV file"),
        help_text=gettext_lazy("At most 20 MB and 100,000 rows. The first line has the names of the columns."),
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.txt,.tsv,text/csv"}),
    )

    field_order = ["project", "device_type", "file"]

    def __init__(self, data: Any = None, files: Any = None, *, device_type: str = "", **options: Any) -> None:
        super().__init__(data, files=files, **options)
        self.initial["device_type"] = device_type

    def clean_file(self) -> Any:
        sent = self.cleaned_data["file"]
        if sent.size > import_file.MAX_BYTES:
            raise forms.ValidationError(_("The file is larger than 20 MB. Divide it into several files."))
        return sent


def _upload(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    found = ImportFile.objects.select_related("project", "type").filter(pk=kwargs["upload_id"]).first()
    if found is None:
        raise Http404
    return "upload", found


def upload_view(*methods: str) -> Decorator:
    """A view of one file, for operators of its Project; it receives ``upload`` in place of ``upload_id``."""
    return in_projects(Role.OPERATOR, methods=methods or ("GET",), resolve=_upload, names="upload")


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def start(request: PersonRequest) -> HttpResponse:
    """Choose the type and the file. A GET with ``project`` and ``device_type`` offers the type's template."""
    projects = request.person.projects_with(Role.OPERATOR)
    posted = request.method == "POST"
    form = UploadForm(
        request.POST if posted else None,
        request.FILES if posted else None,
        projects=projects,
        chosen=request.GET.get("project", ""),
        device_type=request.GET.get("device_type", ""),
    )
    chosen = form.types.get(str(form["device_type"].value() or ""))
    if posted and form.is_valid():
        data = form.cleaned_data
        try:
            made = imports.upload(
                project=form.project,
                device_type=data["device_type"],
                name=data["file"].name,
                content=data["file"].read(),
                actor=request.user,
            )
        except FileUnreadable as error:
            form.add_error("file", str(error))
        except DeviceError as error:
            form.add_error("device_type", str(error))
        else:
            return redirect("devices:import_columns", upload_id=made.pk)
    recent = ImportFile.objects.filter(project__in=projects).select_related("project", "type").order_by("-pk")[:10]
    context = {
        "nav": "devices",
        "form": form,
        "template_fields": import_columns.fields(chosen) if chosen else [],
        "template_query": urlencode({"type": chosen.pk}) if chosen else "",
        "recent": recent,
    }
    return page(request, "devices/import.html", context, partial="import-type", status=422 if form.errors else 200)


@in_projects(Role.OPERATOR)
def template(request: PersonRequest) -> HttpResponse:
    """The file to fill in, for the type ``type`` of any of the person's Projects."""
    for project in request.person.projects_with(Role.OPERATOR):
        types = {str(one.pk): one for one in UploadForm(projects=[project]).types.values()}
        chosen = types.get(request.GET.get("type", ""))
        if chosen is not None:
            content = import_file.write(import_columns.template_columns(chosen), [])
            return download(content, f"{chosen.slug}.csv")
    raise Http404


@upload_view("GET", "POST")
def columns(request: PersonRequest, upload: ImportFile) -> HttpResponse:
    """Which column is which field; preselected from the last time or from the names."""
    if upload.state not in (ImportState.UPLOADED, ImportState.CHECKED):
        return redirect("devices:import_file", upload_id=upload.pk)
    first = ImportRow.objects.filter(file=upload).order_by("number").first()
    samples = first.open() if first else []
    chosen = import_columns.preselected(upload, request.user)
    data = request.POST if request.method == "POST" else None
    form = import_columns.ColumnsForm(data, upload=upload, chosen=chosen, samples=samples)
    if data is not None and form.is_valid():
        try:
            imports.choose_columns(upload=upload, mapping=form.mapping, actor=request.user)
        except StateConflict:
            messages.warning(request, _("The file is being checked or added already."))
        return redirect("devices:import_file", upload_id=upload.pk)
    context = {"nav": "devices", "upload": upload, "form": form}
    return page(request, "devices/import_columns.html", context, status=422 if form.errors else 200)


@upload_view()
def show(request: PersonRequest, upload: ImportFile) -> HttpResponse:
    """The file as it stands: being checked, what was found, being added, the report. Rows with errors come first."""
    if upload.state == ImportState.UPLOADED:
        return redirect("devices:import_columns", upload_id=upload.pk)
    which = request.GET.get("show", "all")
    which = which if which in SHOWN else "all"
    working = upload.state in (ImportState.CHECKING, ImportState.ADDING)
    context: dict[str, Any] = {"nav": "devices", "upload": upload, "working": working, "which": which}
    if working:
        to_do, so_far = (
            (upload.rows, upload.checked)
            if upload.state == ImportState.CHECKING
            else (upload.done + upload.failed + upload.to_add, upload.done + upload.failed)
        )
        context |= {"to_do": to_do, "so_far": so_far}
    else:
        context |= preview(request, upload, which)
    return page(request, "devices/import_file.html", context, partial="import-file")


def preview(request: PersonRequest, upload: ImportFile, which: str) -> dict[str, Any]:
    rows = ImportRow.objects.filter(file=upload).order_by("-faulty", "number")
    counts = {"all": upload.rows, "errors": upload.faulty + upload.failed}
    counts["ready"] = counts["all"] - counts["errors"]
    if which != "all":
        rows = rows.filter(faulty=which == "errors")
    pages = Paginator(rows, ROWS)
    pages.count = counts[which]
    found = pages.get_page(request.GET.get("page"))
    fields = [one for one in import_columns.fields(upload.type) if one.key in upload.mapping]
    query, done = {"show": which}, upload.state == ImportState.DONE
    shown = _("%(first)s–%(last)s of %(all)s rows") % {
        "first": number_format(found.start_index(), force_grouping=True),
        "last": number_format(found.end_index(), force_grouping=True),
        "all": number_format(pages.count, force_grouping=True),
    }
    text = ngettext("Add %(number)s device", "Add %(number)s devices", upload.ready)
    return {
        "fields": fields,
        "rows": [(row, wide(row, fields), told(row, upload, fields)) for row in found],
        "chips": [(key, _("Added") if done and key == "ready" else label, counts[key]) for key, label in SHOWN.items()],
        "summary": shown if pages.count else "",
        "previous_url": "?" + urlencode(query | {"page": found.number - 1}) if found.has_previous() else "",
        "next_url": "?" + urlencode(query | {"page": found.number + 1}) if found.has_next() else "",
        "button": text % {"number": number_format(upload.ready, force_grouping=True)},
        "refused": upload.faulty + upload.failed,
    }


def wide(row: ImportRow, fields: list[ImportField]) -> str:
    """What is wrong with the row as a whole, or with a field that no column was chosen for."""
    keys = {field.key for field in fields}
    return " ".join(text for key, text in row.errors.items() if key not in keys)


def told(row: ImportRow, upload: ImportFile, fields: list[ImportField]) -> list[tuple[str, str, str]]:
    """(head, cell, error) for each field; keys are not shown. A row whose device is there has no cells any more."""
    cells = row.open() if row.cells else []
    kept = {"name": row.label}
    for claim in row.claims:
        kind, _colon, value = claim.partition(":")
        kept[import_runner.KEYS[kind]] = value
    found = []
    for field in fields:
        text = cells[upload.mapping[field.key]] if cells else kept.get(field.key, "")
        if field.secret and text:
            text = import_columns.MASK
        found.append((str(field.label), text, row.errors.get(field.key, "")))
    return found


@upload_view("POST")
def add(request: PersonRequest, upload: ImportFile) -> HttpResponse:
    """Add as many devices as the button said."""
    agreed = request.POST.get("count", "")
    try:
        imports.accept(upload=upload, agreed=int(agreed) if agreed.isdecimal() else 0, actor=request.user)
    except imports.CountChanged as error:
        text = _("Nothing was added: %(count)s rows are ready now. Look again.")
        messages.warning(request, text % {"count": number_format(error.found, force_grouping=True)})
    except StateConflict:
        messages.warning(request, _("The devices of this file are being added already."))
    return redirect("devices:import_file", upload_id=upload.pk)


@upload_view("POST")
def keys(request: PersonRequest, upload: ImportFile) -> HttpResponse:
    """What the portal made, as a file, this once."""
    try:
        content = imports.take_keys(upload=upload, actor=request.user)
    except StateConflict:
        messages.warning(request, _("The secrets of this file were taken already, or there are none."))
        return redirect("devices:import_file", upload_id=upload.pk)
    return download(content, f"secrets-{upload.pk}.csv")


@upload_view()
def refused(request: PersonRequest, upload: ImportFile) -> HttpResponse:
    """The rows with errors, to be mended and sent again."""
    if not upload.faulty + upload.failed or upload.state not in (ImportState.CHECKED, ImportState.DONE):
        raise Http404
    return download(imports.refused_file(upload), f"refused-{upload.pk}.csv")


@upload_view("POST")
def discard(request: PersonRequest, upload: ImportFile) -> HttpResponse:
    try:
        imports.discard(upload=upload)
    except StateConflict:
        messages.warning(request, _("Devices are added from this file: it goes by itself after a week."))
        return redirect("devices:import_file", upload_id=upload.pk)
    messages.success(request, _("The file is dropped. Nothing was added."))
    return redirect("devices:import")


def download(content: bytes, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
