"""Connectivity through a carrier: the statuses and guarantees of registration (D8, M2), and cards that become free."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import AuditEntry
from devices import network
from devices.models import Connection, Device, NetworkTask
from m2m import cards, carriers, services
from m2m.models import CarrierAccount, SimCard, SimStatus, SimulatedSim
from m2m.registration import M2m
from tests import factories, processes
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")


@pytest.fixture
def device(cast: Cast) -> Device:
    made = factories.m2m_device(cast.project, connection=Connection.NOT_LINKED)
    SimCard.objects.filter(device=made).update(status=SimStatus.INVENTORY, activated_at=None)
    return made


def sim_of(device: Device) -> SimCard:
    return SimCard.objects.get(device=device)


def at_carrier(card: SimCard, **fields: object) -> SimulatedSim:
    held, _made = SimulatedSim.objects.update_or_create(iccid=card.iccid, defaults=fields)
    return held


def status(device: Device) -> tuple[str, str]:
    return Device.objects.values_list("connection_status", "connection_reason").get(pk=device.pk)


def fresh(device: Device) -> Device:
    return Device.objects.select_related("type", "project").get(pk=device.pk)


def test_registration_goes_from_pending_create_to_active_and_reads_the_carrier(device: Device, cast: Cast) -> None:
    network.request_registration(device=device, actor=cast.operator)
    assert status(device)[0] == "pending_create"
    assert network.run(device.pk)
    card = sim_of(device)
    assert status(device) == ("active", "")
    assert (card.status, card.rate_plan, card.carrier_says) == ("active", "Things M2M 5 MB", "active")
    assert card.msisdn.startswith("+3197") and card.activated_at and card.asked_at
    actions = list(AuditEntry.objects.filter(device_id=device.pk).order_by("pk").values_list("action", flat=True))
    assert actions[-2:] == ["network.registration_requested", "network.register_done"]


@pytest.mark.parametrize(("fault", "reason"), [("unknown", "does not know this ICCID"), ("refused", "does not let")])
def test_final_no_ends_in_failed_with_the_reason_and_can_be_tried_again(
    device: Device, cast: Cast, fault: str, reason: str
) -> None:
    held = at_carrier(sim_of(device), faults=[fault])
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    assert status(device)[0] == "failed" and reason in status(device)[1]
    assert sim_of(device).status == SimStatus.INVENTORY
    SimulatedSim.objects.filter(pk=held.pk).update(faults=[])
    network.request_registration(device=fresh(device), actor=cast.operator)
    network.run(device.pk)
    assert status(device) == ("active", "")


def test_carrier_that_is_away_is_asked_again(device: Device, cast: Cast) -> None:
    held = at_carrier(sim_of(device), faults=["away"])
    network.request_registration(device=device, actor=cast.operator)
    assert not network.run(device.pk)
    task = NetworkTask.objects.get(device=device)
    assert (status(device)[0], task.last_error) == ("pending_create", "The carrier does not answer.")
    SimulatedSim.objects.filter(pk=held.pk).update(faults=[])
    later = timezone.now() + timedelta(minutes=1)
    assert network.due(later) == [device.pk] and network.run(device.pk, now=later)
    assert status(device)[0] == "active"


def test_answer_that_was_lost_changes_nothing_twice(device: Device, cast: Cast) -> None:
    held = at_carrier(sim_of(device), faults=["slow"])
    network.request_registration(device=device, actor=cast.operator)
    assert not network.run(device.pk)
    held.refresh_from_db()
    assert (held.status, status(device)[0]) == ("active", "pending_create")
    assert network.run(device.pk, now=timezone.now() + timedelta(minutes=1))
    held.refresh_from_db()
    assert (status(device)[0], held.changes) == ("active", 1)


def test_active_and_deactivated_and_back(device: Device, cast: Cast) -> None:
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    for operation, expected in (("deactivate", "deactivated"), ("activate", "active")):
        network.request_switch(device=fresh(device), operation=operation, actor=cast.operator)
        assert network.run(device.pk)
        held = SimulatedSim.objects.get(iccid=sim_of(device).iccid)
        assert (status(device)[0], sim_of(device).status, held.status) == (expected, expected, expected)


def test_refused_switch_keeps_the_status_and_says_why(device: Device, cast: Cast) -> None:
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    SimulatedSim.objects.update(faults=["refused"])
    network.request_switch(device=fresh(device), operation="deactivate", actor=cast.operator)
    network.run(device.pk)
    assert status(device)[0] == "active" and "does not let" in status(device)[1]
    assert sim_of(device).status == SimStatus.ACTIVE


@pytest.mark.django_db(transaction=True)
def test_killed_worker_leaves_the_work_and_the_next_one_finishes_it(cast: Cast, tmp_path: Path) -> None:
    """The whole way: a real worker is killed with the work claimed, the lease runs out, a sweep finds it."""
    device = factories.m2m_device(cast.project, connection=Connection.NOT_LINKED)
    network.request_registration(device=fresh(device), actor=cast.operator)
    log = tmp_path / "log"
    code = (
        "import django; django.setup()\n"
        "from m2m.carriers.simulated import SimulatedCarrier as S\n"
        "import time\n"
        "real = S.set_active\n"
        "def slow(self, card, *, active):\n"
        "    real(self, card, active=active); print('asked', flush=True); time.sleep(60)\n"
        "S.set_active = slow\n"
        "from devices import network\n"
        f"network.run({device.pk})\n"
    )
    with processes.running("-c", code, log=log) as worker:
        processes.wait_for(lambda: b"asked" in log.read_bytes(), "the carrier to be asked", log=log)
        processes.kill(worker)
    assert status(device)[0] == "pending_create" and network.due(timezone.now()) == []
    later = timezone.now() + network.LEASE
    assert network.due(later) == [device.pk] and network.run(device.pk, now=later)
    assert status(device)[0] == "active"
    assert SimulatedSim.objects.get(iccid=sim_of(device).iccid).changes <= 1


# --- cards that become free ---


@pytest.fixture
def active(device: Device, cast: Cast) -> Device:
    network.request_registration(device=device, actor=cast.operator)
    network.run(device.pk)
    return fresh(device)


def test_unlinked_card_is_switched_off_at_the_carrier(active: Device, cast: Cast) -> None:
    card = sim_of(active)
    services.unlink_sim(device=active, actor=cast.operator)
    assert cards.due(timezone.now()) == [card.pk]
    assert SimulatedSim.objects.get(iccid=card.iccid).status == "active"
    assert cards.run_release(card.pk) and not cards.run_release(card.pk)
    card.refresh_from_db()
    assert (card.status, card.carrier_says, card.release_at) == ("inventory", "deactivated", None)
    assert cards.due(timezone.now()) == []


def test_switching_off_is_tried_again_and_survives_a_dead_worker(active: Device, cast: Cast) -> None:
    card = sim_of(active)
    services.unlink_sim(device=active, actor=cast.operator)
    SimulatedSim.objects.update(faults=["away"])
    now = timezone.now()
    assert not cards.run_release(card.pk, now=now)
    assert cards.due(now) == [] and cards.due(now + timedelta(seconds=2)) == [card.pk]
    SimulatedSim.objects.update(faults=[])
    # A worker that claimed it and died.
    SimCard.objects.filter(pk=card.pk).update(release_at=now + network.LEASE)
    assert not cards.run_release(card.pk, now=now + timedelta(seconds=5))
    assert cards.run_release(card.pk, now=now + network.LEASE)
    card.refresh_from_db()
    assert (card.trouble, SimulatedSim.objects.get(iccid=card.iccid).status) == ("", "deactivated")


def test_card_that_is_linked_again_is_not_switched_off_afterwards(active: Device, cast: Cast) -> None:
    card = sim_of(active)
    services.unlink_sim(device=active, actor=cast.operator)
    services.switch_sim(device=fresh(active), sim_id=card.pk, actor=cast.operator)
    assert cards.due(timezone.now()) == [] and not cards.run_release(card.pk)
    assert network.run(active.pk)
    card.refresh_from_db()
    assert (card.release_at, card.status, status(active)[0]) == (None, "active", "active")


def test_registration_waits_for_a_switching_off_that_is_under_way(active: Device, cast: Cast) -> None:
    card = sim_of(active)
    services.unlink_sim(device=active, actor=cast.operator)
    SimCard.objects.filter(pk=card.pk).update(release_at=timezone.now() + network.LEASE)
    services.switch_sim(device=fresh(active), sim_id=card.pk, actor=cast.operator)
    assert not network.run(active.pk)
    assert "still being switched off" in NetworkTask.objects.get(device=active).last_error


def test_card_put_into_a_deactivated_device_is_still_switched_off(active: Device, cast: Cast) -> None:
    other = factories.m2m_device(cast.project, connection=Connection.DEACTIVATED)
    SimCard.objects.filter(device=other).delete()
    card = sim_of(active)
    services.unlink_sim(device=active, actor=cast.operator)
    services.switch_sim(device=fresh(other), sim_id=card.pk, actor=cast.operator)
    assert status(other)[0] == "deactivated"
    assert cards.due(timezone.now()) == [card.pk] and cards.run_release(card.pk)
    assert sim_of(other).status == "deactivated"


def test_deletion_switches_off_and_a_card_that_nobody_knows_is_no_obstacle(active: Device) -> None:
    M2m().deregister(active)
    card = sim_of(active)
    assert (card.status, SimulatedSim.objects.get(iccid=card.iccid).status) == ("inventory", "deactivated")
    M2m().deregister(active)


# --- asked once a day ---


def test_cards_are_asked_for_once_a_day_and_one_that_fails_has_had_its_turn(cast: Cast) -> None:
    first, second = factories.sim(cast.project), factories.sim(cast.project, rate_plan="Held")
    at_carrier(second, rate_plan="Told", msisdn="", faults=[])
    at_carrier(first, faults=["unknown"])
    now = timezone.now()
    assert cards.refresh_stale(now) == 2 and cards.refresh_stale(now + timedelta(hours=23)) == 0
    assert cards.refresh_stale(now + timedelta(hours=25)) == 2
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.trouble == "The carrier does not know this ICCID." and second.rate_plan == "Told"


def test_free_card_that_is_on_at_the_carrier_shows_it(cast: Cast) -> None:
    card = factories.sim(cast.project)
    for word, expected in (("active", "active"), ("deactivated", "inventory")):
        cards.note(card, carriers.Details(word, word))
        card.refresh_from_db()
        assert card.status == expected


def test_carrier_is_the_cards_own_else_the_default_one(cast: Cast) -> None:
    card = factories.sim(cast.project)
    assert type(carriers.of(card)).__name__ == "SimulatedCarrier"
    account = CarrierAccount(slug="cc", name="CC", kind="control_center", base_url="https://cc.invalid", default=True)
    account.set_api_key("secret-key")
    account.save()
    assert b"secret-key" not in bytes(account.api_key)
    assert type(carriers.of(card)).__name__ == "ControlCenter"
