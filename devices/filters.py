"""All Devices as rows of one page (D1–D3, D11): search, filters, sorting, bounded paging; every query from an index.

A few queries a page, however many rows it has and however many devices there are:

* nothing filtered: the page is a slice of the index of its sort;
* few match: their ids are found first, by the index of the filter that the fewest meet, and only they are sorted;
* many match: the index of the sort is walked until the page is full, which many matches make soon.

Rows are plain dicts: model instances cost three times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Final

from django.db import OperationalError, connection, transaction
from django.db.models import Exists, F, Func, OuterRef, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.utils import timezone
from psycopg.errors import QueryCanceled

from flows.models import Flow

from . import connectivity, values
from .asked import NEVER, NO_FLOW, Asked, Where
from .models import Category, ColumnValue, Connection, Device, DeviceState, DeviceType, FlowLink, Health, Processing

PAGE_SIZE: Final = 50
# Up to here matches are counted and paged; whoever finds more looks for something else, and counting them all costs.
MATCHES: Final = 5_000
# A walk that has not filled its page after this many milliseconds is given up.
WALK_MS: Final = 60
# Up to this many Projects, each gives its rows from its index, and they are merged; beyond, they are sorted.
MERGED: Final = 20
SEPARATORS: Final = re.compile(r"[\s:\-.]+")

# Sorted by a group of few values, and within it by name.
GROUPED: Final[Mapping[str, str]] = {
    "type": "type_id",
    "processing": "processing_status",
    "connection": "connection_status",
    "project": "project_id",
}
FIELDS: Final = {"flows": "flow_count", "added": "created_at"}
COLUMNS: Final = (
    "id", "name", "type__name", "type__category", "type__connectivity", "identifier", "processing_status",
    "connection_status", "state__last_message_at", "project_id", "flow_count",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DevicePage:
    """One page: ``rows`` for the table; ``total`` of the Projects; ``found`` by search and filters, ``more`` where
    they found more than is counted; ``number`` of ``pages``; ``filling``: parts of a hundred that are in an index
    that is still being made, 100 where none is; ``refused``: the values that a Project has no room to index."""

    rows: list[dict[str, Any]]
    total: int
    found: int
    more: bool
    number: int
    pages: int
    filling: int = 100
    refused: tuple[str, ...] = ()

    @property
    def first(self) -> int:
        return (self.number - 1) * PAGE_SIZE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return (self.number - 1) * PAGE_SIZE + len(self.rows)


def device_page(asked: Asked, projects: Mapping[int, str], *, now: datetime | None = None) -> DevicePage:
    """The page of the Projects (id → name, in the order of their names), inside their scope."""
    now = now or timezone.now()
    chosen = chosen_projects(asked, projects)
    indexed = values.indexed(chosen, asked.searched_values, now=now)
    source = _Source(chosen, indexed)
    total = found = source.total()
    more = False
    if asked.filtered:
        parts = _parts(asked, chosen, indexed, now)
        ids = _found(parts, chosen)
        found, more = min(len(ids), MATCHES), len(ids) > MATCHES
        source = _Source(chosen, indexed, within=ids[:MATCHES])
        # Names that match a word stand together in the order of names: there a walk would find none for long.
        if more and not asked.query:
            source = _Source(chosen, indexed, within=ids[:MATCHES], condition=_all_of(parts))
    pages = max(1, -(-found // PAGE_SIZE))
    number = min(asked.page, pages)
    offset = (number - 1) * PAGE_SIZE
    wanted = source.page(asked, offset, min(PAGE_SIZE, found - offset), found)
    filling = values.progress(indexed.filling, chosen)
    refused = tuple(str(key) for key in sorted(indexed.refused))
    return DevicePage(rows_of(wanted, asked, projects), total, found, more, number, pages, filling, refused)


def chosen_projects(asked: Asked, projects: Mapping[int, str]) -> dict[int, str]:
    return {pk: name for pk, name in projects.items() if not asked.projects or pk in asked.projects}


def all_matching(asked: Asked, projects: Mapping[int, str], *, now: datetime | None = None) -> QuerySet[Device]:
    """Every device that the address asks for, however many, in no order: what "all that match" means (D4)."""
    chosen = chosen_projects(asked, projects)
    rows = Device.objects.filter(project_id__in=chosen)
    if not asked.filtered:
        return rows
    indexed = values.indexed(chosen, [one.column for one in asked.where], now=now)
    return rows.filter(_all_of(_parts(asked, chosen, indexed, now or timezone.now())))


def ordered_ids(
    asked: Asked, projects: Mapping[int, str], *, within: list[int] | None = None, now: datetime | None = None
) -> Iterator[int]:
    """The ids of all that match, or of those ``within``, in the order of the list, from a cursor of the server: for
    an export."""
    now = now or timezone.now()
    chosen = chosen_projects(asked, projects)
    indexed = values.indexed(chosen, asked.searched_values, now=now)
    if within is not None:
        within = list(Device.objects.filter(pk__any_of=within).values_list("pk", flat=True))
        return _Source(chosen, indexed, within=within).all_ids(asked)
    condition = _all_of(_parts(asked, chosen, indexed, now)) if asked.filtered else None
    return _Source(chosen, indexed, condition=condition).all_ids(asked)


def matching(query: str) -> Q:
    """Devices with the text anywhere in the name or barcode or, with or without separators, in the identifier (D2)."""
    wanted = Q(name__icontains=query) | Q(barcode__icontains=query)
    bare = SEPARATORS.sub("", query).upper()
    return wanted | Q(identifier__contains=bare) if bare else wanted


@dataclass(frozen=True, slots=True)
class _Part:
    """One filter: what it says of a device, and the ids of the devices that meet it alone, from an index of its own
    (None where there is none)."""

    condition: Q
    ids: QuerySet[Any] | None = None


def _parts(asked: Asked, projects: Iterable[int], indexed: values.Indexed, now: datetime) -> list[_Part]:
    devices = Device.objects.filter(project_id__in=projects).order_by()
    states = DeviceState.objects.filter(project_id__in=projects)
    made: list[_Part] = []

    def of_device(condition: Q) -> None:
        made.append(_Part(condition, devices.filter(condition).values_list("pk")))

    def of_state(*conditions: Q) -> None:
        """Any of the conditions; each has a part of an index of its own."""
        any_of = reduce(or_, conditions)
        first, *others = [states.filter(condition).values_list("device_id") for condition in conditions]
        ids = first.union(*others, all=True) if others else first
        made.append(_Part(Q(Exists(states.filter(any_of, device=OuterRef("pk")))), ids))

    if asked.query:
        of_device(_search(asked.query, projects))
    types = asked.types
    if asked.connectivity:
        of_network = DeviceType.objects.filter(connectivity__in=asked.connectivity).values_list("pk", flat=True)
        types = tuple(of_network.filter(pk__in=types) if types else of_network)
    if asked.types or asked.connectivity:
        of_device(Q(type_id__in=types))
    if asked.processing:
        of_device(Q(processing_status__in=asked.processing))
    if asked.connection:
        of_device(Q(connection_status__in=asked.connection))
    if asked.flows:
        made.append(_in_flows(asked.flows))
    if asked.silent == NEVER:
        of_state(Q(last_message_at=None))
    elif asked.silence:
        of_state(Q(last_message_at__lt=now - asked.silence), Q(last_message_at=None))
    if asked.health:
        of_state(Q(health__in=[Health[name.upper()] for name in asked.health]))
    if asked.out_of_sync:
        of_state(Q(out_of_sync__gt=0))
    return [*made, *(_where(one, indexed) for one in asked.where)]


def _all_of(parts: Iterable[_Part]) -> Q:
    wanted = Q()
    for part in parts:
        wanted &= part.condition
    return wanted


def _search(query: str, projects: Iterable[int]) -> Q:
    """The search, also for what a connectivity keeps for itself, such as ICCID and MSISDN: found first, for an OR
    over tables has no index."""
    wanted = matching(query)
    for network in connectivity.all_registered():
        found = network.search(SEPARATORS.sub("", query), projects, MATCHES)
        if found:
            wanted |= Q(pk__any_of=found)
    return wanted


def _in_flows(flows: Sequence[int]) -> _Part:
    # Flows of Projects that the person is not in are no filter: it would tell which devices are in them.
    visible = list(Flow.objects.filter(pk__in=flows).values_list("pk", flat=True))
    wanted = Q(Exists(FlowLink.objects.filter(device=OuterRef("pk"), flow_id__in=visible)))
    if NO_FLOW in flows:
        return _Part(wanted | Q(flow_count=0))
    return _Part(wanted, FlowLink.objects.filter(flow_id__in=visible).values_list("device_id"))


def _where(one: Where, indexed: values.Indexed) -> _Part:
    """A condition on a value, by the index of its column."""
    of_column = ColumnValue.objects.filter(column_id__in=indexed.of(one.column))
    rows = of_column.filter(device=OuterRef("pk"))
    if one.operator == "!":
        return _Part(~Q(Exists(rows)))
    if one.operator == "?":
        return _Part(Q(Exists(rows)), of_column.values_list("device_id"))
    if one.operator == "~":
        wanted = Q(text__contains=one.value.lower())
    else:
        field, value = ("number", one.number) if one.number is not None else ("text", one.value.lower())
        if one.operator == "!=":
            # A number is not equal to a text either.
            return _Part(Q(Exists(rows.filter(Q(**{field: None}) | ~Q(**{field: value})))))
        lookup = {"=": "exact", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[one.operator]
        wanted = Q(**{f"{field}__{lookup}": value})
    return _Part(Q(Exists(rows.filter(wanted))), of_column.filter(wanted).values_list("device_id"))


def _found(parts: Sequence[_Part], projects: Iterable[int]) -> list[int]:
    """One more than is counted of the ids that meet all parts, in the order of the ids.

    The part that the fewest devices meet is read from its own index, and the others are looked at for those alone: the
    database's own estimate of how many meet a condition on a value is worth nothing (all columns share one table).
    """
    fewest: list[int] | None = None
    others = list(parts)
    for part in parts:
        if part.ids is not None and (len(parts) > 1 or part.ids.model is not Device):
            most = MATCHES if fewest is None else len(fewest)
            ids = [row[0] for row in part.ids[: most + 1]]
            if len(ids) <= most:
                fewest, others = ids, [other for other in parts if other is not part]
    wanted = Device.objects.filter(_all_of(others), project_id__in=projects)
    if fewest is not None:
        wanted = wanted.filter(pk__any_of=fewest)
    return list(wanted.order_by("pk").values_list("pk", flat=True)[: MATCHES + 1])


@dataclass(frozen=True, slots=True)
class _Source:
    """The devices of ``projects`` (id → name); of them those with ids ``within``, or that meet ``condition``.

    With both, there are more than ``within``, which are some of those that meet the condition.
    """

    projects: Mapping[int, str]
    indexed: values.Indexed
    within: list[int] | None = None
    condition: Q | None = None

    def total(self) -> int:
        return Device.objects.filter(project_id__in=self.projects).count()

    def page(self, asked: Asked, offset: int, size: int, total: int) -> list[int]:
        """The ids of the ``size`` rows after ``offset`` of ``total``.

        Where many meet a condition the order is walked, which soon fills a page, unless those that meet it stand far
        down in it: then the page is of those that are known.
        """
        if self.condition is None or self.within is None:
            return self.ids(asked, offset, size, total)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {WALK_MS}")
                ids = replace(self, within=None).ids(asked, offset, size, total)
                cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
                return ids
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            return replace(self, condition=None).ids(asked, offset, size, total)

    def ids(self, asked: Asked, offset: int, size: int, total: int) -> list[int]:
        if size <= 0:
            return []
        if asked.sort_value:
            return self._by_value(asked, offset, size)
        if asked.key in GROUPED:
            return self._grouped(asked, offset, size)
        parts, keys = self._ordered(asked.key)
        reverse = asked.reverse != (asked.key == "last_message")
        # A walk over matches cannot begin at the other end: their number is not known.
        return self._slice(
            parts,
            keys,
            reverse=reverse,
            offset=offset,
            size=size,
            total=None if self.condition else total,
        )

    def _slice(
        self,
        parts: Sequence[QuerySet[Any]],
        order: Sequence[OrderBy],
        *,
        reverse: bool,
        offset: int,
        size: int,
        total: int | None = None,
    ) -> list[int]:
        if self.within is not None:
            order = [_sorted(each) for each in order]
        return bounded(parts, order, reverse=reverse, offset=offset, size=size, total=total)

    def all_ids(self, asked: Asked) -> Iterator[int]:
        """Every id in order, once."""
        if asked.sort_value:
            valued, keys = self._valued(asked)
            yield from _all(valued, keys, reverse=asked.reverse)
            yield from _all(self._without_value(asked), NAME, reverse=False)
            return
        if asked.key in GROUPED:
            for group in self._groups(asked):
                yield from _all(self._devices(Q(**{GROUPED[asked.key]: group})), NAME, reverse=False)
            return
        parts, keys = self._ordered(asked.key)
        yield from _all(parts, keys, reverse=asked.reverse != (asked.key == "last_message"))

    def _devices(self, also: Q | None = None) -> list[QuerySet[Any]]:
        """Queries that give the devices together, each from an index in the order of it: equality on one Project."""
        rows = Device.objects.filter(also) if also is not None else Device.objects.all()
        if self.within is not None and self.condition is None:
            return [rows.filter(pk__any_of=self.within)]
        if self.condition is not None:
            rows = rows.filter(self.condition)
        if len(self.projects) > MERGED:
            return [rows.filter(project_id__in=self.projects)]
        return [rows.filter(project_id=project) for project in self.projects] or [rows.none()]

    def _ordered(self, key: str) -> tuple[list[QuerySet[Any]], Sequence[OrderBy]]:
        """The rows and their ascending order by a column of the device or its state, the id last."""
        if key != "last_message":
            return self._devices(), (F(FIELDS.get(key, key)).asc(), F("id").asc())
        # The order of the index: newest first, and devices never heard at the end.
        if self.condition is None:
            states = DeviceState.objects.all()
            order = (F("last_message_at").desc(nulls_last=True), F("device_id").asc())
            if self.within is not None:
                return [states.filter(device_id__any_of=self.within)], order
            if len(self.projects) > MERGED:
                return [states.filter(project_id__in=self.projects)], order
            return [states.filter(project_id=project) for project in self.projects] or [states.none()], order
        order = (F("state__last_message_at").desc(nulls_last=True), F("state__device_id").asc())
        return [rows.filter(state__project_id=F("project_id")) for rows in self._devices()], order

    # --- by a group of few values ---

    def _grouped(self, asked: Asked, offset: int, size: int) -> list[int]:
        """Rows sorted by a group of few values and within it by name. A group is only counted where the page lies
        beyond it."""
        ids: list[int] = []
        for group in self._groups(asked):
            parts = self._devices(Q(**{GROUPED[asked.key]: group}))
            found = self._slice(
                parts,
                NAME,
                reverse=False,
                offset=offset,
                size=size - len(ids),
            )
            ids += found
            if len(ids) == size:
                break
            offset = 0 if found or not offset else max(0, offset - sum(rows.count() for rows in parts))
        return ids

    def _groups(self, asked: Asked) -> list[Any]:
        """All values of the column, in the order in which people read them."""
        if asked.key == "type":
            rows = DeviceType.objects.filter(
                Q(project=None) | Q(project_id__in=self.projects),
                # There are many types, and most Projects have devices of a few: one look into an index for each.
                Exists(Device.objects.filter(type=OuterRef("pk"), project_id__in=self.projects)),
            )
            names = {pk: (name.casefold(), pk) for pk, name in rows.values_list("pk", "name")}
            found: list[Any] = sorted(names, key=lambda pk: names[pk])
        else:
            orders = {"processing": Processing.values, "connection": Connection.values}
            found = list(orders.get(asked.key, self.projects))
        return found[::-1] if asked.reverse else found

    # --- by a value of the twin ---

    def _by_value(self, asked: Asked, offset: int, size: int) -> list[int]:
        """Devices that have the value, by it, and after them, in both directions, those that do not, by name."""
        parts, keys = self._valued(asked)
        ids = self._slice(parts, keys, reverse=asked.reverse, offset=offset, size=size)
        if len(ids) < size:
            beyond = 0 if ids else max(0, offset - sum(rows.count() for rows in parts))
            others = self._without_value(asked)
            ids += self._slice(
                others,
                NAME,
                reverse=False,
                offset=beyond,
                size=size - len(ids),
            )
        return ids

    def _valued(self, asked: Asked) -> tuple[list[QuerySet[Any]], Sequence[OrderBy]]:
        assert asked.sort_value is not None
        columns = self.indexed.of(asked.sort_value)
        if self.condition is not None:
            order = [F(f"column_values__{name}").asc() for name in ("number", "text", "device_id")]
            return [rows.filter(column_values__column_id__in=columns) for rows in self._devices()], order
        rows = ColumnValue.objects.all()
        order = [F(name).asc() for name in ("number", "text", "device_id")]
        if self.within is not None:
            return [rows.filter(column_id__in=columns, device_id__any_of=self.within)], order
        return [rows.filter(column_id=column) for column in columns] or [rows.none()], order

    def _without_value(self, asked: Asked) -> list[QuerySet[Any]]:
        assert asked.sort_value is not None
        columns = self.indexed.of(asked.sort_value)
        return self._devices(~Q(Exists(ColumnValue.objects.filter(device=OuterRef("pk"), column_id__in=columns))))


class _Unindexed(Func):
    """The same value as no index has it."""

    template = "(SELECT %(expressions)s)"


def _sorted(order: OrderBy) -> OrderBy:
    """The same order, sorted and not read from an index: of the ids that were found there are few, and an index walked
    for them would pass by all the others (which is what the planner would choose)."""
    copy = order.copy()
    copy.expression = _Unindexed(order.expression)
    return copy


NAME: Final[Sequence[OrderBy]] = (F("name").asc(), F("id").asc())


def _named(parts: Sequence[QuerySet[Any]], order: Sequence[OrderBy], *, reverse: bool) -> list[QuerySet[Any]]:
    """The parts with the expressions of ``order`` as their only columns k0, k1, …, sorted by them; the last is the
    id. The same names in every part, so that they can be merged."""
    names = [f"k{index}" for index in range(len(order))]
    columns = {name: each.expression for name, each in zip(names, order, strict=True)}
    return [
        rows.annotate(**columns).order_by(*_order(order, reverse=reverse)).values_list(*names, named=False)
        for rows in parts
    ]


def _order(order: Sequence[OrderBy], *, reverse: bool) -> list[OrderBy]:
    made = []
    for index, each in enumerate(order):
        copy = each.copy()
        copy.expression = F(f"k{index}")
        if reverse:
            copy.reverse_ordering()
        made.append(copy)
    return made


def bounded(
    parts: Sequence[QuerySet[Any]],
    order: Sequence[OrderBy],
    *,
    reverse: bool,
    offset: int,
    size: int,
    total: int | None,
) -> list[int]:
    """Ids of a slice of ``parts`` together in ``order``, whose last key is the id.

    With a ``total``, beyond the half it counts from the other end: no page skips more than half of the rows. Several
    parts are merged: each gives no more than the slice can need, in order, so that nothing is sorted.
    """
    from_end = total is not None and offset > total // 2
    if from_end:
        assert total is not None
        offset = max(0, total - offset - size)
    first, *others = _named(parts, order, reverse=reverse != from_end)
    if others:
        last = offset + size
        first = first[:last].union(*(rows[:last] for rows in others), all=True)
        first = first.order_by(*_order(order, reverse=reverse != from_end))
    ids = [row[-1] for row in first[offset : offset + size]]
    return ids[::-1] if from_end else ids


def _all(parts: Sequence[QuerySet[Any]], order: Sequence[OrderBy], *, reverse: bool) -> Iterator[int]:
    first, *others = _named(parts, order, reverse=reverse)
    if others:
        # The parts of a union may not be sorted by themselves without a limit.
        first = first.order_by().union(*(rows.order_by() for rows in others), all=True)
        first = first.order_by(*_order(order, reverse=reverse))
    return (row[-1] for row in first.iterator(chunk_size=10_000))


def rows_of(ids: Sequence[int], asked: Asked, projects: Mapping[int, str]) -> list[dict[str, Any]]:
    """The rows in the order of ``ids``, with the names of the Flows that the person may see and the values that are
    columns. As many queries for a thousand as for two."""
    more = [field for name, fields in MORE_FIELDS.items() if name in asked.columns for field in fields]
    rows = {row["id"]: row for row in Device.objects.filter(pk__any_of=list(ids)).values(*COLUMNS, *more)}
    names: dict[int, list[str]] = {}
    links = FlowLink.objects.filter(device_id__any_of=list(ids), flow__project_id__in=projects)
    for device_id, name in links.order_by("flow__name").values_list("device_id", "flow__name"):
        names.setdefault(device_id, []).append(name)
    cells = values.read(ids, asked.value_columns)
    for row in rows.values():
        network = connectivity.by_slug(row["type__connectivity"])
        row["managed"] = row["type__category"] == Category.MANAGED
        row["identifier_label"] = network.identifier_label
        row["reading"] = network.identifier_for_reading(row["identifier"])
        row["project_name"] = projects.get(row["project_id"], "")
        row["flow_names"] = names.get(row["id"], [])
        row["flows_elsewhere"] = max(0, row["flow_count"] - len(row["flow_names"]))
        row["values"] = cells.get(row["id"], {})
    # A device that goes away between two queries is left out.
    return [rows[pk] for pk in ids if pk in rows]


MORE_FIELDS: Final = {
    "health": ("state__health", "state__finding"),
    "barcode": ("barcode",),
    "description": ("description",),
    "added": ("created_at",),
}
