"""Devices as a file (D4, D11): the page that asks, and the download."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from threading import Event
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import Membership, Role
from devices.export import source
from devices.models import DeviceState
from tests import factories
from tests.cast import Cast
from tests.devices.test_exporting import dutch, read_xlsx

__all__ = ["dutch"]

PAGE = "/devices/export/"
FILE = "/devices/export/devices"


def rows(client: Client, *, method: str = "get", **sent: object) -> list[dict[str, str]]:
    response = getattr(client, method)(f"{FILE}.csv", sent)
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def names(client: Client, **query: object) -> list[str]:
    return [row["Name"] for row in rows(client, **query)]


class TestDownload:
    def test_viewer_gets_what_the_list_shows_in_its_order(self, cast: Cast) -> None:
        for name in ("House 2", "House 10", "Barn"):
            factories.device(cast.project, name=name)
        viewer = cast.client(cast.viewer)
        assert names(viewer, sort="-name") == ["House 2", "House 10", "Barn"]
        # The page of the list is of no account; the columns are those of the list.
        (row,) = rows(viewer, q="barn", page=7)
        assert list(row) == [
            "Name", "Type", "Identifier", "Processing", "Connectivity", "Last message", "Project", "Flows",
        ]  # fmt: skip
        assert list(rows(viewer, columns="all")[0])[8:] == ["Health", "Barcode", "Description", "Added"]

    def test_stranger_gets_nothing_of_it(self, cast: Cast) -> None:
        mine = factories.device(cast.project, name="Mine")
        theirs = factories.device(cast.elsewhere, name="Theirs")
        stranger = cast.client(cast.stranger)
        assert names(stranger) == names(stranger, project=cast.project.pk) == ["Theirs"]
        assert names(stranger, q="Mine") == []
        assert names(stranger, method="post", device=[mine.pk]) == []
        assert names(stranger, method="post", device=[mine.pk, theirs.pk]) == ["Theirs"]

    def test_person_of_two_projects_gets_those_of_the_chosen_one(self, cast: Cast) -> None:
        Membership.objects.create(user=cast.viewer, project=cast.elsewhere, role=Role.VIEWER)
        factories.device(cast.project, name="Here")
        factories.device(cast.elsewhere, name="There")
        viewer = cast.client(cast.viewer)
        assert names(viewer) == ["Here", "There"]
        assert names(viewer, project=cast.elsewhere.pk) == ["There"]

    def test_selected_devices_come_in_the_order_of_the_list(self, cast: Cast) -> None:
        first, second, _other = (factories.device(cast.project, name=f"D{n}") for n in range(3))
        viewer = cast.client(cast.viewer)
        wrong = ["x", "-1", "1" * 30, "²", ""]
        assert names(viewer, method="post", device=[second.pk, first.pk, second.pk, *wrong]) == ["D0", "D1"]
        response = viewer.post(f"{FILE}.json?sort=-name", {"device": [first.pk, second.pk], "columns": "all"})
        found = json.loads(b"".join(response.streaming_content))
        assert [row["name"] for row in found] == ["D1", "D0"]
        assert "barcode" in found[0]

    def test_all_that_match_is_the_query_of_the_list(self, cast: Cast) -> None:
        factories.device(cast.project, name="House")
        factories.device(cast.project, name="Barn")
        viewer = cast.client(cast.viewer)
        response = viewer.post(f"{FILE}.csv", {"all": "1", "query": "q=house&sort=-name", "columns": "all"})
        assert response.status_code == 302
        assert response["Location"] == f"{FILE}.csv?q=house&sort=-name&columns=all"
        text = b"".join(viewer.get(response["Location"]).streaming_content)
        assert (b"House" in text, b"Barn" in text) == (True, False)

    @pytest.mark.parametrize(
        ("kind", "content_type"),
        [
            ("csv", "text/csv; charset=utf-8"),
            ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            ("json", "application/json"),
        ],
    )
    def test_file_has_a_name_and_a_kind(self, cast: Cast, kind: str, content_type: str) -> None:
        viewer = cast.client(cast.viewer)
        for method in (viewer.get, viewer.head):
            response = method(f"{FILE}.{kind}")
            assert response["Content-Type"] == content_type
            today = timezone.localdate(timezone=ZoneInfo(cast.viewer.time_zone))
            assert response["Content-Disposition"] == f'attachment; filename="devices-{today}.{kind}"'
            assert "no-store" in response["Cache-Control"]

    def test_unknown_kind_of_file_is_not_there(self, cast: Cast) -> None:
        assert cast.client(cast.viewer).get(f"{FILE}.exe").status_code == 404

    def test_name_that_is_a_formula_is_a_text(self, cast: Cast) -> None:
        name = '=HYPERLINK("https://x.example","y")'
        factories.device(cast.project, name=name, description="@SUM(A1)")
        viewer = cast.client(cast.viewer)
        (row,) = rows(viewer, columns="all")
        assert (row["Name"], row["Description"]) == (f"'{name}", "'@SUM(A1)")
        data = b"".join(viewer.get(f"{FILE}.xlsx").streaming_content)
        assert read_xlsx(data)["Devices 1"][1]["A"] == name

    @pytest.mark.usefixtures("dutch")
    def test_heads_words_and_moments_are_the_persons(self, cast: Cast) -> None:
        cast.viewer.language, cast.viewer.time_zone = "nl", "America/New_York"
        cast.viewer.save()
        device = factories.device(cast.project, name="Kas")
        with scopes_disabled():
            DeviceState.objects.filter(device=device).update(last_message_at=datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
        client = cast.client(cast.viewer)
        data = b"".join(client.get(f"{FILE}.xlsx").streaming_content)
        heads, row = read_xlsx(data)["Devices 1"]
        assert str(heads["F"]).endswith(" (America/New_York)")
        assert str(row["F"]) == "2026-07-01 18:30:00"
        assert heads["A"] == "Naam"

    def test_it_is_made_while_it_is_taken(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "STEP", 1)
        for n in range(3):
            factories.device(cast.project, name=f"D{n}", description=f"{n}" * 1000)
        monkeypatch.setattr("devices.export.writers.CHUNK", 500)
        response = cast.client(cast.viewer).get(f"{FILE}.csv?columns=all")
        with CaptureQueriesContext(connection) as captured:
            assert b"D0" in next(response.streaming_content)
            assert len(captured) == 2
            assert b"D1" in next(response.streaming_content)
            assert len(captured) == 4

    def test_it_ends_when_nobody_takes_it(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("devices.export.writers.CHUNK", 1)
        for n in range(3):
            factories.device(cast.project, name=f"D{n}")
        gone = Event()
        response = cast.client(cast.viewer).get(f"{FILE}.csv", **{"asgi.scope": {"things.gone": gone}})
        assert b"D0" in next(response.streaming_content)
        gone.set()
        assert list(response.streaming_content) == []


class TestPage:
    def html(self, client: Client, query: str = "", **sent: object) -> str:
        response = client.post(PAGE + query, sent) if sent else client.get(PAGE + query)
        assert response.status_code == 200
        return response.content.decode()

    def sentence(self, html: str) -> str:
        found = re.search(r"<h2>([^<]*)</h2>", html)
        assert found
        return found[1]

    def test_says_how_many_and_why_these(self, cast: Cast) -> None:
        viewer = cast.client(cast.viewer)
        pks = [factories.device(cast.project, name=name).pk for name in ("House 1", "House 2", "Barn")]
        assert self.sentence(self.html(viewer)) == "3 devices"
        assert self.sentence(self.html(viewer, "?q=house")) == "2 devices that match “house”"
        here = f"?project={cast.project.pk}"
        html = self.html(viewer, f"{here}&q=barn")
        assert self.sentence(html) == "1 device that matches “barn”"
        assert re.search(r'class="chip"><span class="quiet">Project</span> Greenhouses<', html)
        assert self.sentence(self.html(viewer, device=[pks[0], 10**9])) == "1 chosen device"

    def test_hands_the_address_of_the_list_on(self, cast: Cast) -> None:
        factories.device(cast.project, name="House")
        html = self.html(cast.client(cast.viewer), "?q=hou&sort=-name&page=3&silent=1d&col=name&col=reported:t")
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html)
        # The first is the one of the sign-out in the head of the page.
        assert hidden[1:] == [("q", "hou"), ("silent", "1d"), ("col", "name"), ("col", "reported:t"), ("sort", "-name")]
        assert 'method="get"' in html
        assert 'href="/devices/?q=hou&amp;silent=1d&amp;col=name&amp;col=reported%3At&amp;sort=-name"' in html
        for kind in ("csv", "xlsx", "json"):
            assert f'formaction="/devices/export/devices.{kind}"' in html

    def test_hands_the_selected_devices_on(self, cast: Cast) -> None:
        device = factories.device(cast.project)
        html = self.html(cast.client(cast.viewer), "?sort=-name", device=[device.pk])
        assert f'name="device" value="{device.pk}"' in html
        assert 'formaction="/devices/export/devices.csv?sort=-name"' in html
        assert html.count("csrfmiddlewaretoken") == 2

    def test_all_that_match_leads_to_the_query_of_the_list(self, cast: Cast) -> None:
        response = cast.client(cast.viewer).post(PAGE, {"all": "1", "query": "?q=a%26b"})
        assert response.status_code == 302
        assert response["Location"] == f"{PAGE}?q=a%26b"

    def test_says_that_there_is_nothing(self, cast: Cast) -> None:
        factories.device(cast.project)
        html = self.html(cast.client(cast.stranger))
        assert "There is nothing to export" in html
        assert "formaction" not in html
        assert "There is nothing to export" in self.html(cast.client(cast.viewer), nothing="1")
