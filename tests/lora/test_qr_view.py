"""QR codes in the Add Device wizard (D12, L1): the text fills both steps, and what is wrong stands beside the field."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django_scopes import scopes_disabled

from devices.models import Device, DeviceType
from lora.models import LoraIdentity
from tests import factories
from tests.cast import Cast

START = "/devices/add/"
CODE = "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:OSECRET:SYYWWNNNNNN"
BROKEN = CODE.replace(":AABBCCDDEEFF0011", ":AABBCCDDEEFF001")
APP_KEY = "00112233445566778899AABBCCDDEEFF"


@pytest.fixture
def client(cast: Cast) -> Client:
    return cast.client(cast.operator)


def kind(category: str, key_source: str = "customer") -> DeviceType:
    """A type whose EUIs the customer enters; nothing ties it to a maker's profile."""
    return DeviceType.objects.create(
        slug=f"q-{uuid.uuid4().hex[:8]}", name="Sensor", category=category, connectivity="lora", key_source=key_source
    )


def entered(cast: Cast) -> Device:
    """A device whose network step asks for EUIs and key."""
    device = factories.device(cast.project)
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(type=kind("own"))
    return device


def value(response: HttpResponse, name: str) -> str:
    """What the input of that name holds; "" where it holds nothing."""
    tag = re.search(rf'<input[^>]*name="{name}"[^>]*>', response.content.decode())
    assert tag is not None, name
    found = re.search(r'value="([^"]*)"', tag[0])
    return found[1] if found else ""


def error(response: HttpResponse) -> str:
    found = re.search(r'<ul class="errorlist" id="id_qr_error"><li>([^<]*)</li>', response.content.decode())
    return found[1] if found else ""


def posted(**changes: Any) -> dict[str, Any]:
    return {"token": uuid.uuid4(), "name": "House 1", "qr": CODE, "read": "1", **changes}


class TestFirstStep:
    def test_code_fills_the_barcode_and_keeps_what_was_entered(self, client: Client) -> None:
        response = client.post(START, posted(description="North"))
        assert response.status_code == 200
        assert value(response, "barcode") == "YYWWNNNNNN"
        assert value(response, "name") == "House 1"
        assert value(response, "dev_eui") == "AABBCCDDEEFF0011"
        assert value(response, "app_eui") == "1122334455667788"
        assert value(response, "qr") == ""
        assert "North" in response.content.decode()

    def test_code_saves_nothing_and_chooses_no_type(self, client: Client) -> None:
        html = client.post(START, posted()).content.decode()
        assert " selected" not in html.split('name="device_type"')[1].split("</select>")[0].split("</option>", 1)[1]
        with scopes_disabled():
            assert not Device.objects.exists()

    def test_owner_token_does_not_come_back(self, client: Client) -> None:
        assert "SECRET" not in client.post(START, posted()).content.decode()

    def test_waiting_text_is_read_before_the_device_is_added(self, client: Client) -> None:
        data = posted(device_type=DeviceType.objects.get(slug="own-lora").pk)
        del data["read"]
        assert client.post(START, data).status_code == 200
        with scopes_disabled():
            assert not Device.objects.exists()

    def test_code_without_a_serial_number_leaves_the_barcode(self, client: Client) -> None:
        response = client.post(START, posted(qr=CODE.rpartition(":")[0], barcode="A-1"))
        assert value(response, "barcode") == "A-1"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (BROKEN, "DevEUI in the code"),
            ("https://maker.example/", "not the QR code of a LoRaWAN device"),
            ("", "Enter the text"),
            (f"{CODE}:P{'X' * 2000}", "too long"),
        ],
    )
    def test_wrong_text_is_told_beside_the_field(self, client: Client, text: str, says: str) -> None:
        response = client.post(START, posted(qr=text))
        assert response.status_code == 422
        assert says in error(response)
        assert value(response, "name") == "House 1"

    def test_euis_are_carried_to_the_network_step(self, client: Client) -> None:
        own = DeviceType.objects.get(slug="own-lora").pk
        data = posted(qr="", device_type=own, dev_eui="AABBCCDDEEFF0011", app_eui='"><script>')
        del data["read"]
        response = client.post(START, data)
        assert response.status_code == 302
        assert response["Location"].endswith("/network/?new=1&dev_eui=AABBCCDDEEFF0011")

    def test_read_only_account_is_refused(self, cast: Cast) -> None:
        assert cast.client(cast.viewer).post(START, posted()).status_code == 403


class TestNetworkStep:
    def test_carried_euis_are_filled_in(self, cast: Cast, client: Client) -> None:
        query = {"new": "1", "dev_eui": "AABBCCDDEEFF0011", "app_eui": "1122334455667788", "app_key": APP_KEY}
        response = client.get(f"/devices/{entered(cast).pk}/network/", query)
        assert value(response, "dev_eui") == "AABBCCDDEEFF0011"
        assert value(response, "app_eui") == "1122334455667788"
        assert value(response, "app_key") == ""

    def test_code_fills_the_euis_and_keeps_the_key(self, cast: Cast, client: Client) -> None:
        device = entered(cast)
        response = client.post(f"/devices/{device.pk}/network/", {"qr": CODE, "read": "1", "app_key": APP_KEY})
        assert response.status_code == 200
        assert value(response, "dev_eui") == "AABBCCDDEEFF0011"
        assert value(response, "app_eui") == "1122334455667788"
        assert value(response, "app_key") == APP_KEY
        with scopes_disabled():
            assert not LoraIdentity.objects.filter(device=device).exists()

    def test_wrong_code_is_told_beside_the_field(self, cast: Cast, client: Client) -> None:
        response = client.post(f"/devices/{entered(cast).pk}/network/", {"qr": BROKEN, "dev_eui": "00 11"})
        assert response.status_code == 422
        assert "DevEUI in the code" in error(response)
        assert value(response, "dev_eui") == "00 11"

    def test_programmable_device_has_no_code_to_read(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project)
        with scopes_disabled():
            Device.objects.filter(pk=device.pk).update(type=kind("own", "portal"))
        assert 'name="qr"' not in client.get(f"/devices/{device.pk}/network/").content.decode()

    def test_others_may_not_read_codes_there(self, cast: Cast) -> None:
        address = f"/devices/{entered(cast).pk}/network/"
        assert cast.client(cast.viewer).post(address, {"qr": CODE}).status_code == 403
        assert cast.client(cast.stranger).post(address, {"qr": CODE}).status_code == 404
