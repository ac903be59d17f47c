"""An instruction with an end (S3): not sent at or after it, and failed with it, wherever it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from devices.errors import NetworkUnavailable
from devices.models import Device
from devices.services import deactivate
from downlinks import execution, handover, queue, reports
from downlinks.models import Cause, Downlink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import T0, RecordedNetwork, again, ask, ask_senml, at, states
from tests.downlinks.test_execution import nodes
from tests.twin.controls import INTERVAL, give
from twin import loop
from twin.models import DesiredValue, Sync

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = 86400


@pytest.mark.parametrize(("second", "sent"), [(59, True), (60, False), (61, False)])
def test_it_is_not_begun_at_or_after_its_end(device: Device, network: RecordedNetwork, second: int, sent: bool) -> None:
    """The statement that takes it holds it, whether the sweeper has been there or not."""
    ask(device, valid_until=at(60))
    assert execution.run(device.pk, now=at(second)) is sent
    assert bool(network.calls) is sent


@pytest.mark.parametrize(("second", "handed"), [(59, True), (60, False)])
@pytest.mark.parametrize("claimed", [False, True])
def test_it_is_not_handed_over_at_or_after_its_end(fetching: Device, claimed: bool, second: int, handed: bool) -> None:
    ask_senml(fetching, valid_until=at(60))
    if claimed:
        assert execution.run(fetching.pk, now=at(1))
    assert (handover.hand_over(fetching.pk, at(second)) is not None) is handed


def test_what_was_handed_over_is_repeated_after_its_end(fetching: Device) -> None:
    """The device may have had it: only the answer was lost."""
    ask_senml(fetching, valid_until=at(60))
    first = handover.hand_over(fetching.pk, at(59))
    assert handover.hand_over(fetching.pk, at(61)) == first != None  # noqa: E711
    assert execution.sweep(at(62)) == 0


def test_sweeper_fails_it_and_lets_the_next_one_go(device: Device, network: RecordedNetwork) -> None:
    first, second = ask(device, valid_until=at(60)), ask(device)
    deactivate(device=device, actor=None)
    assert execution.sweep(at(59)) == 0
    assert execution.sweep(at(60)) == 1
    row = again(first)
    assert (row.state, row.cause, row.finished_at, row.head) == ("failed", Cause.EXPIRED, at(60), False)
    assert row.reason == "It could not be sent before its time was over."
    assert again(second).head
    assert execution.sweep(at(61)) == 0


def test_it_fails_where_it_waits_behind_others(device: Device) -> None:
    for end in (None, at(60), at(90), None):
        ask(device, valid_until=end)
    execution.run(device.pk, now=at(1))
    assert execution.sweep(at(70)) == 1
    assert states(device) == ["executing", "failed", "pending", "pending"]
    assert execution.sweep(at(90)) == 1
    assert states(device) == ["executing", "failed", "failed", "pending"]


def test_executing_without_an_answer_is_failed_at_its_end(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device, valid_until=at(60))
    network.answers = [NetworkUnavailable("no answer")] * 9
    for second in range(1, 100):
        execution.run(device.pk, now=at(second))
        execution.sweep(at(second))
    row = again(downlink)
    assert (row.state, row.cause, row.finished_at) == ("failed", Cause.EXPIRED, at(60))


def test_worker_that_sends_has_its_lease(device: Device, network: RecordedNetwork) -> None:
    """Its end comes while the network is asked: what the network answers counts."""
    downlink = ask(device, valid_until=at(2))

    def meanwhile() -> None:
        assert execution.sweep(at(5)) == 0

    network.during = meanwhile
    execution.run(device.pk, now=at(1))
    assert (again(downlink).state, again(downlink).accepted_at) == ("executing", at(1))
    assert execution.sweep(at(40)) == 0, "the network has it"


def test_worker_that_dies_leaves_it_to_its_end(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device, valid_until=at(2))
    network.answers = [SystemExit()]  # type: ignore[list-item]
    with pytest.raises(SystemExit):
        execution.run(device.pk, now=at(1))
    assert execution.sweep(at(30)) == 0
    assert execution.sweep(at(31)) == 1
    assert (again(downlink).state, again(downlink).cause) == ("failed", Cause.EXPIRED)
    reports.on_sent(device.pk, str(downlink.correlation_id), at(33))
    assert (again(downlink).state, again(downlink).sent_at) == ("failed", at(33)), "the network had it after all"


def test_not_fetched_in_time_is_failed_at_its_end(fetching: Device) -> None:
    downlink = ask_senml(fetching, valid_until=at(60))
    execution.run(fetching.pk, now=at(1))
    assert execution.sweep(at(59)) == 0
    assert execution.sweep(at(60)) == 1
    assert (again(downlink).state, again(downlink).cause) == ("failed", Cause.EXPIRED)


def test_handed_over_in_time_ends_by_the_device(fetching: Device) -> None:
    downlink = ask_senml(fetching, valid_until=at(60))
    handover.hand_over(fetching.pk, at(59))
    assert execution.sweep(at(61)) == 0
    assert handover.device_answered(fetching.pk, at(70))
    assert again(downlink).state == "delivered"


def test_claimed_between_reading_and_failing_is_left_alone(
    device: Device, network: RecordedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is a little behind takes it in the moment in which the sweeper fails it."""
    downlink = ask(device, valid_until=at(60))
    finish = queue.finish

    def late(*args: Any, **values: Any) -> bool:
        with monkeypatch.context() as real:
            real.setattr(queue, "finish", finish)
            execution.run(device.pk, now=at(59.9))
            return finish(*args, **values)

    monkeypatch.setattr(queue, "finish", late)
    assert execution.sweep(at(60)) == 0
    assert again(downlink).state == "executing"


