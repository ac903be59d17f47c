"""SIM cards and M2M identities in the admin of support staff (P4)."""

from __future__ import annotations

import pytest
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import User
from m2m.models import CarrierAccount, M2mIdentity, SimCard
from tests import factories
from tests.cast import Cast


@pytest.fixture
def support(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("support@example.com", None))
    return client


def test_shared_secret_is_neither_shown_nor_changed(cast: Cast, support: Client) -> None:
    device = factories.m2m_device(cast.project)
    stored = bytes(M2mIdentity.objects.get(device=device).secret)
    address = f"/admin/m2m/m2midentity/{device.pk}/change/"
    page = support.get(address).content.decode()
    assert device.identifier in page
    assert factories.SECRET not in page and repr(stored) not in page and 'name="secret"' not in page
    assert support.post(address, {"imei": "1", "secret": "x"}).status_code == 403
    assert M2mIdentity.objects.get(device=device).get_secret() == factories.SECRET


def test_staff_adds_a_sim_and_cannot_link_or_delete_a_linked_one(cast: Cast, support: Client) -> None:
    device = factories.m2m_device(cast.project)
    fields = {"project": cast.project.pk, "iccid": "8931080000000012345", "msisdn": "", "status": "inventory"}
    answer = support.post("/admin/m2m/simcard/add/", fields | {"rate_plan": "", "device": device.pk})
    assert answer.status_code == 302
    with scopes_disabled():
        added = SimCard.objects.get(iccid="8931080000000012345")
        linked = SimCard.objects.get(device=device)
    assert added.device_id is None
    assert support.get(f"/admin/m2m/simcard/{added.pk}/delete/").status_code == 200
    assert support.get(f"/admin/m2m/simcard/{linked.pk}/delete/").status_code == 403
    bulk = {"action": "delete_selected", "_selected_action": [linked.pk], "post": "yes"}
    support.post("/admin/m2m/simcard/", bulk)
    with scopes_disabled():
        assert SimCard.objects.filter(pk=linked.pk, device=device).exists()


def test_api_key_of_a_carrier_is_kept_encrypted_and_never_shown(support: Client) -> None:
    fields = {"slug": "cc", "name": "Carrier", "kind": "control_center", "username": "portal", "default": "on"}
    add = "/admin/m2m/carrieraccount/add/"
    for address in ("http://carrier.example", "ftp://carrier.example", "carrier"):
        answer = support.post(add, fields | {"base_url": address, "new_api_key": "0a1b-key"})
        assert answer.status_code == 200 and not CarrierAccount.objects.exists()
    answer = support.post(add, fields | {"base_url": "https://carrier.example", "new_api_key": "0a1b-key"})
    assert answer.status_code == 302
    account = CarrierAccount.objects.get()
    assert b"0a1b-key" not in bytes(account.api_key) and account.get_api_key() == "0a1b-key"
    change = f"/admin/m2m/carrieraccount/{account.pk}/change/"
    assert "0a1b-key" not in support.get(change).content.decode()
    # Without a new one the key stays.
    support.post(change, fields | {"base_url": "https://other.example", "new_api_key": ""})
    account.refresh_from_db()
    assert (account.base_url, account.get_api_key()) == ("https://other.example", "0a1b-key")
