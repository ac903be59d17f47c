"""Devices are searched, linked and unlinked on the page of their Flow (F1, F4)."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from accounts.models import AuditEntry, Membership, Role
from devices import flow_devices
from devices.models import Device, FlowLink
from flows.models import Flow
from tests import factories
from tests.cast import Cast


def names(text: str) -> list[str]:
    return re.findall(r'class="row-link" href="/devices/\d+/">([^<]*)<', text.partition('id="flow-messages"')[0])


def choices(text: str) -> list[str]:
    return re.findall(r'<label for="choose-\d+">([^<]*)<', text)


def inside(flow: Flow) -> list[str]:
    return list(FlowLink.objects.filter(flow=flow).order_by("device__name").values_list("device__name", flat=True))


@pytest.fixture
def devices(cast: Cast, flow: Flow) -> list[Device]:
    return [factories.lora_device(cast.project, name=f"House {n}", in_flow=flow) for n in (1, 2, 3)]


class TestSearch:
    @pytest.mark.parametrize("query", ["house 2", "USE 2", "dev-eui"])
    def test_by_name_or_identifier(self, cast: Cast, flow: Flow, devices: list[Device], query: str) -> None:
        if query == "dev-eui":
            query = "-".join(re.findall("..", devices[1].identifier))
        text = cast.client(cast.viewer).get(f"/flows/{flow.pk}/", {"q": query}).content.decode()
        assert names(text) == ["House 2"]

    def test_only_in_this_flow_and_in_own_projects(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        factories.device(cast.project, name="House elsewhere", in_flow=factories.flow(cast.project))
        factories.device(cast.elsewhere, name="House of others", in_flow=flow)
        response = cast.client(cast.viewer).get(f"/flows/{flow.pk}/?q=House", headers={"HX-Request": "true"})
        assert names(response.content.decode()) == ["House 1", "House 2", "House 3"]
        assert "<html" not in response.content.decode()

    def test_nothing_found_says_so(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        assert "Nothing found for" in cast.client(cast.viewer).get(f"/flows/{flow.pk}/?q=zzz").content.decode()

    def test_pages_keep_the_search(
        self, cast: Cast, flow: Flow, devices: list[Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flow_devices, "PAGE_SIZE", 2)
        client = cast.client(cast.viewer)
        assert "?q=House&amp;page=2" in client.get(f"/flows/{flow.pk}/?q=House").content.decode()
        assert names(client.get(f"/flows/{flow.pk}/?q=House&page=2").content.decode()) == ["House 3"]

    def test_large_flow_is_paged_without_looking_at_all(
        self, cast: Cast, flow: Flow, devices: list[Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flow_devices, "SORTED_BY_NAME", 2)
        factories.device(cast.elsewhere, name="Hush", in_flow=flow)
        text = cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        assert names(text) == ["House 1", "House 2", "House 3"]
        assert "Devices of Projects that you are not in are left out" in text

    def test_two_devices_cost_as_many_queries_as_twenty(
        self, cast: Cast, flow: Flow, django_assert_num_queries: Any
    ) -> None:
        client = cast.client(cast.operator)
        for number in range(20):
            factories.device(cast.project, in_flow=flow)
            if number in {1, 19}:
                with django_assert_num_queries(15):
                    client.get(f"/flows/{flow.pk}/")


class TestLink:
    def test_devices_of_the_project_that_are_not_in_it(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        factories.device(cast.project, name="Door 1", in_flow=factories.flow(cast.project))
        factories.device(cast.project, name="Door 2")
        factories.device(cast.elsewhere, name="Door of others")
        client = cast.client(cast.operator)
        assert choices(client.get(f"/flows/{flow.pk}/devices/link/").content.decode()) == ["Door 1", "Door 2"]
        assert choices(client.get(f"/flows/{flow.pk}/devices/link/?q=or+2").content.decode()) == ["Door 2"]

    def test_several_are_linked_at_once(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        new = [factories.device(cast.project, name=f"Door {n}") for n in (1, 2)]
        ids = [new[0].pk, new[1].pk, devices[0].pk, 999_999]
        response = cast.client(cast.operator).post(f"/flows/{flow.pk}/devices/link/", {"device": ids}, follow=True)
        assert "2 devices are linked." in response.content.decode()
        assert inside(flow) == ["Door 1", "Door 2", "House 1", "House 2", "House 3"]
        assert set(Device.objects.values_list("processing_status", "flow_count")) == {("active", 1)}
        told = AuditEntry.objects.filter(action="device.linked", actor=cast.operator)
        assert sorted(told.values_list("device_id", flat=True)) == [device.pk for device in new]

    def test_device_of_another_project_is_as_if_it_were_not_there(self, cast: Cast, flow: Flow) -> None:
        theirs = factories.device(cast.elsewhere)
        cast.client(cast.operator).post(f"/flows/{flow.pk}/devices/link/", {"device": [theirs.pk]})
        assert inside(flow) == []

    @pytest.mark.parametrize("named", [[], ["x"], ["-1"], ["9" * 40]])
    def test_nothing_chosen_is_told(self, cast: Cast, flow: Flow, named: list[str]) -> None:
        response = cast.client(cast.operator).post(f"/flows/{flow.pk}/devices/link/", {"device": named}, follow=True)
        assert "Choose devices first." in response.content.decode()

    def test_pages(self, cast: Cast, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flow_devices, "PAGE_SIZE", 2)
        for number in (3, 1, 2):
            factories.device(cast.project, name=f"D{number}")
        client = cast.client(cast.operator)
        first = client.get(f"/flows/{flow.pk}/devices/link/?q=D").content.decode()
        assert choices(first) == ["D1", "D2"]
        assert "?q=D&amp;page=2" in first
        part = client.get(f"/flows/{flow.pk}/devices/link/?page=2", headers={"HX-Request": "true"}).content.decode()
        assert choices(part) == ["D3"]
        assert "<html" not in part
        for nonsense in ("x", "0", "-1", "9" * 30):
            assert client.get(f"/flows/{flow.pk}/devices/link/?page={nonsense}").status_code == 200

    def test_read_only_stranger_and_wrong_method(self, cast: Cast, flow: Flow) -> None:
        device = factories.device(cast.project)
        address = f"/flows/{flow.pk}/devices/link/"
        assert cast.client(cast.viewer).get(address).status_code == 403
        assert cast.client(cast.viewer).post(address, {"device": [device.pk]}).status_code == 403
        assert cast.client(cast.stranger).post(address, {"device": [device.pk]}).status_code == 404
        assert cast.client(cast.operator).put(address).status_code == 405
        assert inside(flow) == []


class TestUnlink:
    def post(self, cast: Cast, flow: Flow, person: str = "operator", **data: Any) -> Any:
        return cast.client(getattr(cast, person)).post(f"/flows/{flow.pk}/devices/unlink/", data, follow=True)

    def test_asks_first_and_says_what_it_means(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        FlowLink.objects.create(device=devices[0], flow=factories.flow(cast.project))
        Device.objects.filter(pk=devices[0].pk).update(flow_count=2)
        shown = self.post(cast, flow, device=[devices[0].pk, devices[1].pk]).content.decode()
        assert "2 devices leave the Flow." in shown
        assert "House 1" in shown and "House 2" in shown and "House 3" not in shown
        assert "1 device is in no other Flow" in html.unescape(shown)
        assert inside(flow) == ["House 1", "House 2", "House 3"]

    def test_several_leave_it(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        response = self.post(cast, flow, device=[devices[0].pk, devices[1].pk], confirmed="1")
        assert "2 devices are out of this Flow." in response.content.decode()
        assert inside(flow) == ["House 3"]
        rows = Device.objects.filter(pk__in=[devices[0].pk, devices[1].pk])
        assert set(rows.values_list("processing_status", "flow_count")) == {("not_linked", 0)}
        assert AuditEntry.objects.filter(action="device.unlinked", actor=cast.operator).count() == 2

    def test_button_of_a_row_is_for_that_row_alone(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        shown = self.post(cast, flow, device=[devices[0].pk], one=[devices[1].pk]).content.decode()
        assert "House 2" in shown and "House 1" not in shown

    def test_device_of_a_project_that_the_person_only_reads_stays(self, cast: Cast, flow: Flow) -> None:
        theirs = factories.device(cast.elsewhere, name="Theirs", in_flow=flow)
        Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
        shown = cast.client(cast.operator).get(f"/flows/{flow.pk}/").content.decode()
        assert "Theirs" in shown and "Choose Theirs" not in shown and "Unlink Theirs" not in shown
        assert (
            "Choose devices that are in this Flow"
            in self.post(cast, flow, device=[theirs.pk], confirmed="1").content.decode()
        )
        assert inside(flow) == ["Theirs"]

    def test_read_only_stranger_and_wrong_method(self, cast: Cast, flow: Flow, devices: list[Device]) -> None:
        assert self.post(cast, flow, "viewer", device=[devices[0].pk], confirmed="1").status_code == 403
        assert self.post(cast, flow, "stranger", device=[devices[0].pk], confirmed="1").status_code == 404
        assert cast.client(cast.operator).get(f"/flows/{flow.pk}/devices/unlink/").status_code == 405
        shown = cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        for control in ("data-select", "Unlink", "devices/link/", "/edit/", "/delete/"):
            assert control not in shown.partition("<main")[2].replace("data-selection", ""), control
        assert len(inside(flow)) == 3
