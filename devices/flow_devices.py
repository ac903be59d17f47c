"""The devices of a Flow, from the Flow's side: those in it, those that may come into it, and both many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts.models import User
from flows.models import Flow

from . import connectivity, live, many, services
from .filters import MERGED, NAME, bounded, matching
from .models import Category, Device, FlowLink

PAGE_SIZE: Final = 50
# Sorting by name and telling who may see a device joins every device of the Flow; a larger Flow is paged in the order
# of its index, and only the devices of the page are looked at.
SORTED_BY_NAME: Final = 2000
COLUMNS: Final = (
    "pk", "name", "identifier", "type__name", "type__category", "type__connectivity", "project_id", "project__name",
    "processing_status", "connection_status",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class InFlow:
    """A page of a Flow's devices. ``total``: of the Flow, whoever may see them; ``elsewhere``: of them those of
    Projects that the person is not in, None where that is not counted; ``more``: there is another page."""

    rows: list[dict[str, Any]]
    total: int
    elsewhere: int | None
    number: int
    more: bool


def in_flow(flow: Flow, projects: Sequence[int], query: str, number: int) -> InFlow:
    """Page ``number`` of its devices in these Projects, or of those that match. Devices of others are not named (P1).
    Five queries at most, by index, each over a bounded number of rows but for the count of the Flow's links."""
    links = FlowLink.objects.filter(flow=flow)
    total = links.count()
    small = total <= SORTED_BY_NAME
    number = number if query else min(number, max(1, -(-total // PAGE_SIZE)))
    first, last = (number - 1) * PAGE_SIZE, number * PAGE_SIZE + 1
    elsewhere = 0 if query else None
    if small:
        linked = list(links.values_list("device_id", flat=True))
        seen = Device.objects.filter(pk__any_of=linked, project_id__in=projects)
        seen = seen.filter(matching(query)) if query else seen
        ids = list(seen.order_by("name", "pk").values_list("pk", flat=True))
        elsewhere = 0 if query else total - len(ids)
        ids = ids[first:last]
    elif query:
        ids = _matches(Exists(links.filter(device_id=OuterRef("pk"))), projects, query, number)
    else:
        ids = list(links.order_by("device_id").values_list("device_id", flat=True)[first:last])
    return InFlow(_rows(flow, ids[:PAGE_SIZE], projects), total, elsewhere, number, len(ids) > PAGE_SIZE)


def linkable(flow: Flow, query: str, number: int) -> tuple[list[dict[str, Any]], bool]:
    """A page of the devices of the Flow's Project that are not in it, by name, those that match where something is
    searched; and whether there are more."""
    linked = FlowLink.objects.filter(flow=flow, device_id=OuterRef("pk"))
    ids = _matches(~Exists(linked), [flow.project_id], query, number)
    return _rows(flow, ids[:PAGE_SIZE], [flow.project_id]), len(ids) > PAGE_SIZE


def _matches(condition: Any, projects: Sequence[int], query: str, number: int) -> list[int]:
    """The ids of a page by name, and one more where there is another page. Each Project's index of names is walked, or
    that of the search is read where few match."""
    found = Device.objects.filter(condition)
    found = found.filter(matching(query)) if query else found
    parts = [found.filter(project_id=pk) for pk in projects] if len(projects) <= MERGED else []
    return bounded(
        parts or [found.filter(project_id__in=projects)],
        NAME,
        reverse=False,
        offset=(number - 1) * PAGE_SIZE,
        size=PAGE_SIZE + 1,
        total=None,
    )


def _rows(flow: Flow, ids: list[int], projects: Sequence[int]) -> list[dict[str, Any]]:
    """In the order of ``ids``."""
    rows = {row["pk"]: row for row in Device.objects.filter(pk__any_of=ids, project_id__in=projects).values(*COLUMNS)}
    linked = dict(FlowLink.objects.filter(flow=flow, device_id__any_of=ids).values_list("device_id", "linked_at"))
    for row in rows.values():
        row["managed"] = row["type__category"] == Category.MANAGED
        row["reading"] = connectivity.by_slug(row["type__connectivity"]).identifier_for_reading(row["identifier"])
        row["linked_at"] = linked.get(row["pk"])
    return [rows[pk] for pk in ids if pk in rows]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Devices that a person chose: ``ids`` in order, the first of their ``names``, how many are in this Flow alone."""

    ids: list[int]
    names: list[str]
    only_here: int

    @property
    def others(self) -> int:
        return len(self.ids) - len(self.names)


NAMED: Final = 20


def chosen(flow: Flow, ids: Sequence[int], projects: Sequence[int]) -> Chosen:
    """Of ``ids`` those that are in the Flow, in Projects that the person may change."""
    rows = Device.objects.filter(pk__any_of=list(ids), project_id__in=projects, flow_links__flow=flow)
    found = list(rows.order_by("name", "pk").values_list("pk", "name", "flow_count"))
    return Chosen(
        [pk for pk, _name, _count in found],
        [name for _pk, name, _count in found[:NAMED]],
        sum(count == 1 for _pk, _name, count in found),
    )


def processed(flow: Flow) -> tuple[int, int]:
    """Of its devices, how many are in no other enabled Flow, and how many are: what only this one processes comes
    first."""
    links = FlowLink.objects.filter(flow=flow)
    others = FlowLink.objects.filter(device_id=OuterRef("device_id"), flow__enabled=True).exclude(flow=flow)
    total, elsewhere = links.count(), links.filter(Exists(others)).count()
    return total - elsewhere, elsewhere


@transaction.atomic
def link(*, flow: Flow, ids: Sequence[int], actor: User) -> int:
    """Put devices of the Flow's Project into it; how many were not in it before. Raises DeviceError where the Flow is
    gone."""
    held = _held(ids, [flow.project_id])
    services.hold_flow(flow)
    inside = set(FlowLink.objects.filter(flow=flow, device_id__in=held).values_list("device_id", flat=True))
    new = [pk for pk in held if pk not in inside]
    if new:
        many.link(new, flow, actor)
        _tell(new)
    return len(new)


@transaction.atomic
def unlink(*, flow: Flow, ids: Sequence[int], projects: Sequence[int] | None, actor: User | None) -> int:
    """Take devices of these Projects (None: of any) out of the Flow; how many were in it."""
    held = _held(ids, projects)
    # Read after the locks are there: somebody else may have unlinked some of them meanwhile.
    inside = list(FlowLink.objects.filter(flow=flow, device_id__in=held).values_list("device_id", flat=True))
    if inside:
        many.unlink(inside, flow, actor)
        _tell(inside)
    return len(inside)


def _held(ids: Sequence[int], projects: Sequence[int] | None) -> list[int]:
    """The devices that are there, locked: counts and statuses follow their links."""
    rows = Device.objects.filter(pk__any_of=list(ids)).order_by("pk")
    rows = rows if projects is None else rows.filter(project_id__in=projects)
    return list(rows.select_for_update(no_key=True, of=("self",)).values_list("pk", flat=True))


def _tell(ids: Sequence[int]) -> None:
    changes = [(pk, ("status", "twin", "downlinks")) for pk in ids]
    transaction.on_commit(lambda: live.publish(changes))
