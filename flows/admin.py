"""Flows for support staff (P4): found and seen here, changed on their pages, where changes are recorded."""

from __future__ import annotations

from django.contrib import admin

from common.admin import LookedAt

from .models import Flow


@admin.register(Flow)
class FlowAdmin(LookedAt, admin.ModelAdmin[Flow]):
    list_display = ("name", "project", "decoder", "enabled", "created_at")
    list_filter = ("enabled", "decoder")
    search_fields = ("name", "project__name", "description")
    list_select_related = ("project",)
