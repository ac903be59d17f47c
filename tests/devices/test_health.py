"""Health on All Devices: how many are not well, and why one is not (L6)."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client

from devices import health
from devices.models import Device, DeviceState, Health
from tests import factories
from tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def state(device: Device, value: Health, finding: str = "") -> None:
    DeviceState.objects.filter(pk=device.pk).update(health=value, finding=finding)


@pytest.fixture
def fleet(cast: Cast) -> list[Device]:
    devices = [factories.lora_device(cast.project) for _ in range(4)]
    state(devices[0], Health.PROBLEM, "rejoins")
    state(devices[1], Health.ATTENTION, "confirmed")
    state(devices[2], Health.ATTENTION, "loss")
    state(devices[3], Health.GOOD)
    state(factories.lora_device(cast.elsewhere), Health.PROBLEM, "loss")
    return devices


def page(cast: Cast, query: str = "") -> str:
    client = Client()
    client.force_login(cast.viewer)
    return client.get(f"/devices/{query}").content.decode()


def told(html: str) -> dict[str, tuple[str, str]]:
    found = re.findall(r'id="unwell-(\w+)" href="([^"]*)".*?<span class="num">(\S+)</span>', html)
    return {name: (number, link) for name, link, number in found}


def test_the_list_tells_how_many_are_not_well_and_leads_to_them(cast: Cast, fleet: list[Device]) -> None:
    shown = told(page(cast))
    assert {name: number for name, (number, _link) in shown.items()} == {"problem": "1", "attention": "2"}
    html = page(cast, shown["attention"][1].replace("&amp;", "&"))
    assert fleet[1].name in html
    assert fleet[2].name in html
    assert f'href="/devices/{fleet[0].pk}/"' not in html
    # The number is that of the Projects, not of what was searched for.
    assert told(page(cast, "?q=nothing-like-this"))["problem"][0] == "1"


def test_a_well_fleet_shows_no_number(cast: Cast) -> None:
    factories.lora_device(cast.project)
    assert told(page(cast)) == {}


def test_many_are_more_than(cast: Cast, fleet: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST", 1)
    assert told(page(cast))["attention"][0] == "1+"


def test_the_column_says_why(cast: Cast, fleet: list[Device]) -> None:
    html = page(cast, "?col=name&col=health")
    assert "It joins again before each message" in html
    assert "Too many confirmed messages" in html
    state(fleet[0], Health.PROBLEM, "not-a-code")
    assert "not-a-code" not in page(cast, "?col=name&col=health")


def test_the_numbers_come_from_the_index_on_the_unwell(cast: Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {health.COUNTS}", {"projects": [cast.project.pk], "most": 1001})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert plan.count("state_unwell") == 2, plan
