"""The access marks of addresses that name a device or a job: outside the person's Projects there is none (P1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

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
from accounts.models import Role
from common.problems import Problem

from . import deletion
from .models import Device, Job


def _device(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    device = (
        Device.objects.select_related("type", "project", "state", "network_task").filter(pk=kwargs["device_id"]).first()
    )
    if device is None:
        raise Http404
    return "device", device


def device_view(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """A view of one device; it receives ``device`` in place of ``device_id``. While the device is being deleted (D9)
    it is looked at and not changed."""
    opened = in_projects(see, change=change, methods=methods or ("GET",), resolve=_device, names="device")

    def decorate(function: Callable[..., HttpResponse]) -> View:
        @wraps(function)
        def view(request: PersonRequest, device: Device, **kwargs: Any) -> HttpResponse:
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
