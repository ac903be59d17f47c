"""What a file of devices holds, in the order of the list: the ids first, at eight bytes each, then the rows in sets.

No transaction and no cursor is open while a slow reader takes the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Case, F, QuerySet, Value, When
from django.utils.translation import gettext_lazy
from django_scopes import scope

from devices import connectivity
from devices.filters import GROUPED, Asked, all_matching
from devices.models import Connection, Device, DeviceState, DeviceType, FlowLink, Processing

from .writers import Cell, Head, Row

# Devices that are read together.
STEP: Final = 1000
# Ids that the database hands over at once.
IDS: Final = 20_000
# The columns that the list shows, and those that only a file has.
SHOWN: Final = (
    ("name", gettext_lazy("Name")),
    ("type", gettext_lazy("Type")),
    ("identifier", gettext_lazy("Identifier")),
    ("processing", gettext_lazy("Processing")),
    ("connection", gettext_lazy("Connectivity")),
    ("last_message", gettext_lazy("Last message")),
    ("project", gettext_lazy("Project")),
    ("flows", gettext_lazy("Flows")),
)
FURTHER: Final = (
    ("barcode", gettext_lazy("Barcode")),
    ("description", gettext_lazy("Description")),
    ("added", gettext_lazy("Added")),
)
MOMENTS: Final = frozenset({"last_message", "added"})
FIELDS: Final = (
    "id", "name", "type__name", "type__connectivity", "identifier", "processing_status", "connection_status",
    "state__last_message_at", "project_id", "barcode", "description", "created_at",
)  # fmt: skip


def heads(*, everything: bool) -> list[Head]:
    """The columns of the list, or all that there are, in the language of the moment."""
    columns = (*SHOWN, *FURTHER) if everything else SHOWN
    return [Head(key, str(label), moment=key in MOMENTS) for key, label in columns]


def ordered_ids(asked: Asked, projects: Mapping[int, str]) -> Iterator[int]:
    """Every device that the address asks for, in the order of the list, inside the scope of the Projects."""
    return in_order(all_matching(asked, projects), asked.sort, projects)


def in_order(devices: QuerySet[Device], sort: str, projects: Iterable[int]) -> Iterator[int]:
    """The ids of ``devices`` by a cursor of the database, which is closed after the last."""
    key, reverse = sort.removeprefix("-"), sort.startswith("-")
    rows: QuerySet[Any] = devices
    column = "pk"
    if key in GROUPED:
        groups = _groups(key, devices, projects)
        ranks = [When(**{GROUPED[key]: group}, then=Value(rank)) for rank, group in enumerate(groups)]
        rank = Case(*ranks, default=Value(len(ranks)))
        rows = devices.order_by(rank.desc() if reverse else rank.asc(), "name", "pk")
    elif key == "last_message":
        # As the index has it in one direction, and read backwards in the other: never heard of is oldest.
        newest = F("last_message_at").desc(nulls_last=True) if reverse else F("last_message_at").asc(nulls_first=True)
        rows = DeviceState.objects.filter(device__in=devices.order_by())
        rows, column = rows.order_by(newest, "device_id" if reverse else "-device_id"), "device_id"
    else:
        minus = "-" if reverse else ""
        rows = devices.order_by(f"{minus}{'flow_count' if key == 'flows' else key}", f"{minus}pk")
    return rows.values_list(column, flat=True).iterator(chunk_size=IDS)


def _groups(key: str, devices: QuerySet[Device], projects: Iterable[int]) -> list[Any]:
    """The values of a group's column in the order in which the list shows the groups."""
    if key == "type":
        types = DeviceType.objects.filter(pk__in=devices.order_by().values("type_id").distinct())
        named = types.values_list("pk", "name")
        return [pk for pk, name in sorted(named, key=lambda each: (each[1].casefold(), each[0]))]
    return {"processing": Processing.values, "connection": Connection.values}.get(key, list(projects))


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
        for first in range(0, len(self.ids), STEP):
            with scope(project=list(self.projects)):
                found = self.rows_for(self.ids[first : first + STEP])
            for row in found:
                yield [row[key] for key in keys]

    def rows_for(self, ids: Sequence[int]) -> list[Mapping[str, Cell]]:
        """The devices with all their columns, in the order of ``ids``: two queries, however many."""
        chosen = list(ids)
        devices = {row[0]: row for row in Device.objects.filter(pk__in=chosen).values_list(*FIELDS)}
        flows: dict[int, list[str]] = {}
        links = FlowLink.objects.filter(device_id__in=chosen, flow__project_id__in=self.projects)
        for pk, name in links.order_by("flow__name").values_list("device_id", "flow__name"):
            flows.setdefault(pk, []).append(name)
        # Values of the twin belong here: read for ``chosen``, one mapping per device, merged into its row.
        return [self._row(devices[pk], flows.get(pk, ())) for pk in chosen if pk in devices]

    def _row(self, values: tuple[Any, ...], flows: Iterable[str]) -> dict[str, Cell]:
        _pk, name, kind, network, identifier, processing, connection, last, project, barcode, text, added = values
        return {
            "name": name,
            "type": kind,
            "identifier": connectivity.by_slug(network).identifier_for_reading(identifier),
            "processing": self.words[f"Processing.{processing}"],
            "connection": self.words[f"Connection.{connection}"],
            "last_message": last,
            "project": self.projects.get(project, ""),
            "flows": ", ".join(flows),
            "barcode": barcode,
            "description": text,
            "added": added,
        }
