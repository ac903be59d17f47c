"""What every template knows: whose portal this is and in which time zone its moments are shown."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone


def portal(request: HttpRequest) -> dict[str, object]:
    return {
        "operator_name": settings.OPERATOR_NAME,
        "portal_name": settings.PORTAL_NAME,
        "zone_name": timezone.get_current_timezone_name(),
    }
