"""Queries that stand: composed once and run with other values each time, for what every page asks. To compose a query
of several tables takes the framework a millisecond or two, several times as long as the database needs to answer it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable
from django_scopes import scopes_disabled

Row = TypeVar("Row", bound=Model)
# Numbers beyond it are in no column, and the database refuses to compare with them.
LARGEST: Final = 2**63 - 1
# Values in whose place others come; none of them stands in a query as a constant.
MARKS: Final[Mapping[type, Callable[[int], Any]]] = {
    int: lambda number: LARGEST - 1 - number,
    str: lambda number: f"\x01 mark {number}",
    datetime: lambda number: datetime(9000 + number, 1, 1, tzinfo=UTC),
}


class Standing(Generic[Row]):
    """``compose`` makes the queryset from values by their names: numbers, texts, moments, or lists of them, which it
    has once for each length. It is called outside any scope (django-scopes): what a person may see has to be one of the
    values, and is never a part of what stands.

    Called with the values it gives the rows, as the queryset does. Raises ValueError for a value that has no place in
    the query, or none in its column: a number is of 64 bits.
    """

    def __init__(self, compose: Callable[..., QuerySet[Row]]) -> None:
        self._compose = compose
        self._composed = threading.local()  # what is composed keeps the connection of its thread

    def __call__(self, **values: Any) -> list[Row]:
        flat = list(_flat(values.values()))
        if any(isinstance(value, int) and abs(value) > LARGEST for value in flat):
            return []
        shape = tuple((name, len(value) if isinstance(value, list) else -1) for name, value in values.items())
        here: dict[Any, _Composed[Row]] = self._composed.__dict__
        if shape not in here:
            here[shape] = _Composed(self._compose, values)
        return here[shape].rows(flat)


class _Composed(Generic[Row]):
    """The compiler of the queryset, which tells the statement again instead of making it; the rest is the framework."""

    def __init__(self, compose: Callable[..., QuerySet[Row]], values: Mapping[str, Any]) -> None:
        marks = [MARKS[type(value)](number) for number, value in enumerate(_flat(values.values()))]
        left = iter(marks)
        named = {
            name: [next(left) for _ in value] if isinstance(value, list) else next(left)
            for name, value in values.items()
        }
        with scopes_disabled():
            self.queryset = compose(**named)
            self.compiler: Any = self.queryset.query.get_compiler(self.queryset.db)
            try:
                self.sql, found = self.compiler.as_sql()
            except EmptyResultSet:
                if [] not in values.values():
                    raise ValueError("a query of nothing, whatever the values are") from None
                self.sql, found = "", marks
        self.parameters = list(found)
        self.places = [marks.index(one) if one in marks else None for one in self.parameters]
        if missing := set(range(len(marks))) - set(self.places):
            raise ValueError(f"no place in the query for {len(missing)} of the values")
        self.queryset.query.get_compiler = lambda *args, **kwargs: self.compiler  # type: ignore[method-assign]

    def rows(self, flat: list[Any]) -> list[Row]:
        if not self.sql:
            return []
        filled = tuple(
            constant if place is None else flat[place]
            for place, constant in zip(self.places, self.parameters, strict=True)
        )
        self.compiler.as_sql = lambda *args, **kwargs: (self.sql, filled)
        return list(ModelIterable(self.queryset))


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else [value]
