"""Clearing the measurements of an own device (W7): asked first, then done."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.http import HttpResponse
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices.models import Category, Device, DeviceType
from tests import factories
from tests.cast import Cast
from twin.models import Twin

HTMX = {"HX-Request": "true"}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project, in_flow=factories.flow(cast.project))


@scopes_disabled()
def report(device: Device, amount: int = 2) -> None:
    reported = {f"value{index}": {"v": index, "u": "m", "t": 1.0} for index in range(amount)}
    twin = {"reported": reported, "metadata": {"room": {"v": "12", "t": 1.0}}, "desired": {"x": {"v": 1, "t": 1.0}}}
    Twin.objects.update_or_create(device=device, defaults=twin)


@scopes_disabled()
def twin(device: Device) -> dict[str, Any]:
    return Twin.objects.values("reported", "metadata", "desired").get(pk=device.pk)


def url(device: Device, rest: str = "clear/") -> str:
    return f"/devices/{device.pk}/twin/{rest}"


def page(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def test_dialog_says_what_goes_and_what_stays(cast: Cast, device: Device) -> None:
    report(device, 14)
    client = cast.client(cast.operator)
    assert f'id="twin-clear" href="{url(device)}"' in page(client.get(url(device, "")))
    dialog = page(client.get(url(device), headers=HTMX))
    assert dialog.strip().startswith("<dialog") and "data-open" in dialog
    assert "14 values" in dialog and "Value0, " in dialog and "and 2 more" in dialog
    assert "Desired values, metadata and the history of values stay." in dialog
    whole = page(client.get(url(device)))
    assert "<html" in whole and "14 values" in whole and "<dialog" not in whole.split('id="main"')[1]


@pytest.mark.parametrize("htmx", [False, True])
def test_measurements_are_cleared_and_the_rest_stays(cast: Cast, device: Device, htmx: bool) -> None:
    report(device)
    client = cast.client(cast.operator)
    response = client.post(url(device), headers=HTMX if htmx else {})
    assert twin(device)["reported"] == {}
    assert list(twin(device)["metadata"]) == ["room"] and list(twin(device)["desired"]) == ["x"]
    with scopes_disabled():
        assert AuditEntry.objects.get(action="twin.measurements_cleared").actor == cast.operator
    if htmx:
        shown = page(response)
        assert shown.strip().startswith('<div class="stack" id="twin-values"') and "Value0" not in shown
        assert '<div id="twin-dialog" hx-swap-oob="true"></div>' in shown, "the dialog closes"
        assert "2 values are cleared." in response["HX-Trigger"]
    else:
        assert response["Location"] == url(device, "")
        assert "2 values are cleared." in page(client.get(url(device, "")))
    assert "Measurements cleared" in page(client.get(f"/devices/{device.pk}/device/"))


def test_nothing_to_clear_offers_nothing(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    assert "twin-clear" not in page(client.get(url(device, "")))
    assert "there is nothing to clear" in page(client.get(url(device)))
    assert "0 values are cleared." in client.post(url(device), headers=HTMX)["HX-Trigger"]


def test_managed_device_keeps_its_measurements(cast: Cast, device: Device) -> None:
    managed = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer"
    )
    report(device)
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(type=managed)
    client = cast.client(cast.operator)
    assert "twin-clear" not in page(client.get(url(device, "")))
    response = client.post(url(device), headers=HTMX)
    assert "not available for this kind of device" in response["HX-Trigger"]
    assert len(twin(device)["reported"]) == 2


def test_only_who_may_change_the_device_clears_it(cast: Cast, device: Device) -> None:
    report(device)
    viewer, stranger = cast.client(cast.viewer), cast.client(cast.stranger)
    assert "twin-clear" not in page(viewer.get(url(device, "")))
    assert (viewer.get(url(device)).status_code, viewer.post(url(device)).status_code) == (403, 403)
    assert (stranger.get(url(device)).status_code, stranger.post(url(device)).status_code) == (404, 404)
    assert cast.client(cast.operator).put(url(device)).status_code == 405
    assert len(twin(device)["reported"]) == 2
