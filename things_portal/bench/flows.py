"""The bench of Flows: a Project with 1,000 of them, one with all its devices, the pages over them, and its deletion."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db import connection, transaction

from accounts.models import Membership, Project, Role, Subscription, User
from devices import flow_checks, flow_deletion
from flows.models import Flow

PROJECT = "Flows"
OPERATOR = "flows@example.com"
COUNT = 1_000
# The devices, as many again in no Flow, and in three of four other Flows three devices each; a third of the Flows has a
# destination, and half of those fail.
LOAD = (
    """
    INSERT INTO devices_device (project_id, type_id, name, barcode, description, identifier, processing_status,
        connection_status, connection_reason, flow_count, created_at, creation_token)
    SELECT %(project)s,
        (SELECT id FROM devices_devicetype WHERE slug = (ARRAY['own-lora-preset', 'own-internet'])[1 + n %% 2]),
        'Sensor ' || n, '', '', upper(lpad(to_hex(n::bigint + 3298534883328), 16, '0')),
        CASE WHEN n <= %(devices)s THEN 'active' ELSE 'not_linked' END, 'active', '',
        CASE WHEN n <= %(devices)s THEN 1 ELSE 0 END, now(), NULL
    FROM generate_series(1, %(devices)s * 2) AS n
    """,
    """
    INSERT INTO devices_devicestate (device_id, project_id, last_message_at, previous_message_at, messages)
    SELECT id, project_id, now() - (id %% 3600) * interval '1 second', NULL, 1
    FROM devices_device WHERE project_id = %(project)s
    """,
    """
    INSERT INTO devices_flowlink (device_id, flow_id, linked_at)
    SELECT id, %(flow)s, now() - interval '1 day' FROM devices_device WHERE project_id = %(project)s AND flow_count = 1
    """,
    """
    INSERT INTO devices_flowlink (device_id, flow_id, linked_at)
    SELECT device.id, flow.id, now()
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM flows_flow
        WHERE project_id = %(project)s AND id <> %(flow)s) AS flow
    JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM devices_device
        WHERE project_id = %(project)s AND flow_count = 1) AS device ON device.n BETWEEN flow.n * 3 AND flow.n * 3 + 2
    WHERE flow.n %% 4 > 0
    """,
    """
    UPDATE devices_device AS device SET flow_count = 2
    FROM devices_flowlink AS link WHERE link.device_id = device.id AND link.flow_id <> %(flow)s
        AND device.project_id = %(project)s
    """,
    """
    WITH made AS (
        INSERT INTO flows_destination (project_id, uuid, name, description, kind, enabled, layout, url, authentication,
            username, host, topic, secrets, created_at, failures, error)
        SELECT %(project)s, gen_random_uuid(), flow.name, '', 'test', true, 'merged', '', 'none', '', '', '', '', now(),
            CASE WHEN flow.id %% 2 = 0 THEN 9 ELSE 0 END, 'No answer.'
        FROM flows_flow AS flow WHERE flow.project_id = %(project)s AND flow.id %% 3 = 0
        RETURNING id, name
    )
    INSERT INTO flows_flowdestination (flow_id, destination_id)
    SELECT flow.id, made.id FROM made JOIN flows_flow AS flow ON flow.name = made.name AND flow.project_id = %(project)s
    """,
    """
    INSERT INTO devices_senmlmessage (device_id, received_at, seq, digest, body, records)
    SELECT device_id, last_message_at, 1, '', '[]', 1 FROM devices_devicestate AS state
    WHERE project_id = %(project)s AND last_message_at > now() - interval '1 minute'
    """,
)

# (what is measured, the address)
PAGES = (
    ("All Flows", "/flows/"),
    ("All Flows, with any warning", "/flows/?warning=any"),
    ("All Flows, decoding does not fit", "/flows/?warning=unfit"),
    ("Flow of few devices", "/flows/{small}/"),
    ("Flow of all", "/flows/{large}/"),
    ("Flow of all, last page", "/flows/{large}/?page=1990"),
    ("Flow of all, search a word in every", "/flows/{large}/?q=sensor"),
    ("Flow of all, search one", "/flows/{large}/?q=sensor+7123"),
    ("Flow of all, devices to link", "/flows/{large}/devices/link/"),
    ("Flow of all, before deleting it", "/flows/{large}/delete/"),
)


def prepare(devices: int) -> float:
    """Load the Project anew; seconds that it took. What a former run left of it stays, under another name."""
    started = time.perf_counter()
    former = Project.objects.filter(name=PROJECT).first()
    if former is not None:
        Project.objects.filter(pk=former.pk).update(name=f"{PROJECT} {former.pk}")
        Membership.objects.filter(project=former).delete()
    with transaction.atomic():
        project = Project.objects.create(name=PROJECT, subscription=Subscription.objects.get(slug="modular"))
        person = User.objects.filter(email=OPERATOR).first() or User.objects.create_user(OPERATOR, None)
        Membership.objects.create(user=person, project=project, role=Role.OPERATOR)
        Flow.objects.bulk_create(
            Flow(project=project, name=f"Flow {number:04}", decoder="cayenne-lpp" if number % 2 else "")
            for number in range(COUNT)
        )
        values = {"project": project.pk, "flow": _large(project).pk, "devices": devices}
        with connection.cursor() as cursor:
            for statement in LOAD:
                cursor.execute(statement, values)
    while flow_checks.check():
        pass
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return time.perf_counter() - started


def _large(project: Project) -> Flow:
    return Flow.objects.get(project=project, name="Flow 0001")


def paths() -> dict[str, str]:
    """What is measured → its address."""
    project = Project.objects.get(name=PROJECT)
    facts = {"large": _large(project).pk, "small": Flow.objects.get(project=project, name="Flow 0005").pk}
    return {name: address.format(**facts) for name, address in PAGES}


@dataclass(frozen=True, slots=True)
class Deletion:
    """``asked``: seconds that the person waits; ``rest``: what workers need after that, in ``tasks`` tasks."""

    devices: int
    asked: float
    rest: float
    tasks: int


def delete() -> Deletion:
    """Delete the Flow of all devices."""
    project = Project.objects.get(name=PROJECT)
    flow, person = _large(project), User.objects.get(email=OPERATOR)
    devices = flow.device_links.count()
    started = time.perf_counter()
    gone, tasks = flow_deletion.delete(flow=flow, actor=person), 0
    asked = time.perf_counter() - started
    while not gone:
        gone, tasks = flow_deletion.go_on(flow.pk), tasks + 1
    return Deletion(devices, asked, time.perf_counter() - started - asked, tasks)
