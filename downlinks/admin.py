"""Instructions for support staff (P4): looked at, never changed; cancelling is done on the device's page.

Under :class:`DownlinkForSupport`, because the admin takes no composite primary keys.
"""

from __future__ import annotations

from django.contrib import admin

from common.admin import LookedAt

from .models import DownlinkForSupport


@admin.register(DownlinkForSupport)
class DownlinkAdmin(LookedAt, admin.ModelAdmin[DownlinkForSupport]):
    list_display = ("requested_at", "device", "number", "state", "encoder", "sent_at", "acknowledged_at", "cause")
    list_filter = ("state", "encoder")
    list_select_related = ("device",)
    search_fields = ("device__name", "device__identifier", "correlation_id", "cause")
    ordering = ("-requested_at",)
    date_hierarchy = "requested_at"
    show_full_result_count = False
