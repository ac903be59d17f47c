"""The codecs of a person's Projects (T5): the list, a new one, its name, its end, its test cases, and what differs
between two of its versions. The page where one is written is in ``codec_editor``."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Subquery
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.access import PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page
from devices import codec_work, source_difference
from devices.access import codec_view
from devices.codec_forms import CaseForm, CodecForm
from devices.codec_trial import NotACase
from devices.codec_work import CodecRefused
from devices.models import Codec, CodecFunction, CodecVersion

PAGE_SIZE = 50


@in_projects()
def codec_list(request: PersonRequest) -> HttpResponse:
    newest = CodecVersion.objects.filter(codec=OuterRef("pk")).order_by("-number")
    rows = Codec.objects.select_related("project", "in_use").order_by("name", "pk")
    rows = rows.annotate(
        type_count=Count("types"),
        newest=Subquery(newest.values("number")[:1]),
        changed_at=Subquery(newest.values("created_at")[:1]),
    )
    context = {
        "nav": "types",
        "found": Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page")),
        "may_add": request.person.may_somewhere(Role.ADMINISTRATOR),
        "several": len(request.person.projects) > 1,
    }
    return page(request, "devices/codecs.html", context)


@in_projects(Role.ADMINISTRATOR, change=Role.ADMINISTRATOR, methods=("GET", "POST"))
def add(request: PersonRequest) -> HttpResponse:
    data = request.POST if request.method == "POST" else None
    form = CodecForm(data, projects=request.person.projects_with(Role.ADMINISTRATOR))
    if request.method == "POST" and form.is_valid():
        values = {key: form.cleaned_data[key] for key in ("name", "description")}
        try:
            codec = codec_work.create_codec(project=form.project, actor=request.user, **values)
        except ValidationError as error:
            form.add_error("name", error.messages)
        else:
            messages.success(request, _("The codec is made. It begins with an example; nothing uses it yet."))
            return redirect("devices:codec", codec_id=codec.pk)
    context = {"nav": "types", "form": form}
    return page(request, "devices/codec_add.html", context, status=422 if form.errors else 200)


@codec_view("GET", "POST", see=Role.ADMINISTRATOR)
def edit(request: PersonRequest, codec: Codec) -> HttpResponse:
    initial = {"name": codec.name, "description": codec.description}
    form = CodecForm(request.POST if request.method == "POST" else None, projects=[], initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            codec_work.edit_codec(codec=codec, actor=request.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error("name", error.messages)
        except CodecRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("The codec is saved."))
            return redirect("devices:codec", codec_id=codec.pk)
    context = {"nav": "types", "codec": codec, "form": form}
    return page(request, "devices/codec_edit.html", context, status=422 if form.errors else 200)


@codec_view("GET", "POST", see=Role.ADMINISTRATOR)
def delete(request: PersonRequest, codec: Codec) -> HttpResponse:
    """GET asks first, and says what stands in the way."""
    refused = ""
    if request.method == "POST":
        try:
            codec_work.delete_codec(codec=codec, actor=request.user)
        except CodecRefused as error:
            refused = str(error)
        else:
            messages.success(request, _("The codec %(name)s is deleted.") % {"name": codec.name})
            return redirect("devices:codecs")
    context = {
        "nav": "types",
        "codec": codec,
        "refused": refused,
        "types": codec_work.types_with(codec),
        "versions": codec.versions.count(),
        "cases": codec.cases.count(),
    }
    return page(request, "devices/codec_delete.html", context, status=422 if refused else 200)


@codec_view("GET")
def difference(request: PersonRequest, codec: Codec) -> HttpResponse:
    """Between the versions ``from`` and ``to``; without them between the newest and the one before."""
    numbers = list(codec.versions.values_list("number", flat=True))
    after = _number(request.GET.get("to"), numbers) or numbers[0]
    older = [number for number in numbers if number < after]
    before = _number(request.GET.get("from"), numbers) or (older or [after])[0]
    chosen = {row.number: row for row in codec.versions.select_related("created_by").filter(number__in=[before, after])}
    context = {
        "nav": "types",
        "codec": codec,
        "numbers": numbers,
        "before": chosen[before],
        "after": chosen[after],
        "lines": source_difference.difference(chosen[before].source, chosen[after].source),
    }
    return page(request, "devices/codec_difference.html", context)


def _number(text: str | None, numbers: list[int]) -> int | None:
    number = int(text) if text and text.isdecimal() and len(text) < 10 else 0
    return number if number in numbers else None


# --- test cases ---


@codec_view("GET", "POST", see=Role.ADMINISTRATOR)
def add_case(request: PersonRequest, codec: Codec) -> HttpResponse:
    form = CaseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data | {"function": CodecFunction(form.cleaned_data["function"])}
        try:
            codec_work.add_case(codec=codec, actor=request.user, **values)
        except (CodecRefused, NotACase) as error:
            _put(form, error)
        else:
            messages.success(request, _("The test case is kept."))
            return redirect("devices:codec", codec_id=codec.pk)
    context = {"nav": "types", "codec": codec, "case": None, "form": form}
    return page(request, "devices/codec_case.html", context, status=422 if form.errors else 200)


@codec_view("GET", "POST", see=Role.ADMINISTRATOR)
def case(request: PersonRequest, codec: Codec, case_id: int) -> HttpResponse:
    """Change or remove a test case; a link to one that is gone leads nowhere."""
    found = codec.cases.filter(pk=case_id).first()
    if found is None:
        raise Http404
    if request.method == "POST" and "remove" in request.POST:
        try:
            codec_work.remove_case(case=found, actor=request.user)
        except CodecRefused as error:
            messages.warning(request, str(error))
            return redirect("devices:codecs")
        messages.success(request, _("The test case %(name)s is removed.") % {"name": found.name})
        return redirect("devices:codec", codec_id=codec.pk)
    form = CaseForm(request.POST if request.method == "POST" else None, case=found)
    if request.method == "POST" and form.is_valid():
        try:
            codec_work.change_case(case=found, actor=request.user, **form.cleaned_data)
        except (CodecRefused, NotACase) as error:
            _put(form, error)
        else:
            messages.success(request, _("The test case is kept."))
            return redirect("devices:codec", codec_id=codec.pk)
    context: dict[str, Any] = {"nav": "types", "codec": codec, "case": found, "form": form}
    return page(request, "devices/codec_case.html", context, status=422 if form.errors else 200)


def _put(form: CaseForm, error: CodecRefused | NotACase) -> None:
    """The error beside its input."""
    where = error.where if isinstance(error, NotACase) else error.field
    form.add_error(where if where in form.fields else None, str(error))
