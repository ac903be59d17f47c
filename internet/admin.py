"""Internet identities for support staff (P4): looked at, never changed; shared secrets are never shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import InternetIdentity


@admin.register(InternetIdentity)
class InternetIdentityAdmin(admin.ModelAdmin[InternetIdentity]):
    list_display = ("dvn_uuid", "device", "secret_at")
    list_select_related = ("device",)
    search_fields = ("dvn_uuid", "device__name", "device__project__name")
    exclude = ("secret",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
