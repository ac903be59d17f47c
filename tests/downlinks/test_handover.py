"""Instructions that M2M and Internet devices fetch (M5, I3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devices.connectivity import Instruction
from devices.models import Connection, Device
from devices.services import deactivate
from downlinks import execution, handover, reports, services
from downlinks.models import Cause
from internet.registration import Internet
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, again, ask, ask_senml, at, at_once, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = 86400


@pytest.mark.parametrize("claimed", [False, True])
def test_waiting_instruction_goes_into_the_answer(fetching: Device, claimed: bool) -> None:
    """Whether a worker has been there or not."""
    downlink = ask_senml(fetching, 21.5)
    if claimed:
        assert execution.run(fetching.pk, now=at(1))
        row = again(downlink)
        assert (row.state, row.accepted_at, row.due_at) == ("executing", None, at(1 + DAY))
    instruction = handover.hand_over(fetching.pk, at(10))
    assert instruction is not None
    assert instruction.correlation_id == downlink.correlation_id
    assert json.loads(instruction.payload) == [
        {"bn": f"urn:dev:DVNUUID:{fetching.internet.dvn_uuid}:", "n": "setpoint", "v": 21.5}
    ]
    row = again(downlink)
    assert (row.state, row.accepted_at, row.sent_at, row.finished_at) == ("executing", at(10), at(10), None)
    assert row.executing_at == at(1 if claimed else 10)
    assert not execution.run(fetching.pk, now=at(11))


def test_one_per_answer_in_order(fetching: Device) -> None:
    made = [ask_senml(fetching, value) for value in range(3)]
    handed = []
    for second in (10, 20, 30, 40):
        handover.device_answered(fetching.pk, at(second))
        instruction = handover.hand_over(fetching.pk, at(second))
        handed.append(instruction and instruction.correlation_id)
    assert handed == [*(each.correlation_id for each in made), None]
    assert states(fetching) == ["delivered"] * 3
    assert again(made[0]).finished_at == at(20)


def test_repeated_message_gets_the_same_again(fetching: Device) -> None:
    """The device repeats its message because our answer was lost: that is no new message."""
    downlink = ask_senml(fetching)
    first, second = handover.hand_over(fetching.pk, at(10)), handover.hand_over(fetching.pk, at(12))
    assert first == second
    row = again(downlink)
    assert (row.sent_at, row.attempts, row.state) == (at(10), 2, "executing")


def test_message_before_the_hand_over_proves_nothing(fetching: Device) -> None:
    ask_senml(fetching)
    assert not handover.device_answered(fetching.pk, at(5))
    handover.hand_over(fetching.pk, at(10))
    assert not handover.device_answered(fetching.pk, at(10))
    assert not handover.device_answered(fetching.pk, at(9))
    assert handover.device_answered(fetching.pk, at(11))
    assert not handover.device_answered(fetching.pk, at(12))
    assert states(fetching) == ["delivered"]


@pytest.mark.parametrize("off", ["portal", "network"])
def test_nothing_is_handed_to_a_device_that_is_not_active(fetching: Device, off: str) -> None:
    ask_senml(fetching)
    execution.run(fetching.pk, now=at(1))
    if off == "portal":
        deactivate(device=fetching, actor=None)
    else:
        Device.objects.filter(pk=fetching.pk).update(connection_status=Connection.DEACTIVATED)
    assert handover.hand_over(fetching.pk, at(10)) is None
    assert states(fetching) == ["executing"]


def test_nothing_is_handed_over_after_the_deadline(fetching: Device) -> None:
    downlink = ask_senml(fetching)
    execution.run(fetching.pk, now=at(0))
    assert handover.hand_over(fetching.pk, at(DAY)) is None
    execution.sweep(at(DAY))
    assert (again(downlink).state, again(downlink).cause) == ("failed", Cause.NOT_FETCHED)


def test_device_that_does_not_come_back_is_failed(fetching: Device) -> None:
    downlink = ask_senml(fetching)
    handover.hand_over(fetching.pk, at(0))
    execution.sweep(at(DAY))
    assert (again(downlink).state, again(downlink).cause) == ("failed", Cause.NOT_BACK)
    assert not handover.device_answered(fetching.pk, at(DAY + 1))
    assert again(downlink).state == "failed"


def test_handed_over_cannot_be_cancelled_and_cancelled_is_not_handed_over(cast: Cast, fetching: Device) -> None:
    ask_senml(fetching), ask_senml(fetching)
    services.cancel(device=fetching, number=1, actor=cast.operator)
    instruction = handover.hand_over(fetching.pk, at(1))
    assert instruction is not None
    assert states(fetching) == ["cancelled", "executing"]


def test_lora_instructions_go_through_their_network(device: Device, network: RecordedNetwork) -> None:
    downlink = ask(device, confirmed=True)
    assert handover.hand_over(device.pk, at(1)) is None
    execution.run(device.pk, now=at(1))
    reports.on_sent(device.pk, str(downlink.correlation_id), at(2))
    assert handover.hand_over(device.pk, at(2)) is None
    assert not handover.device_answered(device.pk, at(3))
    assert states(device) == ["executing"]


def test_device_that_is_quicker_than_the_worker(fetching: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fetches and comes back while the worker still asks the connectivity: the end stands."""

    def send(self: Internet, device: Device, instruction: Instruction) -> bool:
        assert handover.hand_over(device.pk, at(2)) == instruction
        assert handover.device_answered(device.pk, at(3))
        return False

    downlink = ask_senml(fetching)
    monkeypatch.setattr(Internet, "send", send)
    assert execution.run(fetching.pk, now=at(1))
    assert (again(downlink).state, again(downlink).finished_at) == ("delivered", at(3))


@pytest.mark.django_db(transaction=True)
def test_worker_and_messages_at_once_make_one_of_it(fetching: Device) -> None:
    first, second = ask_senml(fetching), ask_senml(fetching)

    def work(index: int) -> Any:
        return handover.hand_over(fetching.pk, at(5)) if index % 2 else execution.run(fetching.pk, now=at(5))

    handed = [result for result in at_once(6, work) if result is not True and result is not False]
    assert {instruction.correlation_id for instruction in handed} == {first.correlation_id}
    assert (again(first).state, again(second).state) == ("executing", "pending")
