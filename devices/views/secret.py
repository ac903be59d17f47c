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
from devices.shared_secret import GraceForm


def replaced(
    request: PersonRequest, device: Device, context: dict[str, Any], *, new_secret: Callable[..., str], back: str
) -> HttpResponse:
    """Asks first, and how long the old secret stays valid. The answer to the POST is the only page that shows the new.

    ``context``: the tab's; ``new_secret(device=, actor=, grace=)`` makes it; ``back``: the name of the tab's address.
    """
    form = GraceForm(request.POST if request.method == "POST" else None)
    context |= {"back": back, "form": form}
    if request.method == "POST" and form.is_valid():
        actor: User = request.user
        try:
            made = new_secret(device=device, actor=actor, grace=form.chosen)
        except (DeviceError, NotAllowedForType) as error:
            messages.error(request, str(error))
            return redirect(back, device_id=device.pk)
        context |= {"secrets": {_("Shared secret"): made}, "grace": form.chosen}
    refused = request.method == "POST" and not context.get("secrets")
    return page(request, "devices/secret.html", context, status=422 if refused else 200)


def revoked(request: PersonRequest, device: Device, *, revoke: Callable[..., None], back: str) -> HttpResponse:
    """Refuses the old secret from now on; ``revoke(device=, actor=)`` does it."""
    try:
        revoke(device=device, actor=request.user)
    except (DeviceError, NotAllowedForType) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The old secret is refused from now on."))
    return redirect(back, device_id=device.pk)
