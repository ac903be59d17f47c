"""People and Projects for support staff (P4)."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, BaseUserCreationForm
from django.utils.translation import gettext_lazy as _

from common.admin import LookedAt

from .models import AuditEntry, Membership, Project, Subscription, User


class PersonCreationForm(BaseUserCreationForm[User]):
    class Meta:
        model = User
        fields = ("email", "name")
        field_classes = {"email": forms.EmailField}


class MembershipInline(admin.TabularInline[Membership, User]):
    model = Membership
    extra = 0
    autocomplete_fields = ["project", "user"]


@admin.register(User)
class PersonAdmin(UserAdmin[User]):
    add_form = PersonCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "name", "is_staff", "is_active", "last_login")
    search_fields = ("email", "name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "language", "time_zone")}),
        (_("Rights"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("Moments"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "password1", "password2")}),)
    inlines = [MembershipInline]


@admin.register(Subscription)
class SubscriptionAdmin(admin.ModelAdmin[Subscription]):
    list_display = ("name", "slug")
    search_fields = ("name", "slug")


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin[Project]):
    list_display = ("name", "subscription", "created_at")
    list_filter = ("subscription",)
    search_fields = ("name",)
    inlines = [MembershipInline]


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin[Membership]):
    list_display = ("user", "project", "role")
    list_filter = ("role",)
    search_fields = ("user__email", "project__name")
    autocomplete_fields = ["project", "user"]


@admin.register(AuditEntry)
class AuditEntryAdmin(LookedAt, admin.ModelAdmin[AuditEntry]):
    """Looked at, never changed."""

    list_display = ("at", "project", "actor_label", "action", "target", "device_id")
    list_filter = ("action",)
    search_fields = ("target", "actor_label", "action", "=device_id")
    date_hierarchy = "at"
    show_full_result_count = False
