"""W3, W4: a desired value on its way to the device and back, with the network played by the test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry
from codec.measurements import Measurement
from common.states import StateConflict
from devices import deletion
from devices.controls import ControlError
from devices.errors import NetworkRefused
from devices.models import Device, DeviceState, DeviceType, NetworkTask
from devices.services import activate, deactivate, link_flow
from downlinks import execution, handover, reports
from downlinks import services as downlinks
from downlinks.models import Downlink, Source
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import T0, RecordedNetwork, ask, at, at_once, network, states  # noqa: F401
from tests.twin.controls import HOUR, INTERVAL, LED, MODE, SETPOINT, give, unconfirmed
from twin import loop, sync
from twin.errors import DesiredChanged, TwinRefused
from twin.models import SYNC_ALLOWED, DesiredValue, Sync, Twin
from twin.services import set_desired, update_reported

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = 24 * HOUR


@pytest.fixture
def device(cast: Cast, network: RecordedNetwork) -> Device:  # noqa: F811
    """A LoRa device in a Flow, active on the network."""
    made = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
    return give(made, INTERVAL, LED, MODE)


@pytest.fixture
def fetching(cast: Cast) -> Device:
    return give(factories.internet_device(cast.project, in_flow=factories.flow(cast.project)), SETPOINT)


def want(device: Device, value: Any = 15, seconds: float = 0, *, name: str = "interval", **more: Any) -> DesiredValue:
    more = {"seen": None, "actor": None} | more
    return loop.request(device=device, name=name, value=value, now=at(seconds), **more)


def row(device: Device, name: str = "interval") -> DesiredValue:
    return DesiredValue.objects.get(device=device, name=name)


def report(device: Device, value: Any, seconds: float, *, name: str = "interval") -> None:
    measured = Measurement(name=name, value=value, time=at(seconds).timestamp(), unit=None)
    update_reported({device.pk: [measured]}, at(seconds))


def out_of_sync(device: Device) -> int:
    return DeviceState.objects.get(device=device).out_of_sync


def instruction(device: Device, number: int = 1) -> Downlink:
    return Downlink.objects.get(device=device, number=number)


def claim(device: Device, seconds: float) -> None:
    assert execution.run(device.pk, now=at(seconds))


def sent(device: Device, seconds: float, number: int = 1, **more: Any) -> None:
    name = str(instruction(device, number).correlation_id)
    reports.on_sent(device.pk, name, at(seconds), now=at(seconds), **more)


def acknowledged(device: Device, seconds: float, number: int = 1) -> None:
    name = str(instruction(device, number).correlation_id)
    reports.on_acknowledged(device.pk, name, at(seconds), now=at(seconds))


def refused(device: Device, seconds: float, number: int = 1) -> None:
    name = str(instruction(device, number).correlation_id)
    reports.on_failed(device.pk, name, at(seconds), cause="NO_ACK", reason="Nobody answered.", now=at(seconds))


# --- asking ---


def test_request_is_an_instruction_in_the_same_transaction(cast: Cast, device: Device) -> None:
    made = want(device, "15,0", actor=cast.operator)
    assert (made.state, made.value, made.downlink, made.attempts) == (Sync.QUEUED, 15, 1, 1)
    assert (made.requested_at, made.queued_at, made.due_at) == (T0, T0, at(DAY))
    sending = instruction(device)
    assert (bytes(sending.payload), sending.fport, sending.confirmed) == (b"\x00\x0f", 10, True)
    assert (sending.source, sending.requested_by) == (Source.DESIRED, cast.operator)
    assert Twin.objects.get(device=device).desired == {"interval": {"v": 15, "t": T0.timestamp()}}
    assert out_of_sync(device) == 1
    entries = AuditEntry.objects.filter(device_id=device.pk, actor=cast.operator).values_list("action", flat=True)
    assert set(entries) == {"twin.desired_changed", "downlink.requested"}


@pytest.mark.parametrize("reported", [15, 15.0, "15", 15.4])
def test_what_the_device_reports_already_is_in_sync_and_nothing_is_sent(device: Device, reported: Any) -> None:
    report(device, reported, -60)
    made = want(device)
    assert (made.state, made.finished_at, made.due_at, made.attempts) == (Sync.IN_SYNC, T0, None, 0)
    assert states(device) == []
    assert out_of_sync(device) == 0


def test_report_from_before_another_instruction_left_says_nothing(device: Device) -> None:
    report(device, 15, -60)
    want(device, 30)
    claim(device, 1)
    sent(device, 2)
    acknowledged(device, 3)
    assert want(device, 15, 10).state == Sync.QUEUED, "the device may have 30 by now"
    report(device, 30, 5)
    assert row(device).state == Sync.QUEUED
    assert states(device) == ["delivered", "pending"]


def test_report_while_another_instruction_may_be_sent_once_more_says_nothing(device: Device) -> None:
    want(device, 30)
    claim(device, 1)
    sent(device, 2)
    report(device, 15, 3)
    assert want(device, 15, 4).state == Sync.QUEUED
    acknowledged(device, 5)
    assert states(device) == ["delivered", "pending"]


def test_newer_request_takes_the_place_of_one_that_has_not_left(device: Device) -> None:
    want(device, 10)
    made = want(device, 20, 1)
    assert (made.generation, made.value, made.downlink) == (2, 20, 2)
    assert states(device) == ["cancelled", "pending"]


def test_newer_request_stands_behind_one_that_has_left_and_is_not_moved_by_it(device: Device) -> None:
    want(device, 10)
    claim(device, 1)
    want(device, 20, 2)
    sent(device, 3)
    acknowledged(device, 4)
    assert states(device) == ["delivered", "pending"]
    assert (row(device).state, row(device).on_air_at) == (Sync.QUEUED, None)
    report(device, 10, 5)
    assert row(device).state == Sync.QUEUED


def test_second_of_two_people_is_told_what_stands_there(device: Device) -> None:
    first = want(device, 10, seen=0)
    with pytest.raises(DesiredChanged) as told:
        want(device, 20, 1, seen=0)
    assert told.value.held == first
    assert states(device) == ["pending"]
    assert want(device, 20, 2, seen=first.generation).value == 20


def test_same_page_sent_twice_asks_once(device: Device) -> None:
    first = want(device, 10, seen=0)
    again = want(device, 10, 1, seen=0)
    assert (again.generation, again.requested_at) == (first.generation, T0)
    assert states(device) == ["pending"]


def test_value_that_was_removed_and_asked_for_anew_is_another_one(device: Device) -> None:
    first = want(device, 10)
    loop.drop(device=device, name="interval", seen=first.generation, actor=None, now=at(1))
    second = want(device, 20, 2)
    assert second.generation > first.generation
    with pytest.raises(DesiredChanged):
        want(device, 30, 3, seen=first.generation)


@pytest.mark.parametrize(
    ("name", "value"),
    [("interval", 0), ("interval", "soon"), ("interval", True), ("interval", None), ("other", 1), ("mode", "night")],
)
def test_what_the_control_does_not_take_is_refused(device: Device, name: str, value: Any) -> None:
    with pytest.raises(ControlError) as told:
        want(device, value, name=name)
    assert told.value.where == name
    assert not DesiredValue.objects.exists()


def test_many_are_all_or_nothing(device: Device) -> None:
    with pytest.raises(ControlError):
        loop.request_many(device=device, values={"led": True, "interval": -1}, actor=None, now=T0)
    with pytest.raises(TwinRefused):
        loop.request_many(device=device, values={"led": True, " free": 1}, actor=None, now=T0)
    assert not DesiredValue.objects.exists()
    assert states(device) == []
    made = loop.request_many(device=device, values={"led": "on", "interval": 9, "free": [1]}, actor=None, now=T0)
    assert {name: one.value for name, one in made.items()} == {"led": True, "interval": 9}
    assert out_of_sync(device) == 3
    report(device, [1], 1, name="free")
    loop.request_many(device=device, values={"led": None, "interval": 9, "free": None}, actor=None, now=at(2))
    assert Twin.objects.get(device=device).desired.keys() == {"interval"}
    assert set(loop.states_of(device.pk)) == {"interval"}
    assert out_of_sync(device) == 1


def test_many_check_each_name_that_was_seen(device: Device) -> None:
    want(device, 10)
    with pytest.raises(DesiredChanged) as told:
        loop.request_many(device=device, values={"led": True, "interval": 9}, seen={"interval": 7}, actor=None)
    assert told.value.name == "interval"
    assert set(loop.states_of(device.pk)) == {"interval"}


def test_removed_value_does_not_leave_any_more(device: Device) -> None:
    made = want(device)
    with pytest.raises(DesiredChanged):
        loop.drop(device=device, name="interval", seen=made.generation + 1, actor=None, now=at(1))
    loop.drop(device=device, name="interval", seen=made.generation, actor=None, now=at(1))
    assert states(device) == ["cancelled"]
    assert loop.states_of(device.pk) == {}
    assert Twin.objects.get(device=device).desired == {}
    assert out_of_sync(device) == 0
    report(device, 15, 2)


def test_removed_value_is_not_moved_by_the_instruction_that_had_left(device: Device) -> None:
    want(device)
    claim(device, 1)
    loop.drop(device=device, name="interval", seen=None, actor=None, now=at(2))
    acknowledged(device, 3)
    assert states(device) == ["delivered"]
    assert loop.states_of(device.pk) == {}


# --- what cannot be sent, or not yet ---


def test_deactivated_device_gets_it_when_it_is_active_again(device: Device) -> None:
    deactivate(device=device, actor=None)
    made = want(device)
    assert (made.state, made.due_at, made.attempts) == (Sync.REQUESTED, T0, 0)
    assert made.reason == "The device is deactivated: nothing is sent to it."
    assert loop.sweep(at(5)) == 0
    activate(device=device, actor=None)
    assert loop.sweep(at(10)) == 1
    assert (row(device).state, row(device).reason, row(device).queued_at) == (Sync.QUEUED, "", at(10))
    assert states(device) == ["pending"]


def test_device_in_no_flow_gets_it_when_it_is_in_one(cast: Cast, network: RecordedNetwork) -> None:  # noqa: F811
    device = give(factories.lora_device(cast.project), INTERVAL)
    assert want(device).reason == "Link the device to a Flow first: instructions need one."
    assert loop.sweep(at(5)) == 0
    link_flow(device=device, flow=factories.flow(cast.project), actor=None)
    assert loop.sweep(at(10)) == 1
    assert row(device).state == Sync.QUEUED


def test_device_without_network_info_waits_for_it(cast: Cast, network: RecordedNetwork) -> None:  # noqa: F811
    device = give(factories.device(cast.project, in_flow=factories.flow(cast.project)), INTERVAL)
    made = want(device)
    assert (made.state, made.reason) == (Sync.REQUESTED, "The device has no network info yet.")
    assert loop.sweep(at(5)) == 0


def test_value_that_waits_too_long_has_failed(device: Device) -> None:
    deactivate(device=device, actor=None)
    want(device)
    assert loop.sweep(at(DAY)) == 1
    failed = row(device)
    assert (failed.state, failed.cause, failed.finished_at) == (Sync.FAILED, "portal:given-up", at(DAY))
    assert failed.reason == "It could not be sent in time. The device is deactivated: nothing is sent to it."


def test_value_without_instruction_has_failed_with_the_reason(device: Device) -> None:
    made = want(device, "eco", name="mode")
    assert (made.state, made.cause, made.due_at) == (Sync.FAILED, "portal:codec", None)
    assert made.reason == "The codec of this device type has no version in use."
    assert states(device) == []
    assert Twin.objects.get(device=device).desired["mode"]["v"] == "eco"


def test_payload_too_large_for_the_present_data_rate_is_tried_again(device: Device, network: RecordedNetwork) -> None:  # noqa: F811
    network.room = 1
    made = want(device)
    assert (made.state, made.due_at) == (Sync.REQUESTED, T0 + loop.LOOK_AGAIN)
    assert "at most 1 fit" in made.reason
    network.room = 51
    assert loop.sweep(at(299)) == 0
    assert loop.sweep(at(300)) == 1
    assert row(device).state == Sync.QUEUED


def test_desired_value_before_any_report_works(device: Device) -> None:
    assert not Twin.objects.filter(device=device).exists()
    assert want(device).state == Sync.QUEUED
    report(device, 15, 60)
    assert (row(device).state, row(device).finished_at) == (Sync.IN_SYNC, at(60))


# --- every move of the map ---


def queue_up(device: Device) -> None:
    want(device)


def put_on_air(device: Device) -> None:
    queue_up(device)
    claim(device, 1)
    sent(device, 2)


def acknowledge(device: Device) -> None:
    put_on_air(device)
    acknowledged(device, 3)


def answer(device: Device) -> None:
    acknowledge(device)
    report(device, 15, 4)


def leave(device: Device) -> None:
    answer(device)
    report(device, 99, 5)


def fail(device: Device) -> None:
    queue_up(device)
    downlinks.cancel(device=device, number=1, actor=None, now=at(1))


def wait_switched_off(device: Device) -> None:
    deactivate(device=device, actor=None)
    want(device)


def wait_unconfirmed(device: Device) -> None:
    give(device, unconfirmed(INTERVAL))
    want(Device.objects.select_related("type").get(pk=device.pk))
    claim(device, 1)
    sent(device, 2)


def refuse_by_network(device: Device) -> None:
    claim(device, 1)
    refused(device, 4)


def switch_on(device: Device) -> None:
    activate(device=device, actor=None)
    loop.sweep(at(9))


def switch_off_and_wait(device: Device) -> None:
    deactivate(device=device, actor=None)
    loop.sweep(at(HOUR + 9))


def ask_switched_off(device: Device) -> None:
    deactivate(device=device, actor=None)
    want(device, 50, 10)


def try_twice(device: Device) -> None:
    loop.sweep(at(HOUR + 9))
    claim(device, HOUR + 10)
    sent(device, HOUR + 11, 2)
    loop.sweep(at(3 * HOUR))


Act = Callable[[Device], object]
WAYS: dict[tuple[Sync, Sync], tuple[Act, Act]] = {
    (Sync.REQUESTED, Sync.QUEUED): (wait_switched_off, switch_on),
    (Sync.REQUESTED, Sync.IN_SYNC): (wait_switched_off, lambda one: report(one, 15, 6)),
    (Sync.REQUESTED, Sync.FAILED): (wait_switched_off, lambda one: loop.sweep(at(DAY))),
    (Sync.QUEUED, Sync.REQUESTED): (queue_up, refuse_by_network),
    (Sync.QUEUED, Sync.ON_AIR): (queue_up, lambda one: (claim(one, 1), sent(one, 2))),
    (Sync.QUEUED, Sync.ACKNOWLEDGED): (queue_up, lambda one: (claim(one, 1), acknowledged(one, 3))),
    (Sync.QUEUED, Sync.IN_SYNC): (queue_up, lambda one: report(one, 15, 6)),
    (Sync.QUEUED, Sync.FAILED): (queue_up, lambda one: loop.sweep(at(DAY))),
    (Sync.ON_AIR, Sync.REQUESTED): (put_on_air, lambda one: refused(one, 4)),
    (Sync.ON_AIR, Sync.QUEUED): (wait_unconfirmed, lambda one: loop.sweep(at(HOUR + 9))),
    (Sync.ON_AIR, Sync.ACKNOWLEDGED): (put_on_air, lambda one: acknowledged(one, 4)),
    (Sync.ON_AIR, Sync.IN_SYNC): (put_on_air, lambda one: report(one, 15, 6)),
    (Sync.ON_AIR, Sync.FAILED): (wait_unconfirmed, try_twice),
    (Sync.ACKNOWLEDGED, Sync.REQUESTED): (acknowledge, switch_off_and_wait),
    (Sync.ACKNOWLEDGED, Sync.QUEUED): (acknowledge, lambda one: loop.sweep(at(HOUR + 9))),
    (Sync.ACKNOWLEDGED, Sync.IN_SYNC): (acknowledge, lambda one: report(one, 15, 6)),
    (Sync.ACKNOWLEDGED, Sync.FAILED): (acknowledge, lambda one: (give(one), loop.sweep(at(HOUR + 9)))),
    (Sync.IN_SYNC, Sync.REQUESTED): (answer, ask_switched_off),
    (Sync.IN_SYNC, Sync.DIFFERS): (answer, lambda one: report(one, 16, 6)),
    (Sync.DIFFERS, Sync.REQUESTED): (leave, ask_switched_off),
    (Sync.DIFFERS, Sync.IN_SYNC): (leave, lambda one: report(one, "15", 6)),
    (Sync.FAILED, Sync.REQUESTED): (fail, ask_switched_off),
    (Sync.FAILED, Sync.IN_SYNC): (fail, lambda one: report(one, 15, 6)),
}


@pytest.mark.parametrize(("before", "after"), WAYS, ids=lambda state: state.value)
def test_way_from_state_to_state(device: Device, before: Sync, after: Sync) -> None:
    reach, go = WAYS[before, after]
    reach(device)
    assert row(device).state == before
    go(device)
    moved = row(device)
    assert moved.state == after
    assert out_of_sync(device) == (after != Sync.IN_SYNC)
    assert (moved.finished_at is None) == (after not in {Sync.IN_SYNC, Sync.DIFFERS, Sync.FAILED})
    assert (moved.due_at is None) == (moved.finished_at is not None)
    assert bool(moved.reason) == (after in {Sync.FAILED, Sync.REQUESTED})


def test_the_ways_are_those_of_the_map() -> None:
    assert {(before.value, after.value) for before, after in WAYS} == {
        (before, after) for before, targets in SYNC_ALLOWED.items() for after in targets
    }


@pytest.mark.parametrize("before", Sync)
@pytest.mark.parametrize("after", Sync)
def test_no_other_move_is_made(device: Device, before: Sync, after: Sync) -> None:
    held = DesiredValue.objects.create(device=device, name="interval", value=1, state=before)
    if before == after or after in SYNC_ALLOWED[before]:
        assert sync.move(held, after)
        assert row(device).state == after
    else:
        with pytest.raises(StateConflict):
            sync.move(held, after)


# --- the instruction's news ---


def test_each_state_has_its_time(device: Device) -> None:
    want(device)
    claim(device, 1)
    sent(device, 2)
    assert (row(device).on_air_at, row(device).due_at) == (at(2), at(DAY))
    acknowledged(device, 3)
    assert (row(device).acknowledged_at, row(device).due_at) == (at(3), at(3 + HOUR))
    report(device, 15, 4)
    found = row(device)
    assert (found.requested_at, found.queued_at, found.on_air_at) == (T0, T0, at(2))
    assert (found.acknowledged_at, found.finished_at, found.due_at) == (at(3), at(4), None)


def test_news_that_comes_late_keeps_its_time_and_moves_nothing(device: Device) -> None:
    want(device)
    claim(device, 1)
    acknowledged(device, 3)
    sent(device, 2)
    assert (row(device).state, row(device).on_air_at) == (Sync.ACKNOWLEDGED, at(2))
    report(device, 15, 4)
    acknowledged(device, 9)
    assert (row(device).state, row(device).acknowledged_at) == (Sync.IN_SYNC, at(3))


def test_network_that_fails_is_asked_once_more_and_its_words_are_kept(device: Device) -> None:
    want(device)
    claim(device, 1)
    refused(device, 2)
    waiting = row(device)
    assert (waiting.state, waiting.cause, waiting.reason) == (Sync.REQUESTED, "NO_ACK", "Nobody answered.")
    assert waiting.due_at == at(32)
    assert loop.sweep(at(31)) == 0
    assert loop.sweep(at(32)) == 1
    assert (row(device).attempts, row(device).downlink) == (2, 2)
    claim(device, 33)
    refused(device, 34, 2)
    failed = row(device)
    assert (failed.state, failed.cause, failed.reason) == (Sync.FAILED, "NO_ACK", "Nobody answered.")
    assert (failed.finished_at, failed.due_at) == (at(34), None)
    assert loop.sweep(at(DAY)) == 0


def test_network_that_refuses_at_once_counts_as_a_try(device: Device, network: RecordedNetwork) -> None:  # noqa: F811
    network.answers = [NetworkRefused("no such device"), NetworkRefused("no such device")]
    want(device)
    claim(device, 1)
    loop.sweep(at(40))
    claim(device, 41)
    assert (row(device).state, row(device).cause, row(device).reason) == (Sync.FAILED, "refused", "no such device")


def test_instruction_that_times_out_counts_as_a_try(device: Device) -> None:
    give(device, INTERVAL | {"give_up_seconds": 5 * DAY})
    want(Device.objects.select_related("type").get(pk=device.pk))
    claim(device, 1)
    execution.sweep(at(DAY + 2))
    assert (row(device).state, row(device).cause) == (Sync.REQUESTED, "portal:not-on-air")


def test_no_report_sends_again_and_then_fails(device: Device) -> None:
    acknowledge(device)
    assert loop.sweep(at(HOUR + 2)) == 0
    assert loop.sweep(at(HOUR + 3)) == 1
    again = row(device)
    assert (again.state, again.attempts, again.on_air_at, again.acknowledged_at) == (Sync.QUEUED, 2, None, None)
    claim(device, HOUR + 4)
    sent(device, HOUR + 5, 2)
    acknowledged(device, HOUR + 6, 2)
    assert loop.sweep(at(3 * HOUR)) == 1
    failed = row(device)
    assert (failed.state, failed.cause) == (Sync.FAILED, "portal:no-report")
    assert failed.reason == "The device did not report the value in time."
    assert states(device) == ["delivered", "delivered"]


def test_instruction_that_never_leaves_is_taken_back_at_the_end(device: Device) -> None:
    want(device)
    assert loop.sweep(at(DAY - 1)) == 0
    assert loop.sweep(at(DAY)) == 1
    assert (row(device).state, row(device).reason) == (Sync.FAILED, "Its instruction did not leave in time.")
    assert states(device) == ["cancelled"]


def test_instruction_that_somebody_cancels(device: Device) -> None:
    want(device)
    downlinks.cancel(device=device, number=1, actor=None, now=at(1))
    assert (row(device).state, row(device).reason) == (Sync.FAILED, "Its instruction was cancelled.")


def test_value_that_nobody_reports_ends_with_the_delivery(device: Device) -> None:
    want(device, True, name="led")
    claim(device, 1)
    sent(device, 2)
    assert (row(device, "led").state, row(device, "led").due_at) == (Sync.ON_AIR, at(2))
    assert out_of_sync(device) == 1
    assert loop.sweep(at(3), device_id=device.pk) == 1
    assert (row(device, "led").state, row(device, "led").acknowledged_at) == (Sync.IN_SYNC, None)
    assert out_of_sync(device) == 0
    report(device, False, 9, name="led")
    assert row(device, "led").state == Sync.IN_SYNC


def test_device_that_fetches_its_instructions(fetching: Device) -> None:
    want(fetching, 21.5, name="setpoint")
    assert b'"n":"setpoint"' in bytes(instruction(fetching).payload)
    assert handover.hand_over(fetching.pk, at(1))
    assert (row(fetching, "setpoint").state, row(fetching, "setpoint").on_air_at) == (Sync.ON_AIR, at(1))
    report(fetching, 21.5, 1, name="setpoint")
    assert row(fetching, "setpoint").state == Sync.ON_AIR, "it was in the message that was answered"
    handover.device_answered(fetching.pk, at(60))
    found = row(fetching, "setpoint")
    assert (found.state, found.acknowledged_at, found.due_at) == (Sync.ACKNOWLEDGED, at(60), at(60 + HOUR))
    report(fetching, 21.5, 60, name="setpoint")
    assert row(fetching, "setpoint").state == Sync.IN_SYNC


# --- what the device reports ---


def test_report_from_before_the_instruction_left_is_no_answer(device: Device) -> None:
    want(device)
    claim(device, 1)
    sent(device, 10)
    report(device, 15, 9)
    assert row(device).state == Sync.ON_AIR
    acknowledged(device, 11)
    report(device, 14, 9.5)
    report(device, 15, 10)
    assert row(device).state == Sync.ACKNOWLEDGED
    report(device, 15, 10.5)
    assert row(device).state == Sync.IN_SYNC


def test_report_from_before_the_request_is_no_answer(device: Device) -> None:
    want(device)
    report(device, 15, -1)
    assert row(device).state == Sync.QUEUED
    report(device, 15, 1)
    assert row(device).state == Sync.IN_SYNC, "set by hand"


def test_other_value_while_under_way_changes_nothing(device: Device) -> None:
    acknowledge(device)
    report(device, 14, 5)
    assert row(device).state == Sync.ACKNOWLEDGED


def test_device_that_obeys_after_all(device: Device) -> None:
    acknowledge(device)
    for hours in (1, 2):
        loop.sweep(at(hours * 2 * HOUR))
    claim(device, 5 * HOUR)
    refused(device, 5 * HOUR + 1, 2)
    assert row(device).state == Sync.FAILED
    report(device, 15, 6 * HOUR)
    assert (row(device).state, row(device).cause, row(device).reason) == (Sync.IN_SYNC, "", "")


def test_bytes_are_never_the_answer(device: Device) -> None:
    acknowledge(device)
    report(device, b"15", 5)
    assert row(device).state == Sync.ACKNOWLEDGED


def test_sending_again(device: Device) -> None:
    with pytest.raises(DesiredChanged):
        loop.send_again(device=device, name="interval", seen=None, actor=None)
    acknowledge(device)
    with pytest.raises(StateConflict):
        loop.send_again(device=device, name="interval", seen=None, actor=None)
    report(device, 15, 4)
    report(device, 99, 5)
    made = loop.send_again(device=device, name="interval", seen=1, actor=None, now=at(6))
    assert (made.state, made.value, made.generation, made.attempts) == (Sync.QUEUED, 15, 2, 1)
    with pytest.raises(DesiredChanged):
        loop.send_again(device=device, name="interval", seen=1, actor=None, now=at(7))


# --- types that change, devices that go ---


def test_control_that_is_gone_says_so(device: Device) -> None:
    acknowledge(device)
    give(device, LED)
    report(device, 15, 5)
    assert row(device).state == Sync.ACKNOWLEDGED
    loop.sweep(at(2 * HOUR))
    assert row(device).state == Sync.FAILED
    assert row(device).reason == "The device type does not have this control any more."


def test_value_that_the_control_takes_no_more_says_so(device: Device) -> None:
    acknowledge(device)
    give(device, INTERVAL | {"minimum": 60})
    loop.sweep(at(2 * HOUR))
    assert row(device).state == Sync.FAILED
    assert row(device).reason == "The device type does not take this value any more: 60 at least."


@pytest.mark.parametrize("controls", [{}, None, "x", [1], [{"name": "interval"}]])
def test_controls_that_cannot_be_read_stop_no_message(device: Device, controls: Any) -> None:
    acknowledge(device)
    DeviceType.objects.filter(pk=device.type_id).update(controls=[] if controls is None else controls)
    report(device, 15, 5)
    assert row(device).state == Sync.ACKNOWLEDGED
    loop.sweep(at(2 * HOUR))
    assert row(device).cause == "portal:no-control"


def test_desired_values_go_with_their_device(device: Device) -> None:
    put_on_air(device)
    deletion.request(device=device, actor=None)
    deletion.finish(NetworkTask.objects.select_related("device__type").get(device=device), refused="")
    assert not Device.objects.filter(pk=device.pk).exists()
    assert not DesiredValue.objects.exists()
    with pytest.raises(StateConflict):
        want(device)


# --- what it costs ---


def test_batch_costs_the_same_for_many_devices(cast: Cast, device: Device) -> None:
    flow = factories.flow(cast.project)
    others = [factories.lora_device(cast.project, in_flow=flow) for _ in range(9)]
    for one in [device, *others]:
        want(Device.objects.select_related("type").get(pk=one.pk))

    def statements(devices: list[Device], seconds: float) -> int:
        measured = [Measurement(name="interval", value=15, time=at(seconds).timestamp(), unit=None)]
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            update_reported({one.pk: measured for one in devices}, at(seconds))
        return len(queries)

    assert statements([device], 1) == statements(others, 2)
    assert set(DesiredValue.objects.values_list("state", flat=True)) == {Sync.IN_SYNC}
    assert out_of_sync(others[0]) == 0


def test_instruction_of_a_page_is_not_asked_about(device: Device) -> None:
    made = ask(device, confirmed=True)
    with CaptureQueriesContext(connection) as queries:
        claim(device, 1)
        sent(device, 2)
        acknowledged(device, 3)
        assert made.number == 1
    assert not [query for query in queries if "twin_" in query["sql"]]


def test_sweep_is_bounded(device: Device) -> None:
    deactivate(device=device, actor=None)
    want(device)
    want(device, True, name="led")
    activate(device=device, actor=None)
    assert loop.sweep(at(1), limit=1) == 1
    assert loop.sweep(at(1), limit=1) == 1
    assert loop.sweep(at(1)) == 0
    assert states(device) == ["pending", "pending"]


def test_an_error_of_our_own_stops_no_other(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    deactivate(device=device, actor=None)
    want(device)
    want(device, True, name="led")
    activate(device=device, actor=None)
    make = loop.predefined.make

    def broken(device_type: Any, control: Any, value: Any) -> Any:
        if control.name == "interval":
            raise RuntimeError("a mistake")
        return make(device_type, control, value)

    monkeypatch.setattr(loop.predefined, "make", broken)
    loop.sweep(at(1))
    assert row(device, "led").state == Sync.QUEUED
    assert (row(device).state, row(device).due_at) == (Sync.REQUESTED, at(1) + loop.AFTER_ERROR)


def test_name_without_a_control_sends_nothing(device: Device) -> None:
    set_desired([device.pk], {"free": 1}, actor=None, now=T0)
    assert loop.states_of(device.pk) == {}
    assert states(device) == []


# --- several at once ---


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_make_one_instruction(cast: Cast, device: Device) -> None:
    deactivate(device=device, actor=None)
    want(device)
    activate(device=device, actor=None)
    assert sorted(at_once(2, lambda _index: loop.sweep(at(1)))) == [0, 1]
    assert states(device) == ["pending"]


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_leave_one_instruction(cast: Cast, device: Device) -> None:
    results = at_once(4, lambda index: want(device, 10 + index, seen=0))
    assert sum(isinstance(one, DesiredValue) for one in results) == 1
    assert sum(isinstance(one, DesiredChanged) for one in results) == 3
    assert states(device) == ["pending"]


@pytest.mark.django_db(transaction=True)
def test_everybody_at_once_waits_for_nobody_for_ever(
    cast: Cast, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests, reports, the network and the sweeper on one device: no deadlock, and one truth at the end."""

    def work(index: int) -> None:
        for turn in range(6):
            seconds = turn * 10.0
            match index:
                case 0:
                    want(device, 10 + turn, seconds)
                case 1:
                    with transaction.atomic():
                        report(device, 10 + turn, seconds + 5)
                case 2:
                    execution.run(device.pk, now=at(seconds))
                    for one in Downlink.objects.filter(device=device):
                        reports.on_acknowledged(device.pk, str(one.correlation_id), at(seconds), now=at(seconds))
                case 3:
                    loop.sweep(at(seconds + 2 * HOUR))

    assert at_once(4, work) == [None] * 4
    assert caplog.records == []
    found = row(device)
    assert found.value == Twin.objects.get(device=device).desired["interval"]["v"] == 15
    assert out_of_sync(device) == (found.state != Sync.IN_SYNC)
    assert (found.due_at is not None) == (found.state in {"requested", "queued", "on_air", "acknowledged"})
    assert found.given_up_at == found.requested_at + timedelta(seconds=DAY)
