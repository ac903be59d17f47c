"""The Flow screens (F1, F3, F4)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, Membership, Role
from devices import services
from flows.models import Flow
from tests import factories
from tests.cast import Cast

FIELDS: dict[str, Any] = {"name": "Climate", "description": "Houses", "decoder": "cayenne-lpp", "enabled": "on"}


def names(html: str) -> list[str]:
    return re.findall(r'class="row-link" href="/\w+/\d+/">([^<]*)<', html)


def flows() -> list[Flow]:
    with scopes_disabled():
        return list(Flow.objects.select_related("project").order_by("pk"))


class TestList:
    def test_flows_of_the_own_projects_with_their_devices(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Climate")
        factories.flow(cast.elsewhere, "Theirs")
        for _ in range(3):
            factories.device(cast.project, in_flow=flow)
        html = cast.client(cast.viewer).get("/flows/").content.decode()
        assert names(html) == ["Climate"]
        assert re.search(r'class="right num [^"]*m-end2" data-label="Devices">3<', html)
        assert "/flows/add/" not in html
        assert names(cast.client(cast.stranger).get("/flows/").content.decode()) == ["Theirs"]

    def test_two_flows_cost_as_many_queries_as_twenty(self, cast: Cast, django_assert_num_queries) -> None:
        client = cast.client(cast.operator)
        for number in range(20):
            factories.flow(cast.project, f"F{number}")
            if number in {1, 19}:
                with django_assert_num_queries(6):
                    client.get("/flows/")

    def test_wrong_method_is_refused(self, cast: Cast) -> None:
        assert cast.client(cast.operator).post("/flows/").status_code == 405

    def test_empty_list_says_what_a_flow_is(self, cast: Cast) -> None:
        assert "A Flow holds devices" in cast.client(cast.operator).get("/flows/").content.decode()


class TestAdd:
    def test_flow_is_made_and_recorded(self, cast: Cast) -> None:
        response = cast.client(cast.operator).post("/flows/add/", FIELDS)
        (flow,) = flows()
        assert response["Location"] == f"/flows/{flow.pk}/"
        assert (flow.name, flow.description, flow.decoder, flow.enabled) == ("Climate", "Houses", "cayenne-lpp", True)
        assert flow.project == cast.project
        with scopes_disabled():
            assert AuditEntry.objects.get().action == "flow.created"

    def test_read_only_and_wrong_method(self, cast: Cast) -> None:
        assert cast.client(cast.viewer).get("/flows/add/").status_code == 403
        assert cast.client(cast.viewer).post("/flows/add/", FIELDS).status_code == 403
        assert cast.client(cast.operator).put("/flows/add/").status_code == 405
        assert flows() == []

    @pytest.mark.parametrize(
        ("changes", "field"),
        [({"name": ""}, "name"), ({"name": "CLIMATE"}, "name"), ({"decoder": "no-such"}, "decoder"),
         ({"decoder": "geolocation"}, "decoder")],
    )  # fmt: skip
    def test_bad_input_is_told_beside_the_field(self, cast: Cast, changes: dict[str, str], field: str) -> None:
        factories.flow(cast.project, "Climate")
        response = cast.client(cast.operator).post("/flows/add/", {**FIELDS, "name": "Doors", **changes})
        assert response.status_code == 422
        assert f'id="id_{field}_error"' in response.content.decode()
        assert len(flows()) == 1

    def test_project_is_asked_where_there_are_several(self, cast: Cast) -> None:
        third = factories.project("Third")
        Membership.objects.create(user=cast.operator, project=third, role=Role.OPERATOR)
        Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.VIEWER)
        client = cast.client(cast.operator)
        html = client.get("/flows/add/").content.decode()
        assert "Third" in html
        assert "Elsewhere" not in html
        assert client.post("/flows/add/", {**FIELDS, "project": cast.elsewhere.pk}).status_code == 422
        client.post("/flows/add/", {**FIELDS, "project": third.pk})
        assert [flow.project for flow in flows()] == [third]


class TestFlow:
    def test_page_tells_name_decoding_and_devices(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Climate", decoder="cayenne-lpp", description="All houses")
        device = factories.lora_device(cast.project, name="House 1", in_flow=flow)
        factories.destination(flow)
        html = cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        for text in ("Climate", "CayenneLPP", "All houses", "Greenhouses", f'href="/devices/{device.pk}/"'):
            assert text in html
        assert f"/flows/{flow.pk}/edit/" not in html
        assert 'data-tone="warn"' not in html

    def test_stranger_finds_nothing(self, cast: Cast) -> None:
        flow = factories.flow(cast.project)
        client = cast.client(cast.stranger)
        assert client.get(f"/flows/{flow.pk}/").status_code == 404
        assert client.get(f"/flows/{flow.pk}/edit/").status_code == 404
        assert client.post(f"/flows/{flow.pk}/edit/", FIELDS).status_code == 404
        assert flows()[0].name == flow.name

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"enabled": False}, "This Flow is disabled"),
            ({"decoder": "unfit"}, "1 LoRa device here is of a type"),
        ],
    )
    def test_problems_are_explained(self, cast: Cast, changes: dict[str, Any], said: str) -> None:
        flow = factories.flow(cast.project)
        factories.lora_device(cast.project, in_flow=flow)
        factories.internet_device(cast.project, in_flow=flow)
        Flow.objects.with_scopes_disabled().update(**changes)
        assert said in cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()

    def test_empty_flow_is_a_problem(self, cast: Cast) -> None:
        flow = factories.flow(cast.project)
        assert (
            "There is no device in this Flow yet" in cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        )

    def test_devices_are_paged(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("devices.flow_devices.PAGE_SIZE", 2)
        flow = factories.flow(cast.project)
        for number in (3, 1, 2):
            factories.device(cast.project, name=f"D{number}", in_flow=flow)
        client = cast.client(cast.viewer)
        assert names(client.get(f"/flows/{flow.pk}/").content.decode()) == ["D1", "D2"]
        part = client.get(f"/flows/{flow.pk}/?page=2", headers={"HX-Request": "true"}).content.decode()
        assert names(part) == ["D3"]
        assert "<html" not in part

    def test_device_of_a_foreign_project_is_counted_and_not_named(self, cast: Cast) -> None:
        flow = factories.flow(cast.project)
        factories.device(cast.elsewhere, name="Hush", in_flow=flow)
        html = cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        assert "Hush" not in html
        assert "And 1 device of a Project that you are not in." in html


class TestEdit:
    def test_changes_are_saved_and_recorded(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Old")
        response = cast.client(cast.operator).post(f"/flows/{flow.pk}/edit/", FIELDS)
        assert response["Location"] == f"/flows/{flow.pk}/"
        saved = flows()[0]
        assert (saved.name, saved.decoder, saved.enabled) == ("Climate", "cayenne-lpp", True)
        with scopes_disabled():
            entry = AuditEntry.objects.get(action="flow.edited")
        assert entry.before["name"] == "Old"
        assert entry.after == {"name": "Climate", "description": "Houses", "decoder": "cayenne-lpp"}

    def test_nothing_changed_is_nothing_recorded(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Climate")
        cast.client(cast.operator).post(f"/flows/{flow.pk}/edit/", {"name": "Climate", "enabled": "on"})
        with scopes_disabled():
            assert not AuditEntry.objects.filter(action="flow.edited").exists()

    def test_name_of_another_flow_is_refused(self, cast: Cast) -> None:
        factories.flow(cast.project, "Climate")
        flow = factories.flow(cast.project, "Doors")
        response = cast.client(cast.operator).post(f"/flows/{flow.pk}/edit/", FIELDS)
        assert response.status_code == 422
        assert 'id="id_name_error"' in response.content.decode()
        assert flows()[1].name == "Doors"

    def test_read_only_and_wrong_method(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Old")
        assert cast.client(cast.viewer).get(f"/flows/{flow.pk}/edit/").status_code == 403
        assert cast.client(cast.viewer).post(f"/flows/{flow.pk}/edit/", FIELDS).status_code == 403
        assert cast.client(cast.operator).delete(f"/flows/{flow.pk}/edit/").status_code == 405
        assert flows()[0].name == "Old"


class TestEnabled:
    def recorded(self) -> list[str]:
        with scopes_disabled():
            rows = AuditEntry.objects.filter(action__in=("flow.enabled", "flow.disabled")).order_by("pk")
            return list(rows.values_list("action", flat=True))

    def test_disabled_after_a_question_and_enabled_at_once(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Climate")
        client, page = cast.client(cast.operator), f"/flows/{flow.pk}/"
        html = client.get(page).content.decode()
        assert f'href="{page}disable/"' in html and f'action="{page}enable/"' not in html
        assert "Disable Climate?" in client.get(f"{page}disable/").content.decode()
        assert flows()[0].enabled
        assert client.post(f"{page}disable/")["Location"] == page
        assert not flows()[0].enabled
        html = client.get(page).content.decode()
        assert f'action="{page}enable/"' in html and f'href="{page}disable/"' not in html
        assert client.post(f"{page}enable/")["Location"] == page
        assert flows()[0].enabled
        assert self.recorded() == ["flow.disabled", "flow.enabled"]

    def test_a_second_time_nothing_is_recorded(self, cast: Cast) -> None:
        flow = factories.flow(cast.project)
        client = cast.client(cast.operator)
        client.post(f"/flows/{flow.pk}/enable/")
        assert self.recorded() == []
        for _ in range(2):
            client.post(f"/flows/{flow.pk}/disable/")
        assert self.recorded() == ["flow.disabled"]

    def test_question_says_what_it_means_for_the_devices(self, cast: Cast) -> None:
        flow, other, idle = (factories.flow(cast.project, name) for name in ("Climate", "Other", "Idle"))
        Flow.objects.with_scopes_disabled().filter(pk=idle.pk).update(enabled=False)
        factories.destination(flow, "Receiver")
        for also in (None, idle, other):
            device = factories.device(cast.project, in_flow=flow)
            if also:
                services.link_flow(device=device, flow=also, actor=None)
        html = cast.client(cast.operator).get(f"/flows/{flow.pk}/disable/").content.decode()
        assert "2 devices, in no other enabled Flow: their Device Twins do not change any more" in html
        assert "1 device, in another enabled Flow" in html
        assert "Receiver" in html

    def test_question_costs_as_many_queries_for_many(self, cast: Cast, django_assert_num_queries) -> None:
        flow = factories.flow(cast.project)
        client = cast.client(cast.operator)
        for number in range(20):
            factories.device(cast.project, in_flow=flow)
            if number in {1, 19}:
                with django_assert_num_queries(6):
                    client.get(f"/flows/{flow.pk}/disable/")

    @pytest.mark.parametrize("word", ["enable", "disable"])
    def test_one_that_is_being_deleted_stays_as_it_is(self, cast: Cast, word: str) -> None:
        flow = factories.flow(cast.project)
        before = word == "disable"
        Flow.objects.with_scopes_disabled().update(deletion_asked_at=flow.created_at, enabled=before)
        assert cast.client(cast.operator).post(f"/flows/{flow.pk}/{word}/")["Location"] == "/flows/"
        assert flows()[0].enabled == before
        assert self.recorded() == []

    @pytest.mark.parametrize("word", ["enable", "disable"])
    def test_read_only_stranger_and_wrong_method(self, cast: Cast, word: str) -> None:
        flow = factories.flow(cast.project)
        before = word == "disable"
        Flow.objects.with_scopes_disabled().update(enabled=before)
        url = f"/flows/{flow.pk}/{word}/"
        assert cast.client(cast.viewer).post(url).status_code == 403
        assert cast.client(cast.stranger).post(url).status_code == 404
        assert cast.client(cast.operator).put(url).status_code == 405
        assert f"/{word}/" not in cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        assert flows()[0].enabled == before
