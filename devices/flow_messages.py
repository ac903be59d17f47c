"""The last messages through a Flow (F4), newest first.

The messages stand where each connectivity keeps what came from a device: frames (LoRa) and SenML packs (M2M,
Internet). No table has them by Flow, and none is needed: the newest messages of many devices are all among those of
the devices heard last, which an index of the devices' states gives; only their own messages are read then, by the
primary key. Deliveries would say it only of Flows with a destination, and not of which Flow; the Device Twin keeps the
last values and not the messages. What a device sent before it was linked did not go through the Flow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from flows.models import Flow

from . import connectivity
from .connectivity import Heard
from .flow_devices import SORTED_BY_NAME
from .models import Device, DeviceState, FlowLink

SHOWN: Final = 20
# A walk that has not found so many devices after this many milliseconds is given up.
WALK_MS: Final = 30
# Each Project's index of states gives its devices in the order in which they were heard.
WALK: Final = """
SELECT heard.device_id, heard.last_message_at
FROM unnest(%(projects)s::bigint[]) AS project (id)
CROSS JOIN LATERAL (
    SELECT state.device_id, state.last_message_at
    FROM devices_devicestate AS state
    WHERE state.project_id = project.id AND state.last_message_at >= %(since)s AND EXISTS (
        SELECT FROM devices_flowlink AS link WHERE link.device_id = state.device_id AND link.flow_id = %(flow)s OFFSET 0
    )
    ORDER BY state.last_message_at DESC NULLS LAST, state.device_id LIMIT %(limit)s
) AS heard
ORDER BY heard.last_message_at DESC, heard.device_id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Through:
    """A message through the Flow, and the device that sent it."""

    heard: Heard
    device_name: str
    managed: bool


def newest(flow: Flow, projects: Sequence[int], now: datetime, *, devices: int) -> list[Through] | None:
    """Of its devices in these Projects; ``devices``: how many it has. None where finding those heard last would take
    too long: many devices, silent among others that are not."""
    since = now - timedelta(days=settings.FRAME_RETENTION_DAYS)
    last = _heard_last(flow, projects, since) if devices <= SORTED_BY_NAME else _walked(flow, projects, since)
    if not last:
        return last if last is None else []
    # Where there are enough devices, no message older than the last one of each can be among the newest.
    oldest = min(last.values()) if len(last) == SHOWN else since
    linked = dict(
        FlowLink.objects.filter(flow=flow, device_id__any_of=list(last)).values_list("device_id", "linked_at")
    )
    rows = {
        row.pk: row
        for row in Device.objects.filter(pk__any_of=list(last), project_id__in=projects)
        .select_related("type")
        .only("name", "type__connectivity", "type__category")
    }
    asked: dict[str, list[tuple[int, datetime]]] = defaultdict(list)
    for pk, row in rows.items():
        if pk in linked:
            asked[row.type.connectivity].append((pk, max(oldest, linked[pk])))
    found = [one for kind, pairs in asked.items() for one in connectivity.by_slug(kind).newest(pairs, SHOWN)]
    found.sort(key=lambda one: (one.at, one.device_id), reverse=True)
    return [Through(one, rows[one.device_id].name, rows[one.device_id].type.is_managed) for one in found[:SHOWN]]


def _heard_last(flow: Flow, projects: Sequence[int], since: datetime) -> dict[int, datetime]:
    ids = list(FlowLink.objects.filter(flow=flow).values_list("device_id", flat=True))
    rows = DeviceState.objects.filter(pk__any_of=ids, project_id__in=projects, last_message_at__gte=since)
    newest = rows.order_by("-last_message_at", "pk").values_list("pk", "last_message_at")[:SHOWN]
    return {pk: at for pk, at in newest if at is not None}


def _walked(flow: Flow, projects: Sequence[int], since: datetime) -> dict[int, datetime] | None:
    values: dict[str, Any] = {"projects": list(projects), "flow": flow.pk, "since": since, "limit": SHOWN}
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {WALK_MS}")
            cursor.execute(WALK, values)
            found = dict(cursor.fetchall())
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
            return found
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return None
