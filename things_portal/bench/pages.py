"""How fast the pages are: over HTTP on one connection, beside the bare SQL that the same page needs."""

from __future__ import annotations

import http.client
import statistics
import time
from dataclasses import dataclass
from importlib import import_module

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User


@dataclass(frozen=True, slots=True)
class PageTime:
    """Milliseconds; ``sql`` is the median of the page's own queries run one after another without Django."""

    name: str
    p50: float
    p95: float
    sql: float
    queries: int


def session_cookie(person: User) -> str:
    """A signed-in session for the person, as the sign-in page would make it."""
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    store[SESSION_KEY] = str(person.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = person.get_session_auth_hash()
    store.save()
    return f"{settings.SESSION_COOKIE_NAME}={store.session_key}"


def measure(port: int, person: User, name: str, *paths: str, rounds: int = 150, htmx: bool = False) -> PageTime:
    """One path after another, over and over; ``htmx``: asked for as a part of a page."""
    headers = {"Cookie": session_cookie(person), "Host": "localhost"} | ({"HX-Request": "true"} if htmx else {})
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    for number in range(rounds + 10):
        path = paths[number % len(paths)]
        started = time.perf_counter()
        link.request("GET", path, headers=headers)
        response = link.getresponse()
        body = response.read()
        times.append((time.perf_counter() - started) * 1000)
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}: {body[:300]!r}")
    link.close()
    times = sorted(times[10:])
    sql, queries = bare_sql(person, paths[0], rounds=max(20, rounds // 3), htmx=htmx)
    return PageTime(name, statistics.median(times), times[int(len(times) * 0.95)], sql, queries)


def _reads(statement: str) -> bool:
    return statement.lstrip().startswith("SELECT")


def bare_sql(person: User, path: str, *, rounds: int, htmx: bool = False) -> tuple[float, int]:
    """Median milliseconds of exactly the queries that the page makes, on a connection that is open."""
    client = Client(headers={"host": "localhost"} | ({"hx-request": "true"} if htmx else {}))
    client.force_login(person)
    with CaptureQueriesContext(connection) as captured:
        response = client.get(path)
    if response.status_code != 200:
        raise RuntimeError(f"{path} answered {response.status_code}")
    statements = [query["sql"] for query in captured.captured_queries if _reads(query["sql"])]
    times = []
    with connection.cursor() as cursor:
        for _ in range(rounds):
            started = time.perf_counter()
            for statement in statements:
                cursor.execute(statement)
                cursor.fetchall()
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times), len(statements)
