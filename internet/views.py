"""The Internet tab (I2): identity, a new shared secret, an example request, the last messages."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page, wants_partial
from devices.access import device_view
from devices.capabilities import Capability, has
from devices.messages import last as last_messages
from devices.models import Device
from devices.views import detail
from devices.views import secret as new_secret

from . import services
from .models import InternetIdentity

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


@device_view("GET")
def tab(request: PersonRequest, device: Device) -> HttpResponse:
    if wants_partial(request):
        context: dict[str, Any] = {"device": device, "messages_received": last_messages(device)}
    else:
        context = _tab(request, device) | {"messages_received": last_messages(device)}
    return page(request, "internet/tab.html", context, partial="internet-messages")


@device_view("GET", "POST", see=Role.OPERATOR)
def secret(request: PersonRequest, device: Device) -> HttpResponse:
    return new_secret.replaced(
        request, device, _tab(request, device), new_secret=services.new_secret, back="internet:tab"
    )


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
