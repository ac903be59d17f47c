"""Consumers of the streams: who holds a shard, what a predecessor left, poison, stores that go away."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from devices.models import Device, DeviceState
from ingest import consumer, stream
from ingest.consumer import LOCK_CLASS, PATIENCE_SECONDS, Consumer
from ingest.models import RejectedMessage
from lora.events import Uplink
from lora.models import Frame
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import counts, now
from tests.processes import database_url, wait_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DEV_EUI = "0059AC000017338B"


@pytest.fixture(autouse=True)
def locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A rolled-back test keeps its connection, and with it the advisory locks."""
    monkeypatch.setattr(consumer, "BLOCK_MS", 1)
    yield
    if connection.connection is not None and not connection.connection.closed:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, dev_eui=DEV_EUI)


def uplink(fcnt: int, **fields: Any) -> Uplink:
    values: dict[str, Any] = {"dev_eui": DEV_EUI, "fport": 1, "payload": b"\x01", "mic": f"{fcnt:08x}"} | fields
    return Uplink(at=now(), fcnt=fcnt, **values)


def run_until_empty() -> None:
    """A consumer that takes all shards at once, until nothing waits."""
    minutes = itertools.count(0, 60)
    one = Consumer(threading.Event(), clock=lambda: float(next(minutes)))
    for _ in range(20):
        one.round()
        if stream.backlog() == 0:
            return
    raise AssertionError("something still waits")


def pending(shard: int) -> int:
    return int(stream.client().xpending(stream.name(shard), stream.GROUP)["pending"])


def shard() -> int:
    return stream.shard_of(DEV_EUI)


def fcnts(device: Device) -> list[int]:
    return list(Frame.objects.filter(device_id=device.pk).order_by("fcnt").values_list("fcnt", flat=True))


def read_and_die(count: int) -> None:
    """What a consumer that was killed leaves: entries that it has read and not acknowledged."""
    Consumer._make_group(shard())
    stream.client().xreadgroup(stream.GROUP, stream.CONSUMER, {stream.name(shard()): ">"}, count=count)


def test_what_is_done_is_forgotten(device: Device) -> None:
    stream.accept_events([uplink(number) for number in range(1, 4)])
    run_until_empty()
    assert fcnts(device) == [1, 2, 3]
    assert (stream.client().xlen(stream.name(shard())), pending(shard())) == (0, 0)


