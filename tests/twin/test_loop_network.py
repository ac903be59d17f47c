"""Closing the loop (W4) with the simulated network and its frames: success, loss, refusal, silence, a killed worker.

The test's clock moves the world, the pipeline, the workers' calls and the sweepers in turn, as their processes do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.models import F
from django.utils import timezone

from devices import connectivity
from devices.models import DeviceState
from devices.services import activate, deactivate
from downlinks import execution
from downlinks.models import Downlink
from ingest import stream
from ingest.pipeline import process
from ingest.reading import Entry
from lora.events import Event, to_json
from lora.models import SimulatedDevice, SimulatedDownlink
from lora.networks.simulated.runner import Runner
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import states
from tests.downlinks.test_worker import die, waiting
from tests.processes import celery_worker, database_url, wait_for
from tests.twin.controls import INTERVAL as PATIENT
from tests.twin.controls import give, unconfirmed
from twin import loop, tasks
from twin.models import DesiredValue, Sync, Twin

pytestmark = pytest.mark.usefixtures("unscoped")
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INTERVAL = PATIENT | {"wait_seconds": 600}


class Story:
    """A registered device in a simulated world that has run for some minutes, and everything that runs beside it."""

    def __init__(self, cast: Cast, *controls: dict[str, Any], start: datetime = START) -> None:
        made = factories.lora_device(
            cast.project, dev_eui="0059AC000017338B", app_key=bytes(range(16)), in_flow=factories.flow(cast.project)
        )
        self.device = give(made, *controls)
        connectivity.of(self.device).register(self.device)
        self.now = start
        self.runner = Runner(seed=7, now=start, sink=self._hear)
        self.seen: list[str] = []
        self.run(5)

    def _hear(self, events: list[Event]) -> None:
        meta = {"received_at": self.now.timestamp()}
        stamp = int(self.now.timestamp() * 1000)
        entries = [
            Entry(f"{stamp}-{number}", stream.LORA_EVENTS, json.dumps(to_json(event)).encode(), meta)
            for number, event in enumerate(events)
        ]
        assert process(entries, now=self.now).processed == len(events)

    def run(self, minutes: float, *, step: timedelta = MINUTE) -> None:
        """Let the time pass; every state that the value was in is noted once."""
        end = self.now + minutes * MINUTE
        while self.now < end:
            self.now += step
            execution.run(self.device.pk, now=self.now)
            self.runner.step(self.now)
            execution.sweep(self.now)
            loop.sweep(self.now)
            if (held := self.row) and self.seen[-1:] != [held.state]:
                self.seen.append(held.state)

    def until(self, reached: Callable[[DesiredValue], object], hours: int = 30) -> DesiredValue:
        for _ in range(hours * 12):
            self.run(5, step=5 * MINUTE)
            if (held := self.row) and reached(held):
                return held
        raise AssertionError(f"it did not come to this: {self.row}, by {self.seen}")

    def ends(self) -> DesiredValue:
        return self.until(lambda held: held.due_at is None)

    @property
    def row(self) -> DesiredValue | None:
        return DesiredValue.objects.filter(device=self.device, name="interval").first()

    @property
    def reported(self) -> Any:
        return Twin.objects.get(device=self.device).reported.get("interval", {}).get("v")

    def want(self, minutes: int) -> DesiredValue:
        made = loop.request(device=self.device, name="interval", value=minutes, seen=None, actor=None, now=self.now)
        self.seen.append(made.state)
        return made

    def faults(self, *names: str) -> None:
        SimulatedDevice.objects.update(faults=list(names), version=F("version") + 1)

    def out_of_sync(self) -> int:
        return DeviceState.objects.get(device=self.device).out_of_sync


def test_success(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    story.want(3)
    assert story.out_of_sync() == 1
    found = story.ends()
    assert (found.state, story.reported, found.attempts) == (Sync.IN_SYNC, 3, 1)
    assert story.seen[0] == Sync.QUEUED
    assert story.seen[-1] == Sync.IN_SYNC
    assert found.on_air_at
    assert found.acknowledged_at
    assert found.finished_at
    assert START < found.requested_at < found.on_air_at < found.acknowledged_at < found.finished_at
    assert story.out_of_sync() == 0
    assert story.want(3).state == Sync.IN_SYNC, "it says so already"
    assert states(story.device) == ["delivered"]


def test_every_state_is_seen_by_whoever_looks_often(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    story.want(3)
    while story.seen[-1] != Sync.ACKNOWLEDGED:
        story.run(0.05, step=timedelta(seconds=1))
    story.ends()
    assert story.seen == [Sync.QUEUED, Sync.ON_AIR, Sync.ACKNOWLEDGED, Sync.IN_SYNC]


def test_lost_instruction_arrives_the_second_time(db: None, cast: Cast) -> None:
    story = Story(cast, unconfirmed(INTERVAL))
    story.faults("deaf")
    story.want(3)
    first = story.until(lambda held: held.state == Sync.ON_AIR)
    assert first.acknowledged_at is None
    story.faults()
    found = story.ends()
    assert (found.state, found.attempts, story.reported) == (Sync.IN_SYNC, 2, 3)
    assert states(story.device) == ["delivered", "delivered"]
    assert found.finished_at
    assert first.on_air_at
    assert found.finished_at >= first.on_air_at + timedelta(seconds=600)


def test_confirmed_instruction_that_nobody_acknowledges_is_sent_again(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    story.faults("deaf")
    story.want(3)
    waiting_ = story.until(lambda held: held.cause)
    assert (waiting_.state, waiting_.cause, waiting_.attempts) == (Sync.REQUESTED, "NO_ACK", 1)
    story.faults()
    found = story.ends()
    assert (found.state, found.attempts, found.cause, found.reason) == (Sync.IN_SYNC, 2, "", "")
    assert states(story.device) == ["failed", "delivered"]


def test_deaf_device_is_given_up_with_the_words_of_the_network(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    story.faults("deaf")
    story.want(3)
    found = story.ends()
    assert (found.state, found.attempts, found.cause) == (Sync.FAILED, 2, "NO_ACK")
    assert found.reason
    assert states(story.device) == ["failed", "failed"]
    assert story.out_of_sync() == 1


def test_device_that_acknowledges_and_does_not_obey(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    story.faults("disobedient")
    story.want(3)
    found = story.ends()
    assert (found.state, found.cause, found.attempts) == (Sync.FAILED, "portal:no-report", 2)
    assert found.acknowledged_at
    assert states(story.device) == ["delivered", "delivered"]
    story.faults()
    again = loop.send_again(device=story.device, name="interval", seen=found.generation, actor=None, now=story.now)
    assert again.state == Sync.QUEUED
    assert story.ends().state == Sync.IN_SYNC


def test_network_that_does_not_know_the_device_refuses(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    SimulatedDevice.objects.update(registered=False, powered=False, version=F("version") + 1)
    story.want(3)
    found = story.ends()
    assert (found.state, found.cause) == (Sync.FAILED, "refused")
    assert found.reason == "The network does not accept this device."
    assert (found.attempts, states(story.device)) == (2, ["failed", "failed"])


def test_network_that_forgets_the_device_says_so_later(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL | {"tries": 1})
    story.want(3)
    execution.run(story.device.pk, now=story.now)
    SimulatedDevice.objects.update(registered=False, powered=False, version=F("version") + 1)
    found = story.ends()
    assert (found.state, found.cause) == (Sync.FAILED, "NOT_REGISTERED")
    assert found.reason == "The network does not know this device."


def test_device_that_is_silent_times_out(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL | {"give_up_seconds": 3600})
    story.faults("out_of_range")
    story.want(3)
    found = story.ends()
    assert (found.state, found.cause) == (Sync.FAILED, "portal:given-up")
    assert found.reason == "Its instruction did not leave in time."
    assert found.finished_at
    assert found.finished_at >= found.requested_at + timedelta(hours=1)


def test_newest_of_many_requests_is_what_the_device_has_at_the_end(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    for minutes in (9, 8, 7):
        story.want(minutes)
    story.run(1)
    story.want(2)
    found = story.ends()
    assert (found.state, found.value, story.reported) == (Sync.IN_SYNC, 2, 2)
    assert states(story.device) == ["cancelled", "cancelled", "delivered", "delivered"]


def test_deactivated_device_gets_it_when_it_is_back(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    deactivate(device=story.device, actor=None)
    assert story.want(3).state == Sync.REQUESTED
    story.run(30, step=5 * MINUTE)
    assert story.seen == [Sync.REQUESTED]
    activate(device=story.device, actor=None)
    assert story.ends().state == Sync.IN_SYNC


def test_device_that_forgets_its_setting_differs(db: None, cast: Cast) -> None:
    story = Story(cast, INTERVAL)
    story.want(3)
    story.ends()
    # Set by hand: no instruction of the portal.
    story.runner.world.enqueue("0059AC000017338B", fport=10, payload=b"\x00\x04", confirmed=True, correlation_id="hand")
    found = story.until(lambda held: held.state == Sync.DIFFERS)
    assert (story.reported, found.due_at) == (4, None)
    assert story.out_of_sync() == 1


# --- a worker that dies ---


@pytest.mark.stack
@pytest.mark.django_db(transaction=True)
def test_killed_workers_lose_nothing_and_send_nothing_twice(cast: Cast, tmp_path: Path) -> None:
    story = Story(cast, INTERVAL, start=timezone.now() - 10 * MINUTE)
    deactivate(device=story.device, actor=None)
    loop.request(device=story.device, name="interval", value=3, seen=None, actor=None)
    activate(device=story.device, actor=None)
    log, url = tmp_path / "worker.log", database_url()
    with psycopg.connect(url) as row, psycopg.connect(url) as network:
        # The instruction is made, and that cannot be written down at the desired value.
        row.execute("SELECT FROM twin_desiredvalue FOR UPDATE")
        with celery_worker(log) as worker:
            tasks.sweep_desired.delay()
            wait_for(lambda: waiting("twin_desiredvalue"), "the first worker to write it down", log=log)
            die(worker, "twin_desiredvalue")
        row.rollback()
        held = story.row
        assert held
        assert (held.state, held.attempts, states(story.device)) == (Sync.REQUESTED, 0, [])
        # The network takes it, and that cannot be written down at the instruction.
        network.execute("LOCK TABLE lora_simulateddownlink IN ACCESS EXCLUSIVE MODE")
        with celery_worker(log) as worker:
            tasks.sweep_desired.delay()
            wait_for(lambda: waiting("lora_simulateddownlink"), "the second worker to send", log=log)
            row.execute("SELECT FROM downlinks_downlink FOR UPDATE")
            network.rollback()
            wait_for(lambda: waiting("downlinks_downlink"), "the second worker to write it down", log=log)
            die(worker, "downlinks_downlink")
        row.rollback()
    held = story.row
    assert held
    assert (held.state, held.attempts, held.downlink) == (Sync.QUEUED, 1, 1)
    Downlink.objects.filter(state="executing").update(due_at=timezone.now())
    with celery_worker(log):
        execution.sweep(timezone.now())
        wait_for(lambda: Downlink.objects.get().accepted_at, "the third worker to finish", log=log)
    assert SimulatedDownlink.objects.count() == 1
    # What the network did meanwhile is told, and the loop closes without anybody's help.
    story.now = timezone.now()
    assert story.ends().state == Sync.IN_SYNC
    assert states(story.device) == ["delivered"]
