"""Many devices' instructions at once: none lost, none twice, and no device hurts another (S4, S5; scale)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from common import doorbell
from devices import connectivity
from devices.errors import NetworkRefused, NetworkUnavailable
from devices.models import Connection, Device
from devices.services import activate, deactivate
from downlinks import dispatch, execution, queue, reports, tasks
from downlinks.models import Downlink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, again, ask, ask_senml, at, at_once, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = 86400


@pytest.fixture
def fleet(cast: Cast, network: RecordedNetwork) -> list[Device]:
    flow = factories.flow(cast.project)
    return [factories.lora_device(cast.project, in_flow=flow) for _ in range(6)]


def ids(devices: list[Device]) -> list[int]:
    return [device.pk for device in devices]


def all_states() -> list[str]:
    return list(Downlink.objects.order_by("device_id", "number").values_list("state", flat=True))


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(queue, "ring", lambda *device_ids: found.extend(device_ids))
    return found


def test_the_head_of_each_is_sent_in_the_order_asked_for(fleet: list[Device], network: RecordedNetwork) -> None:
    made = {device.pk: [ask(device, b"\x01"), ask(device, b"\x02")] for device in fleet}
    asked = ids(fleet)[::-1]
    assert dispatch.run_many([*asked, *asked, 987654321], now=at(1)) == 6
    assert network.taken == [made[pk][0].correlation_id for pk in asked]
    assert len(network.calls) == 6
    for first, second in made.values():
        row = again(first)
        assert (row.state, row.executing_at, row.accepted_at, row.attempts) == ("executing", at(1), at(1), 1)
        assert row.due_at == row.deadline == at(1 + DAY)
        assert again(second).state == "pending"
    assert dispatch.run_many(asked, now=at(2)) == 0, "one at a time"


def test_as_many_statements_for_many_as_for_one(fleet: list[Device], network: RecordedNetwork) -> None:
    for device in fleet:
        ask(device)

    def statements(devices: list[Device]) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert dispatch.run_many(ids(devices), now=at(1)) == len(devices)
        return len(queries)

    assert statements(fleet[:1]) == statements(fleet[1:]) == 3


def test_network_info_is_read_with_the_devices(cast: Cast, django_assert_max_num_queries: Any) -> None:
    """The real connectivity: of each instruction, the simulated network's own statement alone."""
    flow = factories.flow(cast.project)
    devices = [factories.lora_device(cast.project, in_flow=flow) for _ in range(5)]
    for device in devices:
        connectivity.of(device).register(device)
        ask(device)
    with django_assert_max_num_queries(3 + len(devices)):
        assert dispatch.run_many(ids(devices), now=at(1)) == 5
    assert Downlink.objects.filter(accepted_at=at(1)).count() == 5


def test_refused_and_broken_ones_do_not_hurt_the_others(
    fleet: list[Device], network: RecordedNetwork, rung: list[int]
) -> None:
    made, after = [ask(device) for device in fleet], ask(fleet[1])
    rung.clear()
    network.answers = [None, NetworkRefused("no"), NetworkUnavailable("away"), ValueError("ours"), None, None]
    assert dispatch.run_many(ids(fleet), now=at(1)) == 6
    rows = [again(row) for row in made]
    assert [row.accepted_at for row in rows] == [at(1), None, None, None, at(1), at(1)]
    assert [row.cause for row in rows] == ["", "refused", "network", "network", "", ""]
    assert (rows[1].state, rows[2].due_at, rows[3].due_at) == ("failed", at(3), at(3))
    assert (again(after).head, rung) == (True, [fleet[1].pk]), "the next one of the refused one starts"


def test_not_active_ones_are_left_alone(fleet: list[Device], network: RecordedNetwork) -> None:
    for device in fleet:
        ask(device)
    deactivate(device=fleet[0], actor=None)
    Device.objects.filter(pk=fleet[1].pk).update(connection_status=Connection.FAILED)
    assert dispatch.run_many(ids(fleet), now=at(1)) == 4
    assert all_states() == ["pending"] * 2 + ["executing"] * 4
    assert len(network.calls) == 4


def test_deactivated_between_claim_and_sending_is_not_sent(fleet: list[Device], network: RecordedNetwork) -> None:
    """The lease runs out, and it is claimed when the device is active again."""
    for device in fleet[:2]:
        ask(device)
    taken = dispatch.take_many(ids(fleet), at(0))
    assert set(taken) == set(ids(fleet[:2]))
    deactivate(device=fleet[0], actor=None)
    assert dispatch.run_many(ids(fleet), now=at(30)) == 1
    activate(device=fleet[0], actor=None)
    assert dispatch.run_many(ids(fleet), now=at(31)) == 1
    assert len(network.calls) == len(network.taken) == 2


def test_fetched_ones_wait_for_their_device(fleet: list[Device], fetching: Device) -> None:
    ask(fleet[0])
    downlink = ask_senml(fetching)
    assert dispatch.run_many([fleet[0].pk, fetching.pk], now=at(1)) == 2
    row = again(downlink)
    assert (row.state, row.accepted_at, row.due_at) == ("executing", None, row.deadline)


@pytest.mark.parametrize("dies_at", [0, 3, 5])
def test_worker_that_dies_in_the_middle_loses_nothing_and_sends_nothing_twice(
    fleet: list[Device], network: RecordedNetwork, rung: list[int], dies_at: int
) -> None:
    made = [ask(device) for device in fleet]
    rung.clear()
    network.answers = [*[None] * dies_at, SystemExit()]  # type: ignore[list-item]
    with pytest.raises(SystemExit):
        dispatch.run_many(ids(fleet), now=at(0))
    assert all_states() == ["executing"] * 6
    assert execution.sweep(at(29)) == 0
    assert dispatch.run_many(ids(fleet), now=at(29)) == 0, "the lease holds"
    assert execution.sweep(at(30)) == 6
    assert sorted(rung) == ids(fleet)
    assert dispatch.run_many(rung, now=at(30)) == 6
    assert sorted(network.taken) == sorted(row.correlation_id for row in made), "under the same ids"
    assert {again(row).accepted_at for row in made} == {at(30)}
    assert dispatch.run_many(ids(fleet), now=at(60)) == 0


