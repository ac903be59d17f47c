"""Views of All Devices (D11): named, private or shared in the Project, with an address of their own."""

from __future__ import annotations

import pytest
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, Membership, Role
from devices.models import SavedView
from tests import factories
from tests.cast import Cast

QUERY = "processing=active&col=name&col=reported%3Atemperature&sort=-name"


@scopes_disabled()
def made(cast: Cast, *, owner: object = None, shared: bool = True, name: str = "Warm") -> SavedView:
    owner = owner or cast.operator
    return SavedView.objects.create(project=cast.project, owner=owner, name=name, query=QUERY, shared=shared)


def test_list_is_kept_under_a_name_and_opens_as_it_was(cast: Cast) -> None:
    client = cast.client(cast.operator)
    page = client.get(f"/devices/views/add/?{QUERY}&page=3").content.decode()
    assert "Temperature" in page
    assert "Processing" in page
    response = client.post(f"/devices/views/add/?{QUERY}&page=3", {"name": " Warm ", "shared": "on"})
    with scopes_disabled():
        view = SavedView.objects.get()
    assert (view.name, view.query, view.shared, view.owner) == ("Warm", QUERY, True, cast.operator)
    assert response["Location"] == f"/devices/views/{view.pk}/"
    shown = client.get(response["Location"])
    assert shown["Location"] == f"/devices/?{QUERY}&view={view.pk}"
    html = client.get(shown["Location"]).content.decode()
    assert "Warm" in html
    assert "(changed)" not in html
    assert "Keep this as" not in html
    with scopes_disabled():
        assert AuditEntry.objects.get(action="view.kept").target == "Warm"


def test_changed_list_can_be_kept_in_the_view(cast: Cast) -> None:
    view = made(cast)
    client = cast.client(cast.operator)
    html = client.get(f"/devices/?{QUERY}&view={view.pk}&silent=1d").content.decode()
    assert "(changed)" in html
    client.post(f"/devices/views/{view.pk}/edit/", {"query": f"?view={view.pk}&silent=1d&page=4"})
    view.refresh_from_db()
    assert view.query == "silent=1d"


def test_shared_view_is_everybodys_and_changed_by_owner_and_administrator(cast: Cast) -> None:
    view = made(cast)
    for person in (cast.viewer, cast.administrator, cast.operator):
        assert cast.client(person).get(f"/devices/views/{view.pk}/").status_code == 302
        assert "Warm" in cast.client(person).get("/devices/").content.decode()
    other = factories.member(cast.project, Role.OPERATOR)
    assert cast.client(other).post(f"/devices/views/{view.pk}/edit/", {"name": "Mine"}).status_code == 403
    assert cast.client(cast.viewer).post(f"/devices/views/{view.pk}/edit/", {"name": "Mine"}).status_code == 403
    assert cast.client(cast.stranger).get(f"/devices/views/{view.pk}/").status_code == 404
    assert cast.client(cast.stranger).post(f"/devices/views/{view.pk}/edit/", {"name": "x"}).status_code == 404
    cast.client(cast.administrator).post(f"/devices/views/{view.pk}/edit/", {"name": "Hot", "shared": "on"})
    view.refresh_from_db()
    assert view.name == "Hot"


def test_private_view_is_its_owners_alone(cast: Cast) -> None:
    view = made(cast, shared=False)
    for person in (cast.viewer, cast.administrator):
        assert cast.client(person).get(f"/devices/views/{view.pk}/").status_code == 404
        assert "Warm" not in cast.client(person).get("/devices/").content.decode()
    assert cast.client(cast.administrator).get(f"/devices/views/{view.pk}/edit/").status_code == 404
    assert cast.client(cast.operator).get(f"/devices/views/{view.pk}/edit/").status_code == 200


def test_read_only_account_has_no_way_to_keep_one(cast: Cast) -> None:
    view = made(cast, owner=cast.viewer)
    client = cast.client(cast.viewer)
    assert "views/add" not in client.get(f"/devices/?view={view.pk}&silent=1d").content.decode()
    assert client.get("/devices/views/add/").status_code == 403
    assert client.post("/devices/views/add/", {"name": "x"}).status_code == 403
    assert client.post(f"/devices/views/{view.pk}/edit/", {"remove": "1"}).status_code == 403


def test_name_is_there_once(cast: Cast) -> None:
    made(cast)
    client = cast.client(cast.operator)
    response = client.post("/devices/views/add/", {"name": "Warm", "shared": "on"})
    assert response.status_code == 422
    assert "There is a view of this name already." in response.content.decode()
    assert client.post("/devices/views/add/", {"name": "Warm"}).status_code == 302  # a private one
    assert client.post("/devices/views/add/", {"name": "  "}).status_code == 422


def test_view_is_removed(cast: Cast) -> None:
    view = made(cast)
    response = cast.client(cast.operator).post(f"/devices/views/{view.pk}/edit/", {"remove": "1"})
    assert response["Location"] == "/devices/"
    with scopes_disabled():
        assert not SavedView.objects.exists()
        assert AuditEntry.objects.get(action="view.removed").before["name"] == "Warm"


@pytest.mark.parametrize("projects", [1, 2])
def test_project_is_asked_where_there_are_several(cast: Cast, projects: int) -> None:
    if projects == 2:
        Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.OPERATOR)
    client = cast.client(cast.operator)
    assert ('name="project"' in client.get("/devices/views/add/").content.decode()) == (projects == 2)
    data = {"name": "Warm", "project": cast.elsewhere.pk if projects == 2 else ""}
    assert client.post("/devices/views/add/", data).status_code == 302
    with scopes_disabled():
        assert SavedView.objects.get().project == (cast.elsewhere if projects == 2 else cast.project)
