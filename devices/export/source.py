"""What a file of devices holds, in the order of the list: the ids first, at eight bytes each, then the rows in sets.

No transaction and no cursor is open while a slow reader takes the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from django_scopes import scope

from devices import cells
from devices.asked import BASE, MORE, Asked, ValueKey
from devices.filters import rows_of
from devices.models import Connection, Processing

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
            f"{kind.__name__}.{value}": str(label) for kind in (Processing, Connection) for value, label in kind.choices
        }
    )

    def rows(self) -> Iterator[Row]:
        """Row by row; one that went away meanwhile is left out. The scope is open only while a set is read."""
        keys = [head.key for head in self.heads]
        asked = Asked(columns=tuple(keys))
        for first in range(0, len(self.ids), STEP):
            with scope(project=list(self.projects)):
                found = rows_of(self.ids[first : first + STEP], asked, self.projects)
            for row in found:
                yield [self._cell(row, key) for key in keys]

    def _cell(self, row: Mapping[str, Any], key: str) -> Cell:
        value = ValueKey.parse(key)
        if value:
            held = row["values"].get(value)
            return _plain(held.raw) if held else None
        found = row[FIELDS[key]]
        if key in STATES:
            return self.words[f"{STATES[key].__name__}.{found}"]
        return ", ".join(found) if key == "flows" else found


STATES: Final = {"processing": Processing, "connection": Connection}
FIELDS: Final = {
    "name": "name", "type": "type__name", "identifier": "reading", "processing": "processing_status",
    "connection": "connection_status", "last_message": "state__last_message_at", "project": "project_name",
    "flows": "flow_names", "barcode": "barcode", "description": "description", "added": "created_at",
}  # fmt: skip


def _plain(value: Any) -> Cell:
    return value if isinstance(value, str | int | float | bool | None) else orjson.dumps(value).decode()
