"""Deleting a Flow: asked for once, then its devices are taken out set by set, and at last the Flow goes.

A Flow with a hundred thousand devices takes longer than a page may: ``deletion_asked_at`` is the mark "being deleted",
and the row is the queue. From that mark on the Flow is disabled, so that none of its devices is processed in it, and
nothing is linked to it. Two that work on it at once do no harm: each set looks at the links again once it has its
devices. Locks are taken in one order, as by whoever links: devices, then the Flow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import User
from common import doorbell
from flows import deliveries
from flows.models import Destination, Flow

from . import flow_devices
from .models import FlowLink

SET: Final = 500
# As long as a request may work on it; a Flow of some thousands of devices is gone by then.
AT_ONCE: Final = timedelta(seconds=1)
# The worker's other tasks wait so long behind it.
BUDGET: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What deleting means: how many devices are in no Flow then, how many stay in another; its destinations with how
    many messages wait for each, and whether another Flow leads there."""

    only_here: int
    elsewhere: int
    destinations: list[tuple[Destination, int, bool]]

    @property
    def devices(self) -> int:
        return self.only_here + self.elsewhere

    @property
    def waiting(self) -> int:
        return sum(waiting for _destination, waiting, _used in self.destinations)


def meaning(flow: Flow) -> Meaning:
    links = FlowLink.objects.filter(flow=flow)
    total, only_here = links.count(), links.filter(device__flow_count=1).count()
    destinations = list(flow.destinations.defer("secrets").order_by("name", "pk"))
    ids = [each.pk for each in destinations]
    waiting = deliveries.waiting(ids, timezone.now())
    used = set(
        Destination.objects.filter(pk__in=ids, flow_links__flow__in=Flow.objects.exclude(pk=flow.pk)).values_list(
            "pk", flat=True
        )
    )
    return Meaning(only_here, total - only_here, [(each, waiting[each.pk], each.pk in used) for each in destinations])


def delete(*, flow: Flow, actor: User) -> bool:
    """Begin, and do as much as there is time for at once: True where the Flow is gone, False where workers go on. A
    second time it changes nothing."""
    from . import tasks

    with transaction.atomic():
        rows = Flow.objects.filter(pk=flow.pk, deletion_asked_at=None)
        devices = FlowLink.objects.filter(flow=flow).count()
        facts = {"deletion_asked_at": timezone.now(), "deletion_asked_by": actor, "deletion_devices": devices}
        if rows.update(enabled=False, **facts):
            _record(flow, actor, "flow.deletion_requested", devices=devices)
    if go_on(flow.pk, AT_ONCE):
        return True
    with transaction.atomic():
        doorbell.ring(tasks.delete_flow, flow.pk)
    return False


def go_on(flow_id: int, budget: timedelta = BUDGET) -> bool:
    """Some sets of the Flow that is being deleted; True once it is gone."""
    until = time.monotonic() + budget.total_seconds()
    with scopes_disabled():
        flow = Flow.objects.select_related("deletion_asked_by").filter(pk=flow_id).first()
        if flow is None:
            return True
        if flow.deletion_asked_at is None:
            return False
        while True:
            if not _one_set(flow) and _end(flow):
                return True
            if time.monotonic() >= until:
                return False


def due() -> list[int]:
    """Flows that are being deleted: their worker or doorbell may have been lost."""
    with scopes_disabled():
        rows = Flow.objects.filter(deletion_asked_at__isnull=False).order_by("deletion_asked_at")
        return list(rows.values_list("pk", flat=True)[:100])


def _one_set(flow: Flow) -> int:
    """Take some devices out; how many it found."""
    links = FlowLink.objects.filter(flow=flow)
    ids = list(links.order_by("device_id").values_list("device_id", flat=True)[:SET])
    flow_devices.unlink(flow=flow, ids=ids, projects=None, actor=flow.deletion_asked_by)
    return len(ids)


@transaction.atomic
def _end(flow: Flow) -> bool:
    """Remove the Flow itself; False where somebody who was about to link when it was asked for has linked a device."""
    # Waits for whoever holds the Flow, and keeps out those that come later.
    held = Flow.objects.select_for_update(of=("self",)).filter(pk=flow.pk).first()
    if held is None:
        return True
    if FlowLink.objects.filter(flow=held).exists():
        return False
    _record(held, flow.deletion_asked_by, "flow.deleted", devices=held.deletion_devices)
    held.delete()
    return True


def _record(flow: Flow, actor: User | None, action: str, *, devices: int) -> None:
    before = {"name": flow.name, "decoder": flow.decoder, "devices": devices}
    audit.record(project_id=flow.project_id, actor=actor, action=action, target=flow.name, before=before)
