"""The page that asks before a bulk action (D4), and what the list sends to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest
from django import forms
from django.db.models import Q
from django.test import Client

from accounts.models import Membership, Project, Role
from devices import bulk, jobs, selection
from devices.models import Device, Job, JobItem
from tests import factories
from tests.cast import Cast

URL = "/devices/bulk/{}/"


class PaintForm(bulk.ActionForm):
    colour = forms.ChoiceField(choices=[("", "Choose"), ("red", "Red"), ("green", "Green")])

    def parameters(self) -> dict[str, Any]:
        return {"colour": self.cleaned_data["colour"]}


def no_tins(asked: bulk.Asked) -> Sequence[bulk.Refusal]:
    """Tins are left alone, and what has the colour already."""
    return [
        bulk.Refusal(Q(name__startswith="Tin"), "Tin cannot be painted."),
        bulk.Refusal(Q(name__endswith=asked.parameters.get("colour", "?")), "It has that colour already."),
    ]


def nothing(ids: Sequence[int], asked: bulk.Asked) -> Mapping[int, bulk.Result]:
    return {}


def action(slug: str, **fields: Any) -> bulk.BulkAction:
    return bulk.BulkAction(
        slug=slug,
        label=slug.capitalize(),
        icon="edit",
        question=f"{slug.capitalize()} these?",
        refusals=no_tins,
        apply=nothing,
        **fields,
    )


@pytest.fixture(autouse=True)
def actions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Actions of the test's own: one that asks nothing, with a form, with a typed number, and paced."""
    monkeypatch.setattr(bulk, "_registered", dict(bulk._registered))
    bulk.register(
        action("wash", explanation="With soap."),
        action("paint", form=PaintForm),
        action("scrap", typed_number=True, danger=True),
        action("radio", paced=True),
    )
    yield


@pytest.fixture
def devices(cast: Cast) -> list[Device]:
    return [factories.device(cast.project, name=name) for name in ("Pump 1", "Pump 2 red", "Tin 3")]


def ask(client: Client, slug: str, chosen: Sequence[Device] = (), **data: object):
    return client.post(URL.format(slug), {"device": [each.pk for each in chosen], **data})


def confirm(client: Client, slug: str, chosen: Sequence[Device] = (), **data: object):
    return ask(client, slug, chosen, **{"confirmed": 1, "asked": 1, "agreed": len(chosen), "token": uuid4(), **data})


def text(response: Any) -> str:
    """The words of the page, without marks and needless space."""
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def hidden(response: Any, name: str) -> list[str]:
    return re.findall(rf'type="hidden" name="{name}" value="([^"]*)"', response.content.decode())


