"""Settings come from the environment; what is missing or wrong stops the start with a sentence."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from things_portal import environment

GOOD = {
    "SECRET_KEY": "x" * 50,
    "THINGS_KEYRING": "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "ALLOWED_HOSTS": "portal.example",
    "DATABASE_URL": "postgresql://things:pass%20word@db.example:5433/portal?sslmode=require",
    "REDIS_URL": "redis://redis.example:6379/2",
}


def load(**changes: str | None) -> subprocess.CompletedProcess[str]:
    """Import the settings in a fresh interpreter with just these variables and print a few."""
    wanted = {name: value for name, value in (GOOD | changes).items() if value is not None}
    code = (
        "from things_portal import settings as s;"
        "print(s.DEBUG, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT,"
        " s.SECURE_HSTS_SECONDS > 0)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]} | wanted,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_debug_it_is_production() -> None:
    assert load().stdout.split() == ["False", "True", "True", "True", "True"]


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_missing_variable_stops_the_start_with_its_name(name: str) -> None:
    result = load(**{name: None})
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert f"{name} is not set" in last


def test_database_address_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", GOOD["DATABASE_URL"])
    found = environment.database("DATABASE_URL")
    assert (found["NAME"], found["USER"], found["PASSWORD"]) == ("portal", "things", "pass word")
    assert (found["HOST"], found["PORT"], found["OPTIONS"]) == ("db.example", "5433", {"sslmode": "require"})


@pytest.mark.parametrize("address", ["postgresql://[", "this is none"])
def test_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not a PostgreSQL address"):
        environment.database("DATABASE_URL")


@pytest.mark.parametrize(
    ("address", "broker"),
    [
        ("redis://h:6379/1", "redis://h:6379/1"),
        ("unix:///run/r.sock?db=3", "redis+socket:///run/r.sock?virtual_host=3"),
        ("unix:///run/r.sock", "redis+socket:///run/r.sock?virtual_host=0"),
    ],
)
def test_celerys_spelling_of_redis(address: str, broker: str) -> None:
    assert environment.celery_broker(address) == broker


def test_number_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGS_X", "many")
    with pytest.raises(ImproperlyConfigured, match="THINGS_X must be a whole number"):
        environment.number("THINGS_X", 1)


@pytest.mark.parametrize(
    ("template", "origin"),
    [
        ("https://tiles.example/{z}/{x}/{y}.png", "https://tiles.example"),
        ("https://{s}.tiles.example/a/{z}/{x}/{y}@2x.png?key=k", "https://*.tiles.example"),
        ("http://127.0.0.1:8099/{z}/{y}/{x}", "http://127.0.0.1:8099"),
    ],
)
def test_map_tiles_name_their_origin(monkeypatch: pytest.MonkeyPatch, template: str, origin: str) -> None:
    monkeypatch.setenv("TILES", template)
    monkeypatch.setenv("MAKERS", "© Makers")
    assert environment.tiles("TILES", "MAKERS") == environment.Tiles(template, origin, "© Makers")


@pytest.mark.parametrize(
    "template",
    [
        "tiles.example/{z}/{x}/{y}.png",
        "https://tiles.example/{z}/{x}.png",
        "https://tiles.{s}.example/{z}/{x}/{y}.png",
        "javascript:{z}/{x}/{y}",
        "https://tiles.example; script-src *://{z}/{x}/{y}",
        "https://tiles.example/{z}/{x}/{y}.png; script-src *",
        "https://*/{z}/{x}/{y}.png",
    ],
)
def test_map_tiles_that_are_no_address_stop_the_start(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setenv("TILES", template)
    with pytest.raises(ImproperlyConfigured, match="TILES must be an address"):
        environment.tiles("TILES", "MAKERS")


def test_the_policy_lets_in_images_of_the_tiles_and_nothing_else() -> None:
    code = "from things_portal.settings import CONTENT_SECURITY_POLICY as p; print(p['DIRECTIVES'])"

    def directives(**tiles: str) -> dict[str, list[str]]:
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=settings.BASE_DIR,
            env={"PATH": os.environ["PATH"]} | GOOD | tiles,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found: dict[str, list[str]] = ast.literal_eval(result.stdout)
        return found

    without = directives()
    with_tiles = directives(THINGS_MAP_TILES="https://{s}.tiles.example/{z}/{x}/{y}.png")
    assert without["img-src"] == ["'self'", "data:"]
    assert with_tiles == without | {"img-src": ["'self'", "data:", "https://*.tiles.example"]}
