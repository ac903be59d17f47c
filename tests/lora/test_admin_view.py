"""LoRa networks in the admin of support staff (P4): the AS key goes in and never comes out."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from lora.models import Network, SimulatedDevice


@pytest.fixture
def support(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("support@example.com", None))
    return client


@pytest.fixture
def network(db: None) -> Network:
    return Network.objects.create(slug="thingpark-test", name="ThingPark", kind="thingpark")


def save(support: Client, network: Network, key: str) -> None:
    fields = {"name": "Renamed", "kind": "thingpark", "max_drift_seconds": "600", "new_as_key": key, "slug": "other"}
    assert support.post(f"/admin/lora/network/{network.pk}/change/", fields).status_code == 302
    network.refresh_from_db()


def test_as_key_is_set_kept_and_never_shown(support: Client, network: Network) -> None:
    save(support, network, "0123456789abcdef0123456789abcdef")
    assert network.get_as_key() == "0123456789abcdef0123456789abcdef"
    save(support, network, "")
    assert network.get_as_key() == "0123456789abcdef0123456789abcdef" and network.slug == "thingpark-test"
    page = support.get(f"/admin/lora/network/{network.pk}/change/").content.decode()
    assert "0123456789abcdef" not in page and repr(bytes(network.as_key)) not in page


def test_new_network_gets_its_key(support: Client) -> None:
    fields = {"slug": "second", "name": "Second", "kind": "thingpark", "max_drift_seconds": "0", "new_as_key": "abc"}
    assert support.post("/admin/lora/network/add/", fields).status_code == 302
    assert Network.objects.get(slug="second").get_as_key() == "abc"


def test_simulated_devices_keys_are_not_shown(support: Client) -> None:
    simulated = SimulatedDevice(dev_eui="00" * 8, app_eui="00" * 8, state=b"inner state")
    simulated.set_app_key(bytes(range(16)))
    simulated.save()
    page = support.get(f"/admin/lora/simulateddevice/{simulated.pk}/change/").content.decode()
    assert simulated.dev_eui in page
    assert "inner state" not in page and bytes(range(16)).hex() not in page and "app_key" not in page
