"""The bench of All Devices at a million: a Project of that size with twins of twenty values, and the pages over it."""

from __future__ import annotations

import time

from django.db import connection, transaction
from django_scopes import scope

from accounts.models import Membership, Project, Role, Subscription, User
from devices import values
from devices.asked import ValueKey
from devices.models import Device
from flows.services import create_flow

PROJECT = "Fleet"
OPERATOR = "fleet@example.com"
STEP = 50_000

DEVICES = """
INSERT INTO devices_device (project_id, type_id, name, barcode, description, identifier, processing_status,
    connection_status, connection_reason, flow_count, created_at, creation_token)
SELECT %(project)s,
    (SELECT id FROM devices_devicetype WHERE slug = (ARRAY['own-lora-preset', 'own-lora', 'own-internet'])[1 + n %% 3]),
    (ARRAY['Sensor','Meter','Valve','Tracker','Gate'])[1 + n %% 5] || ' ' || md5(n::text)::varchar(6) || ' ' || n,
    'REF-' || n, '', upper(lpad(to_hex(n::bigint + 1099511627776), 16, '0')),
    CASE WHEN n %% 50 = 0 THEN 'deactivated' ELSE 'active' END, CASE WHEN n %% 200 = 0 THEN 'failed' ELSE 'active' END,
    '', 1, now() - n * interval '1 second', NULL
FROM generate_series(%(first)s, %(last)s) AS n
"""
REST = (
    """
    INSERT INTO devices_devicestate (device_id, project_id, last_message_at, previous_message_at, messages)
    SELECT id, project_id, now() - power((id %% 9973) / 9973.0, 4) * interval '60 days', NULL, 100
    FROM devices_device WHERE project_id = %(project)s
    """,
    """
    INSERT INTO devices_flowlink (device_id, flow_id, linked_at)
    SELECT id, %(flow)s, now() FROM devices_device WHERE project_id = %(project)s
    """,
    """
    INSERT INTO twin_twin (device_id, reported, metadata, version, updated_at)
    SELECT id, jsonb_build_object('temperature',
            jsonb_build_object('v', round((20 + 10 * sin(id) + (id * 7919 %% 1000) / 100.0)::numeric, 1),
                'u', 'Cel', 't', 1793500000))
        || (SELECT jsonb_object_agg('value' || k, jsonb_build_object('v', id %% (k * 17), 'u', 'Cel', 't', 1793500000))
            FROM generate_series(1, 19) AS k),
        jsonb_build_object('batch', jsonb_build_object('v', (id %% 1000)::text, 't', 1793500000)), 1, now()
    FROM devices_device WHERE project_id = %(project)s
    """,
)

# (what is measured, the address)
PAGES = (
    ("first page", ""),
    ("page 1,000", "?page=1000"),
    ("page in the middle", "?page={middle}"),
    ("by last message", "?sort=-last_message"),
    ("by type, page 1,000", "?sort=type&page=1000"),
    ("by temperature", "?sort=-reported:temperature&col=name&col=identifier&col=reported:temperature"),
    ("search a word in every fifth", "?q=sensor"),
    ("search an identifier", "?q={identifier}"),
    ("search a barcode", "?q=ref-77777"),
    ("temperature > 25 (four of ten)", "?where=reported:temperature%3E25"),
    ("temperature > 39.8 (few)", "?where=reported:temperature%3E39.8"),
    ("batch = 7 (one of a thousand)", "?where=metadata:batch%3D7"),
    ("batch = 7 and silent for 1 d", "?where=metadata:batch%3D7&silent=1d"),
    ("silent for 30 d, by last message", "?silent=30d&sort=last_message"),
    ("failed (one of two hundred)", "?connection=failed"),
    ("one type, deactivated, a word", "?type={type}&processing=deactivated&q=meter"),
)


def prepare(count: int) -> float:
    """Load the devices unless a former run has; seconds that it took (0 where they were there)."""
    if Project.objects.filter(name=PROJECT).exists():
        return 0.0
    started = time.perf_counter()
    with transaction.atomic():
        project = Project.objects.create(name=PROJECT, subscription=Subscription.objects.get(slug="modular"))
        person = User.objects.create_user(OPERATOR, None)
        Membership.objects.create(user=person, project=project, role=Role.OPERATOR)
        with scope(project=[project.pk]):
            flow = create_flow(project=project, name="Whole fleet", actor=person)
        with connection.cursor() as cursor:
            for first in range(1, count + 1, STEP):
                last = min(first + STEP - 1, count)
                cursor.execute(DEVICES, {"project": project.pk, "first": first, "last": last})
            for statement in REST:
                cursor.execute(statement, {"project": project.pk, "flow": flow.pk})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return time.perf_counter() - started


def index_values() -> float:
    """Have the values indexed that the pages ask for; seconds (0 where they were)."""
    project = Project.objects.get(name=PROJECT).pk
    started = time.perf_counter()
    found = values.indexed([project], [ValueKey("reported", "temperature"), ValueKey("metadata", "batch")])
    if not found.filling:
        return 0.0
    for column_id in found.columns.values():
        values.fill(column_id)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE devices_columnvalue")
    return time.perf_counter() - started


def paths() -> dict[str, str]:
    """What is measured → its address."""
    devices = Device.objects.filter(project__name=PROJECT)
    some = devices.order_by("-pk")[1000]
    facts = {"middle": devices.count() // 100, "identifier": some.identifier, "type": some.type_id}
    return {name: f"/devices/{address.format(**facts)}" for name, address in PAGES}
