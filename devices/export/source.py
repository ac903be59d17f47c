"""What a file of devices holds, in the order of the list: the ids first, at eight bytes each, then the rows in sets.

No transaction and no cursor is open while a slow reader takes the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

import orjson
from django_scopes import scope

from devices import cells
from devices.asked import BASE, MORE, Asked, ValueKey
from devices.filters import rows_of
from devices.models import Connection, Health, Processing

from .writers import Cell, Head, Row

# Devices that are read together.
STEP: Final = 1000
MOMENTS: Final = frozenset({"last_message", "added"})


def heads(asked: Asked, *, everything: bool) -> list[Head]:
    """The columns that the list shows, or also all others that devices have, in the language of the moment."""
    keys = [*asked.columns]
    if everything:
        keys = [*BASE, *MORE, *(str(key) for key in asked.value_columns)]
    return [Head(key, _label(key), moment=key in MOMENTS) for key in keys]


def _label(key: str) -> str:
    value = ValueKey.parse(key)
    return cells.value_label(value) if value else str(cells.LABELS[key])


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file for a person of ``projects`` (id → name): ``ids`` in their order, ``heads`` its columns.

    The words of states are those of the language in which it is made; rows come later, when it may be another.
    """

    ids: array[int]
    heads: Sequence[Head]
    projects: Mapping[int, str]
    words: Mapping[str, str] = field(
        default_factory=lambda: {
            f"{kind.__name__}.{value}": str(label)
            for kind in (Processing, Connection, Health)
            for value, label in kind.choices
        }
    )

    def rows(self) -> Iterator[Row]:
        """Row by row; one that went away meanwhile is left out. The scope is open only while a set is read."""
        keys = [head.key for head in self.heads]
        takers = [self._taker(key) for key in keys]
        asked = Asked(columns=tuple(keys))
        for first in range(0, len(self.ids), STEP):
            with scope(project=list(self.projects)):
                found = rows_of(self.ids[first : first + STEP], asked, self.projects)
            for row in found:
                yield [take(row) for take in takers]

    def _taker(self, key: str) -> Callable[[Mapping[str, Any]], Cell]:
        """How the column's cell is taken from a row; found out once, not for each of a million rows."""
        value = ValueKey.parse(key)
        if value:

            def held(row: Mapping[str, Any]) -> Cell:
                found = row["values"].get(value)
                return _plain(found.raw) if found else None

            return held
        take: Callable[[Mapping[str, Any]], Any] = itemgetter(FIELDS[key])
        if key in STATES:
            prefix = f"{STATES[key].__name__}."
            # A device without a state of its own has not been heard: its health is 0.
            return lambda row: self.words[f"{prefix}{take(row) or 0}"]
        return (lambda row: ", ".join(take(row))) if key == "flows" else take


STATES: Final = {"processing": Processing, "connection": Connection, "health": Health}
FIELDS: Final = {
    "name": "name", "type": "type__name", "identifier": "reading", "processing": "processing_status",
    "connection": "connection_status", "last_message": "state__last_message_at", "project": "project_name",
    "flows": "flow_names", "health": "state__health",
    "barcode": "barcode", "description": "description", "added": "created_at",
}  # fmt: skip


def _plain(value: Any) -> Cell:
    return value if isinstance(value, str | int | float | bool | None) else orjson.dumps(value).decode()
