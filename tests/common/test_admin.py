"""Whatever the portal writes can be looked at in the admin and not changed (P4): every such page, by its mixin.

Devices alone may be added there, through the portal's own services (tests/devices/test_types_admin.py)."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import User
from common.admin import LookedAt

PAGES = sorted(
    f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    for model, page in admin.site._registry.items()
    if isinstance(page, LookedAt) and type(page).has_add_permission is LookedAt.has_add_permission
)


@pytest.fixture
def support(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("support@example.com", None))
    return client


@pytest.mark.parametrize("address", PAGES)
def test_page_is_read_and_offers_nothing_to_add(support: Client, address: str) -> None:
    assert support.get(address).status_code == 200
    assert support.get(f"{address}add/").status_code == 403
    assert support.post(f"{address}add/", {}).status_code == 403


def test_all_that_the_portal_writes_is_there() -> None:
    """The list above is found by the mixin; it would be empty if nothing used it."""
    assert {"/admin/accounts/auditentry/", "/admin/twin/twin/", "/admin/lora/loraidentity/"} <= set(PAGES)