def test_who_is_told_of_a_desired_value_is_told_of_its_end(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(queue, "on_desired", [lambda pk, number: told.append((states(device)[number - 1], number))])
    ask(device, valid_until=at(60), source="desired"), ask(device, valid_until=at(60))
    assert execution.sweep(at(60)) == 2
    assert told == [("failed", 1)]


@pytest.mark.parametrize(("tries", "state"), [(2, Sync.REQUESTED), (1, Sync.FAILED)])
def test_desired_value_takes_it_for_a_failure(cast: Cast, tries: int, state: Sync) -> None:
    """Sent again while there are tries left, else failed with the same reason."""
    made = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
    device = give(made, INTERVAL | {"tries": tries})
    wanted = loop.request(device=device, name="interval", value=3, seen=None, actor=None, now=T0)
    Downlink.objects.filter(device=device, number=wanted.downlink).update(valid_until=at(60))
    execution.sweep(at(60))
    row = DesiredValue.objects.get(device=device, name="interval")
    assert (row.state, row.cause, row.reason) == (state, Cause.EXPIRED, str(Cause.EXPIRED.label))
    assert bool(row.due_at) == (state == Sync.REQUESTED)


def test_finding_them_reads_their_index(device: Device) -> None:
    """However many instructions wait without an end, or are done."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO downlinks_downlink (device_id, number, correlation_id, state, head, encoder, fport, payload,"
            " confirmed, source, requested_at, attempts, cause, reason, valid_until) SELECT %s, n, gen_random_uuid(),"
            " CASE WHEN n %% 2 = 0 THEN 'pending' ELSE 'failed' END, false, 'raw-lora', 1, '', false, 'page', %s, 0,"
            " '', '', CASE WHEN n %% 2 = 1 OR n %% 100 = 0 THEN %s::timestamptz END FROM generate_series(1, 4000) n",
            [device.pk, T0, at(60)],
        )
        cursor.execute("ANALYZE downlinks_downlink")
    pending = Downlink.objects.filter(state="pending", valid_until__lte=at(60)).order_by("valid_until")
    plan = json.loads(pending.values_list("device_id", "number")[:1000].explain(format="json"))[0]["Plan"]
    scans = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    assert scans == {"downlink_expiring"}
    assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