def test_slow_network_leaves_the_rest_to_others(
    fleet: list[Device], network: RecordedNetwork, rung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cannot begin in time gives back what it has claimed, rings, and loses what it has sent not."""
    made = [ask(device) for device in fleet]
    rung.clear()
    clock = [0.0]
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: clock[0])
    network.during = lambda: clock.__setitem__(0, clock[0] + 4)
    assert dispatch.run_many(ids(fleet), now=at(0)) == 6
    assert [again(row).accepted_at for row in made] == [at(0)] * 3 + [None] * 3
    assert sorted(rung) == ids(fleet)[3:]
    assert dispatch.run_many(rung, now=at(1)) == 3, "without waiting for a lease"
    assert len(network.calls) == len(network.taken) == 6


def test_what_was_given_back_too_late_is_not_taken_from_who_has_it(fleet: list[Device]) -> None:
    ask(fleet[0])
    batch = dispatch.Batch(dispatch.take_many(ids(fleet), at(0)), at(31))
    assert dispatch.take_many(ids(fleet), at(31)), "its lease was over"
    batch.left = ids(fleet[:1])
    batch.hand_back()
    assert Downlink.objects.get().due_at == at(61)


def test_report_that_is_quicker_than_the_note_stands(fleet: list[Device], network: RecordedNetwork) -> None:
    first, second = ask(fleet[0]), ask(fleet[1], confirmed=True)

    def sent() -> None:
        row = first if len(network.calls) == 1 else second
        reports.on_sent(row.device_id, str(row.correlation_id), at(2), now=at(2))

    network.during = sent
    dispatch.run_many(ids(fleet), now=at(1))
    rows = [again(first), again(second)]
    assert [(row.state, row.accepted_at, row.sent_at) for row in rows] == [
        ("delivered", at(2), at(2)),
        ("executing", at(2), at(2)),
    ]


@pytest.mark.django_db(transaction=True)
def test_racing_workers_claim_each_once(fleet: list[Device], network: RecordedNetwork) -> None:
    """Whole batches, halves, single rings and the other way round, all at once."""
    made = [ask(device) for device in fleet]
    asked = ids(fleet)

    def work(index: int) -> int:
        if index == 7:
            return int(execution.run(asked[0], now=at(1)))
        return dispatch.run_many([asked, asked[::-1], asked[3:], asked[:3][::-1]][index % 4], now=at(1))

    assert sum(at_once(8, work)) == 6
    assert len(network.calls) == 6
    assert sorted(network.taken) == sorted(row.correlation_id for row in made)
    assert {row.attempts for row in Downlink.objects.all()} == {1}


@pytest.mark.django_db(transaction=True)
def test_row_that_somebody_holds_does_not_stop_the_batch(fleet: list[Device], network: RecordedNetwork) -> None:
    for device in fleet:
        ask(device)

    def held(_index: int) -> int:
        return dispatch.run_many(ids(fleet), now=at(1))

    with transaction.atomic():
        Downlink.objects.filter(device=fleet[0]).update(reason="held")
        assert at_once(1, held) == [5]
    assert states(fleet[0]) == ["pending"]
    assert dispatch.run_many(ids(fleet), now=at(2)) == 1


def test_many_are_rung_for_together_and_behind_the_rest(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    rings: list[tuple[str, Any, int]] = []
    for task in (tasks.run_downlink, tasks.run_downlinks):

        def heard(args: Any, priority: int, name: str = task.name, **_options: Any) -> None:
            rings.append((name.rpartition(".")[2], args[0], priority))

        monkeypatch.setattr(task, "apply_async", heard)
    with django_capture_on_commit_callbacks(execute=True):
        queue.ring(7)
        queue.ring()
        queue.ring(*range(250))
    assert rings == [
        ("run_downlink", 7, 0),
        ("run_downlinks", list(range(100)), doorbell.LAST),
        ("run_downlinks", list(range(100, 200)), doorbell.LAST),
        ("run_downlinks", list(range(200, 250)), doorbell.LAST),
    ]


def test_sweeper_gives_the_workers_time_for_many(
    fleet: list[Device], rung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "SENT_A_SECOND", 2)
    for device in fleet:
        ask(device)
    rung.clear()
    assert execution.sweep(at(5)) == 6
    assert set(Downlink.objects.values_list("due_at", flat=True)) == {at(5 + 10 + 3)}
    assert execution.sweep(at(17)) == 0
    assert sorted(rung) == ids(fleet)


def test_sweeper_fails_so_many_a_round_and_rings_all_the_same(
    fleet: list[Device], rung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "FAIL_LIMIT", 2)
    for device in fleet[:4]:
        ask(device)
    dispatch.run_many(ids(fleet), now=at(0))
    ask(fleet[5], now=at(DAY))
    rung.clear()
    assert execution.sweep(at(DAY + 5)) == 3
    assert rung == [fleet[5].pk]
    assert execution.sweep(at(DAY + 6)) == 2
    assert all_states() == ["failed"] * 4 + ["pending"]


def test_task_of_many_may_come_twice(fleet: list[Device], network: RecordedNetwork) -> None:
    for device in fleet:
        ask(device, now=None)
    tasks.run_downlinks(ids(fleet))
    tasks.run_downlinks(ids(fleet))
    assert len(network.calls) == 6
