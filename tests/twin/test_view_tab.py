"""The Device Twin tab (W1, W2, W5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from devices import services
from devices.models import Device, DeviceState
from tests import factories
from tests.cast import Cast
from twin.models import Twin

AT = datetime(2026, 2, 28, 13, 30, 5, tzinfo=UTC)
REPORTED = {
    "temperature": {"v": 21.499999999, "u": "Cel", "t": AT.timestamp()},
    "firmwareVersion": {"v": "1.4.2", "u": "string", "t": AT.timestamp()},
    "mode": {"v": 3, "u": "enum", "t": AT.timestamp()},
    "batteryLevelLow": {"v": False, "u": "/", "t": AT.timestamp()},
}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, in_flow=factories.flow(cast.project))


@scopes_disabled()
def report(device: Device, reported: dict[str, Any] = REPORTED) -> None:
    Twin.objects.update_or_create(device=device, defaults={"reported": reported, "version": 1, "updated_at": AT})


def url(device: Device) -> str:
    return f"/devices/{device.pk}/twin/"


def shown(cast: Cast, device: Device, **headers: Any) -> str:
    response = cast.client(cast.viewer).get(url(device), **headers)
    assert response.status_code == 200
    return response.content.decode()


def test_tab_shows_the_four_parts(cast: Cast, device: Device) -> None:
    report(device)
    page = shown(cast, device)
    for part in ("Reported", "Desired", "Observed", "Metadata"):
        assert f">{part}</h2>" in page
    assert "This device type has no desired-state controls." in page
    assert f'href="/devices/{device.pk}/flows/"' in page
    assert 'href="#twin-help"' in page and 'id="twin-help"' in page


def test_tab_is_hidden_from_strangers(cast: Cast, device: Device) -> None:
    assert cast.client(cast.stranger).get(url(device)).status_code == 404
    assert cast.client(cast.stranger).get(f"{url(device)}values/").status_code == 404


def test_tab_changes_nothing_for_a_read_only_account(cast: Cast, device: Device) -> None:
    report(device)
    assert '<form method="post"' not in shown(cast, device).split('id="main"')[1]


@pytest.mark.parametrize("path", ["", "values/"])
def test_tab_refuses_other_methods(cast: Cast, device: Device, path: str) -> None:
    assert cast.client(cast.operator).post(url(device) + path).status_code == 405


def test_values_come_with_unit_and_moment_in_the_persons_zone(cast: Cast, device: Device) -> None:
    report(device)
    page = shown(cast, device)
    assert f'<a class="value-link" href="{url(device)}history/?name=temperature">Temperature</a>' in page
    assert '<span class="value">21.5</span> <span class="unit">°C</span>' in page
    assert '28 Feb 2026 <span class="clock">14:30:05</span>' in page  # 13:30:05 UTC is 14:30:05 in Amsterdam
    assert "data-ago=" in page


def test_units_that_say_nothing_are_hidden(cast: Cast, device: Device) -> None:
    report(device)
    page = shown(cast, device)
    assert page.count('class="unit"') == 1
    for unit in ("enum", "string"):
        assert f">{unit}<" not in page


def test_values_stand_in_two_groups(cast: Cast, device: Device) -> None:
    report(device)
    page = shown(cast, device)
    device_group, other = page.split('id="twin-group-other"')
    device_group = device_group.split('id="twin-group-device"')[1]
    for name in ("FirmwareVersion", "Mode", "BatteryLevelLow"):
        assert f">{name}<" in device_group and f">{name}<" not in other
    assert ">Temperature<" in other


def test_refresh_brings_the_values_and_not_the_page(cast: Cast, device: Device) -> None:
    report(device)
    response = cast.client(cast.viewer).get(f"{url(device)}values/", headers=HTMX)
    part = response.content.decode()
    assert part.strip().startswith('<div class="stack" id="twin-values"')
    assert "Temperature" in part and "<html" not in part and "Metadata" not in part
    assert "HX-Request" in cast.client(cast.viewer).get(url(device), headers=HTMX)["Vary"]


def test_values_without_htmx_lead_to_the_tab(cast: Cast, device: Device) -> None:
    assert cast.client(cast.viewer).get(f"{url(device)}values/")["Location"] == url(device)


def test_observed_shows_the_interval_of_the_last_two_messages(cast: Cast, device: Device) -> None:
    now = timezone.now()
    assert "Known after two messages" in shown(cast, device)
    DeviceState.objects.filter(device=device).update(
        last_message_at=now, previous_message_at=now - timedelta(minutes=10, seconds=2)
    )
    assert '<span class="value">10 min 2 s</span>' in shown(cast, device)


def test_device_in_no_flow_is_told_what_is_missing(cast: Cast) -> None:
    loose = factories.lora_device(cast.project)
    page = shown(cast, loose)
    assert "This device is in no Flow." in page
    assert f'href="/devices/{loose.pk}/flows/"' in page
    assert "Waiting for the first message" not in page


def test_device_without_messages_waits(cast: Cast, device: Device) -> None:
    assert "Waiting for the first message" in shown(cast, device)


def test_deactivated_device_says_so_and_keeps_its_values(cast: Cast, device: Device) -> None:
    report(device)
    with scopes_disabled():
        services.deactivate(device=device, actor=None)
    page = shown(cast, device)
    assert "This device is deactivated." in page and "Temperature" in page


def test_names_and_values_are_escaped(cast: Cast, device: Device) -> None:
    report(device, {"<b>n": {"v": "<script>", "u": "<u>", "t": None}})
    page = shown(cast, device)
    assert "<b>n" not in page and "&lt;script&gt;" in page and "&lt;u&gt;" in page


def test_number_of_queries_does_not_grow_with_the_values(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    counts = []
    for amount in (2, 200):
        report(device, {f"value{index}": {"v": index, "u": "m", "t": 1.0} for index in range(amount)})
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(url(device)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    with CaptureQueriesContext(connection) as queries:
        client.get(f"{url(device)}values/", headers=HTMX)
    assert len(queries) <= 5
