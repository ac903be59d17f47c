"""Add Device, step 1 (D5, P3)."""

from __future__ import annotations

import re
import threading
import uuid
from typing import Any

import pytest
from django.db import connection
from django_scopes import scopes_disabled

from accounts.models import Membership, Role, Subscription
from devices.models import Category, Device, DeviceState, DeviceType
from tests import factories
from tests.cast import Cast

URL = "/devices/add/"


def kind(slug: str) -> DeviceType:
    return DeviceType.objects.get(slug=slug)


def posted(**changes: Any) -> dict[str, Any]:
    return {"token": uuid.uuid4(), "device_type": kind("own-lora").pk, "name": "House 1", **changes}


def devices() -> list[Device]:
    with scopes_disabled():
        return list(Device.objects.order_by("pk"))


def test_step_makes_the_device_and_leads_to_the_network_step(cast: Cast) -> None:
    response = cast.client(cast.operator).post(URL, posted(barcode=" A-1 ", description="North"))
    (device,) = devices()
    assert response.status_code == 302
    assert response["Location"] == f"/devices/{device.pk}/network/?new=1"
    assert (device.name, device.barcode, device.description) == ("House 1", "A-1", "North")
    assert device.project == cast.project
    assert device.connection_status == "not_linked"
    assert DeviceState.objects.filter(device_id=device.pk, project_id=cast.project.pk).exists()


def test_read_only_account_is_refused(cast: Cast) -> None:
    client = cast.client(cast.viewer)
    assert client.get(URL).status_code == 403
    assert client.post(URL, posted()).status_code == 403
    assert devices() == []


def test_wrong_method_is_refused(cast: Cast) -> None:
    assert cast.client(cast.operator).put(URL).status_code == 405


def test_stranger_adds_only_at_home(cast: Cast) -> None:
    cast.client(cast.stranger).post(URL, posted(project=cast.project.pk))
    assert [device.project for device in devices()] == [cast.elsewhere]


def test_one_project_is_not_asked(cast: Cast) -> None:
    assert 'name="project"' not in cast.client(cast.operator).get(URL).content.decode()


def test_only_projects_that_the_person_operates_are_offered(cast: Cast) -> None:
    third, watched = factories.project("Third"), factories.project("Watched")
    Membership.objects.create(user=cast.operator, project=third, role=Role.OPERATOR)
    Membership.objects.create(user=cast.operator, project=watched, role=Role.VIEWER)
    client = cast.client(cast.operator)
    html = client.get(URL).content.decode()
    assert "Third" in html
    assert "Greenhouses" in html
    assert "Watched" not in html
    response = client.post(URL, posted(project=watched.pk))
    assert response.status_code == 422
    assert devices() == []
    client.post(URL, posted(project=third.pk))
    assert [device.project for device in devices()] == [third]


def test_types_follow_the_subscription_of_the_project(cast: Cast) -> None:
    small = factories.project("Small", subscription="freemium")
    Membership.objects.create(user=cast.operator, project=small, role=Role.OPERATOR)
    client = cast.client(cast.operator)
    m2m = kind("own-m2m")
    assert m2m.name not in client.get(URL).content.decode()
    assert m2m.name in client.get(URL, {"project": cast.project.pk}).content.decode()
    assert m2m.name not in client.get(URL, {"project": small.pk}).content.decode()
    response = client.post(URL, posted(project=small.pk, device_type=m2m.pk))
    assert response.status_code == 422
    assert devices() == []


def test_htmx_gets_the_types_alone(cast: Cast) -> None:
    html = cast.client(cast.operator).get(URL, headers={"HX-Request": "true"}).content.decode()
    assert html.strip().startswith('<div id="device-type-field">')
    assert "<html" not in html


def test_types_that_cannot_be_added_are_not_offered(cast: Cast) -> None:
    modular = Subscription.objects.get(slug="modular")
    common = {"connectivity": "lora", "key_source": "portal"}
    managed = DeviceType.objects.create(slug="m", name="Bought one", category=Category.MANAGED, **common)
    retired = DeviceType.objects.create(slug="r", name="Retired one", category=Category.OWN, addable=False, **common)
    theirs = DeviceType.objects.create(
        slug="t", name="Their one", category=Category.OWN, project=cast.elsewhere, **common
    )
    modular.device_types.add(managed, retired)
    client = cast.client(cast.operator)
    html = client.get(URL).content.decode()
    for refused in (managed, retired, theirs):
        assert refused.name not in html
        assert client.post(URL, posted(device_type=refused.pk)).status_code == 422
    assert devices() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"name": ""}, "name"), ({"name": "x" * 101}, "name"), ({"device_type": ""}, "device_type"),
     ({"barcode": "x" * 101}, "barcode"), ({"description": "x" * 1001}, "description")],
)  # fmt: skip
def test_bad_input_is_told_beside_the_field(cast: Cast, changes: dict[str, str], field: str) -> None:
    response = cast.client(cast.operator).post(URL, posted(**changes))
    assert response.status_code == 422
    assert re.search(rf'id="id_{field}_error"', response.content.decode())
    assert devices() == []


def test_second_submit_of_the_page_makes_no_second_device(cast: Cast) -> None:
    client, data = cast.client(cast.operator), posted()
    first, second = client.post(URL, data), client.post(URL, data)
    assert first["Location"] == second["Location"]
    assert len(devices()) == 1
    # The page from the browser's memory with another name: it says so, and where to change it.
    again = client.post(URL, {**data, "name": "House 2"}, follow=True)
    assert "added already, as House 1" in again.content.decode()
    assert [device.name for device in devices()] == ["House 1"]
    client.post(URL, posted())
    assert len(devices()) == 2


@pytest.mark.django_db(transaction=True)
def test_two_submits_at_once_make_one_device(cast: Cast) -> None:
    clients = [cast.client(cast.operator) for _ in range(4)]
    data, barrier, places = posted(), threading.Barrier(4), []

    def submit(client: Any) -> None:
        barrier.wait()
        places.append(client.post(URL, data)["Location"])
        connection.close()

    threads = [threading.Thread(target=submit, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(devices()) == 1
    assert len(set(places)) == 1
    assert len(places) == 4
