"""Carrying out (S3, S4, S5): one at a time, leases, waits, deadlines, deactivation, the sweeper."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import IntegrityError, connection, transaction

from devices import many
from devices import network as devices_network
from devices.errors import NetworkRefused, NetworkUnavailable
from devices.models import Connection, Device, DeviceType
from devices.services import activate, deactivate, link_flow, unlink_flow
from downlinks import execution, handover, queue, tasks
from downlinks.models import Cause, Downlink, Event
from tests.cast import Cast
from tests.downlinks.conftest import T0, RecordedNetwork, again, ask, ask_senml, at, at_once, lost, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = 86400


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The devices that were rung for, whether or not the transaction commits."""
    found: list[int] = []
    monkeypatch.setattr(queue, "ring", lambda *ids: found.extend(ids))
    return found


def test_run_sends_the_oldest(device: Device, network: RecordedNetwork) -> None:
    first, second = ask(device, b"\x0a", confirmed=True), ask(device, b"\x0b")
    assert execution.run(device.pk, now=at(1))
    call = network.calls[0]
    assert (call.correlation_id, call.encoder, call.payload) == (first.correlation_id, "raw-lora", b"\x0a")
    assert (call.fport, call.confirmed) == (2, True)
    row = again(first)
    assert (row.state, row.executing_at, row.accepted_at, row.attempts) == ("executing", at(1), at(1), 1)
    assert row.deadline == row.due_at == at(1 + DAY)
    assert row.sent_at is None
    assert not execution.run(device.pk, now=at(2)), "one at a time"
    assert states(device) == ["executing", "pending"]
    assert again(second).head is False


def test_send_happens_outside_transactions(device: Device, network: RecordedNetwork) -> None:
    depth = len(connection.savepoint_ids)
    seen: list[int] = []
    network.during = lambda: seen.append(len(connection.savepoint_ids))
    ask(device)
    execution.run(device.pk, now=at(1))
    assert seen == [depth]


def test_type_says_how_long(device: Device) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(downlink_timeout_seconds=90)
    downlink = ask(device)
    execution.run(device.pk, now=at(0))
    assert again(downlink).deadline == at(90)


@pytest.mark.parametrize("own", [None, 90])
def test_settings_say_how_long_where_the_type_does_not(
    device: Device, fetching: Device, settings: Any, own: int | None
) -> None:
    """Per connectivity, and per type over it."""
    settings.DOWNLINK_TIMEOUT_SECONDS = {"lora": 600, "m2m": 1, "internet": 1200}
    DeviceType.objects.update(downlink_timeout_seconds=own)
    first, second = ask(device), ask_senml(fetching)
    execution.run(device.pk, now=at(0)), handover.hand_over(fetching.pk, at(0))
    assert [again(first).deadline, again(second).deadline] == [at(own or 600), at(own or 1200)]


def test_run_without_anything_to_do(device: Device, network: RecordedNetwork) -> None:
    assert not execution.run(device.pk, now=T0)
    assert not execution.run(987654321, now=T0)
    assert network.calls == []


def test_refused_is_failed_and_the_next_starts_at_once(
    device: Device, network: RecordedNetwork, rung: list[int]
) -> None:
    first, second = ask(device), ask(device)
    rung.clear()
    network.answers = [NetworkRefused("The network does not accept this device.")]
    assert execution.run(device.pk, now=at(1))
    row = again(first)
    assert (row.state, row.cause, row.reason) == ("failed", "refused", "The network does not accept this device.")
    assert (row.finished_at, row.head, row.due_at) == (at(1), False, None)
    assert rung == [device.pk]
    assert again(second).head
    assert execution.run(device.pk, now=at(1))
    assert network.taken == [first.correlation_id, second.correlation_id]


def test_unavailable_is_tried_again_under_the_same_id(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device)
    network.answers = [NetworkUnavailable("no answer"), ValueError("ours"), None]
    assert execution.run(device.pk, now=at(1))
    row = again(downlink)
    assert (row.state, row.cause, row.reason, row.due_at) == ("executing", "network", "no answer", at(3))
    assert not execution.run(device.pk, now=at(2)), "it waits"
    assert execution.run(device.pk, now=at(3))
    assert again(downlink).due_at == at(8)
    assert execution.run(device.pk, now=at(8))
    assert network.taken == [downlink.correlation_id]
    row = again(downlink)
    assert (row.attempts, row.accepted_at, row.cause, row.reason) == (3, at(8), "", "")
    assert (row.executing_at, row.deadline) == (at(1), at(1 + DAY)), "the first claim counts"


