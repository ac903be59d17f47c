"""The detail page (D6, D7, D8, D9, D10, P2, T4): frame, cards, Device tab, deactivating and activating."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices import network, services
from devices.models import Category, Connection, Device, DeviceType, NetworkTask
from tests import factories
from tests.cast import Cast

CONTROLS = re.compile(
    r'<form[^>]*method="post"[^>]*action="(/devices/[^"]*)"|href="(/devices/\d+/[a-z/]+(?:\?[^"]*)?)"'
)
CHANGING = ("deactivate/", "activate/", "register/", "connectivity/", "network/", "link/", "unlink/")


def fresh(device: Device) -> Device:
    with scopes_disabled():
        return Device.objects.select_related("type", "project", "state").get(pk=device.pk)


def actions() -> list[str]:
    with scopes_disabled():
        return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


def controls(html: str) -> set[str]:
    """The addresses of everything on the page that changes the device."""
    found = {(post or link).split("?")[0] for post, link in CONTROLS.findall(html)}
    return {address.split("/", 3)[3] for address in found if address.endswith(CHANGING)}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, name="House 1", in_flow=factories.flow(cast.project, "Climate"))


@pytest.fixture
def managed(cast: Cast) -> Device:
    kind = DeviceType.objects.create(
        slug="m", name="Climate sensor", category=Category.MANAGED, connectivity="lora", key_source="portal"
    )
    return factories.device(cast.project, kind.slug, name="Bought", connection=Connection.ACTIVE)


class TestFrame:
    def test_cards_tell_what_they_should(self, cast: Cast, device: Device) -> None:
        html = cast.client(cast.viewer).get(f"/devices/{device.pk}/device/").content.decode()
        for text in ("House 1", "Own LoRa device (preset connectivity)", "Climate", device.identifier, "Never"):
            assert text in html
        assert f'sse-connect="/live/devices/{device.pk}"' in html
        assert f'hx-get="/devices/{device.pk}/cards/?tab=device"' in html
        assert f'class="stretch" href="/devices/{device.pk}/lora/"' in html
        assert re.search(rf'<a href="/devices/{device.pk}/device/" aria-current="page">', html)

    @pytest.mark.parametrize("page", ["", "device/", "flows/", "cards/"])
    def test_stranger_finds_nothing(self, cast: Cast, device: Device, page: str) -> None:
        assert cast.client(cast.stranger).get(f"/devices/{device.pk}/{page}").status_code == 404

    def test_address_of_the_device_leads_to_its_twin_or_to_the_device_tab(self, cast: Cast, device: Device) -> None:
        client = cast.client(cast.viewer)
        assert client.get(f"/devices/{device.pk}/")["Location"] == f"/devices/{device.pk}/twin/"
        alone = factories.device(cast.project)
        assert client.get(f"/devices/{alone.pk}/")["Location"] == f"/devices/{alone.pk}/device/"

    @pytest.mark.parametrize("status", Connection.values)
    def test_read_only_account_has_no_control(self, cast: Cast, device: Device, status: str) -> None:
        Device.objects.with_scopes_disabled().filter(pk=device.pk).update(connection_status=status)
        for page in ("device/", "flows/", "cards/"):
            html = (
                cast.client(cast.viewer)
                .get(f"/devices/{device.pk}/{page}", headers={"HX-Request": "true"})
                .content.decode()
            )
            assert "House 1" in html
            assert controls(html) == set()
            assert "<dialog" not in html

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (Connection.NOT_LINKED, {"network/"}),
            (Connection.INVENTORY, {"register/"}),
            (Connection.PENDING_CREATE, set()),
            (Connection.ACTIVE, {"connectivity/"}),
            (Connection.DEACTIVATED, {"connectivity/"}),
            (Connection.FAILED, {"register/", "network/"}),
        ],
    )
    def test_operator_has_the_control_of_the_status(
        self, cast: Cast, device: Device, status: Connection, expected: set[str]
    ) -> None:
        rows = Device.objects.with_scopes_disabled().filter(pk=device.pk)
        rows.update(connection_status=status, connection_reason="The DevEUI is taken." if status == "failed" else "")
        response = cast.client(cast.operator).get(f"/devices/{device.pk}/cards/", headers={"HX-Request": "true"})
        html = response.content.decode()
        assert controls(html) == {"deactivate/", *expected}
        assert ("The DevEUI is taken." in html) == (status == Connection.FAILED)

    def test_managed_device_is_locked_with_an_explanation(self, cast: Cast, managed: Device) -> None:
        html = cast.client(cast.operator).get(f"/devices/{managed.pk}/device/").content.decode()
        assert "Managed by" in html
        assert 'name="barcode"' not in html
        assert 'name="name"' in html

    def test_managed_device_without_connection_is_not_onboarded_here(self, cast: Cast, managed: Device) -> None:
        Device.objects.with_scopes_disabled().update(connection_status=Connection.NOT_LINKED)
        html = cast.client(cast.operator).get(f"/devices/{managed.pk}/device/").content.decode()
        assert "network/" not in controls(html)

    def test_unanswering_network_is_told(self, cast: Cast, device: Device) -> None:
        with scopes_disabled():
            network.request_switch(device=device, operation="deactivate", actor=cast.operator)
        NetworkTask.objects.update(last_error="timed out")
        html = cast.client(cast.viewer).get(f"/devices/{device.pk}/device/").content.decode()
        assert "Deactivating" in html
        assert "has not answered yet (timed out)" in html

    def test_cards_without_htmx_are_the_page(self, cast: Cast, device: Device) -> None:
        response = cast.client(cast.viewer).get(f"/devices/{device.pk}/cards/?tab=flows")
        assert response["Location"] == f"/devices/{device.pk}/flows/"
        response = cast.client(cast.viewer).get(f"/devices/{device.pk}/cards/?tab=//evil.example")
        assert response["Location"] == f"/devices/{device.pk}/"

    def test_flows_and_entries_cost_no_query_each(self, cast: Cast, django_assert_max_num_queries) -> None:
        device = factories.lora_device(cast.project)
        client = cast.client(cast.operator)

        def queries() -> int:
            with django_assert_max_num_queries(25) as captured:
                client.get(f"/devices/{device.pk}/device/")
            return len(captured)

        with scopes_disabled():
            services.link_flow(device=device, flow=factories.flow(cast.project), actor=cast.operator)
            before = queries()
            for _ in range(10):
                services.link_flow(device=device, flow=factories.flow(cast.project), actor=cast.operator)
        assert queries() == before


class TestProcessing:
    """D7, D9: deactivating is temporary, and the moment of it is kept."""

    def test_there_and_back(self, cast: Cast, device: Device) -> None:
        client = cast.client(cast.operator)
        response = client.post(f"/devices/{device.pk}/deactivate/", {"tab": "device"}, follow=True)
        assert response.redirect_chain == [(f"/devices/{device.pk}/device/", 302)]
        assert "House 1 is deactivated." in response.content.decode()
        assert fresh(device).processing_status == "deactivated"
        assert fresh(device).connection_status == "active"
        client.post(f"/devices/{device.pk}/activate/")
        assert fresh(device).processing_status == "active"
        assert actions()[-2:] == ["device.deactivated", "device.activated"]

    def test_device_without_flow_comes_back_as_not_linked(self, cast: Cast) -> None:
        device, client = factories.device(cast.project), cast.client(cast.operator)
        client.post(f"/devices/{device.pk}/deactivate/")
        client.post(f"/devices/{device.pk}/activate/")
        assert fresh(device).processing_status == "not_linked"

    def test_htmx_gets_the_cards(self, cast: Cast, device: Device) -> None:
        response = cast.client(cast.operator).post(
            f"/devices/{device.pk}/deactivate/", {"tab": "device"}, headers={"HX-Request": "true"}
        )
        html = response.content.decode()
        assert html.strip().startswith('<div class="columns')
        assert controls(html) == {"activate/", "connectivity/"}

    def test_question_compares_with_deleting(self, cast: Cast, device: Device) -> None:
        html = cast.client(cast.operator).get(f"/devices/{device.pk}/deactivate/").content.decode()
        assert "it can never be added again" in html
        assert fresh(device).processing_status == "active"

    @pytest.mark.parametrize("page", ["deactivate", "activate"])
    def test_read_only_stranger_and_wrong_method(self, cast: Cast, device: Device, page: str) -> None:
        address = f"/devices/{device.pk}/{page}/"
        assert cast.client(cast.viewer).post(address).status_code == 403
        assert cast.client(cast.stranger).post(address).status_code == 404
        assert cast.client(cast.operator).put(address).status_code == 405
        assert fresh(device).processing_status == "active"

    def test_second_click_says_that_nothing_changed(self, cast: Cast, device: Device) -> None:
        client = cast.client(cast.operator)
        client.post(f"/devices/{device.pk}/deactivate/")
        response = client.post(f"/devices/{device.pk}/deactivate/", follow=True)
        assert "Nothing was changed" in response.content.decode()
        assert actions().count("device.deactivated") == 1

    def test_managed_device_can_be_deactivated(self, cast: Cast, managed: Device) -> None:
        cast.client(cast.operator).post(f"/devices/{managed.pk}/deactivate/")
        assert fresh(managed).processing_status == "deactivated"


class TestDeviceTab:
    def save(self, client: Client, device: Device, **changes: str):
        return client.post(
            f"/devices/{device.pk}/device/", {"name": "New", "barcode": "B", "description": "D", **changes}
        )

    def test_edit_is_saved_and_told_in_the_timeline(self, cast: Cast, device: Device) -> None:
        client = cast.client(cast.operator)
        assert self.save(client, device)["Location"] == f"/devices/{device.pk}/device/"
        saved = fresh(device)
        assert (saved.name, saved.barcode, saved.description) == ("New", "B", "D")
        html = client.get(f"/devices/{device.pk}/device/").content.decode()
        assert "<del>House 1</del> → <ins>New</ins>" in html
        assert "by operator@example.com" in html

    def test_read_only_account_sees_values_and_no_form(self, cast: Cast, device: Device) -> None:
        Device.objects.with_scopes_disabled().filter(pk=device.pk).update(barcode="B-17", description="By the door")
        client = cast.client(cast.viewer)
        html = client.get(f"/devices/{device.pk}/device/").content.decode()
        assert "B-17" in html
        assert "By the door" in html
        assert 'name="name"' not in html
        assert self.save(client, device).status_code == 403

    def test_stranger_and_wrong_method(self, cast: Cast, device: Device) -> None:
        assert self.save(cast.client(cast.stranger), device).status_code == 404
        assert cast.client(cast.operator).delete(f"/devices/{device.pk}/device/").status_code == 405
        assert fresh(device).name == "House 1"

    @pytest.mark.parametrize("changes", [{"name": ""}, {"name": " "}, {"name": "x" * 101}, {"description": "x" * 1001}])
    def test_bad_input_changes_nothing(self, cast: Cast, device: Device, changes: dict[str, str]) -> None:
        response = self.save(cast.client(cast.operator), device, **changes)
        assert response.status_code == 422
        assert f'id="id_{next(iter(changes))}_error"' in response.content.decode()
        assert fresh(device).name == "House 1"

    def test_managed_device_keeps_its_barcode(self, cast: Cast, managed: Device) -> None:
        self.save(cast.client(cast.operator), managed, barcode="forged")
        saved = fresh(managed)
        assert (saved.name, saved.barcode) == ("New", "")

    def test_markup_in_a_name_is_text(self, cast: Cast, device: Device) -> None:
        client = cast.client(cast.operator)
        self.save(client, device, name="<script>alert(1)</script>")
        for address in (f"/devices/{device.pk}/device/", "/devices/", f"/devices/{device.pk}/flows/"):
            assert "<script>alert" not in client.get(address).content.decode()

    def test_timeline_is_paged(self, cast: Cast, device: Device) -> None:
        client = cast.client(cast.operator)
        for number in range(22):
            self.save(client, device, name=f"Name {number}")
        first = client.get(f"/devices/{device.pk}/device/").content.decode()
        second = client.get(f"/devices/{device.pk}/device/?page=2").content.decode()
        assert "<ins>Name 21</ins>" in first
        assert "<ins>Name 21</ins>" not in second
        assert "Linked to a Flow" in second


def test_pages_have_no_inline_script_or_style(cast: Cast, device: Device) -> None:
    """The content security policy would refuse them."""
    client = cast.client(cast.operator)
    for page in ("device/", "flows/", "deactivate/", "connectivity/", "flows/link/"):
        html = client.get(f"/devices/{device.pk}/{page}").content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
