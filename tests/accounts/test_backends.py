"""A page reads its person together with their Projects and roles, and believes nothing that was true before (P1)."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.access import Person
from accounts.backends import PersonBackend
from accounts.models import Membership, Role, User
from tests import factories
from tests.cast import Cast

BACKEND = PersonBackend()


def read(pk: int) -> tuple[User | None, int]:
    with CaptureQueriesContext(connection) as queries:
        person = BACKEND.get_user(pk)
    return person, len(queries)


def test_person_and_projects_take_one_query(cast: Cast, django_assert_num_queries) -> None:
    for name, role in (("Zuid", Role.VIEWER), ("Amstel", Role.ADMINISTRATOR)):
        Membership.objects.create(project=factories.project(name), user=cast.operator, role=role)
    person, queries = read(cast.operator.pk)
    assert (person, queries) == (cast.operator, 1)
    with django_assert_num_queries(0):
        told = Person(person)
        names = [project.name for project in told.projects]
        assert names == sorted(names) and {"Zuid", "Amstel"} < set(names)
        assert [project.name for project in told.projects_with(Role.ADMINISTRATOR)] == ["Amstel"]
        assert told.role_in(cast.project.pk) == Role.OPERATOR


def test_person_without_a_project(db: None, django_assert_num_queries) -> None:
    person, queries = read(factories.user().pk)
    assert person is not None and queries == 2
    with django_assert_num_queries(0):
        assert Person(person).memberships == {}


def test_person_that_was_not_read_so_reads_them(cast: Cast, django_assert_num_queries) -> None:
    fresh = User.objects.get(pk=cast.viewer.pk)
    with django_assert_num_queries(1):
        assert Person(fresh).role_in(cast.project.pk) == Role.VIEWER


def test_nobody(db: None) -> None:
    assert read(0)[0] is None


@pytest.mark.parametrize("member", [True, False])
def test_person_who_may_not_sign_in_any_more_is_out_at_once(cast: Cast, member: bool) -> None:
    person = cast.operator if member else factories.user()
    client = cast.client(person)
    assert client.get("/devices/").status_code == 200
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert client.get("/devices/").status_code == 302
    assert read(person.pk)[0] is None


def test_role_that_is_taken_holds_for_the_next_page(cast: Cast) -> None:
    client = cast.client(cast.operator)
    device = factories.device(cast.project)
    assert client.get(f"/devices/{device.pk}/device/").status_code == 200
    Membership.objects.filter(user=cast.operator).delete()
    assert client.get(f"/devices/{device.pk}/device/").status_code == 404
