"""The fixed cast of the tests: two Projects, an administrator, an operator, a viewer and a stranger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

import pytest
from django.apps import apps
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import Project, Role, Subscription, User
from tests import factories


@dataclass(frozen=True)
class Cast:
    """``project`` is where the story happens; ``elsewhere`` is the stranger's."""

    project: Project
    elsewhere: Project
    administrator: User
    operator: User
    viewer: User
    stranger: User

    def client(self, person: User | None) -> Client:
        client = Client()
        if person is not None:
            client.force_login(person)
        return client


def restore_migrated_data() -> None:
    """The rows that migrations make, again after a transactional test has emptied all tables."""
    if not Subscription.objects.exists():
        for name in (
            "devices.migrations.0003_own_types",
            "devices.migrations.0012_managed_types",
            "lora.migrations.0003_simulated_network",
        ):
            import_module(name).make(apps, None)


@pytest.fixture
def cast(db: None) -> Cast:
    restore_migrated_data()
    project, elsewhere = factories.project("Greenhouses"), factories.project("Elsewhere")
    return Cast(
        project=project,
        elsewhere=elsewhere,
        administrator=factories.member(project, Role.ADMINISTRATOR, "administrator@example.com"),
        operator=factories.member(project, Role.OPERATOR, "operator@example.com"),
        viewer=factories.member(project, Role.VIEWER, "viewer@example.com"),
        stranger=factories.member(elsewhere, Role.ADMINISTRATOR, "stranger@example.com"),
    )


@pytest.fixture
def unscoped() -> Iterator[None]:
    """For tests that speak to services and models directly."""
    with scopes_disabled():
        yield
