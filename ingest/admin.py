"""Messages that could not be processed, for support staff (P4): found by error, source and device, never changed."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from common.admin import LookedAt

from .models import RefusedMessage, RejectedMessage, SimulatedSender

SHOWN_BYTES = 10_000


@admin.register(RejectedMessage)
class RejectedMessageAdmin(LookedAt, admin.ModelAdmin[RejectedMessage]):
    list_display = ("at", "source", "device_id", "error")
    list_filter = ("source",)
    search_fields = ("error", "entry", "=device_id")
    date_hierarchy = "at"
    ordering = ("-at",)
    fields = ("at", "source", "entry", "device_id", "error", "body_as_text")
    show_full_result_count = False

    @admin.display(description=_("body"))
    def body_as_text(self, message: RejectedMessage) -> str:
        """The first 10,000 bytes; what is no text stands as escapes."""
        return bytes(message.body[:SHOWN_BYTES]).decode(errors="backslashreplace")


@admin.register(RefusedMessage)
class RefusedMessageAdmin(LookedAt, admin.ModelAdmin[RefusedMessage]):
    list_display = ("at", "device", "code", "reason", "proved")
    list_filter = ("code",)
    list_select_related = ("device",)
    search_fields = ("=device__id", "device__name")
    ordering = ("-at",)
    exclude = ("body",)
    show_full_result_count = False


@admin.register(SimulatedSender)
class SimulatedSenderAdmin(LookedAt, admin.ModelAdmin[SimulatedSender]):
    list_display = ("base_name", "device", "interval_seconds", "next_at", "state")
    list_select_related = ("device",)
    search_fields = ("base_name", "device__name")
    exclude = ("secret",)
    show_full_result_count = False
