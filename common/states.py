"""State moves: which are allowed is data beside the field, and each is one conditional UPDATE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import models

Row = TypeVar("Row", bound=models.Model)


class StateConflict(Exception):
    """The row was not in the state that the move starts from: somebody else was first, or it makes no sense."""


def move(
    rows: models.QuerySet[Row], *, field: str, to: str, allowed: Mapping[str, frozenset[str]], **changes: Any
) -> None:
    """Move the one row of ``rows`` to state ``to``, from any state that ``allowed`` (from → to's) lets it.

    One ``UPDATE … WHERE state IN (…)``: of two at once, one wins. Raises StateConflict where none was moved.
    """
    sources = [source for source, targets in allowed.items() if to in targets]
    if rows.filter(**{f"{field}__in": sources}).update(**{field: to}, **changes) != 1:
        raise StateConflict(f"not in a state that leads to {to!r}")
