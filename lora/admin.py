"""LoRa networks, identities and the simulated network for support staff (P4). Keys are never shown.

Frames have a composite primary key, which the admin does not take: they are read in the LoRa data history.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from common.admin import LookedAt

from .models import LoraIdentity, Network, Radio, SimulatedDevice, SimulatedDownlink


class NetworkForm(forms.ModelForm[Network]):
    new_as_key = forms.CharField(
        label=_("New AS key"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Replaces the key that is kept. It is never shown."),
    )

    class Meta:
        model = Network
        fields = ("slug", "name", "kind", "default", "max_drift_seconds")


@admin.register(Network)
class NetworkAdmin(admin.ModelAdmin[Network]):
    form = NetworkForm
    list_display = ("name", "slug", "kind", "default")
    list_filter = ("kind",)
    search_fields = ("name", "slug")

    def get_readonly_fields(self, request: HttpRequest, obj: Network | None = None) -> tuple[str, ...]:
        # The stored key is bound to the slug: under another it could not be read.
        return ("slug",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Network, form: forms.ModelForm[Network], change: bool) -> None:
        if form.cleaned_data["new_as_key"]:
            obj.set_as_key(form.cleaned_data["new_as_key"])
        super().save_model(request, obj, form, change)


@admin.register(LoraIdentity)
class LoraIdentityAdmin(LookedAt, admin.ModelAdmin[LoraIdentity]):
    list_display = ("dev_eui", "app_eui", "device", "network", "registered_at")
    list_filter = ("network",)
    list_select_related = ("device", "network")
    search_fields = ("dev_eui", "app_eui", "device__name", "device__project__name")
    exclude = ("app_key",)
    show_full_result_count = False


@admin.register(SimulatedDevice)
class SimulatedDeviceAdmin(LookedAt, admin.ModelAdmin[SimulatedDevice]):
    list_display = ("dev_eui", "registered", "enabled", "powered", "profile", "interval_seconds")
    list_filter = ("registered", "enabled", "powered", "profile")
    search_fields = ("dev_eui", "app_eui", "profile")
    exclude = ("app_key", "state")


@admin.register(SimulatedDownlink)
class SimulatedDownlinkAdmin(LookedAt, admin.ModelAdmin[SimulatedDownlink]):
    list_display = ("created_at", "dev_eui", "fport", "confirmed", "taken_at")
    search_fields = ("dev_eui", "correlation_id")


@admin.register(Radio)
class RadioAdmin(LookedAt, admin.ModelAdmin[Radio]):
    list_display = ("device_id", "health", "finding", "quiet_at")
    list_filter = ("health",)
    search_fields = ("=device_id", "=finding")
    show_full_result_count = False
