"""What came from a device and what was refused, for the M2M and the Internet tab (M2, I2)."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from accounts.access import PersonRequest
from devices import messages
from devices.models import Device


def received(request: PersonRequest, device: Device, tab: str) -> dict[str, Any]:
    """For devices/_messages.html. ``tab``: the name of the tab's address, which takes ``before``."""
    before = request.GET.get("before", "")[:40]
    found = messages.page_of(device, before)
    url = reverse(tab, args=[device.pk])
    return {
        "messages_received": found.messages,
        "messages_refused": [] if before else messages.refused(device),
        "messages_url": url,
        "older_url": f"{url}?before={found.older}" if found.older else "",
        "newest_url": url if before else "",
    }
