"""Device types, devices and what is known of them, for support staff (P4).

Devices are looked at here and changed on their pages, where every change goes through a service and is recorded.
Links to Flows and messages have composite primary keys, which the admin does not take.
"""

from __future__ import annotations

from typing import cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.models import User
from common.admin import LookedAt
from common.states import StateConflict

from . import deletion
from .models import (
    Codec,
    CodecCase,
    CodecProblem,
    CodecVersion,
    Device,
    DeviceState,
    DeviceType,
    Identity,
    ImportFile,
    ImportMapping,
    Job,
    NetworkTask,
    SavedView,
    ValueColumn,
)

# At once, from the admin; more go from All Devices.
MOST_DELETED = 200


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
    actions = ("delete_for_good",)

    @admin.action(
        description=_("Delete for good (network registration, data, identifiers)"), permissions=["delete_for_good"]
    )
    def delete_for_good(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Any device, also managed ones, which their Projects cannot delete (D9); asks once more first."""
        devices = list(queryset.select_related("type")[:MOST_DELETED])
        if "confirmed" not in request.POST:
            context = {**self.admin_site.each_context(request), "devices": devices, "title": _("Delete for good?")}
            return render(request, "admin/devices/delete_for_good.html", context)
        asked = 0
        for device in devices:
            try:
                deletion.request(device=device, actor=cast("User", request.user), by_support=True)
                asked += 1
            except StateConflict:
                busy = _("%(name)s: the network is still at work on it. Try again in a moment.")
                self.message_user(request, busy % {"name": device.name}, messages.WARNING)
        text = ngettext("%(number)d device is being deleted.", "%(number)d devices are being deleted.", asked)
        self.message_user(request, text % {"number": asked}, messages.SUCCESS)
        return None

    def has_delete_for_good_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("devices.delete_device")


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


@admin.register(Job)
class JobAdmin(LookedAt, admin.ModelAdmin[Job]):
    list_display = ("action", "state", "total", "done", "skipped", "failed", "created_by", "created_at", "finished_at")
    list_filter = ("state", "action")
    search_fields = ("action", "created_by__email", "=id")
    list_select_related = ("created_by",)
    ordering = ("-pk",)


@admin.register(SavedView)
class SavedViewAdmin(admin.ModelAdmin[SavedView]):
    list_display = ("name", "project", "owner", "shared", "created_at")
    list_filter = ("shared",)
    search_fields = ("name", "owner__email", "project__name")
    list_select_related = ("project", "owner")
    autocomplete_fields = ("project", "owner")


@admin.register(ValueColumn)
class ValueColumnAdmin(LookedAt, admin.ModelAdmin[ValueColumn]):
    list_display = ("key", "source", "project", "filled_to", "used_at")
    list_filter = ("source",)
    search_fields = ("key", "project__name")
    list_select_related = ("project",)
    ordering = ("-used_at",)


@admin.register(Codec)
class CodecAdmin(LookedAt, admin.ModelAdmin[Codec]):
    """Codecs are written on their pages, where test cases stand before what is put to use."""

    list_display = ("name", "project", "in_use", "created_at")
    search_fields = ("name", "description", "project__name")
    list_select_related = ("project", "in_use")


@admin.register(CodecVersion)
class CodecVersionAdmin(LookedAt, admin.ModelAdmin[CodecVersion]):
    list_display = ("codec", "number", "note", "created_by", "created_at", "stopped_at")
    list_filter = (("stopped_at", admin.EmptyFieldListFilter),)
    search_fields = ("codec__name", "note", "created_by__email")
    list_select_related = ("codec", "created_by")
    ordering = ("-pk",)


@admin.register(CodecCase)
class CodecCaseAdmin(LookedAt, admin.ModelAdmin[CodecCase]):
    list_display = ("name", "codec", "function")
    list_filter = ("function",)
    search_fields = ("name", "codec__name")
    list_select_related = ("codec",)


@admin.register(CodecProblem)
class CodecProblemAdmin(LookedAt, admin.ModelAdmin[CodecProblem]):
    list_display = ("device_id", "version_id", "error", "text", "at")
    list_filter = ("error",)
    search_fields = ("=device_id", "=version_id", "text")
    ordering = ("device_id",)
    show_full_result_count = False


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
