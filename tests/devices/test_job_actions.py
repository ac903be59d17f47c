"""The devices' own bulk actions (D4, D9): what they change, whom they leave alone, and one record per change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEntry, Membership, Project, Role, User
from devices import bulk, connectivity, jobs, network, services, values
from devices.asked import ValueKey
from devices.bulk import ActionForm
from devices.bulk_actions import LinkForm, MoveForm, UnlinkForm
from devices.errors import DeviceError, NetworkRefused
from devices.models import (
    Category,
    ColumnValue,
    Connection,
    Device,
    DeviceState,
    DeviceType,
    FlowLink,
    Identity,
    Job,
    JobItem,
    JobState,
    NetworkTask,
    Processing,
    ValueColumn,
)
from flows.models import Flow
from lora.registration import Lora
from m2m.models import SimCard
from tests import factories
from tests.cast import Cast
from twin import services as twin

pytestmark = pytest.mark.usefixtures("unscoped")


def do(slug: str, devices: list[Device], actor: User, **parameters: Any) -> Job:
    """The action on the devices, to its end."""
    action = bulk.by_slug(slug)
    assert action
    job = jobs.create(
        action=action,
        devices=Device.objects.filter(pk__in=[device.pk for device in devices]),
        parameters=parameters,
        agreed=len(devices),
        actor=actor,
        projects=[row.project for row in Membership.objects.filter(user=actor).exclude(role=Role.VIEWER)],
        token=uuid4(),
    )
    jobs.run(job.pk)
    return Job.objects.get(pk=job.pk)


def outcomes(job: Job) -> dict[int, tuple[str, str]]:
    return {
        pk: (outcome, reason)
        for pk, outcome, reason in JobItem.objects.filter(job=job).values_list("device_id", "outcome", "reason")
    }


def state(device: Device) -> tuple[str, int]:
    return Device.objects.values_list("processing_status", "flow_count").get(pk=device.pk)


def records(action: str) -> list[tuple[int, int | None, str]]:
    rows = AuditEntry.objects.filter(action=action).order_by("device_id", "pk")
    return list(rows.values_list("project_id", "device_id", "actor_label"))


def form(kind: type[ActionForm], data: dict[str, Any], devices: list[Device], projects: list[Project]) -> ActionForm:
    chosen = Device.objects.filter(pk__in=[device.pk for device in devices])
    return kind(data, devices=chosen, projects=projects)


@pytest.fixture
def both(cast: Cast) -> Cast:
    """The operator works in both Projects."""
    Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.OPERATOR)
    return cast


# --- activate, deactivate ---


def test_deactivate_and_activate_follow_the_flows(cast: Cast) -> None:
    linked = factories.device(cast.project, in_flow=factories.flow(cast.project))
    loose = factories.device(cast.project)
    managed = DeviceType.objects.create(
        slug="managed-one", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="portal"
    )
    Device.objects.filter(pk=loose.pk).update(type=managed)

    job = do("deactivate", [linked, loose], cast.operator)
    assert (job.done, job.skipped) == (2, 0), "managed devices too (T3)"
    assert state(linked) == (Processing.DEACTIVATED, 1) and state(loose) == (Processing.DEACTIVATED, 0)
    again = do("deactivate", [linked], cast.operator)
    assert outcomes(again) == {linked.pk: ("skipped", "It is deactivated already.")}

    do("activate", [linked, loose], cast.operator)
    assert state(linked) == (Processing.ACTIVE, 1) and state(loose) == (Processing.NOT_LINKED, 0)
    again = do("activate", [loose], cast.operator)
    assert outcomes(again) == {loose.pk: ("skipped", "It is not deactivated.")}

    for action in ("device.deactivated", "device.activated"):
        assert records(action) == [
            (cast.project.pk, device.pk, "operator@example.com") for device in (linked, loose)
        ], "one for each change, none for what was skipped"
    entry = AuditEntry.objects.get(action="device.activated", device_id=linked.pk)
    assert (entry.before, entry.after) == ({"processing": "deactivated"}, {"processing": "active"})


# --- Flows ---


def test_link_counts_and_activates(cast: Cast) -> None:
    flow = factories.flow(cast.project)
    inside = factories.device(cast.project, in_flow=flow)
    loose, off = factories.device(cast.project), factories.device(cast.project)
    Device.objects.filter(pk=off.pk).update(processing_status=Processing.DEACTIVATED)
    AuditEntry.objects.all().delete()
    job = do("link", [inside, loose, off], cast.operator, flow=flow.pk, name=flow.name)
    assert outcomes(job) == {
        inside.pk: ("skipped", "It is in this Flow already."),
        loose.pk: ("done", ""),
        off.pk: ("done", ""),
    }
    assert state(loose) == (Processing.ACTIVE, 1) and state(off) == (Processing.DEACTIVATED, 1)
    assert [row[1] for row in records("device.linked")] == [loose.pk, off.pk]


def test_unlink_counts_and_takes_out_of_processing(cast: Cast) -> None:
    flow, other = factories.flow(cast.project), factories.flow(cast.project)
    one, two = factories.device(cast.project, in_flow=flow), factories.device(cast.project, in_flow=flow)
    off, loose = factories.device(cast.project, in_flow=flow), factories.device(cast.project, in_flow=other)
    FlowLink.objects.create(device=two, flow=other)
    Device.objects.filter(pk=two.pk).update(flow_count=2)
    Device.objects.filter(pk=off.pk).update(processing_status=Processing.DEACTIVATED)
    job = do("unlink", [one, two, off, loose], cast.operator, flow=flow.pk, name=flow.name)
    assert outcomes(job)[loose.pk] == ("skipped", "It is not in this Flow.")
    assert job.done == 3
    assert state(one) == (Processing.NOT_LINKED, 0)
    assert state(two) == (Processing.ACTIVE, 1)
    assert state(off) == (Processing.DEACTIVATED, 0)
    assert [row[1] for row in records("device.unlinked")] == [one.pk, two.pk, off.pk]
    assert set(FlowLink.objects.values_list("device_id", "flow_id")) == {(two.pk, other.pk), (loose.pk, other.pk)}


def test_link_makes_the_new_flow_once(cast: Cast) -> None:
    devices = [factories.device(cast.project) for _ in range(3)]
    asked = form(LinkForm, {"new_flow": " Cold chain "}, devices, [cast.project])
    assert asked.is_valid(), asked.errors
    assert not Flow.objects.exists(), "it is made with the first device in it"
    job = do("link", devices, cast.operator, **asked.parameters())
    assert job.done == 3
    flow = Flow.objects.get()
    assert (flow.name, flow.project) == ("Cold chain", cast.project)
    assert do("link", devices[:1], cast.operator, **asked.parameters()).skipped == 1
    assert not form(LinkForm, {"new_flow": "cold CHAIN"}, devices, [cast.project]).is_valid()


def test_flow_that_is_gone_or_out_of_reach(both: Cast) -> None:
    device = factories.device(both.project)
    flow = factories.flow(both.elsewhere)
    assert do("link", [device], both.operator, flow=flow.pk, name=flow.name).done == 1
    Membership.objects.filter(user=both.operator, project=both.elsewhere).update(role=Role.VIEWER)
    for slug, parameters in {
        "link": {"flow": flow.pk, "name": flow.name},
        "unlink": {"flow": flow.pk, "name": flow.name},
    }.items():
        job = do(slug, [device], both.operator, **parameters)
        assert outcomes(job)[device.pk] == ("skipped", "You are not an operator of the Flow's Project any more.")
    job = do("link", [device], both.operator, project=both.elsewhere.pk, name="New")
    assert job.skipped == 1 and not Flow.objects.filter(name="New").exists()
    job = do("link", [device], both.operator, flow=flow.pk + 1000, name="Gone")
    assert outcomes(job)[device.pk] == ("skipped", "The Flow is not there any more.")


def test_link_form_offers_what_the_person_operates(both: Cast) -> None:
    mine, theirs = factories.flow(both.project), factories.flow(both.elsewhere)
    device = factories.device(both.project)
    one = form(LinkForm, {"flow": theirs.pk}, [device], [both.project])
    assert not one.is_valid() and "project" not in one.fields
    two = form(LinkForm, {"flow": theirs.pk}, [device], [both.project, both.elsewhere])
    assert two.is_valid() and two.parameters() == {"flow": theirs.pk, "name": theirs.name}
    for data in ({}, {"flow": mine.pk, "new_flow": "Both"}, {"new_flow": "Nowhere"}):
        assert not form(LinkForm, data, [device], [both.project, both.elsewhere]).is_valid()
    data = {"new_flow": "There", "project": both.elsewhere.pk}
    three = form(LinkForm, data, [device], [both.project, both.elsewhere])
    assert three.is_valid() and three.parameters() == {"project": both.elsewhere.pk, "name": "There"}


def test_unlink_form_offers_flows_of_the_chosen_devices(cast: Cast) -> None:
    flow, other = factories.flow(cast.project), factories.flow(cast.project)
    devices = [factories.device(cast.project, in_flow=flow), factories.device(cast.project, in_flow=flow)]
    factories.device(cast.project, in_flow=other)
    asked = form(UnlinkForm, {"flow": flow.pk}, devices, [cast.project])
    assert asked.is_valid() and list(asked.flows) == [str(flow.pk)]  # type: ignore[attr-defined]
    assert not form(UnlinkForm, {"flow": other.pk}, devices, [cast.project]).is_valid()


# --- another Project ---


def test_move_takes_along_what_is_the_devices_own(both: Cast) -> None:
    old, stays = factories.flow(both.project), factories.flow(both.elsewhere)
    meter = factories.m2m_device(both.project, in_flow=old)
    sensor = factories.lora_device(both.project, in_flow=stays)
    FlowLink.objects.create(device=sensor, flow=old)
    Device.objects.filter(pk=sensor.pk).update(flow_count=2)
    AuditEntry.objects.all().delete()

    job = do("move", [meter, sensor], both.operator, project=both.elsewhere.pk, name="Elsewhere")
    assert job.done == 2, outcomes(job)
    there = Device.objects.filter(project=both.elsewhere)
    assert set(there) == {meter, sensor}
    assert state(meter) == (Processing.NOT_LINKED, 0), "out of the Flows of its old Project"
    assert state(sensor) == (Processing.ACTIVE, 1), "and still in those of the new one"
    assert set(DeviceState.objects.values_list("project_id", flat=True)) == {both.elsewhere.pk}
    assert SimCard.objects.get(device=meter).project == both.elsewhere
    assert Identity.objects.filter(device_id=meter.pk).count() == 1
    assert there.filter(connection_status=Connection.ACTIVE).count() == 2
    assert [row[:2] for row in records("device.moved_away")] == [
        (both.project.pk, meter.pk),
        (both.project.pk, sensor.pk),
    ]
    assert [row[0] for row in records("device.moved_here")] == [both.elsewhere.pk] * 2
    assert "Elsewhere" not in str(list(AuditEntry.objects.filter(project=both.project).values("before", "after")))


def test_move_changes_the_columns_of_values(both: Cast) -> None:
    device = factories.device(both.project, in_flow=factories.flow(both.project))
    twin.set_metadata([device.pk], {"batch": "A7"}, actor=both.operator)
    for project in (both.project, both.elsewhere):
        values.indexed([project.pk], [ValueKey("metadata", "batch")])
    here, there = (ValueColumn.objects.get(project=project) for project in (both.project, both.elsewhere))
    assert list(ColumnValue.objects.values_list("column_id", flat=True)) == [here.pk]
    do("move", [device], both.operator, project=both.elsewhere.pk, name="Elsewhere")
    assert list(ColumnValue.objects.values_list("column_id", "text")) == [(there.pk, "a7")]


def test_move_refuses_what_the_project_cannot_have(both: Cast) -> None:
    there = factories.device(both.elsewhere)
    owned, bought, unoffered = (factories.device(both.project) for _ in range(3))
    facts = {"connectivity": "lora", "key_source": "portal"}
    kinds = {
        owned.pk: DeviceType.objects.create(slug="a", name="A", category="own", project=both.project, **facts),
        bought.pk: DeviceType.objects.create(slug="b", name="B", category="managed", **facts),
        unoffered.pk: DeviceType.objects.create(slug="c", name="C", category="own", **facts),
    }
    for pk, kind in kinds.items():
        Device.objects.filter(pk=pk).update(type=kind)
    job = do("move", [there, owned, bought, unoffered], both.operator, project=both.elsewhere.pk, name="Elsewhere")
    assert outcomes(job) == {
        there.pk: ("skipped", "It is in this Project already."),
        owned.pk: ("skipped", "Its device type belongs to the Project that it is in."),
        bought.pk: ("done", ""),
        unoffered.pk: (
            "skipped",
            "Its device type is not in the subscription of the Project that it would go to.",
        ),
    }


def test_one_device_moves_as_many_do(both: Cast) -> None:
    device = factories.device(both.project, in_flow=factories.flow(both.project))
    services.move_project(device=device, project=both.elsewhere, actor=both.operator)
    assert Device.objects.get().project == both.elsewhere and state(device) == (Processing.NOT_LINKED, 0)
    with pytest.raises(DeviceError, match="already"):
        services.move_project(device=device, project=both.elsewhere, actor=both.operator)
    assert len(records("device.moved_here")) == 1


def test_move_waits_for_the_network(both: Cast) -> None:
    device = factories.lora_device(both.project)
    NetworkTask.objects.create(device=device, operation=NetworkTask.Operation.DEACTIVATE)
    job = do("move", [device], both.operator, project=both.elsewhere.pk, name="Elsewhere")
    assert outcomes(job) == {device.pk: ("skipped", "The network is still at work on it.")}


def test_move_needs_the_role_in_both_projects(cast: Cast) -> None:
    device = factories.device(cast.project)
    job = do("move", [device], cast.operator, project=cast.elsewhere.pk, name="Elsewhere")
    assert outcomes(job)[device.pk][0] == "skipped"
    assert Device.objects.get().project == cast.project
    assert not form(MoveForm, {"project": cast.elsewhere.pk}, [device], [cast.project]).is_valid()
    asked = form(MoveForm, {"project": cast.project.pk}, [device], [cast.project])
    assert asked.is_valid() and asked.parameters() == {"project": cast.project.pk, "name": cast.project.name}


def test_every_action_says_what_it_is() -> None:
    orders = Counter(action.order for action in bulk.all_registered())
    assert max(orders.values()) == 1, "no two fight for a place"
    for slug in ("link", "unlink", "move"):
        action = bulk.by_slug(slug)
        assert action and "Cold chain" in action.summary({"name": "Cold chain"})


# --- delete ---


class Refusing(Lora):
    """LoRa whose network keeps the devices that it is told to keep."""

    def __init__(self) -> None:
        self.keeps: set[int] = set()

    def deregister(self, device: Device) -> None:
        if device.pk in self.keeps:
            raise NetworkRefused("still in a multicast group")


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    before, refusing = connectivity.by_slug("lora"), Refusing()
    connectivity.register(refusing)
    yield refusing
    connectivity.register(before)


def test_delete_ends_each_device_with_its_networks_answer(cast: Cast, refusing: Refusing) -> None:
    """Under way until the network has answered: gone, or whole with the reason; others are left alone (D9, T3)."""
    gone, kept = factories.lora_device(cast.project), factories.lora_device(cast.project)
    bare = factories.device(cast.project)
    busy = factories.lora_device(cast.project)
    NetworkTask.objects.create(device=busy, operation=NetworkTask.Operation.DEACTIVATE)
    DeviceType.objects.create(
        slug="managed-x", name="Sensor", category=Category.MANAGED, connectivity="lora", key_source="portal"
    )
    managed = factories.device(cast.project, "managed-x")
    refusing.keeps = {kept.pk}
    job = do("delete", [gone, kept, bare, busy, managed], cast.operator)
    assert job.state == JobState.RUNNING
    assert {pk: outcome for pk, (outcome, _reason) in outcomes(job).items()} == {
        gone.pk: "waiting",
        kept.pk: "waiting",
        bare.pk: "waiting",
        busy.pk: "skipped",
        managed.pk: "skipped",
    }
    for device in (gone, kept, bare):
        assert network.run(device.pk)
    jobs.run(job.pk, now=timezone.now() + timedelta(minutes=2))
    job.refresh_from_db()
    assert (job.state, job.done, job.skipped, job.failed) == (JobState.FINISHED, 2, 2, 1)
    assert outcomes(job)[kept.pk] == ("failed", "still in a multicast group")
    assert set(Device.objects.values_list("pk", flat=True)) == {kept.pk, busy.pk, managed.pk}
    assert AuditEntry.objects.filter(action="device.deleted", actor=cast.operator).count() == 2
    # The refused one can be tried again.
    refusing.keeps = set()
    again = jobs.retry_failed(job=job, actor=cast.operator, projects=[cast.project], token=uuid4())
    jobs.run(again.pk)
    assert network.run(kept.pk)
    assert not Device.objects.filter(pk=kept.pk).exists()


def test_deleting_many_takes_as_many_statements_as_few(cast: Cast, refusing: Refusing) -> None:
    action = bulk.by_slug("delete")
    assert action

    def statements(devices: list[Device]) -> int:
        with CaptureQueriesContext(connection) as queries:
            action.apply([device.pk for device in devices], bulk.Asked({}, cast.operator))
        return len(queries)

    few = statements([factories.device(cast.project) for _ in range(2)])
    assert statements([factories.device(cast.project) for _ in range(12)]) == few
