"""Health on All Devices beside its column and filter: how many devices are not well, and why one is not (L6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from django.db import connection
from django_stubs_ext import StrOrPromise

from .models import Health

# More are told as "more than".
MOST: Final = 1000
# What makes a device unwell in words, by the code in its state; who knows the network tells them (AppConfig.ready).
_words: dict[str, StrOrPromise] = {}

COUNTS: Final = """
SELECT
    (SELECT count(*) FROM (
        SELECT FROM devices_devicestate WHERE project_id = ANY(%(projects)s::bigint[]) AND health = 3 LIMIT %(most)s
    ) AS problem),
    (SELECT count(*) FROM (
        SELECT FROM devices_devicestate WHERE project_id = ANY(%(projects)s::bigint[]) AND health = 2 LIMIT %(most)s
    ) AS attention)
"""


def register(words: Mapping[str, StrOrPromise]) -> None:
    _words.update(words)


def words(finding: str) -> str:
    """ "" where nobody told what the code means."""
    return str(_words.get(finding, ""))


def unwell(projects: Iterable[int]) -> list[tuple[Health, int]]:
    """How many devices of the Projects have a problem and need attention, worst first; none of them left out, at most
    :data:`MOST` + 1 counted of each. By the index on those that are not well."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, {"projects": list(projects), "most": MOST + 1})
        problem, attention = cursor.fetchone()
    return [(Health.PROBLEM, problem), (Health.ATTENTION, attention)]
