"""L9 on the database: registered devices are switched on, instructions taken, and state survives a kill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from devices import connectivity
from devices.connectivity import Instruction
from devices.errors import NetworkRefused
from devices.models import Device
from lora.events import DownlinkAcknowledged, DownlinkFailed, Event, JoinRequest, Uplink
from lora.models import SimulatedDevice, SimulatedDownlink
from lora.networks.simulated.runner import Runner
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Sink(list[Event]):
    """Takes events; every one exactly as the runner hands it over."""

    def __call__(self, events: list[Event]) -> None:
        self.extend(events)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self if isinstance(event, kind)]


def runner(sink: Sink, now: datetime = START) -> Runner:
    made = Runner(seed=7, now=now, sink=sink)
    made.load()
    return made


@pytest.fixture
def device(cast: Cast) -> Device:
    made = factories.lora_device(cast.project, dev_eui="0059AC000017338B", app_key=bytes(range(16)))
    connectivity.of(made).register(made)
    return made


def instruction(payload: bytes = b"\x00\x05") -> Instruction:
    return Instruction(correlation_id=uuid4(), encoder="raw-lora", payload=payload, fport=10, confirmed=True)


def test_registered_device_joins_and_sends_by_itself(device: Device) -> None:
    sink = Sink()
    runner(sink).step(START)
    made = runner(sink)
    made.step(START)
    made.step(START + 5 * MINUTE)
    assert {event.dev_eui for event in sink} == {device.identifier}
    assert sink.of(JoinRequest)
    assert len(sink.of(Uplink)) >= 3


def test_killed_simulation_goes_on_where_it_was(device: Device) -> None:
    whole, first, second = Sink(), Sink(), Sink()
    one = runner(whole)
    one.step(START)
    for minute in (2, 4, 6, 8):
        one.step(START + minute * MINUTE)
    SimulatedDevice.objects.update(state=b"")
    killed = runner(first)
    killed.step(START)
    killed.step(START + 4 * MINUTE)
    heir = runner(second, START + 6 * MINUTE)
    heir.step(START + 6 * MINUTE)
    heir.step(START + 8 * MINUTE)
    assert [*first, *second] == list(whole)
    assert len(first.of(JoinRequest)) >= 1
    assert second.of(JoinRequest) == [], "the session is kept: nobody joins again"


def test_instruction_is_taken_once_and_acknowledged(device: Device) -> None:
    sink = Sink()
    made = runner(sink)
    made.step(START)
    made.step(START + MINUTE)
    order = instruction()
    connectivity.of(device).send(device, order)
    connectivity.of(device).send(device, order)
    assert SimulatedDownlink.objects.count() == 1
    for minute in range(2, 12):
        made.step(START + minute * MINUTE)
    acknowledged = [event for event in sink if isinstance(event, DownlinkAcknowledged)]
    assert [event.correlation_id for event in acknowledged] == [str(order.correlation_id)]
    assert SimulatedDownlink.objects.get().taken_at is not None


def test_instruction_for_a_device_that_is_gone_fails(device: Device) -> None:
    sink = Sink()
    made = runner(sink)
    made.step(START)
    connectivity.of(device).send(device, instruction())
    connectivity.of(device).deregister(device)
    made.step(START + MINUTE)
    assert [event.cause for event in sink if isinstance(event, DownlinkFailed)] == ["NOT_REGISTERED"]


def test_deactivated_device_is_refused_and_comes_back_with_its_session(device: Device) -> None:
    sink = Sink()
    made = runner(sink)
    made.step(START)
    made.step(START + 3 * MINUTE)
    connectivity.of(device).deactivate(device)
    made.step(START + 4 * MINUTE)
    sink.clear()
    made.step(START + 8 * MINUTE)
    assert sink == []
    with pytest.raises(NetworkRefused):
        connectivity.of(device).send(device, instruction())
    connectivity.of(device).activate(device)
    made.step(START + 9 * MINUTE)
    made.step(START + 13 * MINUTE)
    assert sink.of(Uplink)
    assert sink.of(JoinRequest) == []


def test_keys_and_sessions_are_not_readable_in_the_table(device: Device) -> None:
    made = runner(Sink())
    made.step(START)
    made.step(START + MINUTE)
    row = SimulatedDevice.objects.get()
    for stored in (bytes(row.app_key), bytes(row.state)):
        assert stored
        assert bytes(range(16)) not in stored
        assert bytes(range(16)).hex().encode() not in stored.lower()
