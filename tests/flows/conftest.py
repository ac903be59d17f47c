"""Destinations and their receivers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django_scopes import scopes_disabled

from flows.models import Destination, Flow
from tests import factories
from tests.cast import Cast
from tests.flows.receivers import Certificates, Https

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "a-Shared-Secret-of-the-receiver-0123456789"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture
def reachable(settings: Any, certificates: Certificates) -> None:
    """The tests' own receivers are inside a private network, with a certificate of nobody."""
    settings.DELIVERY_NETWORKS = ["127.0.0.0/8", "::1/128"]
    settings.DELIVERY_CA_FILE = str(certificates.authority)


@pytest.fixture
def https(reachable: None, certificates: Certificates) -> Iterator[Https]:
    receiver = Https(certificates)
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def flow(cast: Cast) -> Flow:
    return factories.flow(cast.project, "Climate")


def destination(flow: Flow, name: str = "", **fields: Any) -> Destination:
    secrets = {"shared_secret": SECRET, **fields.pop("secrets", {})}
    return factories.destination(flow, name, secrets=secrets, **{"kind": "https"} | fields)


@pytest.fixture(autouse=True)
def unscoped() -> Iterator[None]:
    with scopes_disabled():
        yield
