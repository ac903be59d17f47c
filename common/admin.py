"""What the admin pages of support staff share (P4)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


class LookedAt:
    """Rows that the portal writes: found and seen in the admin, never changed. Stands before ``ModelAdmin``."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