def test_unavailable_until_the_deadline_is_failed(device: Device, network: RecordedNetwork) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(downlink_timeout_seconds=4)
    downlink = ask(device)
    network.answers = [NetworkUnavailable("no answer")] * 9
    for second in range(1, 20):
        execution.run(device.pk, now=at(second))
        execution.sweep(at(second))
    row = again(downlink)
    assert (row.state, row.cause, row.finished_at) == ("failed", Cause.NOT_TAKEN, at(5))
    assert row.reason == "The network did not take it in time."
    assert len(network.calls) == 2


def test_worker_that_dies_leaves_a_lease(device: Device, network: RecordedNetwork, rung: list[int]) -> None:
    downlink = ask(device)
    network.answers = [SystemExit()]  # type: ignore[list-item]
    with pytest.raises(SystemExit):
        execution.run(device.pk, now=at(0))
    assert again(downlink).due_at == at(30)
    rung.clear()
    execution.sweep(at(29))
    assert not execution.run(device.pk, now=at(29))
    assert rung == []
    execution.sweep(at(30))
    assert rung == [device.pk]
    assert execution.run(device.pk, now=at(30))
    assert network.taken == [downlink.correlation_id]
    assert again(downlink).accepted_at == at(30)


def test_time_limit_leaves_the_lease(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device)
    network.answers = [SoftTimeLimitExceeded()]
    with pytest.raises(SoftTimeLimitExceeded):
        execution.run(device.pk, now=at(0))
    assert (again(downlink).due_at, again(downlink).cause) == (at(30), "")


def test_slow_worker_does_not_disturb_its_successor(device: Device, network: RecordedNetwork) -> None:
    """The first comes back with an error after its lease: the second's success stands."""
    downlink = ask(device)
    network.answers = [None, NetworkUnavailable("late")]

    def successor() -> None:
        network.during = None
        assert execution.run(device.pk, now=at(31))

    network.during = successor
    execution.run(device.pk, now=at(0))
    row = again(downlink)
    assert (row.attempts, row.accepted_at, row.cause, row.due_at) == (2, at(31), "", at(DAY))


def test_slow_worker_does_not_shorten_the_wait_of_its_successor(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device)
    network.answers = [NetworkUnavailable("successor"), NetworkUnavailable("late")]

    def successor() -> None:
        network.during = None
        execution.run(device.pk, now=at(31))

    network.during = successor
    execution.run(device.pk, now=at(0))
    assert (again(downlink).reason, again(downlink).due_at) == ("successor", at(36))


def test_what_the_network_has_is_never_sent_again(device: Device, network: RecordedNetwork) -> None:
    ask(device)
    execution.run(device.pk, now=at(0))
    Downlink.objects.update(due_at=at(1))
    assert execution.sweep(at(60)) == 0
    assert not execution.run(device.pk, now=at(60))
    assert len(network.calls) == 1


def test_worker_that_dies_does_not_lengthen_the_time(device: Device, network: RecordedNetwork) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(downlink_timeout_seconds=4)
    downlink = ask(device)
    network.answers = [SystemExit()]  # type: ignore[list-item]
    with pytest.raises(SystemExit):
        execution.run(device.pk, now=at(1))
    assert execution.sweep(at(4)) == 0
    assert execution.sweep(at(5)) == 1
    assert again(downlink).state == "failed"


def test_deactivated_between_claim_and_sending_is_not_sent(
    device: Device, network: RecordedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(device)
    take = execution.take

    def then_deactivated(*args: Any) -> Any:
        taken = take(*args)
        deactivate(device=device, actor=None)
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(execution, "take", then_deactivated)
        execution.run(device.pk, now=at(0))
    assert (network.calls, states(device)) == ([], ["executing"])
    activate(device=device, actor=None)
    assert execution.run(device.pk, now=at(30))
    assert len(network.calls) == 1


@pytest.mark.parametrize("status", [Connection.DEACTIVATED, Connection.PENDING_CREATE, Connection.FAILED])
def test_nothing_is_sent_while_the_network_does_not_accept_it(
    device: Device, network: RecordedNetwork, status: Connection
) -> None:
    ask(device)
    Device.objects.filter(pk=device.pk).update(connection_status=status)
    assert not execution.run(device.pk, now=at(1))
    assert (states(device), network.calls) == (["pending"], [])


def test_deactivated_holds_the_queue(device: Device, network: RecordedNetwork, rung: list[int]) -> None:
    """S5, and the queue goes on by itself when the device is active again."""
    ask(device)
    deactivate(device=device, actor=None)
    rung.clear()
    assert not execution.run(device.pk, now=at(100))
    assert execution.sweep(at(100)) == 0
    assert (states(device), network.calls, rung) == (["pending"], [], [])
    activate(device=device, actor=None)
    assert rung == [device.pk]
    assert execution.sweep(at(101)) == 1, "and where that ring is lost"
    assert rung == [device.pk] * 2
    assert execution.run(device.pk, now=at(101))
    assert len(network.calls) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["device", "bulk", "network", "flow"])
