"""Device types, devices and what is known of them, for support staff (P4).

Devices are looked at here and changed on their pages, where every change goes through a service and is recorded.
Links to Flows and messages have composite primary keys, which the admin does not take.
"""

from __future__ import annotations

import json
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_post_parameters

from accounts import audit
from accounts.access import PersonRequest
from accounts.models import Project, User
from common.admin import LookedAt
from common.states import StateConflict

from . import connectivity, deletion, services, types
from .errors import DeviceError
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


class IndentedField(forms.JSONField):
    """JSON that a person can read."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **(options | {"widget": forms.Textarea(attrs={"rows": 12, "cols": 90, "spellcheck": "false"})})
        )

    def prepare_value(self, value: Any) -> Any:
        text = super().prepare_value(value)
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, list | dict) else text


class DeviceTypeForm(forms.ModelForm[DeviceType]):
    """The same checks as on the pages of Projects (``devices.types``)."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if self.errors:
            return data
        device_type = DeviceType(**{key: value for key, value in data.items() if key != "subscriptions"})
        held = DeviceType.objects.filter(pk=self.instance.pk).exclude(connectivity=device_type.connectivity).first()
        if held is not None and Device.objects.filter(type=held).exists():
            self.add_error("connectivity", _("There are devices of this type: they are registered with it."))
        try:
            types.check(device_type)
        except types.TypeRefused as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        return data


@admin.register(DeviceType)
class DeviceTypeAdmin(admin.ModelAdmin[DeviceType]):
    form = DeviceTypeForm
    list_display = ("name", "slug", "category", "connectivity", "project", "addable")
    list_filter = ("category", "connectivity", "addable", "subscriptions")
    search_fields = ("name", "slug", "description")
    autocomplete_fields = ["project"]
    raw_id_fields = ("codec",)
    filter_horizontal = ("subscriptions",)
    formfield_overrides = {models.JSONField: {"form_class": IndentedField}}

    def save_model(self, request: HttpRequest, obj: DeviceType, form: Any, change: bool) -> None:
        """A person of the Project who has the form open is told, and finds it in the audit trail."""
        after = {key: getattr(obj, key) for key in (*types.CHANGED, "addable")}
        with transaction.atomic():
            before = DeviceType.objects.filter(pk=obj.pk).values(*after).first() or {}
            if change:
                obj.version = F("version") + 1
            super().save_model(request, obj, form, change)
            if obj.project_id is not None:
                audit.record(
                    project_id=obj.project_id,
                    actor=cast("User", request.user),
                    action="type.changed" if change else "type.added",
                    target=obj.name,
                    before={key: value for key, value in before.items() if value != after[key]},
                    after={key: value for key, value in after.items() if value != before.get(key)},
                )


class TypeField(forms.ModelChoiceField[DeviceType]):
    def label_from_instance(self, obj: DeviceType) -> str:
        return f"{obj.get_category_display()}: {obj.name}" + (f" ({obj.project})" if obj.project else "")


class SupportDeviceForm(forms.Form):
    """A device of any type, also a managed one, for a Project."""

    project = forms.ModelChoiceField(
        Project.objects.all(),
        label=_("Project"),
        widget=AutocompleteSelect(Device._meta.get_field("project"), admin.site),
    )
    type = TypeField(
        DeviceType.objects.select_related("project").order_by("category", "connectivity", "name", "pk"),
        label=_("device type"),
    )
    name = forms.CharField(label=_("name"), max_length=100)
    barcode = forms.CharField(label=_("barcode"), max_length=100, required=False)
    description = forms.CharField(
        label=_("description"), max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 3})
    )


@admin.register(Device)
class DeviceAdmin(admin.ModelAdmin[Device]):
    """Support staff add devices here, above all managed ones (T3), and have them deleted (D9)."""

    list_display = ("name", "identifier", "type", "project", "processing_status", "connection_status", "created_at")
    list_filter = ("processing_status", "connection_status", "type__connectivity", "type__category")
    search_fields = ("name", "identifier", "barcode", "project__name", "=id")
    list_select_related = ("type", "project")
    ordering = ("-pk",)
    show_full_result_count = False
    actions = ("delete_for_good",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("devices.add_device")

    def has_change_permission(self, request: HttpRequest, obj: Device | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Device | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        network = path(
            "<int:device_id>/network/",
            self.admin_site.admin_view(self.network_view),
            name="devices_device_network",
        )
        return [network, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The device itself; its network info is asked next."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = SupportDeviceForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data
            try:
                device = services.add_device(
                    project=data["project"],
                    device_type=data["type"],
                    name=data["name"],
                    barcode=data["barcode"],
                    description=data["description"],
                    actor=cast("User", request.user),
                    by_support=True,
                )
            except DeviceError as error:
                form.add_error("type", str(error))
            except ValidationError as error:
                form.add_error(None, error)
            else:
                return redirect("admin:devices_device_network", device_id=device.pk)
        context = self.admin_site.each_context(request) | {"form": form, "title": _("Add device"), "opts": self.opts}
        return render(request, "admin/devices/add_device.html", context, status=422 if form.errors else 200)

    @method_decorator(sensitive_post_parameters("app_key", "secret"))
    def network_view(self, request: HttpRequest, device_id: int) -> HttpResponse:
        """The network info of a device that has none yet; the answer is the only one with the secrets."""
        from .views import network

        if not self.has_add_permission(request):
            raise PermissionDenied
        device = Device.objects.select_related("type", "project").filter(pk=device_id).first()
        if device is None or device.connection_status not in network.OPEN:
            raise Http404
        form = connectivity.of(device).network_form(device, request.POST if request.method == "POST" else None)
        context = self.admin_site.each_context(request) | {
            "form": form,
            "device": device,
            "title": _("Network info"),
            "opts": self.opts,
        }
        if request.method == "POST" and form.is_valid():
            try:
                secrets = network.save(cast("PersonRequest", request), device, form)
            except StateConflict:
                raise Http404 from None
            if secrets is not None:
                self.message_user(request, _("The device is being registered."), messages.SUCCESS)
                if not secrets:
                    return redirect(reverse("admin:devices_device_changelist"))
                context |= {"secrets": secrets}
                return render(request, "admin/devices/network_info.html", context)
        return render(request, "admin/devices/network_info.html", context, status=422 if form.errors else 200)

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
