"""Device Twins for support staff (P4): looked at, never changed, for messages write them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Twin


@admin.register(Twin)
class TwinAdmin(admin.ModelAdmin[Twin]):
    list_display = ("device_id", "device", "version", "updated_at")
    list_select_related = ("device",)
    search_fields = ("device__name", "device__identifier", "=device__id")
    readonly_fields = ("device", "reported", "version", "updated_at")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
