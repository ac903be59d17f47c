"""Flows and destinations for support staff (P4): found and seen here, changed on their pages, where it is recorded."""

from __future__ import annotations

from django.contrib import admin

from common.admin import LookedAt

from .models import Destination, Flow, FlowDestination, Received


@admin.register(Flow)
class FlowAdmin(LookedAt, admin.ModelAdmin[Flow]):
    list_display = ("name", "project", "decoder", "enabled", "created_at")
    list_filter = ("enabled", "decoder")
    search_fields = ("name", "project__name", "description")
    list_select_related = ("project",)


@admin.register(Destination)
class DestinationAdmin(LookedAt, admin.ModelAdmin[Destination]):
    list_display = ("name", "project", "kind", "enabled", "failures", "succeeded_at", "failed_at", "error")
    list_filter = ("kind", "enabled")
    search_fields = ("name", "project__name", "uuid", "url", "host")
    list_select_related = ("project",)
    exclude = ("secrets", "inbox_hash")


@admin.register(FlowDestination)
class FlowDestinationAdmin(LookedAt, admin.ModelAdmin[FlowDestination]):
    list_display = ("flow", "destination")
    search_fields = ("flow__name", "destination__name")
    list_select_related = ("flow", "destination")


@admin.register(Received)
class ReceivedAdmin(LookedAt, admin.ModelAdmin[Received]):
    """Its message is the customer's: that it arrived is seen, and not what it says."""

    list_display = ("at", "destination", "sender", "proved")
    search_fields = ("destination__name", "destination__project__name", "sender")
    list_select_related = ("destination",)
    exclude = ("headers", "body")
    show_full_result_count = False