class TestAsking:
    def test_numbers_and_reasons_are_told_before_anything_happens(self, cast: Cast, devices: list[Device]) -> None:
        response = ask(cast.client(cast.operator), "wash", devices)
        said = text(response)
        assert response.status_code == 200
        assert "Wash these?" in said
        assert "With soap." in said
        assert "3 chosen devices" in said
        assert "Wash 2 " in said
        assert "Left as it is Tin cannot be painted. 1" in said
        assert "Wash: 2 devices" in said
        assert hidden(response, "agreed") == ["3"]
        assert hidden(response, "device") == [str(each.pk) for each in devices]
        assert not Job.objects.exists()

    def test_fields_come_first_and_the_numbers_follow_them(self, cast: Cast, devices: list[Device]) -> None:
        client = cast.client(cast.operator)
        first = ask(client, "paint", devices)
        assert first.status_code == 200
        assert 'name="confirmed"' not in first.content.decode()
        assert "Fill in the fields" in text(first)
        part = client.post(
            URL.format("paint"),
            {"device": [each.pk for each in devices], "asked": 1, "colour": "red"},
            headers={"HX-Request": "true"},
        )
        assert part.content.decode().strip().startswith('<div id="bulk-preview"')
        assert "It has that colour already. 1" in text(part)
        assert "Paint: 1 device " in text(part)

    def test_fields_can_be_checked_without_script(self, cast: Cast, devices: list[Device]) -> None:
        client = cast.client(cast.operator)
        assert "<noscript><button" in ask(client, "paint", devices).content.decode()
        assert "Paint: 2 devices" in text(ask(client, "paint", devices, asked=1, colour="green"))
        wrong = ask(client, "paint", devices, asked=1, colour="blue")
        assert wrong.status_code == 422
        assert 'id="id_colour_error"' in wrong.content.decode()

    def test_nothing_to_do_is_not_offered(self, cast: Cast, devices: list[Device]) -> None:
        response = ask(cast.client(cast.operator), "wash", devices[2:])
        assert "There is no device here that this can be done to." in text(response)
        assert 'name="confirmed"' not in response.content.decode()

    def test_devices_of_a_project_where_the_person_only_looks_cannot(self, cast: Cast, devices: list[Device]) -> None:
        looked_at = factories.project("Looked at")
        Membership.objects.create(user=cast.operator, project=looked_at, role=Role.VIEWER)
        said = text(ask(cast.client(cast.operator), "wash", [*devices, factories.device(looked_at, name="Theirs")]))
        assert "4 chosen devices" in said
        assert "Wash: 2 devices" in said

    def test_pace_is_asked_with_its_limits(self, cast: Cast, devices: list[Device]) -> None:
        html = ask(cast.client(cast.operator), "radio", devices).content.decode()
        assert re.search(r'name="per_second" value="5" min="1" max="100"', html)
        assert re.search(r'name="per_minute" value="30" min="1" max="600"', html)
        assert "only a small part of the time" in html

    def test_list_as_it_was_is_the_way_back(self, cast: Cast, devices: list[Device]) -> None:
        html = ask(cast.client(cast.operator), "wash", devices, query="q=pump&sort=-name").content.decode()
        assert html.count('href="/devices/?q=pump&amp;sort=-name"') == 2

    def test_query_count_does_not_grow(self, cast: Cast, django_assert_max_num_queries) -> None:
        client = cast.client(cast.operator)
        for number in (2, 20):
            chosen = [factories.device(cast.project) for _ in range(number)]
            with django_assert_max_num_queries(6):
                ask(client, "wash", chosen)


class TestSelection:
    def test_all_that_match_the_search(self, cast: Cast, devices: list[Device]) -> None:
        response = ask(cast.client(cast.operator), "wash", all=1, query="?q=pump&page=3&sort=-name", count=2)
        assert "all devices that match “pump”" in text(response)
        assert "Wash: 2 devices" in text(response)
        assert hidden(response, "all") == ["1"]
        assert hidden(response, "query") == ["?q=pump&amp;sort=-name&amp;page=3"]
        assert "The list showed" not in text(response)

    def test_number_that_the_list_showed_is_compared(self, cast: Cast, devices: list[Device]) -> None:
        response = ask(cast.client(cast.operator), "wash", all=1, query="q=pump", count=1200)
        assert "The list showed 1,200; by now it is 2 devices." in text(response)

    @pytest.mark.parametrize(
        ("query", "said"),
        [("", "all devices"), ("project={}", "all devices (Project: Greenhouses)"),
         ("project={}&q=pump", "all devices that match “pump” (Project: Greenhouses)")],
    )  # fmt: skip
    def test_all_in_words(self, cast: Cast, devices: list[Device], query: str, said: str) -> None:
        response = ask(cast.client(cast.operator), "wash", all=1, query=query.format(cast.project.pk))
        assert re.search(rf"Chosen {re.escape(said)} With soap", text(response))

    @pytest.mark.parametrize(
        "data", [{}, {"device": ["x", "-1", "9" * 40, "0"]}, {"device": [""]}, {"all": "2"}, {"query": "q=\x00"}]
    )
    def test_nothing_chosen_leads_back_to_the_list(
        self, cast: Cast, devices: list[Device], data: dict[str, Any]
    ) -> None:
        client = cast.client(cast.operator)
        response = client.post(URL.format("wash"), data, follow=True)
        assert response.redirect_chain[0][0].startswith("/devices/")
        assert "Choose devices first." in text(response)

    def test_strangers_devices_are_not_there(self, cast: Cast, devices: list[Device]) -> None:
        theirs = factories.device(cast.elsewhere, name="Pump of theirs")
        client = cast.client(cast.operator)
        assert "1 chosen device " in text(ask(client, "wash", [devices[0], theirs]))
        assert ask(client, "wash", [theirs])["Location"] == "/devices/"
        assert "Wash: 2 devices" in text(ask(client, "wash", all=1, query="q=pump"))
        assert "Wash: 2 devices" in text(ask(client, "wash", all=1, query=f"q=pump&project={cast.elsewhere.pk}"))

    def test_ids_are_capped(self, cast: Cast, devices: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selection, "MOST_IDS", 2)
        assert "2 chosen devices" in text(ask(cast.client(cast.operator), "wash", devices))


