"""D8: every status and transition of registration, through the connectivity's own interface."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry
from common.states import StateConflict
from devices import connectivity, network
from devices.errors import DeviceError, NetworkRefused, NetworkUnavailable
from devices.models import Connection, Device, NetworkTask
from lora.models import LoraIdentity, SimulatedDevice
from lora.registration import Lora
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")


class Recorder(Lora):
    """LoRa whose network answers as the test says; what it was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[Exception | None] = []

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer

    def register(self, device: Device) -> None:
        self._answer("register")

    def activate(self, device: Device) -> None:
        self._answer("activate")

    def deactivate(self, device: Device) -> None:
        self._answer("deactivate")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    before = connectivity.by_slug("lora")
    recorder = Recorder()
    connectivity.register(recorder)
    yield recorder
    connectivity.register(before)


def status(device: Device) -> tuple[str, str]:
    return Device.objects.values_list("connection_status", "connection_reason").get(pk=device.pk)


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, connection=Connection.NOT_LINKED)


def test_registration_goes_from_pending_create_to_active(device: Device, cast: Cast) -> None:
    network.request_registration(device=device, actor=cast.operator)
    assert status(device) == ("pending_create", "")
    assert network.run(device.pk)
    assert status(device) == ("active", "")
    assert SimulatedDevice.objects.get(pk=device.identifier).registered
    assert LoraIdentity.objects.get(device=device).registered_at is not None
    assert not NetworkTask.objects.exists()
    actions = AuditEntry.objects.filter(device_id=device.pk).order_by("pk").values_list("action", flat=True)
    assert list(actions)[-2:] == ["network.registration_requested", "network.register_done"]


def test_identifier_known_to_the_network_with_other_keys_fails_with_the_reason(device: Device, cast: Cast) -> None:
    other = SimulatedDevice(dev_eui=device.identifier, app_eui="70B3D57ED0000009")
    other.set_app_key(b"x" * 16)
    other.save()
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    state, reason = status(device)
    assert state == "failed"
    assert "in use" in reason


def test_failed_registration_is_corrected_and_retried(device: Device, cast: Cast, recorder: Recorder) -> None:
    recorder.answers = [NetworkRefused("wrong key")]
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    assert status(device) == ("failed", "wrong key")
    network.request_registration(device=device, actor=cast.operator)
    assert status(device) == ("pending_create", "")
    network.run(device.pk)
    assert status(device) == ("active", "")


def test_inventory_is_registered_on_request(cast: Cast, recorder: Recorder) -> None:
    device = factories.lora_device(cast.project, connection=Connection.INVENTORY)
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    assert status(device)[0] == "active"


def test_deactivate_and_activate_follow_the_networks_answer(cast: Cast, recorder: Recorder) -> None:
    device = factories.lora_device(cast.project, connection=Connection.ACTIVE)
    network.request_switch(device=device, operation="deactivate", actor=cast.operator)
    assert status(device)[0] == "active", "nothing moves before the network has answered"
    network.run(device.pk)
    assert status(device)[0] == "deactivated"
    network.request_switch(device=device, operation="activate", actor=cast.operator)
    network.run(device.pk)
    assert status(device)[0] == "active"
    assert recorder.asked == ["deactivate", "activate"]


def test_refused_switch_keeps_the_status_and_shows_the_reason(cast: Cast, recorder: Recorder) -> None:
    device = factories.lora_device(cast.project, connection=Connection.ACTIVE)
    recorder.answers = [NetworkRefused("not on this plan")]
    network.request_switch(device=device, operation="deactivate", actor=cast.operator)
    network.run(device.pk)
    assert status(device) == ("active", "not on this plan")


def test_switch_from_the_wrong_state_is_refused(device: Device, cast: Cast) -> None:
    with pytest.raises(StateConflict):
        network.request_switch(device=device, operation="deactivate", actor=cast.operator)


