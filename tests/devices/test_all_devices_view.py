"""All Devices (D1, D2, D3, T4): the page and its fragment."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.paginator import Paginator
from django.test import Client
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import Membership, Role
from devices import asked, filters
from devices.models import Category, Connection, Device, DeviceState, DeviceType
from tests import factories
from tests.cast import Cast

URL = "/devices/"


def names(html: str) -> list[str]:
    return re.findall(r'class="row-link" href="/devices/\d+/">([^<]*)<', html)


class TestPage:
    """The whole page; the fragment's tests below are the same ones."""

    # session, person, memberships; count, ids, rows, Flow names; views; running jobs
    queries = 9

    def get(self, client: Client, **query: object):
        return client.get(URL, query)

    def html(self, client: Client, **query: object) -> str:
        response = self.get(client, **query)
        assert response.status_code == 200
        return response.content.decode()

    def test_row_tells_name_type_identifier_states_project_and_flows(self, cast: Cast) -> None:
        flow = factories.flow(cast.project, "Climate")
        device = factories.lora_device(cast.project, name="House 1", dev_eui="0059AC0000001234", in_flow=flow)
        html = self.html(cast.client(cast.viewer))
        assert names(html) == ["House 1"]
        assert f'data-href="/devices/{device.pk}/"' in html
        for text in ("Own LoRa device (preset connectivity)", "0059AC0000001234", "Greenhouses", "Active", "Never"):
            assert text in html
        assert re.search(r'tabindex="0">1<span class="tip-body" role="tooltip">Climate</span>', html)

    def test_stranger_sees_none_of_it(self, cast: Cast) -> None:
        factories.device(cast.project, name="House 1")
        factories.device(cast.elsewhere, name="Theirs")
        assert names(self.html(cast.client(cast.stranger))) == ["Theirs"]
        assert names(self.html(cast.client(cast.stranger), q="House")) == []
        assert names(self.html(cast.client(cast.stranger), project=cast.project.pk)) == ["Theirs"]

    def test_wrong_method_is_refused(self, cast: Cast) -> None:
        assert cast.client(cast.operator).post(URL).status_code == 405

    def test_nobody_is_led_to_the_sign_in_page(self, cast: Cast) -> None:
        response = cast.client(None).get(URL)
        assert response.status_code == 302
        assert response["Location"].startswith("/account/sign-in/")

    def test_managed_device_has_a_lock_with_an_explanation(self, cast: Cast) -> None:
        managed = DeviceType.objects.create(
            slug="managed-x", name="Climate sensor", category=Category.MANAGED, connectivity="lora", key_source="portal"
        )
        factories.device(cast.project, name="Mine")
        assert "Managed by" not in self.html(cast.client(cast.viewer))
        factories.device(cast.project, managed.slug, name="Bought")
        assert self.html(cast.client(cast.viewer)).count("Managed by") == 1

    @pytest.mark.parametrize(
        "query",
        ["house", "SE 1", "0059ac0000001234", "00:59:AC", "59-ac-00", "ac00.0000", "00 59 AC 00 00 00 12 34", "1234"],
    )
    def test_search_finds_any_part_of_name_and_identifier(self, cast: Cast, query: str) -> None:
        factories.lora_device(cast.project, name="House 1", dev_eui="0059AC0000001234")
        factories.lora_device(cast.project, name="Door 2", dev_eui="70B3D57ED0000009")
        assert names(self.html(cast.client(cast.viewer), q=query)) == ["House 1"]

    def test_search_finds_a_uuid_with_and_without_separators(self, cast: Cast) -> None:
        device = factories.internet_device(cast.project, name="Gateway")
        with scopes_disabled():
            uuid = device.internet.dvn_uuid
        html = self.html(cast.client(cast.viewer), q=str(uuid)[3:20])
        assert names(html) == ["Gateway"]
        assert str(uuid) in html
        assert names(self.html(cast.client(cast.viewer), q=uuid.hex[3:20])) == ["Gateway"]

    @pytest.mark.parametrize("query", ["%", "_", "\\", "--", "\x00", "'", "' OR 1=1"])
    def test_search_takes_special_characters_as_they_are(self, cast: Cast, query: str) -> None:
        factories.lora_device(cast.project, name="House 1")
        found = names(self.html(cast.client(cast.viewer), q=query))
        assert found == (["House 1"] if not query.strip("\x00") else [])

    def test_nothing_found_is_not_nothing_there(self, cast: Cast) -> None:
        client = cast.client(cast.operator)
        assert "No devices yet" in self.html(client)
        factories.device(cast.project)
        html = self.html(client, q="no such thing")
        assert "No devices yet" not in html
        assert "Nothing found for “no such thing”" in html

    def test_one_page_says_how_many_there_are(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filters, "PAGE_SIZE", 3)
        for number in range(7):
            factories.device(cast.project, name=f"D{number}")
        html = self.html(cast.client(cast.viewer), page=2, sort="-name")
        assert "4–6 of 7 devices" in html
        assert names(html) == ["D3", "D2", "D1"]
        assert 'href="?sort=-name&amp;page=3"' in html
        # A page that is not there is the last one.
        assert names(self.html(cast.client(cast.viewer), page=99)) == ["D6"]

    def test_count_reads_well(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        client = cast.client(cast.operator)

        def said(**query: str) -> str:
            found = re.search(r'role="status">([^<]*)<', self.html(client, **query))
            assert found
            return found[1]

        assert said() == "0 devices"
        factories.device(cast.project, name="House")
        assert said() == "1 device"
        assert said(q="house") == "1 of 1 device"
        assert said(q="barn") == "0 of 1 device"
        for number in range(4):
            factories.device(cast.project, name=f"Barn {number}")
        assert said() == "5 devices"
        assert said(q="barn") == "4 of 5 devices"
        monkeypatch.setattr(filters, "PAGE_SIZE", 3)
        assert said(page="2") == "4–5 of 5 devices"
        assert said(q="barn") == "1–3 of 4 found, out of 5 devices"
        monkeypatch.setattr(filters, "MATCHES", 3)
        assert said(q="barn") == "1–3 of more than 3 found, out of 5 devices"

    def test_menu_of_orders_does_what_the_column_heads_do(self, cast: Cast) -> None:
        """Phones show no column heads (D3)."""
        factories.device(cast.project)
        html = self.html(cast.client(cast.viewer), q="device", sort="type")
        menu = html.split('<details class="menu menu-left sort-menu">')[1].split("</details>")[0]
        links = re.findall(r'<a href="([^"]+)"', menu)
        heads = re.findall(r'<a class="sort" id="sort-by-\w+" href="([^"]+)"', html)
        assert links == heads
        assert len(links) == len(asked.BASE)
        assert menu.count('aria-current="true"') == 1

    def test_address_survives_sorting_and_paging(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filters, "PAGE_SIZE", 1)
        for number in range(3):
            factories.device(cast.project, name=f"House {number}")
        html = self.html(cast.client(cast.viewer), q="house", sort="name", page=2)
        assert 'href="?q=house&amp;sort=-name"' in html
        assert 'href="?q=house&amp;page=3"' in html
        assert 'aria-sort="ascending"' in html
        html = self.html(cast.client(cast.viewer), q="house", sort="-name", page=2)
        assert 'href="?q=house&amp;sort=-name&amp;page=3"' in html
        assert '<input type="hidden" form="device-search" name="sort" value="-name">' in html

    @pytest.mark.parametrize(
        "query", [{"sort": "nonsense"}, {"page": "x"}, {"page": "-1"}, {"project": "x"}, {"page": "9" * 30}]
    )
    def test_nonsense_in_the_address_falls_back(self, cast: Cast, query: dict[str, str]) -> None:
        factories.device(cast.project, name="House 1")
        assert names(self.html(cast.client(cast.viewer), **query)) == ["House 1"]

    def test_two_rows_cost_as_many_queries_as_twenty(self, cast: Cast, django_assert_num_queries) -> None:
        client = cast.client(cast.viewer)
        flow = factories.flow(cast.project)
        for number in range(20):
            factories.lora_device(cast.project, name=f"D{number}", in_flow=flow if number % 2 else None)
            if number in {1, 19}:
                with django_assert_num_queries(self.queries):
                    assert len(names(self.html(client))) == number + 1

    def test_several_projects_can_be_chosen_from(self, cast: Cast) -> None:
        client = cast.client(cast.viewer)
        factories.device(cast.project, name="Here")
        factories.device(cast.elsewhere, name="There")
        assert 'name="project"' not in self.html(client, panel="filter")
        Membership.objects.create(user=cast.viewer, project=cast.elsewhere, role=Role.VIEWER)
        html = self.html(client, sort="-name", panel="filter")
        assert names(html) == ["There", "Here"]
        assert f'name="project" value="{cast.elsewhere.pk}"' in html
        assert names(self.html(client, project=cast.elsewhere.pk)) == ["There"]
        assert names(self.html(client, project=[cast.project.pk, cast.elsewhere.pk])) == ["Here", "There"]

    def test_flow_of_a_foreign_project_is_counted_and_not_named(self, cast: Cast) -> None:
        device = factories.device(cast.project, in_flow=factories.flow(cast.elsewhere, "Hush"))
        html = self.html(cast.client(cast.viewer))
        assert names(html) == [device.name]
        assert "Hush" not in html
        assert "1 of another Project" in html


class TestFragment(TestPage):
    """What htmx asks for when it searches, sorts and pages."""

    queries = 8  # without the running jobs, which stand above the list

    def get(self, client: Client, **query: object):
        response = client.get(URL, query, headers={"HX-Request": "true", "HX-Target": "device-list"})
        assert "<html" not in response.content.decode()
        assert 'id="device-list"' in response.content.decode()
        assert "HX-Request" in response["Vary"]
        return response


def test_read_only_account_has_no_way_to_add(cast: Cast) -> None:
    assert "/devices/add/" not in cast.client(cast.viewer).get(URL).content.decode()
    assert "/devices/add/" in cast.client(cast.operator).get(URL).content.decode()


def test_root_leads_to_the_devices(cast: Cast) -> None:
    assert cast.client(cast.viewer).get("/")["Location"] == URL


@pytest.mark.parametrize("sort", sorted(asked.SORTS))
@pytest.mark.parametrize("projects", [1, 2])
def test_every_sort_reaches_every_device_once_and_reverses(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, sort: str, projects: int
) -> None:
    """Paging from both ends meets: no device twice, none left out, and "-" turns the order of the keys."""
    monkeypatch.setattr(filters, "PAGE_SIZE", 4)
    Membership.objects.create(user=cast.viewer, project=cast.elsewhere, role=Role.VIEWER)
    places = [cast.project, cast.elsewhere][:projects]
    flow = factories.flow(cast.project)
    made = []
    for number in range(17):
        kind = ("own-lora-preset", "own-internet", "own-m2m")[number % 3]
        states = (Connection.ACTIVE, Connection.FAILED, Connection.NOT_LINKED)
        device = factories.device(
            places[number % projects],
            kind,
            name=f"D{number * 7 % 17:02}",
            in_flow=flow if number % 3 == 0 else None,
            connection=states[number % 3],
        )
        made.append(device.pk)
        if number % 4:
            moment = timezone.now() - timedelta(minutes=number * 5 % 17)
            DeviceState.objects.filter(pk=device.pk).update(last_message_at=moment)
    client = cast.client(cast.viewer)

    def walk(order: str) -> list[int]:
        found: list[int] = []
        for page in range(1, 6):
            html = client.get(URL, {"sort": order, "page": page}).content.decode()
            found += [int(pk) for pk in re.findall(r'<tr data-href="/devices/(\d+)/"', html)]
        return found

    up, down = walk(sort), walk(f"-{sort}")
    assert sorted(up) == sorted(made)
    assert sorted(down) == sorted(made)
    with scopes_disabled():
        keys = {row.pk: key_of(sort, row) for row in Device.objects.select_related("type", "state", "project")}
    assert [keys[pk] for pk in up] == sorted(keys.values())
    assert [keys[pk] for pk in down] == sorted(keys.values(), reverse=True)


def key_of(sort: str, device: Device) -> object:
    last = device.state.last_message_at
    return {
        "name": device.name,
        "type": device.type.name.casefold(),
        "identifier": device.identifier,
        "processing": ["active", "deactivated", "not_linked"].index(device.processing_status),
        "connection": list(Connection.values).index(device.connection_status),
        "last_message": last.timestamp() if last else 0,
        "project": device.project.name,
        "flows": device.flow_count,
        "added": device.created_at,
    }[sort]


def test_search_stops_at_a_bound_and_says_so(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MATCHES", 3)
    for number in range(5):
        factories.device(cast.project, name=f"House {number}")
    html = cast.client(cast.viewer).get(URL, {"q": "house"}).content.decode()
    assert names(html) == ["House 0", "House 1", "House 2"]
    assert "of more than 3 found" in html


def test_paging_skips_no_more_than_half(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last page of a long list is as near as the first: the offset of the statement stays within half."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    monkeypatch.setattr(filters, "PAGE_SIZE", 2)
    for number in range(11):
        factories.device(cast.project, name=f"D{number:02}")
    client = cast.client(cast.viewer)
    pages = Paginator(range(11), 2).num_pages
    for page in range(1, pages + 1):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(URL, {"page": page})
        offsets = [int(n) for query in queries for n in re.findall(r"OFFSET (\d+)", query["sql"])]
        assert all(offset <= 6 for offset in offsets)
