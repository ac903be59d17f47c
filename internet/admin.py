"""Internet identities for support staff (P4): looked at, never changed; shared secrets are never shown."""

from __future__ import annotations

from django.contrib import admin

from common.admin import LookedAt

from .models import InternetIdentity


@admin.register(InternetIdentity)
class InternetIdentityAdmin(LookedAt, admin.ModelAdmin[InternetIdentity]):
    list_display = ("dvn_uuid", "device", "secret_at")
    list_select_related = ("device",)
    search_fields = ("dvn_uuid", "device__name", "device__project__name")
    exclude = ("secret",)
    show_full_result_count = False
