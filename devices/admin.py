"""Device types, devices and what is known of them, for support staff (P4).

Devices are looked at here and changed on their pages, where every change goes through a service and is recorded.
Links to Flows and messages have composite primary keys, which the admin does not take.
"""

from __future__ import annotations

from django.contrib import admin

from common.admin import LookedAt

from .models import Device, DeviceState, DeviceType, Identity, ImportFile, ImportMapping, NetworkTask


@admin.register(DeviceType)
class DeviceTypeAdmin(admin.ModelAdmin[DeviceType]):
    list_display = ("name", "slug", "category", "connectivity", "project", "addable")
    list_filter = ("category", "connectivity", "addable", "subscriptions")
    search_fields = ("name", "slug", "description")
    autocomplete_fields = ["project"]
    filter_horizontal = ("subscriptions",)


@admin.register(Device)
class DeviceAdmin(LookedAt, admin.ModelAdmin[Device]):
    list_display = ("name", "identifier", "type", "project", "processing_status", "connection_status", "created_at")
    list_filter = ("processing_status", "connection_status", "type__connectivity", "type__category")
    search_fields = ("name", "identifier", "barcode", "project__name", "=id")
    list_select_related = ("type", "project")
    ordering = ("-pk",)
    show_full_result_count = False


@admin.register(DeviceState)
class DeviceStateAdmin(LookedAt, admin.ModelAdmin[DeviceState]):
    list_display = ("device", "last_message_at", "previous_message_at", "messages")
    search_fields = ("device__name", "device__identifier", "=device__id")
    list_select_related = ("device",)
    ordering = ("-pk",)
    show_full_result_count = False


@admin.register(Identity)
class IdentityAdmin(LookedAt, admin.ModelAdmin[Identity]):
    """Who has which identifier, over all Projects; without a device it is retired for ever (D9)."""

    list_display = ("urn", "device_id", "since")
    search_fields = ("urn", "=device_id")
    ordering = ("urn",)
    show_full_result_count = False


@admin.register(NetworkTask)
class NetworkTaskAdmin(LookedAt, admin.ModelAdmin[NetworkTask]):
    list_display = ("device", "operation", "requested_by", "requested_at", "attempts", "not_before", "last_error")
    list_filter = ("operation",)
    search_fields = ("device__name", "device__identifier", "last_error", "requested_by__email")
    list_select_related = ("device", "requested_by")
    ordering = ("not_before",)


@admin.register(ImportFile)
class ImportFileAdmin(LookedAt, admin.ModelAdmin[ImportFile]):
    """Files of devices; their rows have keys in them and are not shown."""

    list_display = ("name", "project", "type", "created_by", "created_at", "state", "rows", "faulty", "done", "failed")
    list_filter = ("state",)
    search_fields = ("name", "project__name", "created_by__email", "=id")
    list_select_related = ("project", "type", "created_by")
    ordering = ("-pk",)
    show_full_result_count = False


@admin.register(ImportMapping)
class ImportMappingAdmin(LookedAt, admin.ModelAdmin[ImportMapping]):
    list_display = ("user", "project", "type", "header")
    search_fields = ("user__email", "project__name", "header")
    list_select_related = ("user", "project", "type")
    ordering = ("-pk",)
