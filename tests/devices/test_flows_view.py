"""The Flows tab (F2, F3) and the processing status that follows the links (D7)."""

from __future__ import annotations

import pytest
from django_scopes import scopes_disabled

from accounts.models import Membership, Role
from devices.models import Device, FlowLink
from flows.models import Flow
from tests import factories
from tests.cast import Cast


def flows_of(device: Device) -> list[str]:
    with scopes_disabled():
        return list(FlowLink.objects.filter(device=device).order_by("flow__name").values_list("flow__name", flat=True))


def status(device: Device) -> tuple[str, int]:
    with scopes_disabled():
        return Device.objects.values_list("processing_status", "flow_count").get(pk=device.pk)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.device(cast.project, name="House 1")


@pytest.fixture
def flow(cast: Cast) -> Flow:
    return factories.flow(cast.project, "Climate")


class TestTab:
    def test_flows_and_their_projects_are_listed(self, cast: Cast, flow: Flow) -> None:
        device = factories.device(cast.project, in_flow=flow)
        factories.destination(flow)
        html = cast.client(cast.viewer).get(f"/devices/{device.pk}/flows/").content.decode()
        assert f'class="row-link" href="/flows/{flow.pk}/">Climate<' in html
        assert "Greenhouses" in html
        assert "Possible problem" in html
        assert "warn-icon" not in html

    @pytest.mark.parametrize(
        ("changes", "said"),
        [({"enabled": False}, "This Flow is disabled"), ({"decoder": "unfit"}, "does not fit the device type")],
    )
    def test_problem_shows_on_the_tab_and_in_the_row(
        self, cast: Cast, flow: Flow, changes: dict[str, object], said: str
    ) -> None:
        device = factories.device(cast.project, in_flow=flow)
        Flow.objects.with_scopes_disabled().update(**changes)
        client = cast.client(cast.viewer)
        assert f'href="/flows/{flow.pk}/"' in client.get(f"/devices/{device.pk}/flows/").content.decode()
        assert said in client.get(f"/devices/{device.pk}/flows/").content.decode()
        # On the tab's link, seen from every other tab.
        assert said in client.get(f"/devices/{device.pk}/device/").content.decode()

    def test_device_without_flow_is_told_what_to_do(self, cast: Cast, device: Device) -> None:
        html = cast.client(cast.operator).get(f"/devices/{device.pk}/flows/").content.decode()
        assert "In no Flow yet" in html
        assert f'href="/devices/{device.pk}/flows/link/"' in html

    def test_flow_of_a_foreign_project_is_counted_and_not_named(self, cast: Cast, device: Device) -> None:
        with scopes_disabled():
            FlowLink.objects.create(device=device, flow=factories.flow(cast.elsewhere, "Hush"))
            Device.objects.update(flow_count=1, processing_status="active")
        html = cast.client(cast.operator).get(f"/devices/{device.pk}/flows/").content.decode()
        assert "Hush" not in html
        assert "And 1 Flow of a Project that you are not in." in html


