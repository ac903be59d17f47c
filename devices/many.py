"""What :mod:`devices.services` does with one device, done with some hundreds at once: a handful of statements each.

All are called in a transaction in which the devices are locked and are known to be in a state in which it makes
sense. Each change has its audit record. Links to Flows and the processing status move together (D7).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db import connection
from django.db.models import Case, F, Value, When

from accounts import audit
from accounts.models import Project, User
from flows import services as flow_services
from flows.models import Flow

from . import activity, connectivity, values
from .models import CodecProblem, Device, DeviceState, FlowLink, Processing
from .services import hold_flow, with_flows

# The old status is read in the same statement: the rows are locked.
SWITCH: Final = """
UPDATE devices_device AS device
SET processing_status = CASE WHEN %(on)s AND device.flow_count > 0 THEN 'active'
    WHEN %(on)s THEN 'not_linked' ELSE 'deactivated' END
FROM devices_device AS former
WHERE device.id = ANY(%(ids)s) AND former.id = device.id AND (device.processing_status = 'deactivated') = %(on)s
RETURNING device.id, device.project_id, device.name, former.processing_status, device.processing_status
"""


def activate(ids: Sequence[int], actor: User | None) -> None:
    _switch(ids, actor, on=True)


def deactivate(ids: Sequence[int], actor: User | None) -> None:
    _switch(ids, actor, on=False)


def _switch(ids: Sequence[int], actor: User | None, *, on: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SWITCH, {"ids": list(ids), "on": on})
        rows = cursor.fetchall()
    audit.record_many(
        [
            audit.Change(project, name, pk, {"processing": before}, {"processing": after})
            for pk, project, name, before, after in rows
        ],
        actor=actor,
        action="device.activated" if on else "device.deactivated",
    )
    if on:
        activity.tell(ids)


def link(ids: Sequence[int], flow: Flow, actor: User | None) -> None:
    """Put devices that are not in the Flow into it. Raises DeviceError where it is gone."""
    hold_flow(flow)
    FlowLink.objects.bulk_create([FlowLink(device_id=pk, flow=flow) for pk in ids])
    flow_services.recheck([flow.pk])
    Device.objects.filter(pk__in=ids).update(flow_count=F("flow_count") + 1, processing_status=with_flows())
    _record(ids, actor, "device.linked", after={"flow": flow.name, "flow_id": flow.pk})
    activity.tell(ids)


def unlink(ids: Sequence[int], flow: Flow, actor: User | None) -> None:
    """Take devices that are in the Flow out of it."""
    FlowLink.objects.filter(device__in=ids, flow=flow).delete()
    flow_services.recheck([flow.pk])
    Device.objects.filter(pk__in=ids).update(
        flow_count=F("flow_count") - 1,
        processing_status=Case(
            When(processing_status=Processing.ACTIVE, flow_count=1, then=Value(Processing.NOT_LINKED.value)),
            default=F("processing_status"),
        ),
    )
    _record(ids, actor, "device.unlinked", before={"flow": flow.name, "flow_id": flow.pk})


def _record(
    ids: Sequence[int],
    actor: User | None,
    action: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    rows = Device.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "project_id", "name")
    audit.record_many(
        [audit.Change(project, name, pk, before or {}, after or {}) for pk, project, name in rows],
        actor=actor,
        action=action,
    )


LEAVE_FLOWS: Final = """
DELETE FROM devices_flowlink AS link USING devices_device AS device, flows_flow AS flow
WHERE device.id = ANY(%(ids)s) AND link.device_id = device.id AND flow.id = link.flow_id
    AND flow.project_id = device.project_id
"""
MOVE: Final = """
UPDATE devices_device AS device
SET project_id = %(project)s, flow_count = linked.flows,
    processing_status = CASE WHEN device.processing_status = 'deactivated' THEN 'deactivated'
        WHEN linked.flows > 0 THEN 'active' ELSE 'not_linked' END
FROM (
    SELECT chosen AS id, (SELECT count(*) FROM devices_flowlink WHERE device_id = chosen) AS flows
    FROM unnest(%(ids)s::bigint[]) AS chosen
) AS linked
WHERE device.id = linked.id
"""


def move(ids: Sequence[int], project: Project, actor: User | None) -> None:
    """Give devices of other Projects to this one. They leave the Flows of the Project that they come from; history,
    Device Twin, identifiers and network info, the SIM among them, go along; its audit entries stay where they are.

    Each Project's record is its own: people of one learn nothing of the other.
    """
    rows = list(
        Device.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "project_id", "name", "type__connectivity")
    )
    with connection.cursor() as cursor:
        cursor.execute(LEAVE_FLOWS, {"ids": list(ids)})
        cursor.execute(MOVE, {"ids": list(ids), "project": project.pk})
    DeviceState.objects.filter(device__in=ids).update(project_id=project.pk)
    CodecProblem.objects.filter(device_id__in=ids).update(project_id=project.pk)
    kinds: dict[str, list[int]] = defaultdict(list)
    for pk, _from, _name, kind in rows:
        kinds[kind].append(pk)
    for kind, of_kind in kinds.items():
        connectivity.by_slug(kind).moved(of_kind, project)
    values.moved(ids, away_from={row[1] for row in rows})
    audit.record_many(
        [audit.Change(left, name, pk) for pk, left, name, _kind in rows], actor=actor, action="device.moved_away"
    )
    audit.record_many(
        [audit.Change(project.pk, name, pk) for pk, _left, name, _kind in rows],
        actor=actor,
        action="device.moved_here",
    )
