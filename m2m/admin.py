"""SIM cards and M2M identities for support staff (P4). Shared secrets are never shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from common.admin import LookedAt

from .models import M2mIdentity, SimCard


@admin.register(SimCard)
class SimCardAdmin(admin.ModelAdmin[SimCard]):
    """Staff add SIM cards to Projects; the link to a device is changed on the device's own page, which records it."""

    list_display = ("iccid", "msisdn", "project", "status", "rate_plan", "early_access", "device")
    list_filter = ("status", "early_access", "rate_plan")
    list_select_related = ("project", "device")
    search_fields = ("iccid", "msisdn", "project__name", "device__name", "device__identifier")
    autocomplete_fields = ["project"]
    readonly_fields = ("device", "activated_at", "created_at")
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A SIM card in a device is unlinked first.
        return super().has_delete_permission(request, obj) and (obj is None or obj.device_id is None)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


@admin.register(M2mIdentity)
class M2mIdentityAdmin(LookedAt, admin.ModelAdmin[M2mIdentity]):
    """Looked at, never changed: the network step and the M2M tab write them."""

    list_display = ("imei", "device", "secret_at")
    list_select_related = ("device",)
    search_fields = ("imei", "device__name", "device__project__name")
    exclude = ("secret",)
    show_full_result_count = False
