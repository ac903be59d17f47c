"""The access marks of addresses that name a device or a job: outside the person's Projects there is none (P1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404

from accounts.access import Decorator, InProject, InSeveralProjects, in_projects
from accounts.models import Role

from .models import Device, Job


def _device(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    device = (
        Device.objects.select_related("type", "project", "state", "network_task").filter(pk=kwargs["device_id"]).first()
    )
    if device is None:
        raise Http404
    return "device", device


def device_view(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """A view of one device; it receives ``device`` in place of ``device_id``."""
    return in_projects(see, change=change, methods=methods or ("GET",), resolve=_device, names="device")


def _job(kwargs: Mapping[str, Any]) -> tuple[str, InSeveralProjects]:
    job = Job.objects.select_related("created_by").filter(pk=kwargs["job_id"]).first()
    if job is None:
        raise Http404
    return "job", job


def job_view(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """A view of one job, for people of all its Projects; it receives ``job`` in place of ``job_id``."""
    return in_projects(see, change=change, methods=methods or ("GET",), resolve=_job, names="job")
