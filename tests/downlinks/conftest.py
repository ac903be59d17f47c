"""A LoRa network that records what it is given and answers as it is told, and devices that can be sent to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django_scopes import scopes_disabled

from devices import connectivity
from devices.connectivity import Instruction
from devices.models import Device
from downlinks import services
from downlinks.models import MOVES, Downlink
from lora.registration import Lora
from tests import factories
from tests.cast import Cast

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class RecordedNetwork(Lora):
    """Takes an instruction once per correlation id, as the contract of ``send`` asks. ``answers``: errors to raise,
    one per call, None for none, :func:`lost` where it had the instruction all the same. ``during``: what happens while
    it is asked. ``knows``: whether it says what it has had. ``had``: how often it was given each."""

    def __init__(self) -> None:
        self.calls: list[Instruction] = []
        self.answers: list[Exception | None] = []
        self.during: Any = None
        self.knows = False
        self.asked: list[UUID] = []
        self.had: Counter[UUID] = Counter()
        self.room: int | None = 51
        self.rooms: dict[int, int] = {}

    def send(self, device: Device, instruction: Instruction) -> bool:
        self.calls.append(instruction)
        if self.during:
            self.during()
        answer = self.answers.pop(0) if self.answers else None
        if answer is None or getattr(answer, "had", False):
            self.had[instruction.correlation_id] += 1
        if answer:
            raise answer
        return True

    def has(self, device: Device, correlation_id: UUID) -> bool:
        self.asked.append(correlation_id)
        return self.knows and correlation_id in self.had

    def largest_payloads(self, devices: Iterable[Device]) -> dict[int, int | None]:
        return {device.pk: self.rooms.get(device.pk, self.room) for device in devices}

    @property
    def taken(self) -> list[UUID]:
        """The distinct instructions, in the order of their first call."""
        return list(dict.fromkeys(call.correlation_id for call in self.calls))


def lost(error: BaseException) -> Any:
    """The instruction reaches the network; its answer does not come back."""
    error.had = True  # type: ignore[attr-defined]
    return error


# A state that changes by itself, or a final one that changes, is refused by the database during these tests.
GUARD = """
CREATE OR REPLACE FUNCTION downlinks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state || '>' || NEW.state) <> ALL('{moves}'::text[])
        OR OLD.finished_at IS NOT NULL AND OLD.finished_at IS DISTINCT FROM NEW.finished_at THEN
        RAISE EXCEPTION 'no move of the table: % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER downlinks_guard BEFORE UPDATE ON downlinks_downlink
FOR EACH ROW EXECUTE FUNCTION downlinks_guard();
"""


@pytest.fixture(scope="package", autouse=True)
def moves_of_the_table_only(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Of all that these tests do, in this process and in real workers, nothing moves an instruction otherwise than
    MOVES says."""
    moves = {f"{before.value}>{after.value}" for each in MOVES.values() for before, after in each.items()}
    if not connection.settings_dict["NAME"].startswith("test_"):
        # None of the chosen tests has a database, and so there is none.
        yield
        return
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute(GUARD.replace("{moves}", "{" + ",".join(sorted(moves)) + "}"))
        connection.close()
    yield
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION downlinks_guard CASCADE")
        connection.close()


@pytest.fixture
def network() -> Iterator[RecordedNetwork]:
    before = connectivity.by_slug("lora")
    recorded = RecordedNetwork()
    connectivity.register(recorded)
    yield recorded
    connectivity.register(before)


@pytest.fixture
def device(cast: Cast, network: RecordedNetwork) -> Device:
    """A LoRa device in a Flow, active on the network."""
    return factories.lora_device(cast.project, in_flow=factories.flow(cast.project))


@pytest.fixture
def fetching(cast: Cast) -> Device:
    """An Internet device in a Flow: it fetches its instructions."""
    return factories.internet_device(cast.project, in_flow=factories.flow(cast.project))


@scopes_disabled()
def ask(device: Device, payload: bytes = b"\x01", *, now: datetime = T0, **values: Any) -> Downlink:
    """A raw LoRa instruction on FPort 2."""
    values.setdefault("actor", None)
    return services.request(device=device, encoder="raw-lora", fport=2, payload=payload, now=now, **values)


@scopes_disabled()
def ask_senml(device: Device, value: float = 1, *, now: datetime = T0, **values: Any) -> Downlink:
    payload = f'[{{"n":"setpoint","v":{value}}}]'.encode()
    return services.request(device=device, encoder="raw-senml", payload=payload, actor=None, now=now, **values)


def again(downlink: Downlink) -> Downlink:
    return Downlink.objects.get(device_id=downlink.device_id, number=downlink.number)


def states(device: Device) -> list[str]:
    """The states of the device's instructions in the order of request."""
    return list(Downlink.objects.filter(device=device).order_by("number").values_list("state", flat=True))


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """The results of ``work`` in as many threads, let go together; errors come back as results."""
    barrier = Barrier(number)

    def one(index: int) -> Any:
        try:
            barrier.wait()
            return work(index)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(one, range(number)))