class TestLink:
    def post(self, cast: Cast, device: Device, person: str = "operator", **data: object):
        return cast.client(getattr(cast, person)).post(f"/devices/{device.pk}/flows/link/", data)

    def test_first_flow_makes_the_device_active(self, cast: Cast, device: Device, flow: Flow) -> None:
        assert status(device) == ("not_linked", 0)
        assert self.post(cast, device, flow=flow.pk)["Location"] == f"/devices/{device.pk}/flows/"
        assert flows_of(device) == ["Climate"]
        assert status(device) == ("active", 1)

    def test_deactivated_device_stays_so(self, cast: Cast, device: Device, flow: Flow) -> None:
        Device.objects.with_scopes_disabled().update(processing_status="deactivated")
        self.post(cast, device, flow=flow.pk)
        assert status(device) == ("deactivated", 1)

    def test_new_flow_is_made_on_the_spot(self, cast: Cast, device: Device) -> None:
        self.post(cast, device, new_flow=" Doors ")
        assert flows_of(device) == ["Doors"]
        with scopes_disabled():
            assert Flow.objects.get().project == cast.project

    @pytest.mark.parametrize(
        ("data", "field"),
        [({}, "flow"), ({"flow": "x"}, "flow"), ({"new_flow": "climate"}, "new_flow"),
         ({"new_flow": "x" * 101}, "new_flow")],
    )  # fmt: skip
    def test_bad_input_is_told_beside_the_field(
        self, cast: Cast, device: Device, flow: Flow, data: dict[str, str], field: str
    ) -> None:
        response = self.post(cast, device, **data)
        assert response.status_code == 422
        assert f'id="id_{field}_error"' in response.content.decode()
        assert status(device) == ("not_linked", 0)
        assert Flow.objects.with_scopes_disabled().count() == 1

    def test_both_at_once_are_refused(self, cast: Cast, device: Device, flow: Flow) -> None:
        assert self.post(cast, device, flow=flow.pk, new_flow="Doors").status_code == 422
        assert flows_of(device) == []

    def test_read_only_stranger_and_wrong_method(self, cast: Cast, device: Device, flow: Flow) -> None:
        assert self.post(cast, device, "viewer", flow=flow.pk).status_code == 403
        assert self.post(cast, device, "stranger", flow=flow.pk).status_code == 404
        assert cast.client(cast.viewer).get(f"/devices/{device.pk}/flows/link/").status_code == 403
        assert cast.client(cast.operator).put(f"/devices/{device.pk}/flows/link/").status_code == 405
        assert flows_of(device) == []

    def test_flow_of_a_foreign_project_cannot_be_chosen(self, cast: Cast, device: Device) -> None:
        theirs = factories.flow(cast.elsewhere, "Hush")
        assert self.post(cast, device, flow=theirs.pk, project=cast.elsewhere.pk).status_code == 422
        assert flows_of(device) == []

    def test_flow_of_another_own_project_needs_its_operator(self, cast: Cast, device: Device) -> None:
        theirs = factories.flow(cast.elsewhere, "Shared")
        row = Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
        assert self.post(cast, device, flow=theirs.pk, project=cast.elsewhere.pk).status_code == 422
        Membership.objects.filter(pk=row.pk).update(role=Role.OPERATOR)
        html = (
            cast.client(cast.operator)
            .get(f"/devices/{device.pk}/flows/link/", {"project": cast.elsewhere.pk}, headers={"HX-Request": "true"})
            .content.decode()
        )
        assert html.strip().startswith('<div class="flow-field">')
        assert "Shared" in html
        self.post(cast, device, flow=theirs.pk, project=cast.elsewhere.pk)
        assert flows_of(device) == ["Shared"]

    def test_linked_flow_is_not_offered_again(self, cast: Cast, device: Device, flow: Flow) -> None:
        self.post(cast, device, flow=flow.pk)
        assert self.post(cast, device, flow=flow.pk).status_code == 422
        assert status(device) == ("active", 1)


class TestUnlink:
    def post(self, cast: Cast, device: Device, flow: object, person: str = "operator"):
        return cast.client(getattr(cast, person)).post(f"/devices/{device.pk}/flows/unlink/", {"flow": flow})

    def test_last_flow_leaves_the_device_not_linked(self, cast: Cast, flow: Flow) -> None:
        device = factories.device(cast.project, in_flow=flow)
        html = cast.client(cast.operator).get(f"/devices/{device.pk}/flows/unlink/?flow={flow.pk}").content.decode()
        assert "It is its only Flow" in html
        assert flows_of(device) == ["Climate"]
        self.post(cast, device, flow.pk)
        assert flows_of(device) == []
        assert status(device) == ("not_linked", 0)

    @pytest.mark.parametrize("named", ["", "x", "999999999", "9" * 40, "-1"])
    def test_flow_that_it_is_not_in(self, cast: Cast, flow: Flow, named: str) -> None:
        device = factories.device(cast.project, in_flow=flow)
        assert self.post(cast, device, named)["Location"] == f"/devices/{device.pk}/flows/"
        assert flows_of(device) == ["Climate"]

    def test_read_only_stranger_and_wrong_method(self, cast: Cast, flow: Flow) -> None:
        device = factories.device(cast.project, in_flow=flow)
        assert self.post(cast, device, flow.pk, "viewer").status_code == 403
        assert self.post(cast, device, flow.pk, "stranger").status_code == 404
        assert cast.client(cast.operator).delete(f"/devices/{device.pk}/flows/unlink/").status_code == 405
        assert flows_of(device) == ["Climate"]
