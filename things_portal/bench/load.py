"""The bench's data: 100,000 devices in one Project and 10 million frames over the retention, made by SQL."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Membership, Project, Role, Subscription, User
from common import partitions
from flows.services import create_flow
from lora.models import Network, NetworkKind

PROJECT = "Bench"
OPERATOR = "bench@example.com"
NETWORK = "bench-thingpark"
AS_KEY = "0123456789abcdef0123456789abcdef"
HOT_DEVICES = 1000
STEP = 500_000


@dataclass(frozen=True, slots=True)
class Size:
    devices: int
    frames: int


def prepare(size: Size) -> float:
    """Load the data unless a former run has; seconds that it took (0 where it was there)."""
    if Project.objects.filter(name=PROJECT).exists():
        return 0.0
    started = time.perf_counter()
    partitions.maintain(timezone.now())
    with transaction.atomic():
        project = Project.objects.create(name=PROJECT, subscription=Subscription.objects.get(slug="modular"))
        person = User.objects.create_user(OPERATOR, None)
        Membership.objects.create(user=person, project=project, role=Role.OPERATOR)
        flow = create_flow(project=project, name="Everything", actor=person)
        network = Network(slug=NETWORK, name="Bench", kind=NetworkKind.THINGPARK, max_drift_seconds=0)
        network.set_as_key(AS_KEY)
        network.save()
        _devices(project.pk, flow.pk, network.pk, size.devices)
    _frames(size)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return time.perf_counter() - started


def _devices(project_id: int, flow_id: int, network_id: int, count: int) -> None:
    statements = [
        (
            """
            INSERT INTO devices_device (project_id, type_id, name, barcode, description, identifier,
                processing_status, connection_status, connection_reason, flow_count, created_at, creation_token)
            SELECT %s, (SELECT id FROM devices_devicetype WHERE slug = 'own-lora-preset'),
                (ARRAY['Sensor','Meter','Valve','Tracker','Gate'])[1 + n %% 5] || ' ' || md5(n::text)::varchar(6)
                    || ' ' || n, '', '', upper(lpad(to_hex(n), 16, '0')), 'active', 'active', '', 1, now(), NULL
            FROM generate_series(1, %s) AS n
            """,
            [project_id, count],
        ),
        (
            """
            INSERT INTO devices_devicestate (device_id, project_id, last_message_at, previous_message_at, messages)
            SELECT id, project_id, now() - random() * interval '3 days', now() - interval '3 days', 100
            FROM devices_device WHERE project_id = %s
            """,
            [project_id],
        ),
        (
            """
            INSERT INTO devices_flowlink (device_id, flow_id, linked_at)
            SELECT id, %s, now() FROM devices_device WHERE project_id = %s
            """,
            [flow_id, project_id],
        ),
        (
            """
            INSERT INTO devices_identity (urn, device_id, since)
            SELECT 'DEVEUI:' || identifier, id, now() FROM devices_device WHERE project_id = %s
            """,
            [project_id],
        ),
        (
            """
            INSERT INTO lora_loraidentity (device_id, dev_eui, app_eui, app_key, network_id, created_at)
            SELECT id, identifier, '70B3D57ED0000001', '', %s, now() FROM devices_device WHERE project_id = %s
            """,
            [network_id, project_id],
        ),
        (
            """
            INSERT INTO twin_twin (device_id, reported, version, updated_at)
            SELECT id, jsonb_build_object('temperature', jsonb_build_object('v', 20, 'u', 'Cel', 't', 0)), 1, now()
            FROM devices_device WHERE project_id = %s
            """,
            [project_id],
        ),
    ]
    with connection.cursor() as cursor:
        for statement, parameters in statements:
            cursor.execute(statement, parameters)


# Nine of ten frames are spread over all devices; every tenth is of one of the few that send often.
FRAMES = """
INSERT INTO lora_frame (device_id, received_at, seq, fcnt, rssi, snr, esp, frequency_hz, fport, direction, kind,
    spreading_factor, gateway_count, adr, channel, payload, mac, detail)
SELECT low + CASE WHEN n %% 10 = 0 THEN (n / 10) %% {hot} ELSE n %% {devices} END,
    now() - interval '30 days' * (1 - n::float8 / {frames}), n %% 2000000000, n / {devices},
    -60 - n %% 60, 10 - n %% 25, -62 - n %% 60, 868100000, 1, CASE WHEN n %% 20 = 0 THEN 1 ELSE 0 END, 2,
    7 + n %% 6, 1 + n %% 4, true, 'LC1', decode(md5(n::text), 'hex'), '',
    '{{"mic": "00000000", "receptions": [{{"gateway": "7076FF0056060B8A", "rssi": -100, "snr": 5}}]}}'
FROM generate_series(%s, %s) AS n, (SELECT min(id) AS low FROM devices_device WHERE project_id = %s) AS first
"""


def _frames(size: Size) -> None:
    project_id = Project.objects.get(name=PROJECT).pk
    statement = FRAMES.format(hot=HOT_DEVICES, devices=size.devices, frames=size.frames)
    with connection.cursor() as cursor:
        for first in range(1, size.frames + 1, STEP):
            cursor.execute(statement, [first, min(first + STEP - 1, size.frames), project_id])
