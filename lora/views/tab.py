"""The LoRa tab (L2)."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils import timezone

from accounts.access import PersonRequest
from common.htmx import page
from devices.access import device_view
from devices.models import Connection, Device
from devices.views import detail
from lora import frames, history
from lora.models import LoraIdentity
from lora.search import oldest

REGISTRABLE = frozenset({Connection.NOT_LINKED.value, Connection.FAILED.value, Connection.INVENTORY.value})


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    identity = LoraIdentity.objects.select_related("network").defer("app_key").filter(device=device).first()
    context = detail.frame(device, request, active="lora") | {
        "identity": identity,
        "joining": history.joining(frames.page(device.pk, since=oldest(timezone.now()))),
        "register_offered": request.can_change
        and not device.type.is_managed
        and device.connection_status in REGISTRABLE,
    }
    return page(request, "lora/tab.html", context)
