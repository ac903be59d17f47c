"""What is delivered, in which order, what is tried again and what is given up (F5)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from codec.measurements import Measurement
from devices import services as device_services
from devices.models import Device
from flows import deliveries
from flows.deliverer import Deliverer
from flows.deliveries import BACKOFF, CIRCUIT, GIVE_UP, Head, Outgoing
from flows.models import Delivery, DeliveryState, Destination, Flow, FlowDestination
from flows.senders import Outcome
from tests import factories
from tests.cast import Cast
from tests.flows.conftest import NOW, destination
from tests.flows.receivers import Broker, Certificates, Gate, Https

SECOND = timedelta(seconds=1)
FAILED = Outcome("It answered 500.", 500)


@pytest.fixture
def device(cast: Cast, flow: Flow) -> Device:
    return factories.internet_device(cast.project, in_flow=flow)


def message(device: Device, number: int = 1, at: datetime = NOW) -> Outgoing:
    values = [Measurement(name="n", value=float(number), time=at.timestamp())]
    return Outgoing(device.pk, at, f"entry {number}", f"urn:dev:DVNUUID:{device.identifier}:", values)


def put(*messages: Outgoing, now: datetime = NOW) -> None:
    deliveries.enqueue(messages, now)


def states(to: Destination) -> list[tuple[int, int]]:
    rows = Delivery.objects.filter(destination_id=to.pk).order_by("created_at", "seq")
    return list(rows.values_list("state", "attempts"))


def heads(destination_id: int, now: datetime, limit: int) -> list[Head]:
    """The oldest of each device."""
    return [head for (head,) in deliveries.heads(destination_id, now, limit, since=NOW)]


CHANCE = random.Random(1)


def record(to: Destination, head: Head, outcome: Outcome, now: datetime) -> bool:
    return deliveries.record(to.pk, [(head, outcome, 5)], now, CHANCE)


@pytest.mark.django_db
class TestEnqueue:
    def test_one_for_each_destination_however_many_flows_lead_there(
        self, cast: Cast, device: Device, flow: Flow
    ) -> None:
        one, two = destination(flow, kind="test"), destination(flow, kind="test", layout="legacy")
        second = factories.flow(cast.project, "Second")
        device_services.link_flow(device=device, flow=second, actor=None)
        FlowDestination.objects.create(flow=second, destination=one)
        put(message(device))
        put(message(device))  # the batch is processed again
        rows = {row.destination_id: row for row in Delivery.objects.all()}
        assert rows.keys() == {one.pk, two.pk}
        name = f"urn:dev:DVNUUID:{device.identifier}:"
        assert orjson.loads(bytes(rows[one.pk].body)) == [{"bn": name, "bt": NOW.timestamp(), "n": "n", "v": 1.0}]
        assert orjson.loads(bytes(rows[two.pk].body))[0] == {"bn": name, "bt": int(NOW.timestamp())}
        assert rows[one.pk].identifier == str(device.identifier)

    @pytest.mark.parametrize("off", ["flow", "destination", "not linked", "nothing measured"])
    def test_nothing_where_it_leads_nowhere(self, device: Device, flow: Flow, off: str) -> None:
        to = destination(flow, kind="test")
        if off == "flow":
            Flow.objects.update(enabled=False)
        elif off == "destination":
            Destination.objects.update(enabled=False)
        elif off == "not linked":
            FlowDestination.objects.all().delete()
        sent = message(device)
        put(Outgoing(sent.device_id, sent.at, sent.key, sent.base_name, []) if off == "nothing measured" else sent)
        assert states(to) == []

    def test_statements_do_not_grow(self, cast: Cast, flow: Flow) -> None:
        destination(flow, kind="test")
        devices = [factories.internet_device(cast.project, in_flow=flow) for _ in range(5)]

        def statements(those: list[Device], number: int) -> int:
            with CaptureQueriesContext(connection) as queries:
                put(*(message(each, number) for each in those))
            return len(queries)

        assert statements(devices[:1], 1) == statements(devices, 2) == 2


@pytest.mark.django_db
class TestOrder:
    def test_oldest_of_each_device_alone_is_tried(self, cast: Cast, device: Device, flow: Flow) -> None:
        to, other = destination(flow), factories.internet_device(cast.project, in_flow=flow)
        put(message(device, 2, NOW + SECOND), message(device, 1, NOW), message(other, 3, NOW + 2 * SECOND))
        found = heads(to.pk, NOW, 10)
        assert {(head.device_id, head.created_at) for head in found} == {
            (device.pk, NOW), (other.pk, NOW + 2 * SECOND)
        }  # fmt: skip
        mine = next(head for head in found if head.device_id == device.pk)
        record(to, mine, FAILED, NOW)
        # The later one waits for the earlier, whose next try is not due.
        assert [head.device_id for head in heads(to.pk, NOW + SECOND, 10)] == [other.pk]
        later = NOW + timedelta(seconds=10)
        (again,) = [head for head in heads(to.pk, later, 10) if head.device_id == device.pk]
        assert (again.created_at, again.attempts) == (NOW, 1)
        record(to, again, Outcome(status=200), later)
        assert [head.created_at for head in heads(to.pk, later, 10) if head.device_id == device.pk] == [NOW + SECOND]

    def test_those_right_behind_go_with_the_oldest_and_devices_have_their_turns(self, cast: Cast, flow: Flow) -> None:
        to, devices = destination(flow), [factories.internet_device(cast.project, in_flow=flow) for _ in range(3)]
        put(*(message(each, number, NOW + number * SECOND) for each in devices for number in (3, 1, 2)))
        found = deliveries.heads(to.pk, NOW, 2, since=NOW, each=2)
        assert [[(head.device_id, head.created_at) for head in run] for run in found] == [
            [(device.pk, NOW + SECOND), (device.pk, NOW + 2 * SECOND)] for device in devices[:2]
        ]
        (rest,) = deliveries.heads(to.pk, NOW, 2, since=NOW, each=2, after=devices[1].pk)
        assert rest[0].device_id == devices[2].pk

    def test_days_before_the_first_that_waits_are_not_looked_at(self, device: Device, flow: Flow) -> None:
        to = destination(flow)
        assert deliveries.waiting_since(to.pk, NOW) is None
        put(message(device, 1, NOW - timedelta(days=3)), message(device, 2, NOW))
        (first,) = deliveries.heads(to.pk, NOW, 1, since=NOW - timedelta(days=9))[0]
        since = deliveries.waiting_since(to.pk, NOW)
        assert since is not None
        assert NOW - timedelta(days=4) < since <= first.created_at == NOW - timedelta(days=3)
        record(to, first, Outcome(status=200), NOW)
        assert deliveries.waiting_since(to.pk, NOW) == NOW - timedelta(hours=1)

    def test_queries_read_their_indexes(self, device: Device, flow: Flow) -> None:
        to = destination(flow)
        put(*(message(device, number, NOW + number * SECOND) for number in range(3)))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            values = {"destination": to.pk, "now": NOW, "since": NOW, "until": NOW + timedelta(days=1), "limit": 5}
            values |= {"each": 2, "after": -1}
            cursor.execute("EXPLAIN " + deliveries.HEADS, values)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "Seq Scan on flows_delivery" not in plan
        assert "destination_id_due_at" in plan or "flows_delivery_" in plan


@pytest.mark.django_db
class TestTries:
    def test_waits_longer_each_time_and_is_given_up_after_a_day(self, device: Device, flow: Flow) -> None:
        to, now = destination(flow), NOW
        put(message(device))
        waits = []
        while True:
            Destination.objects.update(open_until=None, failures=0)
            (head,) = heads(to.pk, now, 1)
            record(to, head, FAILED, now)
            row = Delivery.objects.get()
            if row.state == DeliveryState.DEAD:
                break
            assert row.due_at is not None
            waits.append((row.due_at - now).total_seconds())
            now = row.due_at
        planned = [*BACKOFF, *[BACKOFF[-1]] * 9][: len(waits)]
        assert all(0.8 * wait <= waited <= 1.2 * wait for waited, wait in zip(waits, planned, strict=True))
        assert len(set(waits)) == len(waits)  # none at the same pace as the others
        assert now - NOW >= GIVE_UP
        assert (row.error, row.status, row.finished_at) == ("It answered 500.", 500, now)

    def test_circuit_opens_after_some_in_a_row_and_closes_with_a_success(self, cast: Cast, flow: Flow) -> None:
        to = destination(flow)
        for number in range(CIRCUIT + 1):
            put(message(factories.internet_device(cast.project, in_flow=flow), number, NOW + number * SECOND))
        found = heads(to.pk, NOW, 10)
        goes_on = [record(to, head, FAILED, NOW) for head in found[:CIRCUIT]]
        assert goes_on == [True] * (CIRCUIT - 1) + [False]
        to.refresh_from_db()
        assert to.failures == CIRCUIT
        assert to.open_until is not None
        assert to.open_until > NOW
        assert to.error == "It answered 500."
        assert deliveries.lease_due(NOW, busy=[], limit=5) == []
        assert deliveries.lease_due(to.open_until, busy=[], limit=5) == [to.pk]
        record(to, found[-1], Outcome(status=200), NOW)
        to.refresh_from_db()
        assert (to.failures, to.open_until, to.error) == (0, None, "")

    def test_what_waited_a_day_for_a_dead_destination_is_kept_and_sent_again(self, device: Device, flow: Flow) -> None:
        to = destination(flow, failures=CIRCUIT - 1)
        put(message(device, 1), message(device, 2, NOW + SECOND))
        later = NOW + GIVE_UP + SECOND
        record(to, heads(to.pk, later, 1)[0], FAILED, later)
        assert [state for state, _tries in states(to)] == [DeliveryState.DEAD, DeliveryState.DEAD]
        before = {row.seq: row.id for row in Delivery.objects.all()}
        Delivery.objects.update(state=DeliveryState.DEAD)
        assert deliveries.again(to, later) == 2
        assert {row.seq: row.id for row in Delivery.objects.all()} == before
        assert [head.created_at for head in heads(to.pk, later, 5)] == [NOW]
        to.refresh_from_db()
        assert to.open_until is None

    def test_one_process_at_a_time(self, device: Device, flow: Flow) -> None:
        to = destination(flow)
        put(message(device))
        assert deliveries.lease_due(NOW, busy=[], limit=5) == [to.pk]
        assert deliveries.lease_due(NOW, busy=[], limit=5) == []
        assert deliveries.lease_due(NOW + deliveries.LEASE, busy=[to.pk], limit=5) == []
        # Whoever holds it lives, and the receiver is slow.
        deliveries.keep_leases([to.pk], NOW)
        assert deliveries.lease_due(NOW + deliveries.LEASE / 2, busy=[], limit=5) == []
        # Whoever held it has died.
        assert deliveries.lease_due(NOW + deliveries.LEASE, busy=[], limit=5) == [to.pk]
        deliveries.release(to.pk)
        deliveries.keep_leases([to.pk], NOW)  # too late: it is free
        assert deliveries.lease_due(NOW, busy=[], limit=5) == [to.pk]


@pytest.fixture
def serving() -> Any:
    """Rounds of a real deliverer with a clock that is set."""
    clock = [timezone.now()]
    deliverer = Deliverer(threading.Event(), clock=lambda: clock[0], seed=1)

    def rounds(count: int = 1, step: timedelta = timedelta(0)) -> None:
        for _ in range(count):
            for future in deliverer.round():
                future.result(30)
            clock[0] += step

    yield rounds
    deliverer.pool.shutdown()


Rounds = Callable[..., None]


@pytest.mark.django_db(transaction=True)
class TestNothingIsLost:
    """The receiver's own count, through whatever happens to it."""

    @pytest.fixture(autouse=True)
    def emptied(self, transactional_db: None) -> Any:
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE flows_delivery")

    def send(self, devices: list[Device], each: int, now: datetime | None = None) -> list[bytes]:
        now = now or timezone.now() - timedelta(minutes=5)
        put(
            *(
                message(device, number * 100 + index, now + number * SECOND)
                for index, device in enumerate(devices)
                for number in range(each)
            ),
            now=now,
        )
        return [
            bytes(row) for row in Delivery.objects.order_by("device_id", "created_at").values_list("body", flat=True)
        ]

    def in_order(self, bodies: list[bytes]) -> bool:
        by_device: dict[str, list[float]] = {}
        for body in bodies:
            (record,) = orjson.loads(body)
            by_device.setdefault(record["bn"], []).append(record["bt"])
        return all(times == sorted(times) for times in by_device.values())

    def test_refusal_time_out_half_closed_and_restart(
        self, cast: Cast, flow: Flow, https: Https, serving: Rounds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flows.senders.TOTAL_SECONDS", 0.3)
        to = destination(flow, url=https.url)
        devices = [factories.internet_device(cast.project, in_flow=flow) for _ in range(4)]
        sent = self.send(devices, 5)
        https.plan.extend([500, "hang", "half", 200, "cut", 503])
        serving(3, timedelta(minutes=10))
        https.stop()  # nobody listens
        serving(3, timedelta(minutes=10))
        assert Delivery.objects.filter(state=DeliveryState.WAITING).exists() or len(https.bodies) >= len(sent)
        https.released.clear()
        https.start()
        serving(10, timedelta(minutes=10))
        assert sorted(set(https.bodies)) == sorted(sent)
        assert self.in_order(list(dict.fromkeys(https.bodies)))
        assert {state for state, _tries in states(to)} == {DeliveryState.DELIVERED}
        ids = {request.headers["Things-Delivery-Id"] for request in https.requests}
        assert ids == {str(row.id) for row in Delivery.objects.all()}

    def test_nothing_overtakes_what_failed(self, cast: Cast, flow: Flow, https: Https, serving: Rounds) -> None:
        destination(flow, url=https.url)
        sent = self.send([factories.internet_device(cast.project, in_flow=flow)], 6)
        https.plan.extend([200, 503])
        serving(1)
        assert https.bodies == [sent[0], sent[1]]  # the second was refused
        serving(2, timedelta(minutes=1))
        assert https.bodies == [sent[0], *sent[1:2], *sent[1:]]

    def test_dead_destination_slows_nobody(
        self, cast: Cast, flow: Flow, https: Https, serving: Rounds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flows.senders.TOTAL_SECONDS", 0.5)
        deaf = Https(https.certificates, then="hang")
        deaf.start()
        dead, well = destination(flow, url=deaf.url), destination(flow, url=https.url)
        devices = [factories.internet_device(cast.project, in_flow=flow) for _ in range(3)]
        self.send(devices, 10)
        started = time.monotonic()
        serving(1)
        assert time.monotonic() - started < 10
        deaf.stop()
        assert {state for state, _tries in states(well)} == {DeliveryState.DELIVERED}
        assert len(https.requests) == 30
        assert {state for state, _tries in states(dead)} == {DeliveryState.WAITING}
        dead.refresh_from_db()
        assert dead.failures >= 2

    def test_broker_that_goes_away_and_comes_back(
        self, cast: Cast, flow: Flow, reachable: None, certificates: Certificates, serving: Rounds
    ) -> None:
        broker = Broker(certificates)
        broker.start()
        to = destination(flow, kind="mqtt", host="localhost", port=broker.port, topic="things/{identifier}")
        devices = [factories.internet_device(cast.project, in_flow=flow) for _ in range(2)]
        now = timezone.now() - timedelta(minutes=5)
        self.send(devices, 2, now)
        serving(6)
        first = broker.wait_for(4)
        broker.stop()
        sent = self.send(devices, 4, now + timedelta(minutes=1))
        serving(2, timedelta(minutes=10))
        again = Broker(certificates, broker.port)
        again.start()
        serving(8, timedelta(minutes=10))
        arrived = [payload for _topic, payload in first + again.wait_for(8)]
        again.stop()
        assert sorted(set(arrived)) == sorted(sent)
        assert {state for state, _tries in states(to)} == {DeliveryState.DELIVERED}

    def test_broker_that_refuses_hangs_and_is_cut_off(
        self,
        cast: Cast,
        flow: Flow,
        reachable: None,
        certificates: Certificates,
        serving: Rounds,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("flows.senders.CONNECT_SECONDS", 0.5)
        monkeypatch.setattr("flows.senders.TOTAL_SECONDS", 0.5)
        broker = Broker(certificates)
        broker.start()
        gate = Gate(broker.port)
        to = destination(flow, kind="mqtt", host="localhost", port=gate.port, topic="things/{identifier}")
        sent = self.send([factories.internet_device(cast.project, in_flow=flow) for _ in range(4)], 6)
        for does in ("refuse", "hang", "half"):
            gate.does = does
            serving(1, timedelta(minutes=10))
        assert gate.halved
        assert Delivery.objects.filter(state=DeliveryState.WAITING).exists()
        gate.does = "open"
        serving(6, timedelta(minutes=10))
        arrived = [payload for _topic, payload in broker.wait_for(len(sent))]
        gate.stop()
        broker.stop()
        assert sorted(set(arrived)) == sorted(sent)
        assert self.in_order(list(dict.fromkeys(arrived)))
        assert {state for state, _tries in states(to)} == {DeliveryState.DELIVERED}
