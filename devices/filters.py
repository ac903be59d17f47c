"""All Devices as rows of one page (D1, D2, D3): search, sorting, bounded paging; every query from an index.

A few queries a page, however many rows it has. Rows are plain dicts: model instances cost three times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.http import QueryDict

from . import connectivity
from .models import Category, Connection, Device, DeviceState, DeviceType, FlowLink, Processing

PAGE_SIZE: Final = 50
# A search shows at most this many: whoever finds more looks for something else, and counting them all costs.
MATCHES: Final = 1000
# Up to this many Projects, each gives its rows from its index, and they are merged; beyond, they are sorted.
MERGED: Final = 20
SEPARATORS: Final = re.compile(r"[\s:\-.]+")

# The columns that can be sorted by, as they stand in the address; "-" before it reverses.
SORTS: Final = frozenset({"name", "type", "identifier", "processing", "connection", "last_message", "project", "flows"})
# Sorted by a group of few values, and within it by name.
GROUPED: Final[Mapping[str, str]] = {
    "type": "type_id",
    "processing": "processing_status",
    "connection": "connection_status",
    "project": "project_id",
}
COLUMNS: Final = (
    "id", "name", "type__name", "type__category", "type__connectivity", "identifier", "processing_status",
    "connection_status", "state__last_message_at", "project_id", "flow_count",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for; whatever makes no sense falls back."""

    query: str = ""
    sort: str = "name"
    page: int = 1
    project: int | None = None

    @classmethod
    def parse(cls, data: QueryDict, projects: Iterable[int]) -> Asked:
        sort, page, project = data.get("sort", ""), data.get("page", ""), data.get("project", "")
        return cls(
            query=data.get("q", "").replace("\x00", "").strip()[:100],
            sort=sort if sort.removeprefix("-") in SORTS else "name",
            page=max(1, int(page)) if page.isdecimal() and len(page) < 9 else 1,
            project=int(project) if project.isdecimal() and int(project) in set(projects) else None,
        )


@dataclass(frozen=True, slots=True)
class DevicePage:
    """One page: ``rows`` for the template; ``total`` of the Projects; ``found`` by the search, ``more`` where it
    found more than it shows; ``number`` of ``pages``."""

    rows: list[dict[str, Any]]
    total: int
    found: int
    more: bool
    number: int
    pages: int

    @property
    def first(self) -> int:
        return (self.number - 1) * PAGE_SIZE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return (self.number - 1) * PAGE_SIZE + len(self.rows)


