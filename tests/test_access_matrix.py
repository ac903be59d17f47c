"""Who gets in where (P1, P2): every address × every method × anonymous, stranger, read-only, operator.

Nothing is listed by hand: the addresses come from the resolver, what is expected from each view's mark.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django_scopes import scopes_disabled

from accounts.access import SAFE, Access
from accounts.checks import access_of, addresses, every_address_declares_its_access
from accounts.models import Role
from devices import codec_work, imports
from devices.models import CodecCase, SavedView
from tests import factories
from tests.cast import Cast

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PARAMETER = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")


class Stage:
    """One of everything that an address can name, in the Project of the cast."""

    def __init__(self, cast: Cast) -> None:
        self.flow = factories.flow(cast.project)
        self.destination = factories.destination(self.flow)
        self.device = factories.lora_device(cast.project, in_flow=self.flow)
        self.view = SavedView.objects.create(project=cast.project, owner=cast.operator, name="View", shared=True)
        self.upload = imports.upload(
            project=cast.project,
            device_type=self.device.type,
            name="devices.csv",
            content=b"Name,DevEUI\nA,B\n",
            actor=cast.operator,
        )
        self.kinds = {
            "m2m": factories.m2m_device(cast.project, in_flow=self.flow),
            "internet": factories.internet_device(cast.project, in_flow=self.flow),
        }
        self.sim = factories.sim(cast.project)
        self.job = factories.job(cast.project, [self.device])
        self.codec = codec_work.create_codec(project=cast.project, name="Codec", actor=cast.administrator)
        self.case = CodecCase.objects.create(
            codec=self.codec, name="Case", function="decodeUplink", given={"bytes": "00", "fPort": 1}, expected={}
        )
        self.type = factories.own_type(cast.project)

    def url(self, route: str) -> str:
        device = next((found for app, found in self.kinds.items() if f"/{app}/" in f"/{route}/"), self.device)
        values: dict[str, Any] = {
            "device_id": device.pk,
            "flow_id": self.flow.pk,
            "destination_id": self.destination.pk,
            "job_id": self.job.pk,
            "sim_id": self.sim.pk,
            "action": "activate",
            "view_id": self.view.pk,
            "device_type_id": self.type.pk,
            "upload_id": self.upload.pk,
            "codec_id": self.codec.pk,
            "case_id": self.case.pk,
            "number": 1,
            "when": int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1_000_000),
            "seq": 1,
            "key": "nobody-has-this-key",
            "page": 1,
            "file_format": "csv",
            "chart": "esp",
        }

        def fill(match: re.Match[str]) -> str:
            assert match["name"] in values, f"the matrix has no value for <{match['name']}> of {route}"
            return str(values[match["name"]])

        return "/" + PARAMETER.sub(fill, route).replace("\\Z", "").lstrip("^").rstrip("$")


def ask(client: Client, method: str, url: str) -> HttpResponse:
    return client.generic(method, url)


def goes_to_sign_in(response: HttpResponse) -> bool:
    return response.status_code == 302 and response["Location"].startswith("/account/sign-in/")


def is_problem(response: HttpResponse) -> bool:
    return response["Content-Type"] == "application/problem+json"


def allowed(access: Access, method: str) -> bool:
    return method in access.methods or (method == "HEAD" and "GET" in access.methods)


def test_every_address_declares_its_access() -> None:
    assert every_address_declares_its_access(None) == []
    assert len(list(addresses())) > 20


def test_check_finds_an_address_without_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = next(pattern for _route, pattern in addresses() if access_of(pattern))
    monkeypatch.delattr(pattern.callback, "access")
    assert [error.id for error in every_address_declares_its_access(None)] == ["accounts.E001"]


@pytest.fixture
def stage(cast: Cast) -> Stage:
    with scopes_disabled():
        return Stage(cast)


def test_access_matrix(cast: Cast, stage: Stage) -> None:
    """P1: 404 for strangers, sign-in for nobody; P2: a read-only account's forged change is refused."""
    wrong: list[str] = []
    seen = 0
    for route, pattern in addresses():
        access = access_of(pattern)
        assert access is not None
        url = stage.url(route)
        for method in METHODS:
            for who in ("anonymous", "stranger", "viewer", "operator"):
                # The session ends with a sign-out: each question has a client of its own.
                client = cast.client(None if who == "anonymous" else getattr(cast, who))
                response = ask(client, method, url)
                problem = verdict(access, method, who, response)
                seen += 1
                if problem:
                    wrong.append(f"{method} {url} as {who}: {response.status_code}, {problem}")
    assert not wrong, "\n".join(wrong)
    assert seen > 500


def verdict(access: Access, method: str, who: str, response: HttpResponse) -> str:
    """What is wrong with the answer; "" where it is as the mark says."""
    status = response.status_code
    if status >= 500:
        return "a server error"
    if access.kind == "public":
        return "" if (status == 405) != allowed(access, method) else "wrong method handling"
    if who == "anonymous" and access.programs:
        return "" if status == 401 and is_problem(response) else "a program without a person gets a problem, 401"
    if access.programs and status >= 400 and not is_problem(response):
        return "a program's refusal is a problem document"
    if who == "anonymous":
        return "" if goes_to_sign_in(response) else "not led to the sign-in page"
    if access.kind == "support staff":
        return "" if status == 404 else "only support staff see that it is there"
    if not allowed(access, method):
        return "" if status == 405 else "method should be refused"
    if access.kind == "signed in":
        return "" if status not in {403, 404} else "a signed-in person belongs here"
    return within_project(access, method, who, status)


def within_project(access: Access, method: str, who: str, status: int) -> str:
    needed = access.see if method in SAFE else access.change
    assert needed is not None
    held = {
        "stranger": None if access.names else Role.ADMINISTRATOR,
        "viewer": Role.VIEWER,
        "operator": Role.OPERATOR,
    }
    role = held[who]
    if role is None:
        return "" if status == 404 else "a stranger must get 404"
    if not role.covers(needed):
        return "" if status == 403 else "the role is too weak: 403"
    return "" if status != 403 else "the role suffices"
