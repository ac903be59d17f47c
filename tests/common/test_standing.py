"""Queries that stand give what the framework's would, to each person their own and nobody what another asked for."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts.models import Membership
from common.standing import LARGEST, Standing
from devices.models import Device, DeviceState, NetworkTask
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.django_db


class Composer:
    """``select_related`` over a relation that is there and one that is not; how often it was asked to compose."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, projects: list[int], name: str) -> QuerySet[Device]:
        self.times += 1
        rows = Device.objects.filter(project_id__in=projects, processing_status="not_linked").exclude(name=name)
        return rows.select_related("type", "state", "network_task").order_by("-name")


def facts(rows: Any) -> list[dict[str, Any]]:
    plain = [vars(row) for row in rows]
    return [{key: value for key, value in one.items() if key != "_state"} for one in plain]


def test_rows_are_those_of_the_queryset_and_it_is_composed_once(cast: Cast, django_assert_num_queries) -> None:
    for number in range(4):
        factories.device(cast.project, name=f"D{number}")
    with scopes_disabled():
        NetworkTask.objects.create(device=Device.objects.get(name="D2"), operation="register")
    composer = Composer()
    standing = Standing(composer)
    for name in ("D1", "D3", "none"):
        with scopes_disabled():
            expected = list(Composer()([cast.project.pk], name))
        with django_assert_num_queries(1):
            found = standing(projects=[cast.project.pk], name=name)
            assert facts(found) == facts(expected)
            for one, other in zip(found, expected, strict=True):
                assert one.type == other.type and isinstance(one.state, DeviceState)
                assert getattr(one, "network_task", None) == getattr(other, "network_task", None)
                assert one._state.db == "default" and not one._state.adding
    assert composer.times == 1
    assert any(getattr(one, "network_task", None) for one in found)


def test_each_call_gives_new_objects(cast: Cast) -> None:
    factories.device(cast.project, name="D1")
    standing = Standing(Composer())
    [first] = standing(projects=[cast.project.pk], name="")
    first.name = "changed"
    assert [one.name for one in standing(projects=[cast.project.pk], name="")] == ["D1"]


def test_scope_in_which_it_was_composed_is_no_part_of_it(cast: Cast) -> None:
    """P1: the first who asks does not decide what all others see."""
    other = factories.project("Other")
    factories.device(cast.project, name="mine")
    factories.device(other, name="theirs")
    standing = Standing(Composer())
    for project, name in ((cast.project, "mine"), (other, "theirs"), (cast.project, "mine")):
        with scope(project=[project.pk]):
            assert [one.name for one in standing(projects=[project.pk], name="")] == [name]
            both = standing(projects=[cast.project.pk, other.pk], name="")
            assert [one.name for one in both] == ["theirs", "mine"]


def test_lists_of_each_length(cast: Cast, django_assert_num_queries) -> None:
    projects = [cast.project, *(factories.project(f"P{number}") for number in range(3))]
    for number, project in enumerate(projects):
        factories.device(project, name=f"D{number}")
    composer = Composer()
    standing = Standing(composer)
    for length in (4, 2, 1, 3, 2, 4):
        found = standing(projects=[project.pk for project in projects[:length]], name="")
        assert [one.name for one in found] == [f"D{number}" for number in reversed(range(length))]
    assert composer.times == 4
    for _ in range(2):
        with django_assert_num_queries(0):
            assert standing(projects=[], name="") == []


@pytest.mark.parametrize("number", [LARGEST + 1, -LARGEST - 2, 10**30])
def test_number_that_no_column_holds_finds_nothing(number: int, django_assert_num_queries) -> None:
    standing = Standing(lambda pk: Device.objects.filter(pk=pk))
    with django_assert_num_queries(0):
        assert standing(pk=number) == []


@pytest.mark.parametrize("number", [LARGEST, LARGEST - 1, -LARGEST, 0])
def test_every_other_number_is_asked_for(number: int, django_assert_num_queries) -> None:
    standing = Standing(lambda pk: Device.objects.filter(pk=pk))
    with django_assert_num_queries(1):
        assert standing(pk=number) == []


def test_moments_and_texts() -> None:
    now = timezone.now()
    for days in (-1, 1):
        Session.objects.create(session_key=f"key{days}", expire_date=now + timedelta(days=days))
    standing = Standing(lambda key, now: Session.objects.filter(session_key=key, expire_date__gt=now))
    assert standing(key="key-1", now=now) == []
    assert [one.session_key for one in standing(key="key1", now=now)] == ["key1"]
    assert standing(key="key1", now=now + timedelta(days=2)) == []
    assert standing(key="' OR true --", now=now) == []


def test_value_without_a_place_is_told() -> None:
    with pytest.raises(ValueError, match="no place in the query for 1"):
        Standing(lambda pk, other: Device.objects.filter(pk=pk))(pk=1, other=2)
    with pytest.raises(ValueError, match="nothing, whatever"):
        Standing(lambda count: Device.objects.filter(flow_count=count))(count=1)
    with pytest.raises(KeyError):
        Standing(lambda person: Membership.objects.filter(user=person))(person=None)


def test_each_thread_has_its_own(cast: Cast) -> None:
    """What is composed keeps a connection, and a connection is of one thread."""
    composer = Composer()
    standing = Standing(composer)
    found: list[Any] = []

    def ask() -> None:
        found.append(standing(projects=[cast.project.pk], name=""))
        connection.close()

    ask_here = standing(projects=[cast.project.pk], name="")
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert (ask_here, found, composer.times) == ([], [[]], 2)
