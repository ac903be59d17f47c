"""However many instructions are finished, those that are open are found by index alone (S3, S4; scale)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import live
from devices.models import Device
from downlinks import dispatch, execution, handover, queue, reading, reports, services
from downlinks.models import Downlink, DownlinkForSupport, Event
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import T0, RecordedNetwork, at

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]

DEVICES = 300
# Of each device: finished ones, then the head and one that waits; of every tenth, the head executes.
FINISHED = 30

FILL = """
INSERT INTO downlinks_downlink (device_id, number, correlation_id, state, head, due_at, executing_at, deadline,
    accepted_at, encoder, fport, payload, confirmed, source, requested_at, finished_at, attempts, cause, reason)
SELECT d.id, n, gen_random_uuid(),
    CASE WHEN n <= %(finished)s THEN 'delivered' WHEN n = %(head)s AND d.id %% 10 = 0 THEN 'executing'
        ELSE 'pending' END,
    n = %(head)s, CASE WHEN n = %(head)s THEN %(now)s + (d.id - %(least)s) * interval '1 s' END,
    CASE WHEN n <= %(head)s THEN %(now)s END, CASE WHEN n <= %(head)s THEN %(now)s + interval '1 day' END,
    CASE WHEN n <= %(finished)s OR d.id %% 10 = 0 AND n = %(head)s THEN %(now)s END,
    'raw-lora', 1, '\\x01', false, 'page', %(now)s, CASE WHEN n <= %(finished)s THEN %(now)s END, 1, '', ''
