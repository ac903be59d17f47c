"""The access mark of addresses that name a device: outside the person's Projects there is none (P1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404

from accounts.access import Decorator, InProject, in_projects
from accounts.models import Role

from .models import Device


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
