"""`manage.py recompute_health`: the health of LoRa devices made anew, in batches, while messages arrive (L6)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from devices.models import Device, DeviceState, Health
from lora import frames, health
from lora.diagnosis import MESSAGES, Summary
from lora.events import RadioEvent, Uplink
from lora.models import Radio
from tests import factories
from tests.cast import Cast
from tests.processes import wait_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def heard(cast: Cast, number: int) -> Device:
    """A device from before there were summaries: all of its messages are confirmed."""
    device = factories.lora_device(cast.project, dev_eui=f"0059AC0000173{number:03X}")
    keep(device, uplinks(device, 0, 30))
    DeviceState.objects.filter(pk=device.pk).update(last_message_at=timezone.now())
    return device


def uplinks(device: Device, first: int, count: int) -> list[RadioEvent]:
    start = timezone.now() - timedelta(hours=6)
    return [
        Uplink(
            dev_eui=device.lora.dev_eui, at=start + timedelta(minutes=10 * n), fcnt=n, mic=f"{n:08x}", confirmed=True
        )
        for n in range(first, first + count)
    ]


def keep(device: Device, told: list[RadioEvent]) -> None:
    with transaction.atomic():
        frames.store([(device.pk, event) for event in told])


def take(device: Device, told: list[RadioEvent]) -> None:
    """As a batch does, in its transaction."""
    keep(device, told)
    health.take({device.pk: [health.seen(frames.key_of(device.pk, event), event) for event in told]})


def run(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("recompute_health", *arguments, stdout=out)
    return out.getvalue().splitlines()


def recomputed() -> list[int]:
    return list(Radio.objects.order_by("pk").values_list("pk", flat=True))


def test_devices_without_a_summary_get_theirs_in_batches_with_progress(cast: Cast) -> None:
    devices = [heard(cast, number) for number in range(3)]
    factories.lora_device(cast.project, dev_eui="0059AC0000174000")
    assert run("--batch", "2") == [
        f"2 of 3 devices, up to number {devices[1].pk} (to go on from here: --after {devices[1].pk})",
        f"3 of 3 devices, up to number {devices[2].pk} (to go on from here: --after {devices[2].pk})",
        "3 devices done.",
    ]
    assert recomputed() == [device.pk for device in devices], "one that was never heard has nothing to be made of"
    states = DeviceState.objects.filter(pk__in=recomputed()).values_list("health", "finding")
    assert set(states) == {(Health.ATTENTION, "confirmed")}
    assert run() == ["0 devices done."]


def test_all_are_made_anew_behind_the_one_where_it_was_stopped(cast: Cast) -> None:
    devices = [heard(cast, number) for number in range(3)]
    run()
    Radio.objects.update(finding="loss", state=orjson.dumps(Summary().plain()).decode())
    assert run("--all", "--after", str(devices[0].pk))[-1] == "2 devices done."
    assert list(Radio.objects.order_by("pk").values_list("finding", flat=True)) == ["loss", "confirmed", "confirmed"]


def test_one_that_is_stopped_keeps_what_is_done(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [heard(cast, number) for number in range(3)]
    diagnose = health.diagnose

    def stops(device_id: int, *args: Any, **options: Any) -> health.Diagnosis:
        if device_id == devices[1].pk:
            raise KeyboardInterrupt
        return diagnose(device_id, *args, **options)

    monkeypatch.setattr(health, "diagnose", stops)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert recomputed() == [devices[0].pk]
    monkeypatch.undo()
    assert run()[-1] == "2 devices done."
    assert recomputed() == [device.pk for device in devices]


def test_a_device_that_went_meanwhile_gets_no_summary(cast: Cast) -> None:
    health.recompute([0], timezone.now())
    assert recomputed() == []


def test_frames_of_a_clock_that_is_ahead_are_taken_too(cast: Cast) -> None:
    device = heard(cast, 0)
    health.recompute([device.pk], timezone.now() - timedelta(hours=5))
    assert messages(device) == 30


def messages(device: Device) -> int:
    state = Radio.objects.get(pk=device.pk).state
    return sum(counts[MESSAGES] for counts, _causes in Summary.of(orjson.loads(state)).days)


@pytest.fixture
def no_frames_left() -> Iterator[None]:
    """The partitions of frames are nobody's models: Django does not empty them after a test with real transactions."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM lora_frame")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_frames_left")
@pytest.mark.parametrize("first", ["batch", "command"])
def test_messages_that_arrive_meanwhile_count_once(cast: Cast, first: str) -> None:
    """Both hold the device's row, which neither finds: the second waits for the first."""
    device = heard(cast, 0)
    more = uplinks(device, 30, 3)

    def batch() -> None:
        with transaction.atomic():
            take(device, more)

    def command() -> None:
        with transaction.atomic():
            health.recompute([device.pk], timezone.now())

    def second() -> None:
        with scopes_disabled():
            try:
                (command if first == "batch" else batch)()
            finally:
                connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            (batch if first == "batch" else command)()
            other = threads.submit(second)
            wait_for(lambda: other.done() or waits(), "the second to wait")
        other.result()
    assert messages(device) == 33


def waits() -> bool:
    """Whether someone waits for the transaction of this thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
        return bool(cursor.fetchall())