FROM devices_device AS d, generate_series(%(from)s, %(to)s) AS n
"""


# How many open ones of each device there are when the statistics are taken: queues come and go faster than those.
@pytest.fixture(params=[2, 0], ids=["", "statistics of a time with nothing open"])
def devices(
    request: pytest.FixtureRequest, cast: Cast, network: RecordedNetwork, monkeypatch: pytest.MonkeyPatch
) -> list[Device]:
    """Many with long queues; most of what is in the table is finished."""
    monkeypatch.setattr(live, "publish", lambda changes: None)
    first = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
    copies = [
        Device(
            project=first.project, type=first.type, name=f"Copy {number}", processing_status="active",
            connection_status="active", flow_count=1,
        )
        for number in range(DEVICES)
    ]  # fmt: skip
    Device.objects.bulk_create(copies)
    with connection.cursor() as cursor:
        named = {"finished": FINISHED, "head": FINISHED + 1, "now": T0, "least": first.pk}
        cursor.execute(FILL, named | {"from": 1, "to": FINISHED + request.param})
        cursor.execute("ANALYZE downlinks_downlink, devices_device")
        cursor.execute(FILL, named | {"from": FINISHED + request.param + 1, "to": FINISHED + 2})
    return list(Device.objects.select_related("type", "project").order_by("pk"))


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan] + [node for child in plan.get("Plans", []) for node in nodes(child)]


def scanned(work: Callable[[], Any]) -> list[tuple[str, float]]:
    """How ``work`` reads the table: the index (or the word of the plan) and how many rows of it, of each scan."""
    found = []
    with CaptureQueriesContext(connection) as queries:
        work()
    for query in queries.captured_queries:
        statement = query["sql"]
        if "downlinks_downlink" not in statement or statement.lstrip().startswith(("INSERT", "SAVEPOINT")):
            continue
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
            answer = cursor.fetchone()[0]
            transaction.set_rollback(True)
        plan = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
        for node in nodes(plan):
            # The heap's part of a bitmap scan reads what its indexes gave.
            if node.get("Relation Name") == "downlinks_downlink" and node["Node Type"] != "ModifyTable":
                name = "index" if node["Node Type"] == "Bitmap Heap Scan" else node.get("Index Name", node["Node Type"])
                found.append((name, node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)))
            elif node["Node Type"] == "Bitmap Index Scan" and "downlink" in node["Index Name"]:
                found.append((node["Index Name"], node["Actual Rows"] * node["Actual Loops"]))
    assert found, "it reads the table"
    return found


def rows_read(work: Callable[[], Any], *, at_most: float) -> None:
    """By index alone, and few rows of it."""
    found = scanned(work)
    assert not [name for name, _rows in found if "Scan" in name], found
    assert max(rows for _name, rows in found) <= at_most, found


def test_a_table_scan_would_be_seen(devices: list[Device]) -> None:
    found = scanned(lambda: Downlink.objects.filter(cause="x").exists())
    assert found == [("Seq Scan", len(devices) * (FINISHED + 2))]


@pytest.mark.parametrize("statement", [execution.CLAIM, execution.HAND_OVER])
def test_taking_one(devices: list[Device], statement: str) -> None:
    rows_read(lambda: execution.take(statement, devices[1].pk, at(1)), at_most=1)


@pytest.mark.parametrize("many", [1, 20, 100])
def test_taking_many(devices: list[Device], many: int) -> None:
    ids = random.Random(many).sample([device.pk for device in devices], many)
    rows_read(lambda: dispatch.take_many(ids, at(1)), at_most=many)


def test_sending_and_noting_many(devices: list[Device], network: RecordedNetwork) -> None:
    ids = [device.pk for device in devices[:100] if device.pk % 10]
    rows_read(lambda: dispatch.run_many(ids, now=at(1)), at_most=100)
    assert len(network.calls) == len(ids)


def test_finishing_and_letting_the_next_go_first(devices: list[Device]) -> None:
    running = next(device for device in devices if device.pk % 10 == 0)
    rows_read(
        lambda: queue.finish(running.pk, FINISHED + 1, Event.SENT, at(1), source="page"),
        at_most=2,
    )
    assert Downlink.objects.get(device=running, head=True).number == FINISHED + 2
    rows_read(lambda: queue.promote(devices[1].pk, at(1)), at_most=2)


def test_asking_for_another(devices: list[Device]) -> None:
    rows_read(lambda: queue.ends([device.pk for device in devices[:50]]), at_most=50)
    rows_read(
        lambda: services.request_many(
            devices=devices[:50], encoder="raw-lora", fport=2, payload=b"\x01", actor=None, now=at(1), token=uuid4()
        ),
        at_most=50,
    )
    assert Downlink.objects.filter(number=FINISHED + 3).count() == 50


def test_sweeping(devices: list[Device]) -> None:
    moment = at(20)
    found = scanned(lambda: execution.sweep(moment, limit=100))
    assert not [name for name, _rows in found if "Scan" in name], found
    assert max(rows for _name, rows in found) <= 21, found


def test_reports_name_it_by_its_id(devices: list[Device]) -> None:
    running = next(device for device in devices if device.pk % 10 == 0)
    name = str(Downlink.objects.get(device=running, head=True).correlation_id)
    rows_read(lambda: reports.on_sent(running.pk, name, timezone.now()), at_most=2)
    old = str(Downlink.objects.get(device=running, number=1).correlation_id)
    rows_read(lambda: reports.on_acknowledged(running.pk, old, timezone.now()), at_most=2)
    rows_read(lambda: handover.device_answered(running.pk, timezone.now()), at_most=2)
    rows_read(lambda: DownlinkForSupport.objects.filter(correlation_id=name).first(), at_most=1)


def test_pages_of_the_table(devices: list[Device]) -> None:
    """Of a device with many: thirty are as well read at once and sorted."""
    many = 20 * reading.PAGE
    Downlink.objects.filter(device=devices[1]).delete()
    with connection.cursor() as cursor:
        named = {"finished": many, "head": many + 1, "now": T0, "least": devices[1].pk, "from": 1, "to": many + 2}
        cursor.execute(f"{FILL} WHERE d.id = {devices[1].pk}", named)
        cursor.execute("ANALYZE downlinks_downlink, accounts_user")
    for before in (None, many, 3):
        rows_read(lambda before=before: reading.page_of(devices[1], before), at_most=reading.PAGE + 1)