def test_active_again_releases_the_queue_at_once(
    cast: Cast, device: Device, network: RecordedNetwork, rung: list[int], way: str
) -> None:
    """S5: with the change itself, without a round of the sweeper."""
    ask(device), ask(device)
    flow = device.flow_links.get().flow
    if way == "flow":
        unlink_flow(device=device, flow=flow, actor=None)
    elif way == "network":
        Device.objects.update(connection_status=Connection.DEACTIVATED)
        devices_network.request_switch(device=device, operation="activate", actor=None)
    else:
        deactivate(device=device, actor=None)
    assert not execution.run(device.pk, now=at(100))
    rung.clear()
    match way:
        case "device":
            activate(device=device, actor=None)
        case "bulk":
            with transaction.atomic():
                many.activate([device.pk], None)
        case "flow":
            link_flow(device=device, flow=flow, actor=None)
        case "network":
            network.activate = lambda _device: None  # type: ignore[method-assign]
            assert devices_network.run(device.pk)
    assert rung == [device.pk]
    assert execution.run(device.pk, now=at(100))
    rung.clear()
    queue.release([device.pk])
    assert rung == [], "the network has the first one: there is nothing to send"


HELD = [
    ({"processing_status": "deactivated"}, "is deactivated: its instructions wait"),
    ({"processing_status": "not_linked", "flow_count": 0}, "is in no Flow"),
    ({"connection_status": "deactivated"}, "connectivity is deactivated"),
    ({"connection_status": "failed"}, "not active on its network"),
]


@pytest.mark.parametrize(("held", "says"), HELD)
def test_why_an_instruction_waits(device: Device, held: dict[str, Any], says: str) -> None:
    """And it is true: what is said to be held is not claimed."""
    ask(device)
    assert execution.hold_reason(device) == ""
    Device.objects.filter(pk=device.pk).update(**held)
    device.refresh_from_db()
    assert says in execution.hold_reason(device)
    assert not execution.run(device.pk, now=at(100))


# --- asking before sending again ---


@pytest.mark.parametrize("knows", [True, False])
def test_network_is_asked_before_it_is_sent_again(device: Device, network: RecordedNetwork, knows: bool) -> None:
    """A worker that died after the network had it: a network that can say so is not given it a second time."""
    downlink = ask(device)
    network.knows = knows
    network.answers = [lost(SystemExit())]
    with pytest.raises(SystemExit):
        execution.run(device.pk, now=at(0))
    assert network.asked == [], "the first time there is nothing to ask"
    assert execution.run(device.pk, now=at(30))
    assert network.asked == [downlink.correlation_id]
    assert len(network.calls) == (1 if knows else 2)
    assert again(downlink).accepted_at == at(30)


