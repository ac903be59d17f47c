"""The warnings of Flows (F3): each rule in the rows of All Flows, as a filter, on the page of the Flow, on a device."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from devices import flow_checks, services, tasks
from devices.models import CodecProblem, DeviceType
from flows import problems
from flows.models import Destination, Flow
from tests import factories
from tests.cast import Cast


@pytest.fixture
def well(cast: Cast) -> Flow:
    """One of which there is nothing to say."""
    flow = factories.flow(cast.project, "Well")
    factories.lora_device(cast.project, name="House", in_flow=flow)
    factories.destination(flow, "Receiver")
    return flow


def names(text: str) -> list[str]:
    return re.findall(r'class="row-link" href="/flows/\d+/">([^<]*)<', text)


def change(flow: Flow, **fields: Any) -> None:
    Flow.objects.filter(pk=flow.pk).update(**fields)


def trouble(flow: Flow) -> None:
    device = flow.device_links.get().device
    factories.codec(device.project, "x", of=device.type)
    CodecProblem.objects.create(
        device_id=device.pk, project_id=device.project_id, version_id=1, error=True, text="It broke.", at=timezone.now()
    )


CASES: list[tuple[str, Callable[[Flow], object], str]] = [
    ("disabled", lambda flow: change(flow, enabled=False), "This Flow is disabled"),
    ("empty", lambda flow: flow.device_links.all().delete(), "There is no device in this Flow yet."),
    ("unfit", lambda flow: change(flow, decoder="unfit", recheck=True), "1 LoRa device here is of a type"),
    ("codec", trouble, "could not read its newest message"),
    ("no-destination", lambda flow: flow.destination_links.all().delete(), "It has no destination"),
    ("failing", lambda _flow: Destination.objects.update(failures=9, error="No answer."), "Receiver fails: No answer."),
    ("destination-disabled", lambda _flow: Destination.objects.update(enabled=False), "Receiver is disabled."),
]


@pytest.mark.parametrize(("kind", "spoil", "said"), CASES, ids=[case[0] for case in CASES])
def test_rule_shows_in_the_row_on_the_page_and_as_a_filter(
    cast: Cast, well: Flow, kind: str, spoil: Callable[[Flow], object], said: str
) -> None:
    client = cast.client(cast.viewer)

    def text(address: str) -> str:
        return html.unescape(client.get(address).content.decode())

    flow_checks.check()
    assert "warn-icon" not in text("/flows/")
    assert names(text("/flows/?warning=any")) == []
    assert 'data-tone="warn"' not in text(f"/flows/{well.pk}/")
    spoil(well)
    flow_checks.check()
    tasks.count_trouble_of_flows()
    assert said in text("/flows/") and str(problems.BY_SLUG[kind].remedy) in text("/flows/")
    assert names(text("/flows/?warning=any")) == ["Well"]
    for each in problems.BY_SLUG:
        assert names(text(f"/flows/?warning={each}")) == (["Well"] if each == kind else []), each
    page = text(f"/flows/{well.pk}/")
    assert (said if kind != "codec" else "It broke.") in page
    assert str(problems.BY_SLUG[kind].remedy) in page


def test_every_rule_has_a_case() -> None:
    assert [case[0] for case in CASES] == [rule.slug for rule in problems.RULES]


@pytest.mark.parametrize("kind", ["nonsense", "", "'"])
def test_filter_that_makes_no_sense_leaves_nothing_out(cast: Cast, well: Flow, kind: str) -> None:
    assert names(cast.client(cast.viewer).get("/flows/", {"warning": kind}).content.decode()) == ["Well"]


def test_filter_is_a_part_and_its_pages_keep_it(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.views.PAGE_SIZE", 1)
    factories.flow(cast.project, "A")
    factories.flow(cast.project, "B")
    part = cast.client(cast.viewer).get("/flows/?warning=empty", headers={"HX-Request": "true"}).content.decode()
    assert names(part) == ["A"]
    assert "<html" not in part
    assert "?warning=empty&amp;page=2" in part
    assert '<span class="count" id="flow-count" hx-swap-oob="true">2</span>' in part


def test_count_in_the_heading_is_of_what_is_shown(cast: Cast, well: Flow) -> None:
    factories.flow(cast.project, "Empty")
    client = cast.client(cast.viewer)
    assert '<span class="count" id="flow-count">2</span>' in client.get("/flows/").content.decode()
    assert '<span class="count" id="flow-count">1</span>' in client.get("/flows/?warning=empty").content.decode()


def test_two_flows_cost_as_many_queries_as_twenty(cast: Cast, django_assert_num_queries: Any) -> None:
    client = cast.client(cast.operator)
    for number in range(20):
        flow = factories.flow(cast.project, f"F{number}", decoder="cayenne-lpp")
        factories.destination(flow, failures=9, error="No.")
        factories.device(cast.project, in_flow=flow)
        if number in {1, 19}:
            with django_assert_num_queries(6):
                client.get("/flows/?warning=any")


def test_several_destinations_are_named_up_to_three(cast: Cast, well: Flow) -> None:
    for number in range(4):
        factories.destination(well, f"D{number}")
    Destination.objects.update(enabled=False)
    text = cast.client(cast.viewer).get("/flows/").content.decode()
    assert "Destinations are disabled: D0, D1, D2, …." in text


def test_devices_of_a_flow_are_counted_so_far(cast: Cast, well: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.views.MOST_COUNTED", 2)
    text = cast.client(cast.viewer).get("/flows/").content.decode()
    assert re.search(r'm-end2" data-label="Devices">1<', text)
    for _ in range(2):
        factories.device(cast.project, in_flow=well)
    assert re.search(r'm-end2" data-label="Devices">2\+<', cast.client(cast.viewer).get("/flows/").content.decode())


class TestKept:
    """What is kept as data follows what it is made from."""

    def unfit(self, flow: Flow) -> tuple[int, bool]:
        return Flow.objects.values_list("unfit", "recheck").get(pk=flow.pk)

    def test_links_and_edits_ask_for_another_count(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Climate", decoder="thingsml-lora")
        flow_checks.check()
        assert self.unfit(flow) == (0, False)
        device = factories.lora_device(cast.project, in_flow=flow)
        assert self.unfit(flow) == (0, True)
        flow_checks.check()
        edit = {"name": "Climate", "decoder": "codec", "enabled": "on"}
        cast.client(cast.operator).post(f"/flows/{flow.pk}/edit/", edit)
        assert self.unfit(flow) == (0, True)
        flow_checks.check()
        assert self.unfit(flow) == (1, False)
        cast.client(cast.operator).post(f"/devices/{device.pk}/flows/unlink/", {"flow": flow.pk})
        flow_checks.check()
        assert self.unfit(flow) == (0, False)

    def test_flow_without_a_decoding_of_its_own_is_not_counted_again(self, cast: Cast) -> None:
        flow = factories.flow(cast.project)
        flow_checks.check()
        factories.lora_device(cast.project, in_flow=flow)
        assert self.unfit(flow) == (0, False)

    def test_changed_type_and_the_clock_ask_for_another_count(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, decoder="cayenne-lpp")
        device = factories.lora_device(cast.project, in_flow=flow)
        flow_checks.check()
        DeviceType.objects.filter(pk=device.type_id).update(decoders=[])
        tasks.check_all_flows()
        tasks.check_flows()
        assert self.unfit(flow) == (1, False)
        flow_checks.type_changed(device.type)
        assert self.unfit(flow) == (1, True)

    def test_page_of_a_small_flow_counts_at_once_and_of_a_large_one_shows_what_is_kept(
        self, cast: Cast, well: Flow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        change(well, decoder="unfit")
        client = cast.client(cast.viewer)
        assert "1 LoRa device here" in client.get(f"/flows/{well.pk}/").content.decode()
        monkeypatch.setattr("devices.views.flow_page.SORTED_BY_NAME", 0)
        assert "1 LoRa device here" not in client.get(f"/flows/{well.pk}/").content.decode()
        flow_checks.check()
        assert "1 LoRa device here" in client.get(f"/flows/{well.pk}/").content.decode()

    def test_trouble_that_is_over_is_taken_back(self, cast: Cast, well: Flow) -> None:
        trouble(well)
        flow_checks.count_trouble()
        assert Flow.objects.get(pk=well.pk).troubled == 1
        CodecProblem.objects.all().delete()
        flow_checks.count_trouble()
        assert Flow.objects.get(pk=well.pk).troubled == 0


def test_tab_of_a_device_names_the_problem_and_leads_to_the_flow(cast: Cast, well: Flow) -> None:
    device = well.device_links.get().device
    Destination.objects.update(failures=9, error="No answer.")
    text = html.unescape(cast.client(cast.viewer).get(f"/devices/{device.pk}/flows/").content.decode())
    assert "The destination Receiver fails: No answer. Its messages wait." in text
    assert str(problems.BY_SLUG["failing"].remedy) in text
    assert "Receiver fails" in html.unescape(
        cast.client(cast.viewer).get(f"/devices/{device.pk}/device/").content.decode()
    ), "behind the sign on the tab's link"


def test_tab_of_a_device_costs_as_many_queries_in_many_flows(cast: Cast, django_assert_num_queries: Any) -> None:
    device = factories.lora_device(cast.project)

    client = cast.client(cast.viewer)
    counts = set()
    for number in range(10):
        flow = factories.flow(cast.project)
        factories.destination(flow)
        services.link_flow(device=device, flow=flow, actor=None)
        if number in {1, 9}:
            with django_assert_num_queries(6) as captured:
                client.get(f"/devices/{device.pk}/flows/")
            counts.add(len(captured))
    assert len(counts) == 1
