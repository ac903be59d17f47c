"""The page that makes a new shared secret, for the M2M and the Internet tab (M3, I2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.access import PersonRequest
from accounts.models import User
from common.htmx import page
from devices.capabilities import NotAllowedForType
from devices.errors import DeviceError
from devices.models import Device


def replaced(
    request: PersonRequest, device: Device, context: dict[str, Any], *, new_secret: Callable[..., str], back: str
) -> HttpResponse:
    """Asks first: the old secret stops working. The answer to the POST is the only page that shows the new one.

    ``context``: the tab's; ``new_secret(device=, actor=)`` makes it; ``back``: the name of the tab's address.
    """
    context["back"] = back
    if request.method == "POST":
        actor: User = request.user
        try:
            context["secrets"] = {_("Shared secret"): new_secret(device=device, actor=actor)}
        except (DeviceError, NotAllowedForType) as error:
            messages.error(request, str(error))
            return redirect(back, device_id=device.pk)
    return page(request, "devices/secret.html", context)
