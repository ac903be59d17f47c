"""The bench's data: 100,000 devices in one Project, made by SQL; :mod:`.lora` gives them frames."""

from __future__ import annotations

import time

from django.db import connection, transaction

from accounts.models import Membership, Project, Role, Subscription, User
from flows.services import create_flow
from lora.models import Network, NetworkKind

PROJECT = "Bench"
OPERATOR = "bench@example.com"
NETWORK = "bench-thingpark"
AS_KEY = "0123456789abcdef0123456789abcdef"


def prepare(devices: int) -> float:
    """Load the devices unless a former run has; seconds that it took (0 where they were there)."""
    if Project.objects.filter(name=PROJECT).exists():
        return 0.0
    started = time.perf_counter()
    with transaction.atomic():
        project = Project.objects.create(name=PROJECT, subscription=Subscription.objects.get(slug="modular"))
        person = User.objects.create_user(OPERATOR, None)
        Membership.objects.create(user=person, project=project, role=Role.OPERATOR)
        flow = create_flow(project=project, name="Everything", actor=person)
        network = Network(slug=NETWORK, name="Bench", kind=NetworkKind.THINGPARK, max_drift_seconds=0)
        network.set_as_key(AS_KEY)
        network.save()
        _devices(project.pk, flow.pk, network.pk, devices)
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