def test_second_request_while_one_is_under_way_is_refused(cast: Cast, recorder: Recorder) -> None:
    device = factories.lora_device(cast.project, connection=Connection.ACTIVE)
    network.request_switch(device=device, operation="deactivate", actor=cast.operator)
    with pytest.raises(StateConflict):
        network.request_switch(device=device, operation="deactivate", actor=cast.operator)


def test_registering_twice_at_once_is_refused(device: Device, cast: Cast) -> None:
    network.request_registration(device=device, actor=cast.operator)
    with pytest.raises(StateConflict):
        network.request_registration(device=device, actor=cast.operator)


def test_without_network_info_there_is_nothing_to_register(cast: Cast) -> None:
    device = factories.device(cast.project)
    with pytest.raises(DeviceError):
        network.request_registration(device=device, actor=cast.operator)


def test_unavailable_network_is_asked_again_later(device: Device, cast: Cast, recorder: Recorder) -> None:
    recorder.answers = [NetworkUnavailable("no answer"), None]
    network.request_registration(device=device, actor=cast.operator)
    now = timezone.now()
    assert not network.run(device.pk, now=now)
    assert status(device)[0] == "pending_create"
    task = NetworkTask.objects.get()
    assert (task.last_error, task.attempts) == ("no answer", 1)
    assert not network.run(device.pk, now=now + timedelta(seconds=1)), "not before its time"
    assert network.run(device.pk, now=now + timedelta(seconds=3))
    assert status(device)[0] == "active"


def test_worker_that_died_leaves_work_that_the_sweeper_finds(device: Device, cast: Cast, recorder: Recorder) -> None:
    network.request_registration(device=device, actor=cast.operator)
    now = timezone.now()
    # A worker claims it and is killed before the network answers: the lease stays behind.
    NetworkTask.objects.update(not_before=now + network.LEASE, attempts=1)
    assert network.due(now) == []
    later = now + network.LEASE + timedelta(seconds=1)
    assert network.due(later) == [device.pk]
    assert network.run(device.pk, now=later)
    assert status(device)[0] == "active"


def test_worker_that_died_after_the_network_agreed_registers_again_without_harm(device: Device, cast: Cast) -> None:
    network.request_registration(device=device, actor=cast.operator)
    connectivity.of(device).register(device)  # and then the worker was killed
    assert network.run(device.pk)
    assert status(device)[0] == "active"


def test_error_of_our_own_keeps_the_work(device: Device, cast: Cast, recorder: Recorder) -> None:
    recorder.answers = [RuntimeError("bug")]
    network.request_registration(device=device, actor=cast.operator)
    assert not network.run(device.pk)
    assert NetworkTask.objects.get().last_error == "RuntimeError"
    assert status(device)[0] == "pending_create"


def test_running_it_twice_asks_the_network_once(device: Device, cast: Cast, recorder: Recorder) -> None:
    network.request_registration(device=device, actor=cast.operator)
    assert network.run(device.pk)
    assert not network.run(device.pk)
    assert recorder.asked == ["register"]


def test_request_rings_for_a_worker_after_the_commit(
    device: Device, cast: Cast, django_capture_on_commit_callbacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[tuple[int, ...]] = []
    from devices import tasks

    monkeypatch.setattr(tasks.run_network_task, "apply_async", lambda args, **_: rung.append(args))
    with django_capture_on_commit_callbacks(execute=True):
        network.request_registration(device=device, actor=cast.operator)
        assert rung == []
    assert rung == [(device.pk,)]


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_ask_the_network_once(cast: Cast, recorder: Recorder) -> None:
    device = factories.lora_device(cast.project, connection=Connection.NOT_LINKED)
    network.request_registration(device=device, actor=cast.operator)
    barrier = threading.Barrier(4)
    now = datetime.now(UTC) + timedelta(seconds=1)

    def work() -> None:
        barrier.wait()
        network.run(device.pk, now=now)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.asked == ["register"]
    assert status(device)[0] == "active"
