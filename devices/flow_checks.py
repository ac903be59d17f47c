"""The warnings of Flows that are kept as data (F3), because finding them looks at every device of a Flow.

They are counted apart from the pages: a Flow whose decoding, links or device types have changed says ``recheck``, and
every so often all with a decoding of their own do, for the changes that nobody told of.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django_scopes import scopes_disabled

from codec import decoders
from flows.models import Flow

from .models import ConnectivityKind, DeviceType, FlowLink

# So many Flows by one task.
SET: Final = 200
# Codecs in trouble are counted for all Flows at once, from the devices in trouble, of which there are few.
COUNT_TROUBLE: Final = """
WITH counted AS (
    SELECT link.flow_id, count(*) AS devices
    FROM devices_codecproblem AS problem
    JOIN devices_device AS device ON device.id = problem.device_id
    JOIN devices_devicetype AS type ON type.id = device.type_id AND type.codec_id IS NOT NULL
    JOIN devices_flowlink AS link ON link.device_id = problem.device_id
    JOIN flows_flow AS flow ON flow.id = link.flow_id AND flow.decoder IN ('', %s)
    GROUP BY link.flow_id
), changed AS (
    SELECT flow.id, coalesce(counted.devices, 0) AS devices
    FROM flows_flow AS flow LEFT JOIN counted ON counted.flow_id = flow.id
    WHERE flow.troubled <> coalesce(counted.devices, 0)
    ORDER BY flow.id FOR NO KEY UPDATE OF flow
)
UPDATE flows_flow AS flow SET troubled = changed.devices FROM changed WHERE flow.id = changed.id
"""


def unfit(flow: Flow) -> int:
    """How many LoRa devices of the Flow are of a type that its decoding does not fit; SenML devices need none."""
    if not flow.decoder:
        return 0
    # The few types first: the links are then counted by what each device says of its type.
    types = DeviceType.objects.filter(connectivity=ConnectivityKind.LORA)
    if flow.decoder == decoders.CODEC:
        types = types.filter(codec=None)
    else:
        types = types.exclude(decoders__contains=[flow.decoder])
    return FlowLink.objects.filter(flow=flow, device__type__in=types.values("pk")).count()


def check() -> int:
    """Count again what says so; how many Flows it looked at."""
    with scopes_disabled():
        ids = list(Flow.objects.filter(recheck=True).order_by("pk").values_list("pk", flat=True)[:SET])
        for pk in ids:
            _check_one(pk)
    return len(ids)


def count_trouble() -> None:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_TROUBLE, [decoders.CODEC])


def _check_one(flow_id: int) -> None:
    with transaction.atomic():
        # Waits for those who are linking; who comes later says "again" again.
        rows = Flow.objects.select_for_update().filter(pk=flow_id)
        flow = rows.first()
        if flow is None:
            return
        rows.update(recheck=False)
    counted = unfit(flow)
    Flow.objects.filter(pk=flow_id, decoder=flow.decoder).exclude(unfit=counted).update(unfit=counted)


def type_changed(device_type: DeviceType) -> None:
    """Another codec or other decoders: what fitted may not fit any more."""
    with scopes_disabled():
        rows = Flow.objects.exclude(decoder="").filter(recheck=False)
        mine = rows.filter(project_id=device_type.project_id) if device_type.project_id else rows
        mine.update(recheck=True)


def check_all() -> None:
    """Have all Flows with a decoding of their own looked at again."""
    with scopes_disabled():
        Flow.objects.exclude(decoder="").filter(recheck=False).update(recheck=True)