class TestAccess:
    def test_viewer_is_refused(self, cast: Cast, devices: list[Device]) -> None:
        assert ask(cast.client(cast.viewer), "wash", devices).status_code == 403
        assert confirm(cast.client(cast.viewer), "wash", devices).status_code == 403
        assert not Job.objects.exists()

    def test_unknown_action_is_not_there(self, cast: Cast, devices: list[Device]) -> None:
        assert ask(cast.client(cast.operator), "explode", devices).status_code == 404
        assert cast.client(cast.operator).get(URL.format("explode")).status_code == 404

    def test_address_alone_leads_to_the_list(self, cast: Cast) -> None:
        response = cast.client(cast.operator).get(URL.format("wash"), follow=True)
        assert response.redirect_chain == [("/devices/", 302)]
        assert "Choose devices first." in text(response)

    def test_wrong_method_is_refused(self, cast: Cast) -> None:
        assert cast.client(cast.operator).put(URL.format("wash")).status_code == 405


class TestStart:
    def test_confirmed_page_makes_the_job(self, cast: Cast, devices: list[Device]) -> None:
        response = confirm(cast.client(cast.operator), "paint", devices, colour="green")
        job = Job.objects.get()
        assert response["Location"] == f"/devices/jobs/{job.pk}/"
        assert (job.action, job.parameters, job.total) == ("paint", {"colour": "green"}, 3)
        assert (job.created_by, job.selection) == (cast.operator, "3 chosen devices")
        assert JobItem.objects.filter(job=job).count() == 3

    def test_page_can_be_sent_as_it_came(self, cast: Cast, devices: list[Device]) -> None:
        client = cast.client(cast.operator)
        asked = ask(client, "wash", devices)
        names = ("device", "asked", "token", "agreed", "shown")
        response = client.post(URL.format("wash"), {name: hidden(asked, name) for name in names} | {"confirmed": "1"})
        assert response["Location"] == f"/devices/jobs/{Job.objects.get().pk}/"

    def test_second_submit_makes_no_second_job(self, cast: Cast, devices: list[Device]) -> None:
        client, token = cast.client(cast.operator), uuid4()
        first = confirm(client, "wash", devices, token=token)
        Device.objects.with_scopes_disabled().filter(pk=devices[0].pk).update(name="Tin now")
        again = confirm(client, "wash", devices, token=token)
        assert first["Location"] == again["Location"] == f"/devices/jobs/{Job.objects.get().pk}/"

    def test_other_devices_than_agreed_are_asked_again(self, cast: Cast, devices: list[Device]) -> None:
        response = confirm(cast.client(cast.operator), "wash", all=1, query="q=pump", agreed=5)
        assert response.status_code == 409
        assert "Nothing was done: you agreed to 5, and meanwhile it is 2 devices." in text(response)
        assert hidden(response, "agreed") == ["2"]
        assert not Job.objects.exists()

    def test_change_between_the_count_and_the_job_is_seen(
        self, cast: Cast, devices: list[Device], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = jobs.preview

        def another_comes(*args: Any) -> jobs.Preview:
            counted = count(*args)
            if Device.objects.count() == 3:
                factories.device(cast.project, name="Pump 4")
            return counted

        monkeypatch.setattr(jobs, "preview", another_comes)
        response = confirm(cast.client(cast.operator), "wash", all=1, query="q=pump", agreed=2)
        assert response.status_code == 409
        assert "you agreed to 2, and meanwhile it is 3 devices." in text(response)
        assert not Job.objects.exists()

    @pytest.mark.parametrize("data", [{"token": "x"}, {"agreed": ""}, {"agreed": "many"}, {"shown": "other"}])
    def test_incomplete_or_other_page_is_asked_again(
        self, cast: Cast, devices: list[Device], data: dict[str, str]
    ) -> None:
        response = confirm(cast.client(cast.operator), "wash", devices, **data)
        assert response.status_code == 422
        assert "look at the numbers once more" in text(response)
        assert not Job.objects.exists()

    def test_number_is_typed(self, cast: Cast, devices: list[Device]) -> None:
        client = cast.client(cast.operator)
        assert 'data-confirm="2"' in ask(client, "scrap", devices).content.decode()
        for typed in ("", "3", "two"):
            response = confirm(client, "scrap", devices, typed=typed)
            assert response.status_code == 422
            assert "type the number 2 to confirm" in text(response)
        assert not Job.objects.exists()
        assert confirm(client, "scrap", devices, typed=" 2 ").status_code == 302

    @pytest.mark.parametrize(("per_second", "per_minute"), [("0", "30"), ("101", "30"), ("5", "601"), ("", "30")])
    def test_pace_beyond_its_limits_is_told(
        self, cast: Cast, devices: list[Device], per_second: str, per_minute: str
    ) -> None:
        response = confirm(cast.client(cast.operator), "radio", devices, per_second=per_second, per_minute=per_minute)
        assert response.status_code == 422
        assert "errorlist" in response.content.decode()
        assert not Job.objects.exists()

    def test_pace_is_kept(self, cast: Cast, devices: list[Device]) -> None:
        confirm(cast.client(cast.operator), "radio", devices, per_second=7, per_minute=20)
        assert Job.objects.values_list("per_second", "per_minute").get() == (7, 20)

    def test_bad_field_starts_nothing(self, cast: Cast, devices: list[Device]) -> None:
        response = confirm(cast.client(cast.operator), "paint", devices, colour="blue")
        assert response.status_code == 422
        assert not Job.objects.exists()

    def test_nothing_to_do_starts_nothing(self, cast: Cast, devices: list[Device]) -> None:
        response = confirm(cast.client(cast.operator), "wash", devices[2:])
        assert response.status_code == 422
        assert "there is no device that this can be done to" in text(response)
        assert not Job.objects.exists()


def test_number_beyond_what_a_job_takes_is_refused(
    cast: Cast, devices: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_DEVICES", 2)
    client = cast.client(cast.operator)
    response = ask(client, "wash", devices)
    assert "One job takes at most 2 devices." in text(response)
    assert 'name="confirmed"' not in response.content.decode()
    assert confirm(client, "wash", devices).status_code == 422


def test_own_fields_of_the_page_do_not_clash_with_those_of_an_action(cast: Cast, unscoped: None) -> None:
    from devices.views.bulk import RESERVED

    for each in bulk.all_registered():
        if each.form:
            form = each.form(devices=Device.objects.all(), projects=list(Project.objects.all()))
            assert not RESERVED & set(form.fields), each.slug
