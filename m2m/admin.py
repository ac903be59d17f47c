"""SIM cards and M2M identities for support staff (P4). Shared secrets are never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from common.admin import LookedAt

from .models import CarrierAccount, M2mIdentity, SimCard, SimulatedSim


@admin.register(SimCard)
class SimCardAdmin(admin.ModelAdmin[SimCard]):
    """Staff add SIM cards to Projects; the link to a device is changed on the device's own page, which records it."""

    list_display = ("iccid", "msisdn", "project", "status", "rate_plan", "early_access", "device")
    list_filter = ("status", "early_access", "rate_plan")
    list_select_related = ("project", "device")
    search_fields = ("iccid", "msisdn", "project__name", "device__name", "device__identifier")
    autocomplete_fields = ["project"]
    readonly_fields = ("device", "activated_at", "created_at", "carrier_says", "asked_at", "trouble")
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
    exclude = ("secret", "old_secret")
    show_full_result_count = False


class CarrierForm(forms.ModelForm[CarrierAccount]):
    new_api_key = forms.CharField(
        label=_("New API key"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Replaces the key that is kept. It is never shown."),
    )

    class Meta:
        model = CarrierAccount
        fields = ("slug", "name", "kind", "base_url", "username", "default")


@admin.register(CarrierAccount)
class CarrierAccountAdmin(admin.ModelAdmin[CarrierAccount]):
    form = CarrierForm
    list_display = ("name", "slug", "kind", "default")
    search_fields = ("name", "slug")

    def get_readonly_fields(self, request: HttpRequest, obj: CarrierAccount | None = None) -> tuple[str, ...]:
        # The stored key is bound to the slug: under another it could not be read.
        return ("slug",) if obj else ()

    def save_model(
        self, request: HttpRequest, obj: CarrierAccount, form: forms.ModelForm[CarrierAccount], change: bool
    ) -> None:
        if form.cleaned_data["new_api_key"]:
            obj.set_api_key(form.cleaned_data["new_api_key"])
        super().save_model(request, obj, form, change)


@admin.register(SimulatedSim)
class SimulatedSimAdmin(admin.ModelAdmin[SimulatedSim]):
    """Faults are given here: unknown, refused, away, slow."""

    list_display = ("iccid", "status", "rate_plan", "msisdn", "faults")
    search_fields = ("iccid", "msisdn")
    readonly_fields = ("changes", "last_sms")
    show_full_result_count = False
