"""The filters of All Devices (D2, D7–D9): several values each, all of them together, as chips that can be taken off."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from devices import filters
from devices.asked import Asked
from devices.filters import all_matching, ordered_ids
from devices.models import Connection, Device, DeviceState, DeviceType, Health
from m2m.models import SimCard
from tests import factories
from tests.cast import Cast

URL = "/devices/"


def names(html: str) -> list[str]:
    return re.findall(r'class="row-link" href="/devices/\d+/">([^<]*)<', html)


def get(client: Client, **query: object) -> str:
    response = client.get(URL, query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def fleet(cast: Cast) -> dict[str, Device]:
    flow, other = factories.flow(cast.project, "Climate"), factories.flow(cast.project, "Alarm")
    made = {
        "Door": factories.lora_device(cast.project, name="Door", in_flow=flow),
        "House": factories.lora_device(cast.project, name="House", in_flow=other, connection=Connection.FAILED),
        "Meter": factories.m2m_device(cast.project, name="Meter"),
        "Router": factories.internet_device(cast.project, name="Router", in_flow=flow),
    }
    with scopes_disabled():
        now = timezone.now()
        for name, age in {"Door": timedelta(minutes=5), "House": timedelta(days=2), "Meter": timedelta(days=9)}.items():
            DeviceState.objects.filter(pk=made[name].pk).update(last_message_at=now - age)
    return made


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"connectivity": "lora"}, ["Door", "House"]),
        ({"connectivity": ["m2m", "internet"]}, ["Meter", "Router"]),
        ({"connection": "failed"}, ["House"]),
        ({"connection": ["failed", "nonsense"]}, ["House"]),
        ({"processing": "not_linked"}, ["Meter"]),
        ({"processing": ["not_linked", "active"]}, ["Door", "House", "Meter", "Router"]),
        ({"flow": "0"}, ["Meter"]),
        ({"silent": "1d"}, ["House", "Meter", "Router"]),
        ({"silent": "7d"}, ["Meter", "Router"]),
        ({"silent": "4m"}, ["Door", "House", "Meter", "Router"]),
        ({"silent": "never"}, ["Router"]),
        ({"sync": "out"}, []),
        ({"connectivity": "lora", "silent": "1d"}, ["House"]),
        ({"connectivity": "lora", "q": "o", "processing": "active"}, ["Door", "House"]),
        ({"type": "999999"}, []),
    ],
)
def test_filter_leaves_what_meets_all(
    cast: Cast, fleet: dict[str, Device], query: dict[str, object], expected: list[str]
) -> None:
    assert names(get(cast.client(cast.viewer), **query)) == expected


def test_filter_by_type_and_flow_takes_several(cast: Cast, fleet: dict[str, Device]) -> None:
    client = cast.client(cast.viewer)
    lora, m2m = fleet["Door"].type_id, fleet["Meter"].type_id
    assert names(get(client, type=lora)) == ["Door", "House"]
    assert names(get(client, type=[lora, m2m])) == ["Door", "House", "Meter"]
    with scopes_disabled():
        flow = fleet["Door"].flow_links.get().flow_id
    assert names(get(client, flow=flow)) == ["Door", "Router"]
    assert names(get(client, flow=[flow, 0])) == ["Door", "Meter", "Router"]


def test_flow_of_a_foreign_project_is_no_filter_and_has_no_name(cast: Cast, fleet: dict[str, Device]) -> None:
    foreign = factories.flow(cast.elsewhere, "Hush")
    factories.device(cast.project, name="Both", in_flow=foreign)
    html = get(cast.client(cast.viewer), flow=foreign.pk)
    assert names(html) == []
    assert "Hush" not in html
    assert "unknown" in html


@pytest.mark.parametrize("query", ["REF-0042", "ref-004", "0042"])
def test_search_finds_a_barcode(cast: Cast, query: str) -> None:
    factories.device(cast.project, name="House", barcode="Ref-0042")
    factories.device(cast.project, name="Barn", barcode="Ref-0001")
    assert names(get(cast.client(cast.viewer), q=query)) == ["House"]


def test_search_finds_sim_and_phone_number(cast: Cast) -> None:
    device = factories.m2m_device(cast.project, name="Meter")
    factories.m2m_device(cast.project, name="Other")
    foreign = factories.m2m_device(cast.elsewhere, name="Foreign")
    with scopes_disabled():
        SimCard.objects.filter(device=device).update(msisdn="+31612345678")
        SimCard.objects.filter(device=foreign).update(msisdn="+31612345679")
        iccid = SimCard.objects.get(device=device).iccid
    client = cast.client(cast.viewer)
    assert names(get(client, q=iccid)) == ["Meter"]
    assert names(get(client, q=f"{iccid[:6]} {iccid[6:12]} {iccid[12:]}")) == ["Meter"]
    for number in ("+31612345678", "+31 6 1234 5678", "612345678"):
        assert names(get(client, q=number)) == ["Meter"]
    assert names(get(client, q="+3161234567")) == ["Meter"]


def test_each_filter_is_a_chip_that_takes_it_off(cast: Cast, fleet: dict[str, Device]) -> None:
    html = get(cast.client(cast.viewer), connectivity=["lora", "m2m"], silent="1d", sort="-name")
    chips = re.findall(r'<a class="chip" href="([^"]*)"[^>]*><span class="quiet">([^<]*)</span> ([^<]*)<', html)
    assert [(name, value) for _url, name, value in chips] == [
        ("Network", "LoRa"),
        ("Network", "M2M"),
        ("Silent", "for more than 1 day"),
    ]
    assert chips[0][0] == "?connectivity=m2m&amp;silent=1d&amp;sort=-name"
    assert chips[2][0] == "?connectivity=lora&amp;connectivity=m2m&amp;sort=-name"
    assert 'href="?sort=-name"' in html  # all of them off


def test_filters_stand_in_every_address_of_the_page(cast: Cast, fleet: dict[str, Device]) -> None:
    html = get(cast.client(cast.viewer), connectivity="lora", where="reported:a!")
    assert 'href="?connectivity=lora&amp;where=reported%3Aa%21&amp;sort=-name"' in html
    assert '<input type="hidden" form="device-search" name="connectivity" value="lora">' in html
    assert '<input type="hidden" form="device-search" name="where" value="reported:a!">' in html


def test_nothing_left_says_so_and_shows_the_way_back(cast: Cast, fleet: dict[str, Device]) -> None:
    html = get(cast.client(cast.viewer), connection="inventory")
    assert "No device is like this" in html
    assert "No devices yet" not in html


def test_filter_panel_works_as_a_plain_form(cast: Cast, fleet: dict[str, Device]) -> None:
    client = cast.client(cast.viewer)
    html = get(client, panel="filter", processing="not_linked", col=["name", "type"], q="e")
    form = html.split('id="filter-form"')[1].split("</form>")[0]
    assert re.search(r'name="processing" value="not_linked" checked', form)
    assert '<input type="hidden" name="q" value="e">' in form
    assert '<input type="hidden" name="col" value="type">' in form
    assert "<noscript><button" in form
    # The panel is no part of what is asked for.
    assert "panel=filter" not in html.split('id="choice"')[1]


def test_address_that_htmx_shows_is_the_one_spelling(cast: Cast, fleet: dict[str, Device]) -> None:
    headers = {"HX-Request": "true", "HX-Target": "device-list"}
    query = {"panel": "filter", "q": "", "type": "", "sort": "name", "where_key": "reported:t", "where_op": ">"}
    response = cast.client(cast.viewer).get(URL, query | {"where_value": "2"}, headers=headers)
    assert response["HX-Push-Url"] == "/devices/?where=reported%3At%3E2"
    response = cast.client(cast.operator).get(URL, {"select": "all"}, headers=headers)
    assert response["HX-Push-Url"] == "false"


@pytest.mark.parametrize("sort", ["name", "-last_message", "type", "-flows", "reported:x"])
def test_all_that_match_are_what_the_pages_show(cast: Cast, fleet: dict[str, Device], sort: str) -> None:
    """Bulk actions and exports take the same devices, the export in the same order (D4)."""
    projects = {cast.project.pk: cast.project.name}
    shown = names(get(cast.client(cast.viewer), processing="active", sort=sort))
    with scopes_disabled():
        asked = Asked(processing=("active",), sort=sort)
        everything = dict(Device.objects.values_list("pk", "name"))
        assert sorted(all_matching(asked, projects).values_list("name", flat=True)) == sorted(shown)
        assert [everything[pk] for pk in ordered_ids(asked, projects)] == shown


def test_types_of_other_projects_are_not_offered(cast: Cast, fleet: dict[str, Device]) -> None:
    DeviceType.objects.create(
        slug="theirs",
        name="Their own",
        category="own",
        connectivity="lora",
        key_source="portal",
        project=cast.elsewhere,
    )
    assert "Their own" not in get(cast.client(cast.viewer), panel="filter")
    assert "Their own" in get(cast.client(cast.stranger), panel="filter")


def test_filter_by_health(cast: Cast, fleet: dict[str, Device]) -> None:
    with scopes_disabled():
        DeviceState.objects.filter(pk=fleet["Door"].pk).update(health=Health.PROBLEM)
        DeviceState.objects.filter(pk=fleet["House"].pk).update(health=Health.GOOD)
    client = cast.client(cast.viewer)
    assert names(get(client, health="problem")) == ["Door"]
    assert names(get(client, health=["problem", "unknown"])) == ["Door", "Meter", "Router"]
    assert names(get(client, health="nonsense")) == ["Door", "House", "Meter", "Router"]
    html = get(client, health="problem", col=["name", "health"])
    assert '<span class="quiet">Health</span> Problem' in html
    assert 'data-tone="bad"' in html


def test_walk_that_takes_too_long_is_given_up(
    cast: Cast, fleet: dict[str, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More match than are counted and the order has them far down: the page is of those that are known."""
    monkeypatch.setattr(filters, "MATCHES", 2)
    client = cast.client(cast.viewer)
    assert names(get(client, processing=["active", "not_linked"], sort="-name")) == ["Router", "Meter"]
    real = filters._Source._ordered

    def slow(self: Any, key: str) -> Any:
        parts, order = real(self, key)
        if self.condition is None:
            return parts, order
        sleep = RawSQL("SELECT pg_sleep(5)::text IS NOT NULL", [], output_field=BooleanField())
        return [rows.alias(slow=sleep).filter(slow=True) for rows in parts], order

    monkeypatch.setattr(filters._Source, "_ordered", slow)
    # The two that were found first, in order; and the request goes on to work.
    assert names(get(client, processing=["active", "not_linked"], sort="-name")) == ["House", "Door"]


def test_fewest_are_read_first_and_the_others_looked_at_for_them(cast: Cast, fleet: dict[str, Device]) -> None:
    """The statement that finds the matches starts from the ids of the rarest filter."""
    client = cast.client(cast.viewer)
    with CaptureQueriesContext(connection) as queries:
        assert names(get(client, connectivity="lora", connection="failed", silent="1d")) == ["House"]
    house = fleet["House"].pk
    assert sum(f"ARRAY[{house}]" in query["sql"] or f"'{{{house}}}'" in query["sql"] for query in queries) >= 1