def test_successor_first_finishes_what_was_pending(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    process = consumer.pipeline.process
    monkeypatch.setattr(
        consumer.pipeline,
        "process",
        lambda entries: (
            seen.append([int(entry.body.split(b'"fcnt":')[1].split(b",")[0]) for entry in entries]) or process(entries)
        ),
    )
    stream.accept_events([uplink(number) for number in range(1, 6)])
    read_and_die(3)
    run_until_empty()
    assert seen == [[1, 2, 3], [4, 5]]
    assert (fcnts(device), pending(shard())) == ([1, 2, 3, 4, 5], 0)
    assert DeviceState.objects.get(device=device).messages == 5


def test_pending_comes_first_in_a_shard_that_is_taken_later(device: Device) -> None:
    stream.accept_events([uplink(number) for number in range(1, 6)])
    read_and_die(3)
    one = Consumer(threading.Event())
    one.held = [1 - shard()]
    one.clock = iter([100.0, 200.0]).__next__
    one.take_shards()
    one.take_shards()
    assert (one.held, fcnts(device)) == ([1 - shard(), shard()], [1, 2, 3])


def test_death_between_commit_and_acknowledgement(device: Device) -> None:
    """The batch is in the database and still pending: it is processed again, and changes nothing."""
    stream.accept_events([uplink(1)])
    read_and_die(1)
    entries = stream.client().xrange(stream.name(shard()))
    consumer.process_and_keep([consumer.Entry.read(*entry) for entry in entries])
    run_until_empty()
    assert DeviceState.objects.get(device=device).messages == 1


def test_pending_entry_that_was_deleted_is_forgotten(device: Device) -> None:
    stream.accept_events([uplink(1), uplink(2)])
    read_and_die(2)
    first = stream.client().xrange(stream.name(shard()), count=1)[0][0]
    stream.client().xdel(stream.name(shard()), first)
    run_until_empty()
    assert (fcnts(device), pending(shard())) == ([2], 0)
    assert not RejectedMessage.objects.exists()


def test_entries_lost_on_the_way_to_us_are_taken_up(device: Device) -> None:
    """Read under our name by one who had lost the shard, or by us with a reply that never came."""
    moment = 0.0
    one = Consumer(threading.Event(), clock=lambda: moment)
    one.take_shards()
    moment = 60.0
    one.take_shards()
    one.look_after_shards()
    stream.accept_events([uplink(1)])
    read_and_die(1)
    moment += PATIENCE_SECONDS - 0.1
    one.look_after_shards()
    assert fcnts(device) == []
    moment += 0.2
    one.look_after_shards()
    assert (fcnts(device), pending(shard())) == ([1], 0)


# --- poison ---


def test_message_at_fault_is_rejected_alone(device: Device) -> None:
    stream.accept_events([uplink(1), uplink(2, fport=70_000), uplink(3)])
    run_until_empty()
    assert fcnts(device) == [1, 3]
    rejected = RejectedMessage.objects.get()
    assert (rejected.source, "out of range" in rejected.error) == (stream.LORA_EVENTS, True)
    assert b'"fport":70000' in bytes(rejected.body)
    assert pending(shard()) == 0
    assert counts()["lora-events:rejected"] == 1


def test_rejected_message_is_kept_once(device: Device) -> None:
    stream.accept(stream.SENML, b"\x00[", {"received_at": 1.0, "device_id": device.pk}, "x")
    entries = [consumer.Entry.read(*entry) for entry in stream.client().xrange(stream.name(stream.shard_of("x")))]
    for _ in range(2):
        consumer.process_and_keep(entries)
    rejected = RejectedMessage.objects.get()
    assert (rejected.device_id, bytes(rejected.body)) == (device.pk, b"\x00[")


def test_of_an_unknown_device_the_first_message_of_a_day_is_kept(device: Device) -> None:
    """A network may tell of a device that is not here every minute, for years."""
    stranger, other = "FFFFFFFFFFFFFFFF", "EEEEEEEEEEEEEEEE"
    stream.accept_events([uplink(number, dev_eui=stranger) for number in range(3)] + [uplink(9, dev_eui=other)])
    run_until_empty()
    assert {row.error for row in RejectedMessage.objects.all()} == {consumer.pipeline.UNKNOWN_DEVICE}
    kept = sorted(row.entry.rpartition("/")[2] for row in RejectedMessage.objects.all())
    assert kept == [other, stranger]
    assert counts()["lora-events:unknown-device"] == 4


def test_old_rejected_messages_go_at_the_start(settings: Any) -> None:
    for index, days in enumerate((settings.FRAME_RETENTION_DAYS + 1, 1)):
        at = now() - timedelta(days=days)
        RejectedMessage.objects.create(entry=f"x/{index}", source="x", error=str(days), body=b"", at=at)
    Consumer(threading.Event()).tidy()
    assert [row.error for row in RejectedMessage.objects.all()] == ["1"]


# --- shards ---


def test_shard_of_another_is_left_alone(device: Device) -> None:
    other = 1 - shard()
    stream.accept_events([uplink(1)])
    minutes = itertools.count(0, 60)
    one = Consumer(threading.Event(), clock=lambda: float(next(minutes)))
    with psycopg.connect(database_url()) as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, shard()])
        for _ in range(3):
            one.take_shards()
        assert one.held == [other]
        # A connection that closes gives its locks back in its own time.
        holder.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_CLASS, shard()])
    for _ in range(3):
        one.take_shards()
    assert one.held == [other, shard()]


def test_second_shard_only_when_nobody_wants_it() -> None:
    moment = 100.0
    one = Consumer(threading.Event(), clock=lambda: moment)
    one.take_shards()
    assert one.held == [0]
    with psycopg.connect(database_url()) as other:
        for later, held in ((100.5, [0]), (104.9, [0]), (106.0, [0, 1])):
            moment = later
            one.take_shards()
            assert one.held == held
        for number in (0, 1):
            row = other.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_CLASS, number]).fetchone()
            assert row == (False,)


# --- stores that go away ---


@pytest.mark.django_db(transaction=True)
def test_database_that_goes_away_costs_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumer, "RETRY_SECONDS", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=Consumer(stop).run)
    thread.start()
    try:
        stream.accept_events([uplink(1)])
        wait_for(lambda: fcnts(device) == [1], "the first frame")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s",
                [LOCK_CLASS],
            )
            assert cursor.fetchall()
        stream.accept_events([uplink(2)])
        wait_for(lambda: fcnts(device) == [1, 2], "the frame after the break")
        wait_for(lambda: stream.backlog() == 0, "its acknowledgement")
    finally:
        stop.set()
        thread.join(10)
    assert not RejectedMessage.objects.exists()
    assert "waiting for the stores" in caplog.text


def test_database_away_is_no_fault_of_the_message(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_entries: object) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(consumer.pipeline, "process", away)
    entry = consumer.Entry("1-0", stream.LORA_EVENTS, b"{}", {})
    with pytest.raises(OperationalError):
        consumer.process_and_keep([entry, entry])
    assert not RejectedMessage.objects.exists()
