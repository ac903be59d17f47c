"""What a codec could not read, as people find it: on the device, its Flows tab and its Flow (T5, F3, F4)."""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import Membership, Role
from devices import codecs, flow_problems
from devices.models import CodecProblem, Device, DeviceType
from flows.models import Flow
from tests import factories
from tests.cast import Cast

HTMX = {"HX-Request": "true"}
READS = """function decodeUplink(input) {
  console.log('port', input.fPort);
  return {data: {temperature: input.bytes[0] / 10, on: true}, warnings: ['Old firmware.']};
}"""


@pytest.fixture
def flow(cast: Cast) -> Flow:
    return factories.flow(cast.project, "Climate")


@pytest.fixture
def device(cast: Cast, flow: Flow) -> Device:
    device = factories.lora_device(cast.project, name="House 1", in_flow=flow)
    factories.codec(cast.project, READS, of=device.type)
    return device


def trouble(device: Device, text: str = "It broke.", *, error: bool = True, **fields: Any) -> None:
    values: dict[str, Any] = {"project_id": device.project_id, "version_id": 1, "at": timezone.now()} | fields
    CodecProblem.objects.create(device_id=device.pk, text=text, error=error, **values)


def page(cast: Cast, address: str) -> str:
    response = cast.client(cast.viewer).get(address)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


class TestDevice:
    @pytest.mark.parametrize(("error", "said"), [(True, "could not read a message"), (False, "warns")])
    def test_card_flows_tab_and_row_tell_it(self, cast: Cast, device: Device, error: bool, said: str) -> None:
        assert "It broke." not in page(cast, f"/devices/{device.pk}/flows/")
        trouble(device, error=error)
        shown = page(cast, f"/devices/{device.pk}/device/")
        assert shown.count("It broke.") >= 2, "on the card, and behind the sign on the tab's link"
        assert re.search(rf"<strong>The codec of the device type {said}", shown)
        part = cast.client(cast.viewer).get(f"/devices/{device.pk}/cards/?tab=device", headers=HTMX)
        assert "It broke." in part.content.decode()
        row = page(cast, f"/devices/{device.pk}/flows/").partition('class="row-link"')[2]
        assert f"The codec of the device type {said}: It broke." in row

    def test_flow_that_is_read_otherwise_has_no_sign(self, cast: Cast, device: Device, flow: Flow) -> None:
        trouble(device)
        DeviceType.objects.update(decoders=["raw-lora"])
        Flow.objects.with_scopes_disabled().update(decoder="raw-lora")
        row = page(cast, f"/devices/{device.pk}/flows/").partition('class="row-link"')[2]
        assert "It broke." not in row
        assert flow_problems.troubled(Flow.objects.with_scopes_disabled().get(), [device.project_id]).count == 0

    def test_flow_by_the_codec_of_a_type_without_one(self, cast: Cast, flow: Flow) -> None:
        device = factories.lora_device(cast.project, in_flow=flow)
        Flow.objects.with_scopes_disabled().update(decoder="codec")
        assert "The device type has no codec" in page(cast, f"/devices/{device.pk}/flows/")
        assert "1 LoRa device here is of a type" in page(cast, f"/flows/{flow.pk}/")
        factories.codec(cast.project, READS, of=device.type)
        assert "The device type has no codec" not in page(cast, f"/devices/{device.pk}/flows/")
        assert "is of a type" not in page(cast, f"/flows/{flow.pk}/")

    def test_old_problem_of_a_type_without_codec_is_not_shown(self, cast: Cast, device: Device, flow: Flow) -> None:
        trouble(device)
        DeviceType.objects.update(codec=None)
        assert "It broke." not in page(cast, f"/devices/{device.pk}/device/")
        assert "It broke." not in page(cast, f"/flows/{flow.pk}/")

    def test_codec_is_read_once_for_the_whole_page(self, cast: Cast, device: Device) -> None:
        with scopes_disabled():
            held = Device.objects.select_related("type").get(pk=device.pk)
            first = codecs.problem_of(held)
            trouble(device)
            assert codecs.problem_of(held) is first is None

    def test_device_tab_names_the_codec_first(self, cast: Cast, device: Device) -> None:
        assert "Codec of the device type" in page(cast, f"/devices/{device.pk}/device/")


class TestFlow:
    def test_devices_in_trouble_are_counted_and_named(self, cast: Cast, device: Device, flow: Flow) -> None:
        other = factories.lora_device(cast.project, name="House 2", in_flow=flow)
        elsewhere = factories.lora_device(cast.project, name="House 3")
        assert "codec has trouble" not in page(cast, f"/flows/{flow.pk}/")
        trouble(other, "A warning.", error=False)
        trouble(device, "An error.")
        trouble(elsewhere, "Not of this Flow.")
        shown = page(cast, f"/flows/{flow.pk}/")
        assert "2 devices whose codec has trouble" in shown
        assert re.findall(r'class="row-link" href="/devices/(\d+)/"', shown)[:2] == [str(device.pk), str(other.pk)]
        assert "An error." in shown
        assert "A warning." in shown
        assert "Not of this Flow." not in shown

    def test_list_is_bounded(self, cast: Cast, flow: Flow, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flow_problems, "MOST_NAMED", 2)
        trouble(device)
        for _ in range(3):
            trouble(factories.lora_device(cast.project, in_flow=flow))
        shown = page(cast, f"/flows/{flow.pk}/")
        assert "4 devices whose codec has trouble" in shown
        assert "And 2 other devices." in shown
        assert shown.count("It broke.") == 2
        monkeypatch.setattr(flow_problems, "MOST_COUNTED", 3)
        assert "More than 3 devices whose codec has trouble" in page(cast, f"/flows/{flow.pk}/")

    def test_devices_of_other_projects_are_counted_and_not_named(self, cast: Cast, flow: Flow, device: Device) -> None:
        with scopes_disabled():
            Device.objects.filter(pk=device.pk).update(project=cast.elsewhere)
        trouble(device, "A secret.", project_id=cast.elsewhere.pk)
        shown = page(cast, f"/flows/{flow.pk}/")
        assert "1 device whose codec has trouble" in shown
        assert "A secret." not in shown
        Membership.objects.create(user=cast.viewer, project=cast.elsewhere, role=Role.VIEWER)
        assert "A secret." in page(cast, f"/flows/{flow.pk}/")

    def test_two_devices_cost_as_many_queries_as_ten(
        self, cast: Cast, flow: Flow, device: Device, django_assert_max_num_queries: Any
    ) -> None:
        client = cast.client(cast.viewer)
        trouble(device)
        counts = set()
        for number in range(10):
            trouble(factories.lora_device(cast.project, in_flow=flow))
            if number in {0, 9}:
                with django_assert_max_num_queries(17) as captured:
                    client.get(f"/flows/{flow.pk}/")
                counts.add(len(captured))
        assert len(counts) == 1

    def test_codec_of_the_type_is_a_choice_of_decoding(self, cast: Cast, flow: Flow) -> None:
        client = cast.client(cast.operator)
        assert client.post(f"/flows/{flow.pk}/edit/", {"name": "Climate", "decoder": "codec"}).status_code == 302
        assert "The codec of the device type, and nothing else" in page(cast, f"/flows/{flow.pk}/")
        assert "The codec of the device type, and nothing else" in page(cast, "/flows/")


def test_moment_of_the_problem_is_told(cast: Cast, device: Device) -> None:
    at = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.get_default_timezone())
    trouble(device, at=at)
    assert 'datetime="2026-03-01T' in page(cast, f"/devices/{device.pk}/device/")
