"""The LoRa tab (L2)."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django_scopes import scopes_disabled

from devices.models import Category, Connection, Device, DeviceType
from lora.models import FrameKind, LoraIdentity
from tests import factories
from tests.cast import Cast
from tests.lora_frames import DOWN, frame

# --- the LoRa tab ---


def tab(cast: Cast, device: Device, who: Any = None) -> str:
    response = cast.client(who or cast.operator).get(f"/devices/{device.pk}/lora/")
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def test_tab_shows_the_identity_and_never_the_key(cast: Cast, device: Device) -> None:
    LoraIdentity.objects.filter(device=device).update(registered_at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    identity = LoraIdentity.objects.select_related("network").get(device=device)
    page = tab(cast, device)
    for text in (identity.dev_eui, identity.app_eui, identity.network.name, "1 Mar 2026", "No join request seen"):
        assert text in page
    assert "0F0F0F" not in page.upper().replace(" ", "")
    assert bytes(identity.app_key).hex().upper() not in page.upper()


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        ([{"kind": FrameKind.JOIN_REQUEST}], "Join request not answered"),
        (
            [{"kind": FrameKind.JOIN_REQUEST}, {"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN}],
            "Join accepted, no message since",
        ),
        ([{"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN}, {"direction": DOWN}], "Join accepted, no message since"),
        ([{"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN}, {}, {"direction": DOWN}], "Joined"),
    ],
)
def test_tab_tells_where_the_join_stands(
    cast: Cast, device: Device, now: datetime, frames: list[dict[str, Any]], word: str
) -> None:
    for n, values in enumerate(frames):
        frame(device, now + timedelta(seconds=n - 10), n, **values)
    assert f">{word}</span>" in tab(cast, device)


@pytest.mark.parametrize("status", list(Connection))
def test_registration_is_offered_to_operators_where_there_is_none(
    cast: Cast, device: Device, status: Connection
) -> None:
    update(device, connection_status=status)
    offered = status in {Connection.NOT_LINKED, Connection.FAILED, Connection.INVENTORY}
    assert ("Register device on network" in main(tab(cast, device))) is offered
    assert "Register device on network" not in main(tab(cast, device, cast.viewer))


def test_registration_is_not_offered_for_a_managed_device(cast: Cast, device: Device) -> None:
    update(device, connection_status=Connection.FAILED)
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    assert "Register device on network" not in main(tab(cast, device))


def update(device: Device, **values: Any) -> None:
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(**values)


def main(page: str) -> str:
    return page.split('aria-labelledby="lora-network"')[1]


def test_tab_of_a_device_without_network_info(cast: Cast) -> None:
    loose = factories.device(cast.project, "own-lora")
    page = tab(cast, loose)
    assert "No network info yet" in page and f'href="/devices/{loose.pk}/network/"' in page
    assert "Register device on network" not in main(tab(cast, loose, cast.viewer))
