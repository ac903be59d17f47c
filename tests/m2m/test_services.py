"""One SIM, one device, whatever happens at once (M4)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django_scopes import scopes_disabled

from accounts.models import User
from devices.errors import DeviceError
from devices.models import Device
from m2m import services
from m2m.models import SimCard, SimStatus
from m2m.numbers import with_check_digit
from tests import factories
from tests.cast import Cast


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run the calls in threads that start together; their results, or the DeviceError that they raised."""
    results: list[object] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], object]) -> None:
        try:
            gate.wait()
            with scopes_disabled():
                results[index] = call()
        except DeviceError as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def linked_to(device: Device) -> list[SimCard]:
    with scopes_disabled():
        return list(SimCard.objects.filter(device=device))


@pytest.mark.django_db(transaction=True)
def test_two_switches_of_one_device_never_leave_two_or_none(cast: Cast) -> None:
    for _round in range(5):
        device = factories.m2m_device(cast.project)
        sims = [factories.sim(cast.project) for _each in range(2)]
        results = at_once(*(switch(device, sim, cast.operator) for sim in sims))
        # The one that comes second waits for the network, or is not in time for it.
        assert {type(result) for result in results} <= {SimCard, DeviceError}
        assert any(isinstance(result, SimCard) for result in results)
        assert len(linked_to(device)) == 1 and linked_to(device)[0].pk in {sim.pk for sim in sims}
        with scopes_disabled():
            assert SimCard.objects.filter(status=SimStatus.ACTIVE, device=None).count() == 0


@pytest.mark.django_db(transaction=True)
def test_two_devices_never_get_one_sim_and_the_loser_keeps_its_own(cast: Cast) -> None:
    for _round in range(5):
        devices = [factories.m2m_device(cast.project) for _each in range(2)]
        before = {device.pk: linked_to(device)[0].pk for device in devices}
        wanted = factories.sim(cast.project)
        results = at_once(*(switch(device, wanted, cast.operator) for device in devices))
        assert sorted(type(result).__name__ for result in results) == ["DeviceError", "SimCard"]
        for device, result in zip(devices, results, strict=True):
            expected = wanted.pk if isinstance(result, SimCard) else before[device.pk]
            assert [sim.pk for sim in linked_to(device)] == [expected]


def switch(device: Device, sim: SimCard, actor: User) -> Callable[[], SimCard]:
    def call() -> SimCard:
        fresh = Device.objects.select_related("type", "project").get(pk=device.pk)
        return services.switch_sim(device=fresh, sim_id=sim.pk, actor=actor)

    return call


def test_failed_switch_leaves_no_trace(cast: Cast, unscoped: None) -> None:
    device = factories.m2m_device(cast.project)
    before = linked_to(device)
    with pytest.raises(DeviceError):
        services.switch_sim(device=device, sim_id=factories.sim(cast.elsewhere).pk, actor=cast.operator)
    assert linked_to(device) == before and before[0].status == linked_to(device)[0].status == SimStatus.ACTIVE


@pytest.mark.django_db(transaction=True)
def test_eight_devices_and_one_sim_under_load(cast: Cast) -> None:
    """M4: whoever is first has it, and nobody is left with two or with what another one has."""
    devices = [factories.m2m_device(cast.project) for _each in range(8)]
    wanted = factories.sim(cast.project)
    results = at_once(*(switch(device, wanted, cast.operator) for device in devices))
    assert sum(isinstance(result, SimCard) for result in results) == 1
    assert [len(linked_to(device)) for device in devices] == [1] * 8
    with scopes_disabled():
        assert SimCard.objects.exclude(device=None).values("device").distinct().count() == 8


@pytest.mark.django_db(transaction=True)
def test_unlink_and_switch_at_once_leave_one_or_none(cast: Cast) -> None:
    device, sim = factories.m2m_device(cast.project), factories.sim(cast.project)

    def unlink() -> object:
        fresh = Device.objects.select_related("type", "project").get(pk=device.pk)
        return services.unlink_sim(device=fresh, actor=cast.operator)

    results = at_once(unlink, switch(device, sim, cast.operator))
    assert any(isinstance(result, SimCard) for result in results)
    assert len(linked_to(device)) <= 1


@pytest.mark.django_db(transaction=True)
def test_one_iccid_is_added_once(cast: Cast) -> None:
    iccid = with_check_digit("893108555500000001")

    def add() -> object:
        return services.add_sim(project=cast.project, iccid=iccid, actor=cast.operator, early_access=True)

    results = at_once(*[add] * 6)
    assert sorted(type(result).__name__ for result in results) == ["IdentifierInUse"] * 5 + ["SimCard"]
