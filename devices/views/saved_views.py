"""The address of a view (D11), and the pages that keep, change and remove one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.access import Decorator, InProject, PersonRequest, in_projects
from accounts.models import Role
from common.htmx import page
from devices import chips, saved_views
from devices.asked import Asked
from devices.cells import columns
from devices.errors import DeviceError
from devices.forms import ViewForm
from devices.models import SavedView


def _view(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    found = SavedView.objects.filter(pk=kwargs["view_id"]).first()
    if found is None:
        raise Http404
    return "view", found


def saved_view(*methods: str, see: Role = Role.VIEWER) -> Decorator:
    """A view of one saved view; it receives ``view`` in place of ``view_id``."""
    return in_projects(see, methods=methods, resolve=_view, names="view")


def _only_for(request: PersonRequest, view: SavedView) -> None:
    """A private view is there for its owner alone."""
    if not view.shared and view.owner_id != request.user.pk:
        raise Http404


@saved_view("GET")
def show(request: PersonRequest, view: SavedView) -> HttpResponse:
    """The list as the view keeps it."""
    _only_for(request, view)
    query = f"{view.query}&view={view.pk}" if view.query else f"view={view.pk}"
    return HttpResponseRedirect(f"{reverse('devices:list')}?{query}")


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def keep(request: PersonRequest) -> HttpResponse:
    """Name the list that the address asks for."""
    projects = request.person.projects_with(Role.OPERATOR)
    asked = _asked(request, request.GET)
    form = ViewForm(request.POST if request.method == "POST" else None, projects=projects)
    if request.method == "POST" and form.is_valid():
        try:
            view = saved_views.keep(
                project=form.project,
                owner=request.user,
                name=form.cleaned_data["name"],
                shared=form.cleaned_data["shared"],
                query=asked.text,
            )
        except DeviceError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, _("The view is kept."))
            return HttpResponseRedirect(saved_views.address(view))
    return page(request, "devices/view.html", _context(request, asked, form), status=422 if form.errors else 200)


@saved_view("GET", "POST", see=Role.OPERATOR)
def edit(request: PersonRequest, view: SavedView) -> HttpResponse:
    """Rename, share, remove; with ``query`` in a POST: keep the list as it is now."""
    _only_for(request, view)
    if not saved_views.may_change(request, view):
        raise PermissionDenied
    if request.method == "POST" and "remove" in request.POST:
        saved_views.remove(view=view, actor=request.user)
        messages.success(request, _("The view %(name)s is removed.") % {"name": view.name})
        return HttpResponseRedirect(reverse("devices:list"))
    if request.method == "POST" and "query" in request.POST:
        asked = _asked(request, QueryDict(request.POST["query"].lstrip("?")))
        saved_views.change(view=view, actor=request.user, query=asked.text)
        messages.success(request, _("The view is kept as it is now."))
        return HttpResponseRedirect(saved_views.address(view))
    initial = {"name": view.name, "shared": view.shared}
    form = ViewForm(request.POST if request.method == "POST" else None, projects=[view.project], initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            saved_views.change(
                view=view, actor=request.user, name=form.cleaned_data["name"], shared=form.cleaned_data["shared"]
            )
        except DeviceError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, _("The view is kept."))
            return HttpResponseRedirect(saved_views.address(view))
    asked = _asked(request, QueryDict(view.query))
    context = _context(request, asked, form) | {"view": view}
    return page(request, "devices/view.html", context, status=422 if form.errors else 200)


def _asked(request: PersonRequest, query: QueryDict) -> Asked:
    return Asked.parse(query, [project.pk for project in request.person.projects])


def _context(request: PersonRequest, asked: Asked, form: ViewForm) -> dict[str, Any]:
    projects = {project.pk: project.name for project in request.person.projects}
    return {
        "nav": "devices",
        "form": form,
        "asked": asked,
        "columns": columns(asked),
        "chips": chips.chips(asked, projects),
        "list_url": f"{reverse('devices:list')}{asked.address()}",
    }