def device_page(asked: Asked, projects: Mapping[int, str]) -> DevicePage:
    """The page of the Projects (id → name, in the order of their names), inside their scope."""
    chosen = {pk: name for pk, name in projects.items() if asked.project in {None, pk}}
    source = _Source(chosen)
    total = found = source.total()
    more = False
    if asked.query:
        ids = _found(asked.query, chosen)
        source, found, more = _Source(chosen, within=ids[:MATCHES]), min(len(ids), MATCHES), len(ids) > MATCHES
    pages = max(1, -(-found // PAGE_SIZE))
    number = min(asked.page, pages)
    offset = (number - 1) * PAGE_SIZE
    wanted = source.ids(asked.sort, offset, min(PAGE_SIZE, found - offset), found)
    return DevicePage(_rows(wanted, projects), total, found, more, number, pages)


def matching(query: str) -> Q:
    """Devices with the text anywhere in the name or, with or without separators, in the identifier (D2)."""
    wanted = Q(name__icontains=query)
    bare = SEPARATORS.sub("", query).upper()
    return wanted | Q(identifier__contains=bare) if bare else wanted


def all_matching(asked: Asked, projects: Mapping[int, str]) -> QuerySet[Device]:
    """Every device that the address asks for, however many, in no order: what "all that match" means (D4)."""
    rows = Device.objects.filter(project__in=[pk for pk in projects if asked.project in {None, pk}])
    return rows.filter(matching(asked.query)) if asked.query else rows


def _found(query: str, projects: Iterable[int]) -> list[int]:
    """One more than is shown of the ids that match, in no order: the trigram indexes find them."""
    rows = Device.objects.filter(matching(query), project__in=projects)
    return list(rows.values_list("pk", flat=True)[: MATCHES + 1])


@dataclass(frozen=True, slots=True)
class _Source:
    """The devices of ``projects`` (id → name), or those of them that a search found."""

    projects: Mapping[int, str]
    within: list[int] | None = None

    def ids(self, sort: str, offset: int, size: int, total: int) -> list[int]:
        """The ids of the ``size`` rows after ``offset`` of ``total``."""
        key, reverse = sort.removeprefix("-"), sort.startswith("-")
        if size <= 0:
            return []
        if key in GROUPED:
            return self._grouped(key, reverse, offset, size)
        if key == "last_message":
            parts = self._parts(DeviceState.objects.all(), "device_id")
            newest = F("last_message_at").desc(nulls_last=True)
            # The order of the index in this direction and, read backwards, in the other.
            order, reverse = [newest, F("device_id").asc()], not reverse
        else:
            parts = self._parts(Device.objects.all(), "id")
            order = [F({"flows": "flow_count"}.get(key, key)).asc(), F("id").asc()]
        return _bounded(parts, order, reverse=reverse, offset=offset, size=size, total=total)

    def total(self) -> int:
        return Device.objects.filter(project_id__in=self.projects).count()

    def _parts(self, rows: QuerySet[Any], id_field: str) -> list[QuerySet[Any]]:
        """Queries that give the rows together, each from an index in the order of it: equality on one Project."""
        if self.within is not None:
            return [rows.filter(**{f"{id_field}__in": self.within})]
        if len(self.projects) > MERGED:
            return [rows.filter(project_id__in=self.projects)]
        return [rows.filter(project_id=project) for project in self.projects] or [rows.none()]

    def _grouped(self, key: str, reverse: bool, offset: int, size: int) -> list[int]:
        """Rows sorted by a group of few values and within it by name: the groups are counted, and only those
        that the page touches are read."""
        column = GROUPED[key]
        rows = Device.objects.filter(project_id__in=self.projects)
        if self.within is not None:
            rows = rows.filter(pk__in=self.within)
        counts = dict(rows.order_by().values_list(column).annotate(Count("pk")))
        ids: list[int] = []
        for group in sorted(counts, key=self._rank(key, counts), reverse=reverse):
            count = counts[group]
            if offset < count:
                parts = self._parts(Device.objects.filter(**{column: group}), "id")
                take, order = min(size - len(ids), count - offset), [F("name").asc(), F("id").asc()]
                ids += _bounded(parts, order, reverse=False, offset=offset, size=take, total=count)
                if len(ids) == size:
                    break
            offset = max(0, offset - count)
        return ids

    def _rank(self, key: str, groups: Iterable[Any]) -> Callable[[Any], Any]:
        if key == "type":
            names = dict(DeviceType.objects.filter(pk__in=groups).values_list("pk", "name"))
            return lambda pk: (names[pk].casefold(), pk)
        order = {"processing": Processing.values, "connection": Connection.values}.get(key, list(self.projects))
        return order.index


def _bounded(
    parts: Sequence[QuerySet[Any]], order: list[OrderBy], *, reverse: bool, offset: int, size: int, total: int
) -> list[int]:
    """Ids of a slice of ``parts`` together; ``order``: the key and the id.

    Beyond the half it counts from the other end: no page skips more than half of the rows. Several parts are
    merged: each gives no more than the slice can need, in order, so that nothing is sorted.
    """
    from_end = offset > total // 2
    if from_end:
        offset = max(0, total - offset - size)

    def ordering() -> list[OrderBy]:
        made = [each.copy() for each in order]
        if reverse != from_end:
            for each in made:
                each.reverse_ordering()
        return made

    key, pk = (cast("Any", each.expression).name for each in order)
    first, *others = [rows.order_by(*ordering()).values_list(pk, key) for rows in parts]
    if others:
        last = offset + size
        first = first[:last].union(*(rows[:last] for rows in others), all=True).order_by(*ordering())
    ids = [row[0] for row in first[offset : offset + size]]
    return ids[::-1] if from_end else ids


def _rows(ids: Sequence[int], projects: Mapping[int, str]) -> list[dict[str, Any]]:
    """The rows of the table in the order of ``ids``, with the names of the Flows that the person may see."""
    rows = {row["id"]: row for row in Device.objects.filter(pk__in=ids).values(*COLUMNS)}
    names: dict[int, list[str]] = {}
    links = FlowLink.objects.filter(device_id__in=ids, flow__project_id__in=projects)
    for device_id, name in links.order_by("flow__name").values_list("device_id", "flow__name"):
        names.setdefault(device_id, []).append(name)
    for row in rows.values():
        network = connectivity.by_slug(row["type__connectivity"])
        row["managed"] = row["type__category"] == Category.MANAGED
        row["identifier_label"] = network.identifier_label
        row["reading"] = network.identifier_for_reading(row["identifier"])
        row["project_name"] = projects.get(row["project_id"], "")
        row["flow_names"] = names.get(row["id"], [])
        row["flows_elsewhere"] = max(0, row["flow_count"] - len(row["flow_names"]))
    # A device that goes away between two queries is left out.
    return [rows[pk] for pk in ids if pk in rows]
