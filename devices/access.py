"""The access marks of addresses that name a device, a job, a codec or a device type: outside the person's Projects
there is none (P1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial, wraps
from http import HTTPStatus
from typing import Any, cast

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django_scopes import get_scope

from accounts.access import (
    SAFE,
    Decorator,
    InProject,
    InSeveralProjects,
    PersonRequest,
    View,
    for_programs,
    in_projects,
)
from accounts.models import Project, Role
from common.problems import Problem
from common.standing import Standing

from . import deletion, types
from .models import Codec, Device, DeviceType, Job


@cache
def _reading(also: Sequence[str]) -> Standing[Device]:
    def compose(pk: int, projects: list[int]) -> QuerySet[Device]:
        rows = Device.objects.select_related("type", "state", "network_task", *also)
        return rows.filter(pk=pk, project_id__in=projects)

    return Standing(compose)


def _device(kwargs: Mapping[str, Any], also: Sequence[str] = ()) -> tuple[str, InProject]:
    found = _reading(also)(pk=kwargs["device_id"], projects=get_scope()["project"])
    if not found:
        raise Http404
    return "device", found[0]


def _place(request: PersonRequest, device: Device) -> None:
    """Give the device its Project, which the person's memberships have already."""
    device.project = request.person.memberships[device.project_id].project


def device_view(
    *methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR, also: Sequence[str] = ()
) -> Decorator:
    """A view of one device; it receives ``device`` in place of ``device_id``. While the device is being deleted (D9)
    it is looked at and not changed. ``also``: what is read in the same query, as ``select_related`` names it."""
    resolve = partial(_device, also=also)
    opened = in_projects(see, change=change, methods=methods or ("GET",), resolve=resolve, names="device")

    def decorate(function: Callable[..., HttpResponse]) -> View:
        @wraps(function)
        def view(request: PersonRequest, device: Device, **kwargs: Any) -> HttpResponse:
            _place(request, device)
            if deletion.is_under_way(device):
                if request.method not in SAFE:
                    messages.warning(request, _("Nothing was changed: the device is being deleted."))
                    return redirect("devices:detail", device_id=device.pk)
                request.can_change = False
            return function(request, device=device, **kwargs)

        return opened(view)

    return decorate


def device_resource(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """As :func:`device_view`, for programs: every refusal is a problem document."""
    opened = for_programs(see, change=change, methods=methods or ("GET",), resolve=_device, names="device")

    def decorate(function: Callable[..., HttpResponse]) -> View:
        @wraps(function)
        def view(request: PersonRequest, device: Device, **kwargs: Any) -> HttpResponse:
            _place(request, device)
            if request.method not in SAFE and deletion.is_under_way(device):
                raise Problem(HTTPStatus.CONFLICT, _("Nothing was changed: the device is being deleted."))
            return function(request, device=device, **kwargs)

        return opened(view)

    return decorate


def _job(kwargs: Mapping[str, Any]) -> tuple[str, InSeveralProjects]:
    job = Job.objects.select_related("created_by").filter(pk=kwargs["job_id"]).first()
    if job is None:
        raise Http404
    return "job", job


def job_view(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """A view of one job, for people of all its Projects; it receives ``job`` in place of ``job_id``."""
    return in_projects(see, change=change, methods=methods or ("GET",), resolve=_job, names="job")


def _codec(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    """The portal's own codecs, of managed types, are in no Project and are not found."""
    codec = Codec.objects.select_related("project", "in_use").filter(pk=kwargs["codec_id"]).first()
    if codec is None:
        raise Http404
    return "codec", cast("InProject", codec)


def codec_view(*methods: str, see: Role = Role.VIEWER) -> Decorator:
    """A view of one codec; it receives ``codec`` in place of ``codec_id``. Administrators alone change codecs (T5)."""
    return in_projects(see, change=Role.ADMINISTRATOR, methods=methods or ("GET",), resolve=_codec, names="codec")


@dataclass(frozen=True, slots=True)
class _KnownType:
    """A device type, and the Projects by which a person knows of it."""

    device_type: DeviceType
    project_ids: Sequence[int]


def _known_type(kwargs: Mapping[str, Any]) -> tuple[str, InSeveralProjects]:
    projects = Project.objects.in_bulk(get_scope()["project"])
    found = types.of_projects(projects).select_related("project", "codec").filter(pk=kwargs["device_type_id"]).first()
    if found is None:
        raise Http404
    return "device_type", _KnownType(found, [found.project_id] if found.project_id else list(projects))


def _own_type(kwargs: Mapping[str, Any]) -> tuple[str, InSeveralProjects]:
    rows = DeviceType.objects.select_related("project", "codec").filter(project__isnull=False)
    found = rows.filter(pk=kwargs["device_type_id"]).first()
    if found is None or found.project_id is None:
        raise Http404
    return "device_type", _KnownType(found, [found.project_id])


def type_view(*methods: str, own: bool = False) -> Decorator:
    """A view of one device type; it receives ``device_type``. ``own``: of a type that a Project has made, for its
    administrators; else of any that the person knows of (:func:`devices.types.of_projects`)."""
    opened = in_projects(
        Role.ADMINISTRATOR if own else Role.VIEWER,
        change=Role.ADMINISTRATOR,
        methods=methods or ("GET",),
        resolve=_own_type if own else _known_type,
        names="device type",
    )

    def decorate(function: Callable[..., HttpResponse]) -> View:
        @wraps(function)
        def view(request: PersonRequest, device_type: _KnownType, **kwargs: Any) -> HttpResponse:
            return function(request, device_type=device_type.device_type, **kwargs)

        return opened(view)

    return decorate
