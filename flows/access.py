"""The access marks of addresses that name a Flow or a destination: outside the person's Projects there is none (P1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404

from accounts.access import Decorator, InProject, in_projects
from accounts.models import Role

from .models import Destination, Flow


def _flow(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    flow = Flow.objects.select_related("project").filter(pk=kwargs["flow_id"]).first()
    if flow is None:
        raise Http404
    return "flow", flow


def flow_view(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """A view of one Flow; it receives ``flow`` in place of ``flow_id``."""
    return in_projects(see, change=change, methods=methods or ("GET",), resolve=_flow, names="flow")


def _destination(kwargs: Mapping[str, Any]) -> tuple[str, InProject]:
    found = Destination.objects.select_related("project").defer("secrets").filter(pk=kwargs["destination_id"]).first()
    if found is None:
        raise Http404
    return "destination", found


def destination_view(*methods: str, see: Role = Role.VIEWER, change: Role = Role.OPERATOR) -> Decorator:
    """A view of one destination; it receives ``destination``, without its secrets, in place of ``destination_id``."""
    return in_projects(see, change=change, methods=methods or ("GET",), resolve=_destination, names="destination")