def test_network_that_does_not_answer_the_question_is_asked_later(
    device: Device, network: RecordedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    downlink = ask(device)
    network.answers = [NetworkUnavailable("no answer")]
    execution.run(device.pk, now=at(0))

    def unavailable(*_args: Any) -> bool:
        raise NetworkUnavailable("still none")

    with monkeypatch.context() as patched:
        patched.setattr(network, "has", unavailable)
        execution.run(device.pk, now=at(2))
    assert (again(downlink).reason, again(downlink).due_at, len(network.calls)) == ("still none", at(7), 1)


def test_deactivated_holds_a_second_try_and_the_deadline_stays(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device)
    network.answers = [NetworkUnavailable("no answer")]
    execution.run(device.pk, now=at(0))
    deactivate(device=device, actor=None)
    assert not execution.run(device.pk, now=at(500))
    assert execution.sweep(at(500)) == 0
    assert execution.sweep(at(DAY)) == 1
    assert again(downlink).state == "failed"
    assert len(network.calls) == 1


@pytest.mark.parametrize(
    ("sent", "cause", "says"),
    [(False, Cause.NOT_ON_AIR, "sent no message in time"), (True, Cause.NO_ACK, "did not acknowledge it in time")],
)
def test_deadline_fails_with_what_is_known(
    device: Device, rung: list[int], sent: bool, cause: Cause, says: str
) -> None:
    downlink, after = ask(device, confirmed=True), ask(device)
    execution.run(device.pk, now=at(0))
    if sent:
        Downlink.objects.filter(number=1).update(sent_at=at(50))
    assert execution.sweep(at(DAY - 1)) == 0
    rung.clear()
    assert execution.sweep(at(DAY)) == 1
    row = again(downlink)
    assert (row.state, row.cause) == ("failed", cause)
    assert says in row.reason
    assert (again(after).head, rung) == (True, [device.pk])
    assert execution.sweep(at(DAY)) == 0


def test_sweeper_rings_again_and_not_all_the_time(device: Device, rung: list[int]) -> None:
    ask(device)
    rung.clear()
    assert execution.sweep(at(2.9)) == 0, "its own ring has time to be heard"
    assert execution.sweep(at(3)) == 1
    assert execution.sweep(at(8)) == 0
    assert execution.sweep(at(13)) == 1
    assert rung == [device.pk] * 2


def test_sweeper_has_a_limit(cast: Any, device: Device, fetching: Device, rung: list[int]) -> None:
    ask(device)
    ask_senml(fetching, now=at(1))
    rung.clear()
    assert execution.sweep(at(60), limit=1) == 1
    assert rung == [device.pk], "the one that waits longest"


def test_tasks_do_one_call_each(device: Device, network: RecordedNetwork, rung: list[int]) -> None:
    downlink = ask(device, now=None)
    tasks.run_downlink(device.pk)
    tasks.run_downlink(device.pk)
    assert network.taken == [downlink.correlation_id]
    assert len(network.calls) == 1
    Downlink.objects.update(deadline=T0, due_at=T0)
    tasks.sweep_downlinks()
    tasks.sweep_downlinks()
    assert states(device) == ["failed"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(2))
def test_racing_workers_send_one_at_a_time(device: Device, network: RecordedNetwork, turn: int) -> None:
    made = [ask(device, bytes([index])) for index in range(3)]
    results = at_once(8, lambda _index: execution.run(device.pk, now=at(1)))
    assert sorted(results) == [False] * 7 + [True]
    assert [call.correlation_id for call in network.calls] == [made[0].correlation_id]
    assert states(device) == ["executing", "pending", "pending"]


def test_database_refuses_a_second_executing_and_a_second_head(device: Device) -> None:
    ask(device), ask(device)
    execution.run(device.pk, now=at(1))
    wrong: list[dict[str, Any]] = [
        {"head": True, "due_at": T0},
        {"state": "executing", "executing_at": T0, "deadline": T0},
        {"state": "sleeping"},
        {"due_at": T0},
    ]
    for values in wrong:
        with pytest.raises(IntegrityError), transaction.atomic():
            Downlink.objects.filter(number=2).update(**values)


def test_finish_twice_finishes_once(device: Device) -> None:
    downlink = ask(device)
    execution.run(device.pk, now=at(0))
    assert queue.finish(device.pk, 1, Event.SENT, at(1), source="page")
    assert not queue.finish(device.pk, 1, Event.GIVEN_UP, at(2), source="page", reason="later")
    assert (again(downlink).state, again(downlink).reason) == ("delivered", "")


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan] + [node for child in plan.get("Plans", []) for node in nodes(child)]


@pytest.mark.parametrize("statement", [execution.CLAIM, execution.HAND_OVER])
def test_taking_the_head_reads_one_row(device: Device, statement: str) -> None:
    """However many instructions wait or are done, here or elsewhere: the index of heads finds the one."""
    copies = [Device(project=device.project, type=device.type, name=f"Copy {number}") for number in range(500)]
    Device.objects.bulk_create(copies)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO downlinks_downlink (device_id, number, correlation_id, state, head, due_at, encoder, fport,"
            " payload, confirmed, source, requested_at, attempts, cause, reason) SELECT d.id, n, gen_random_uuid(),"
            " CASE WHEN n < 4 THEN 'delivered' ELSE 'pending' END, n = 4, CASE WHEN n = 4 THEN %s END, 'raw-lora', 1,"
            " '', false, 'page', %s, 0, '', '' FROM devices_device d, generate_series(1, 8) n",
            [at(3), T0],
        )
        cursor.execute("ANALYZE downlinks_downlink, devices_device")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", execution.parameters(device.pk, at(1)))
        answer = cursor.fetchone()[0]
    plan = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
    scans = {node.get("Index Name") or node["Node Type"] for node in nodes(plan) if "Scan" in node["Node Type"]}
    assert scans & {"downlink_one_head", "devices_device_pkey"} == {"downlink_one_head", "devices_device_pkey"}, scans
    assert execution.take(statement, device.pk, at(5)) or statement is execution.HAND_OVER
