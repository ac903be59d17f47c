"""The Internet tab (I2): identity, a new shared secret, an example request, the last messages."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.capabilities import Capability, has
from devices.example import examples
from devices.models import Device
from devices.shared_secret import old_secret
from devices.views import detail
from devices.views import secret as new_secret
from devices.views.received import received

from . import services
from .models import InternetIdentity

INGESTION_PATH = "/ingestion/ip/senml/v1"


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    context = {"device": device} | received(request, device, "internet:tab")
    if not wants_partial(request):
        context |= _tab(request, device)
    return page(request, "internet/tab.html", context, partial="internet-messages")


@device_view("GET", "POST", see=Role.OPERATOR)
def secret(request: PersonRequest, device: Device) -> HttpResponse:
    return new_secret.replaced(
        request, device, _tab(request, device), new_secret=services.new_secret, back="internet:tab"
    )


@device_view("POST")
def revoke(request: PersonRequest, device: Device) -> HttpResponse:
    return new_secret.revoked(request, device, revoke=services.revoke_old_secret, back="internet:tab")


def _tab(request: PersonRequest, device: Device) -> dict[str, Any]:
    identity = InternetIdentity.objects.filter(device=device).defer("secret", "old_secret").first()
    return detail.frame(device, request, active="internet") | {
        "identity": identity,
        "old_secret": old_secret(identity, timezone.now()),
        "examples": examples(request, INGESTION_PATH, identity.base_name) if identity else [],
        "may_manage": request.can_change and has(device, Capability.SECRETS),
        "revoke_url": reverse("internet:revoke", args=[device.pk]),
    }
