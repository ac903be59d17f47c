"""Device Twins for support staff (P4): looked at, never changed, for messages write them."""

from __future__ import annotations

from django.contrib import admin

from common.admin import LookedAt

from .models import Twin, ValueName


@admin.register(Twin)
class TwinAdmin(LookedAt, admin.ModelAdmin[Twin]):
    list_display = ("device_id", "device", "version", "updated_at")
    list_select_related = ("device",)
    search_fields = ("device__name", "device__identifier", "=device__id")
    readonly_fields = (
        *("device", "reported", "desired", "metadata", "updated_at"),
        *("version", "reported_version", "desired_version", "metadata_version"),
    )
    show_full_result_count = False


@admin.register(ValueName)
class ValueNameAdmin(LookedAt, admin.ModelAdmin[ValueName]):
    list_display = ("name", "id")
    search_fields = ("name",)
    readonly_fields = ("name",)
    show_full_result_count = False
