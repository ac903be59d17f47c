"""D9: a device is deleted whole or stays whole, and its identifiers never return."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry
from common.states import StateConflict
from devices import connectivity, deletion, network, services
from devices.capabilities import NotAllowedForType
from devices.errors import IdentifierInUse, NetworkRefused, NetworkUnavailable
from devices.models import Category, Connection, Device, DeviceState, Identity, NetworkTask, SenmlMessage
from lora.models import LoraIdentity
from lora.registration import Lora
from m2m.models import M2mIdentity, SimCard, SimStatus
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")
URN = "DEVEUI:0059AC0000D9D9D9"


class Answering(Lora):
    """LoRa whose network answers a removal as the test says."""

    answer: Exception | None = None

    def deregister(self, device: Device) -> None:
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def answering() -> Iterator[Answering]:
    before = connectivity.by_slug("lora")
    answering = Answering()
    connectivity.register(answering)
    yield answering
    connectivity.register(before)


@pytest.fixture
def device(cast: Cast, answering: Answering) -> Device:
    device = factories.lora_device(cast.project, connection=Connection.ACTIVE)
    Identity.objects.create(urn=URN, device_id=device.pk)
    return device


def whole(device: Device) -> bool:
    return (
        Device.objects.filter(pk=device.pk, connection_status=Connection.ACTIVE).exists()
        and LoraIdentity.objects.filter(device_id=device.pk).exists()
        and Identity.objects.filter(urn=URN, device_id=device.pk).exists()
    )


def test_deletion_removes_the_device_and_keeps_its_audit_entry(device: Device, cast: Cast) -> None:
    deletion.request(device=device, actor=cast.operator)
    assert network.run(device.pk)
    for model in (DeviceState, LoraIdentity, NetworkTask):
        assert not model.objects.filter(device_id=device.pk).exists()
    assert not Device.objects.filter(pk=device.pk).exists()
    assert AuditEntry.objects.filter(device_id=device.pk, action="device.deleted").count() == 1
    assert not network.run(device.pk)


def test_deletion_retires_the_identifier_for_ever(device: Device, cast: Cast) -> None:
    deletion.request(device=device, actor=cast.operator)
    network.run(device.pk)
    other = factories.lora_device(cast.project)
    with pytest.raises(IdentifierInUse):
        services.claim_identifier(device=other, kind="DEVEUI", value=URN.partition(":")[2], primary=True)


def test_deletion_refused_by_the_network_leaves_the_device_whole(
    device: Device, cast: Cast, answering: Answering
) -> None:
    answering.answer = NetworkRefused("not from here")
    deletion.request(device=device, actor=cast.operator)
    assert network.run(device.pk)
    assert whole(device)
    assert Device.objects.get(pk=device.pk).connection_reason == "not from here"
    deletion.request(device=device, actor=cast.operator)


def test_deletion_waits_for_a_network_that_does_not_answer(device: Device, cast: Cast, answering: Answering) -> None:
    answering.answer = NetworkUnavailable("no answer")
    deletion.request(device=device, actor=cast.operator)
    assert not network.run(device.pk)
    assert whole(device)
    answering.answer = None
    assert network.run(device.pk, now=timezone.now() + timedelta(hours=1))
    assert not Device.objects.filter(pk=device.pk).exists()


def test_deletion_that_fails_at_its_last_step_changes_nothing_and_is_done_again(
    device: Device, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device_id: int, refused: str) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(deletion, "on_finished", [fail])
        deletion.request(device=device, actor=cast.operator)
        assert not network.run(device.pk)
    assert whole(device)
    assert NetworkTask.objects.filter(device=device, operation="delete").exists()
    assert network.run(device.pk, now=timezone.now() + timedelta(hours=1))
    assert not Device.objects.filter(pk=device.pk).exists()


def test_deletion_is_refused_while_other_work_is_under_way(device: Device, cast: Cast) -> None:
    deletion.request(device=device, actor=cast.operator)
    with pytest.raises(StateConflict):
        deletion.request(device=device, actor=cast.operator)


def test_managed_device_is_deleted_by_support_only(device: Device, cast: Cast) -> None:
    device.type.category = Category.MANAGED
    with pytest.raises(NotAllowedForType):
        deletion.request(device=device, actor=cast.operator)
    deletion.request(device=device, actor=cast.operator, by_support=True)
    assert NetworkTask.objects.filter(device=device, operation="delete").exists()


def test_deletion_frees_the_sim_card_of_an_m2m_device(cast: Cast) -> None:
    device = factories.m2m_device(cast.project)
    SimCard.objects.filter(device=device).delete()
    sim = factories.sim(cast.project)
    SimCard.objects.filter(pk=sim.pk).update(device=device, status=SimStatus.ACTIVE)
    deletion.request(device=device, actor=cast.operator)
    assert network.run(device.pk)
    sim.refresh_from_db()
    assert (sim.device_id, sim.status) == (None, SimStatus.INVENTORY)
    assert not M2mIdentity.objects.filter(device_id=device.pk).exists()


def test_deletion_removes_message_history_of_that_device_only(device: Device, cast: Cast) -> None:
    other = factories.lora_device(cast.project)
    with connection.cursor() as cursor:
        for device_id in (device.pk, other.pk):
            cursor.execute(
                "INSERT INTO devices_senmlmessage (device_id, received_at, seq, digest, body, records)"
                " VALUES (%s, now(), 1, '', '', 0)",
                [device_id],
            )
    deletion.request(device=device, actor=cast.operator)
    assert network.run(device.pk)
    assert list(SenmlMessage.objects.values_list("device_id", flat=True)) == [other.pk]
