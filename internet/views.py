"""The Internet tab (I2): identity, a new shared secret, an example request, the last messages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.capabilities import Capability, NotAllowedForType, has
from devices.errors import DeviceError
from devices.models import Device, SenmlMessage
from devices.views import detail

from . import services
from .models import InternetIdentity

MESSAGES = 20
MESSAGES_SINCE = timedelta(days=31)
INGESTION_PATH = "/ingestion/ip/senml/v1"

# The token is SHA-256 of the body followed by the secret (reference, section 2.3). printf and not echo: no line
# end may come between them. --data-binary: curl's --data would take line ends out of a longer body.
EXAMPLE = """\
SECRET='paste-the-shared-secret-here'
BODY='[{{"bn":"{base_name}","n":"temperature","u":"Cel","v":21.5}}]'
TOKEN=$(printf '%s%s' "$BODY" "$SECRET" | sha256sum | cut -d ' ' -f 1)
curl --include '{address}' \\
  --header "Things-Message-Token: $TOKEN" \\
  --header 'Content-Type: application/json' \\
  --data-binary "$BODY"
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came, for reading: JSON indented, anything else as text or hexadecimal."""

    key: str
    at: datetime
    records: int
    size: int
    body: str


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    if wants_partial(request):
        context: dict[str, Any] = {"device": device, "messages_received": _received(device)}
    else:
        context = _tab(request, device) | {"messages_received": _received(device)}
    return page(request, "internet/tab.html", context, partial="internet-messages")


@device_view("GET", "POST", see=Role.OPERATOR)
def secret(request: PersonRequest, device: Device) -> HttpResponse:
    """Asks first: the old secret stops working. The answer to the POST is the only page that shows the new one."""
    context = _tab(request, device)
    if request.method == "POST":
        try:
            context["secrets"] = {_("Shared secret"): services.new_secret(device=device, actor=request.user)}
        except (DeviceError, NotAllowedForType) as error:
            messages.error(request, str(error))
            return redirect("internet:tab", device_id=device.pk)
    return page(request, "internet/secret.html", context)


def example(request: HttpRequest, identity: InternetIdentity) -> str:
    """A shell script that sends one message; it works as printed once the secret is pasted in."""
    return EXAMPLE.format(base_name=identity.base_name, address=request.build_absolute_uri(INGESTION_PATH))


def _tab(request: PersonRequest, device: Device) -> dict[str, Any]:
    identity = InternetIdentity.objects.filter(device=device).defer("secret").first()
    return detail.frame(device, request, active="internet") | {
        "identity": identity,
        "example": example(request, identity) if identity else "",
        "may_manage": request.can_change and has(device, Capability.SECRETS),
    }


def _received(device: Device) -> list[Message]:
    rows = SenmlMessage.objects.filter(device_id=device.pk, received_at__gte=timezone.now() - MESSAGES_SINCE)
    rows = rows.order_by("-received_at", "-seq")[:MESSAGES]
    return [
        Message(
            key=f"{row['received_at']:%Y%m%d%H%M%S%f}-{row['seq']}",
            at=row["received_at"],
            records=row["records"],
            size=len(row["body"]),
            body=_readable(bytes(row["body"])),
        )
        for row in rows.values("received_at", "seq", "records", "body")
    ]


def _readable(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.hex(" ").upper()
