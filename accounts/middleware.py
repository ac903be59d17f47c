"""Gives the request its person, the person's language and time zone; support staff's admin sees all Projects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import cast
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone, translation
from django_scopes import scopes_disabled

from .access import Person, PersonRequest
from .models import User


class PersonMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        zone = settings.DEFAULT_PERSON_TIME_ZONE
        if isinstance(user, User):
            cast("PersonRequest", request).person = Person(user)
            zone = user.time_zone
            if user.language and user.language != translation.get_language():
                translation.activate(user.language)
                request.LANGUAGE_CODE = user.language
        # The admin has its own gate (is_staff and model permissions) and crosses Projects on purpose (P4).
        in_admin = request.path.startswith(reverse("admin:index"))
        with timezone.override(ZoneInfo(zone)), scopes_disabled() if in_admin else nullcontext():
            return self.get_response(request)
