"""P1: signing in by e-mail, out again, and a person's preferences."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.cast import Cast

SIGN_IN = "/account/sign-in/"
PASSWORD = "a quiet tool for the day"


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("Ada@Example.com", PASSWORD, name="Ada")


def test_sign_in_takes_the_address_in_any_case(client: Client, person: User) -> None:
    response = client.post(SIGN_IN, {"username": "ADA@example.com", "password": PASSWORD})
    assert response.status_code == 302
    assert response["Location"] == reverse("devices:list")
    assert client.session["_auth_user_id"] == str(person.pk)


@pytest.mark.parametrize(
    ("username", "password"), [("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("", ""), ("ada", "x")]
)
def test_sign_in_says_the_same_of_a_wrong_address_and_a_wrong_password(
    client: Client, person: User, username: str, password: str
) -> None:
    response = client.post(SIGN_IN, {"username": username, "password": password})
    assert response.status_code == 422
    assert "_auth_user_id" not in client.session
    assert PASSWORD not in response.content.decode()


def test_sign_in_goes_on_to_the_page_that_was_asked_for(client: Client, person: User) -> None:
    response = client.get("/flows/")
    assert response["Location"] == f"{SIGN_IN}?next=/flows/"
    response = client.post(SIGN_IN, {"username": person.email, "password": PASSWORD, "next": "/flows/"})
    assert response["Location"] == "/flows/"


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_sign_in_never_leads_away_from_the_portal(client: Client, person: User, wanted: str) -> None:
    response = client.post(SIGN_IN, {"username": person.email, "password": PASSWORD, "next": wanted})
    assert response["Location"] == reverse("devices:list")


def test_sign_out_needs_a_post(cast: Cast) -> None:
    client = cast.client(cast.viewer)
    assert client.get("/account/sign-out/").status_code == 405
    assert client.post("/account/sign-out/").status_code == 302
    assert client.get("/flows/").status_code == 302


def test_part_of_a_page_without_session_loads_the_sign_in_page_whole(client: Client, db: None) -> None:
    response = client.get("/devices/", headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Redirect"]) == (204, SIGN_IN)


def test_person_changes_language_and_time_zone(cast: Cast) -> None:
    client = cast.client(cast.viewer)
    response = client.post("/account/profile/", {"name": "Vi", "language": "nl", "time_zone": "Europe/Lisbon"})
    assert response.status_code == 302
    cast.viewer.refresh_from_db()
    assert (cast.viewer.language, cast.viewer.time_zone) == ("nl", "Europe/Lisbon")
    page = client.get("/account/profile/")
    assert page["Content-Language"] == "nl"
    assert "Europe/Lisbon" in page.content.decode()


def test_unknown_time_zone_is_refused_beside_the_field(cast: Cast) -> None:
    response = cast.client(cast.viewer).post("/account/profile/", {"name": "", "language": "", "time_zone": "Mars/X"})
    assert response.status_code == 422
    assert "time_zone" in response.context["form"].errors


def test_page_has_a_strict_content_security_policy(client: Client, db: None) -> None:
    policy = client.get(SIGN_IN)["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
