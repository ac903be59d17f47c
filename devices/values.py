"""Values of the twin as columns of All Devices (D11): shown, and, once indexed, sorted and filtered by.

Shown: read from the twins of one page. Sorted or filtered by: from :class:`~devices.models.ColumnValue`, an index that
is made for a key of a Project when somebody first asks for it, follows the twin in its own transactions, and is given
up when nobody has asked for a month. The twin itself has no index on its values: every message would pay for it.

The twin stands above this app; it brings its part through :func:`provide`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from common import doorbell

from .asked import ValueKey
from .models import ColumnValue, Device, ValueColumn

# Filled at once, in the request that first asks: more are filled by a worker.
AT_ONCE: Final = 5_000
SET: Final = 5_000
# Of one Project; whoever asks for more gets those that exist.
MOST: Final = 40
UNUSED: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: ``raw`` as the device sent it (JSON), ``text`` and ``unit`` as people read it, when it was received
    (reported), asked for (desired) or changed (metadata)."""

    raw: Any
    text: str
    unit: str = ""
    at: datetime | None = None
    number: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """A value that devices are known to have, to choose from."""

    key: ValueKey
    label: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """What the twin brings. ``read``: cells of some devices; ``fill``: index the column for the devices with ids in
    (after, up to]; ``known``: values that the devices of some Projects have, from a bounded sample; ``follow``: index
    the values of some devices in the columns of the Projects that they are in."""

    read: Callable[[Sequence[int], Sequence[ValueKey]], dict[int, dict[ValueKey, Cell]]]
    fill: Callable[[int, int, int], None]
    known: Callable[[Iterable[int]], list[Known]]
    follow: Callable[[Sequence[int]], None]


_provider: list[Provider] = []


def provide(provider: Provider) -> None:
    """Called once, from ``AppConfig.ready``."""
    _provider[:] = [provider]


def read(ids: Sequence[int], keys: Sequence[ValueKey]) -> dict[int, dict[ValueKey, Cell]]:
    """The cells of the devices; what a device does not have is not in it. One query, none without keys."""
    return _provider[0].read(ids, keys) if ids and keys else {}


def moved(ids: Sequence[int], *, away_from: Iterable[int]) -> None:
    """The devices have left these Projects for another: out of the columns of the former, into those of the latter.
    In the transaction of the move."""
    ColumnValue.objects.filter(device__in=ids, column__project__in=list(away_from)).delete()
    if _provider:
        _provider[0].follow(ids)


def known(projects: Iterable[int]) -> list[Known]:
    return _provider[0].known(projects)


@dataclass(frozen=True, slots=True)
class Indexed:
    """The indexes of some values: ``columns``: id by (Project, value); ``filling``: still being made; ``refused``:
    the Project has too many."""

    columns: Mapping[tuple[int, ValueKey], int]
    filling: frozenset[ValueKey] = frozenset()
    refused: frozenset[ValueKey] = frozenset()

    def of(self, key: ValueKey) -> list[int]:
        """The ids of the value's columns, over the Projects."""
        return [pk for (_project, each), pk in self.columns.items() if each == key]


def indexed(projects: Iterable[int], keys: Sequence[ValueKey], *, now: datetime | None = None) -> Indexed:
    """The indexes of the values in the Projects; those that are missing are made (small) or begun (large)."""
    if not keys:
        return Indexed({})
    projects, now = list(projects), now or timezone.now()
    found = _columns(projects, keys)
    missing = [(project, key) for project in projects for key in keys if (project, key) not in found]
    refused: set[ValueKey] = set()
    if missing:
        refused = _begin(missing, now)
        found = _columns(projects, keys)
    stale = [row.pk for row in found.values() if row.used_at < now - timedelta(days=1)]
    if stale:
        ValueColumn.objects.filter(pk__in=stale).update(used_at=now)
    filling = frozenset(key for (_project, key), row in found.items() if row.filled_to is not None)
    return Indexed({each: row.pk for each, row in found.items()}, filling, frozenset(refused))


def _columns(projects: list[int], keys: Sequence[ValueKey]) -> dict[tuple[int, ValueKey], ValueColumn]:
    wanted = Q()
    for key in keys:
        wanted |= Q(source=key.source, key=key.key)
    rows = ValueColumn.objects.filter(wanted, project_id__in=projects)
    return {(row.project_id, ValueKey(row.source, row.key)): row for row in rows}


def _begin(missing: list[tuple[int, ValueKey]], now: datetime) -> set[ValueKey]:
    """Make the rows, committed before anything is read: from then on every change of a twin writes its value. Gives
    the values for which a Project has no room."""
    from . import tasks

    refused: set[ValueKey] = set()
    for project, key in missing:
        if ValueColumn.objects.filter(project_id=project).count() >= MOST:
            refused.add(key)
            continue
        ValueColumn.objects.bulk_create(
            [ValueColumn(project_id=project, source=key.source, key=key.key, used_at=now)], ignore_conflicts=True
        )
        row = ValueColumn.objects.get(project_id=project, source=key.source, key=key.key)
        count = Device.objects.filter(project_id=project)[: AT_ONCE + 1].count()
        if count <= AT_ONCE:
            fill(row.pk)
        else:
            doorbell.ring(tasks.fill_value_column, row.pk)
    return refused


def fill(column_id: int, *, sets: int | None = None) -> bool:
    """Go on with filling the column, ``sets`` of devices at most; True where it is full. A worker that dies is
    followed by one that begins after the last set; a set that is filled twice is the same."""
    while sets is None or sets > 0:
        with transaction.atomic():
            row = ValueColumn.objects.select_for_update(skip_locked=True).filter(pk=column_id).first()
            # Gone, or somebody else is at it.
            if row is None or row.filled_to is None:
                return True
            ids = Device.objects.filter(project_id=row.project_id, pk__gt=row.filled_to).order_by("pk")
            last = ids.values_list("pk", flat=True)[SET - 1 : SET].first()
            _provider[0].fill(column_id, row.filled_to, last if last is not None else 2**62)
            ValueColumn.objects.filter(pk=column_id).update(filled_to=last)
        if last is None:
            return True
        sets = None if sets is None else sets - 1
    return False


def progress(keys: Iterable[ValueKey], projects: Iterable[int]) -> int:
    """How many of a hundred parts of the devices are in the indexes that are being filled."""
    wanted = list(keys)
    rows = [row for row in _columns(list(projects), wanted).values() if row.filled_to is not None] if wanted else []
    if not rows:
        return 100
    row = min(rows, key=lambda each: each.filled_to or 0)
    devices = Device.objects.filter(project_id=row.project_id)
    first = devices.order_by("pk").values_list("pk", flat=True).first() or 0
    last = devices.order_by("-pk").values_list("pk", flat=True).first() or 1
    return max(0, min(99, 100 * ((row.filled_to or 0) - first) // max(1, last - first)))


def unfilled() -> list[int]:
    """Columns that are not full: their worker or doorbell may have been lost."""
    return list(ValueColumn.objects.exclude(filled_to=None).order_by("pk").values_list("pk", flat=True)[:100])


def give_up_unused(now: datetime) -> int:
    """Remove the indexes that nobody has asked for; how many."""
    rows = ValueColumn.objects.filter(used_at__lt=now - UNUSED)
    count = rows.count()
    rows.delete()
    return count
