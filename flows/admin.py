"""Flows for support staff (P4)."""

from django.contrib import admin

from .models import Flow


@admin.register(Flow)
class FlowAdmin(admin.ModelAdmin[Flow]):
    list_display = ("name", "project", "decoder", "enabled", "created_at")
    list_filter = ("enabled", "decoder")
    search_fields = ("name", "project__name", "description")
    autocomplete_fields = ["project"]
