"""Reads the settings from the environment; what is missing stops the start with one clear sentence."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

YES = {"1", "true", "yes", "on"}
# {s} only as a whole label at the front: a policy's wildcard stands nowhere else.
TILES = re.compile(r"(?P<origin>https?://(\{s\}\.)?[a-z0-9.-]+(:[0-9]+)?)(?P<path>/[^\s;,'\"]*)", re.IGNORECASE)


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, default).strip()


def required(name: str, what: str) -> str:
    value = text(name)
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: it holds {what}. Set it in the environment.")
    return value


def flag(name: str, *, default: bool = False) -> bool:
    value = text(name).lower()
    return value in YES if value else default


def number(name: str, default: int) -> int:
    value = text(name)
    try:
        return int(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None


@dataclass(frozen=True, slots=True)
class Tiles:
    """Where map tiles come from. ``template``: an address with {z}, {x}, {y}, and {s} for servers a to c;
    ``origin``: its source as a Content-Security-Policy names it; ``attribution``: HTML that names the map's makers."""

    template: str
    origin: str
    attribution: str


def tiles(name: str, attribution: str) -> Tiles | None:
    """The map tiles of the settings ``name`` and ``attribution``; None where there are none."""
    template = text(name)
    if not template:
        return None
    parts = TILES.fullmatch(template)
    if parts is None or any(f"{{{part}}}" not in parts["path"] for part in "zxy"):
        raise ImproperlyConfigured(
            f"{name} must be an address such as https://tiles.example/{{z}}/{{x}}/{{y}}.png, not {template!r}."
        )
    return Tiles(template, parts["origin"].replace("{s}", "*"), text(attribution))


def words(name: str) -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name).split(",") if word.strip()]


def database(name: str) -> dict[str, Any]:
    """Django's database settings from a libpq connection string (URI or keywords)."""
    address = required(name, "the address of PostgreSQL, such as postgresql://user:password@host/things")
    try:
        parts = dict(conninfo_to_dict(address))
    except ProgrammingError as error:
        raise ImproperlyConfigured(f"{name} is not a PostgreSQL address: {error}".strip()) from None
    settings: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", "things"),
        "CONN_MAX_AGE": 600,
        # Without the check the first page after a restart of PostgreSQL is a 500; it costs 6 % of a page.
        "CONN_HEALTH_CHECKS": True,
    }
    for key, part in (("USER", "user"), ("PASSWORD", "password"), ("HOST", "host"), ("PORT", "port")):
        if part in parts:
            settings[key] = str(parts.pop(part))
    settings["OPTIONS"] = parts
    return settings


def celery_broker(redis_url: str) -> str:
    """Celery's spelling of a Redis address: a unix socket is ``redis+socket://`` there."""
    if redis_url.startswith("unix://"):
        path, _, query = redis_url.removeprefix("unix://").partition("?")
        number_ = next((part[3:] for part in query.split("&") if part.startswith("db=")), "0")
        return f"redis+socket://{path}?virtual_host={number_}"
    return redis_url
