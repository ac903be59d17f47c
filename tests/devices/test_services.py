"""Devices' services: the processing status and the links (D7, F2), identifiers (D9), what each category may (T3)."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from common.states import StateConflict
from devices import capabilities, services
from devices.capabilities import Capability, NotAllowedForType
from devices.errors import DeviceError, IdentifierInUse
from devices.models import Category, Device, DeviceType, FlowLink, Identity, Processing
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")


def state(device: Device) -> tuple[str, int]:
    return Device.objects.values_list("processing_status", "flow_count").get(pk=device.pk)


def test_processing_follows_the_flows(cast: Cast) -> None:
    device = factories.device(cast.project)
    one, two = factories.flow(cast.project), factories.flow(cast.project)
    assert state(device) == (Processing.NOT_LINKED, 0)
    assert services.link_flow(device=device, flow=one, actor=cast.operator)
    assert state(device) == (Processing.ACTIVE, 1)
    assert not services.link_flow(device=device, flow=one, actor=cast.operator), "it is in it already"
    services.link_flow(device=device, flow=two, actor=cast.operator)
    services.unlink_flow(device=device, flow=one, actor=cast.operator)
    assert state(device) == (Processing.ACTIVE, 1)
    services.unlink_flow(device=device, flow=two, actor=cast.operator)
    assert state(device) == (Processing.NOT_LINKED, 0)
    assert not services.unlink_flow(device=device, flow=two, actor=cast.operator)


def test_deactivated_device_stays_so_whatever_its_flows(cast: Cast) -> None:
    flow = factories.flow(cast.project)
    device = factories.device(cast.project)
    services.deactivate(device=device, actor=cast.operator)
    services.link_flow(device=device, flow=flow, actor=cast.operator)
    assert state(device) == (Processing.DEACTIVATED, 1)
    services.activate(device=device, actor=cast.operator)
    assert state(device) == (Processing.ACTIVE, 1)
    services.deactivate(device=device, actor=cast.operator)
    services.unlink_flow(device=device, flow=flow, actor=cast.operator)
    assert state(device) == (Processing.DEACTIVATED, 0)
    services.activate(device=device, actor=cast.operator)
    assert state(device) == (Processing.NOT_LINKED, 0)


def test_moves_that_make_no_sense_are_refused(cast: Cast) -> None:
    device = factories.device(cast.project)
    with pytest.raises(StateConflict):
        services.activate(device=device, actor=cast.operator)
    services.deactivate(device=device, actor=cast.operator)
    with pytest.raises(StateConflict):
        services.deactivate(device=device, actor=cast.operator)


@pytest.mark.django_db(transaction=True)
def test_links_at_once_are_counted_once_each(cast: Cast) -> None:
    device = factories.device(cast.project)
    flows = [factories.flow(cast.project) for _ in range(4)]
    barrier = threading.Barrier(8)

    def link(flow) -> None:
        barrier.wait()
        with scopes_disabled():
            services.link_flow(device=device, flow=flow, actor=None)
        connection.close()

    threads = [threading.Thread(target=link, args=(flow,)) for flow in flows * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state(device) == (Processing.ACTIVE, 4)
    assert FlowLink.objects.filter(device=device).count() == 4
    assert AuditEntry.objects.filter(action="device.linked").count() == 4


def test_identifier_has_one_owner_over_all_projects(cast: Cast) -> None:
    mine, theirs = factories.device(cast.project), factories.device(cast.elsewhere)
    with transaction.atomic():
        services.claim_identifier(device=mine, kind="DEVEUI", value="0059AC000017338B", primary=True)
    with pytest.raises(IdentifierInUse) as refused, transaction.atomic():
        services.claim_identifier(device=theirs, kind="DEVEUI", value="0059AC000017338B", primary=True)
    assert cast.project.name not in str(refused.value)
    assert mine.name not in str(refused.value)
    assert Device.objects.get(pk=theirs.pk).identifier == ""


def test_retired_identifier_never_returns(cast: Cast) -> None:
    Identity.objects.create(urn="IMEI:490154203237518", device_id=None)
    with pytest.raises(IdentifierInUse), transaction.atomic():
        services.claim_identifier(
            device=factories.device(cast.project, "own-m2m"), kind="IMEI", value="490154203237518", primary=True
        )


def test_corrected_identifier_lets_the_wrong_one_go(cast: Cast) -> None:
    device = factories.device(cast.project)
    with transaction.atomic():
        services.claim_identifier(device=device, kind="DEVEUI", value="0000000000000001", primary=True)
        services.claim_identifier(device=device, kind="DEVEUI", value="0000000000000002", primary=True)
    assert list(Identity.objects.filter(device_id=device.pk).values_list("urn", flat=True)) == [
        "DEVEUI:0000000000000002"
    ]


def managed_device(cast: Cast) -> Device:
    DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="portal"
    )
    return factories.device(cast.project, "managed")


# The table of the source, own and managed (portal documentation, "Device types").
TABLE = [
    (Capability.ADD_REMOVE, True, False),
    (Capability.EDIT, True, True),
    (Capability.SWITCH, True, True),
    (Capability.RAW, True, False),
    (Capability.TWIN_REPORTED, True, True),
    (Capability.TWIN_CLEAR, True, False),
    (Capability.TWIN_METADATA, True, False),
]


@pytest.mark.parametrize(("capability", "own", "managed"), TABLE)
def test_capabilities_are_those_of_the_source(cast: Cast, capability: Capability, own: bool, managed: bool) -> None:
    assert capabilities.has(factories.device(cast.project), capability) is own
    assert capabilities.has(managed_device(cast), capability) is managed


def test_managed_device_keeps_its_barcode(cast: Cast) -> None:
    device = managed_device(cast)
    services.edit_device(device=device, actor=cast.operator, name="Renamed", description="Why")
    with pytest.raises(NotAllowedForType):
        services.edit_device(device=device, actor=cast.operator, name="Renamed", description="Why", barcode="1")
    services.deactivate(device=device, actor=cast.operator)


def test_type_outside_the_subscription_is_not_added(cast: Cast) -> None:
    small = factories.project(subscription="freemium")
    with pytest.raises(DeviceError, match="subscription"):
        services.add_device(
            project=small, device_type=DeviceType.objects.get(slug="own-m2m"), name="x", actor=cast.operator
        )


def test_managed_type_is_never_added_by_people(cast: Cast) -> None:
    managed = managed_device(cast).type
    managed.subscriptions.add(cast.project.subscription)
    with pytest.raises(DeviceError):
        services.add_device(project=cast.project, device_type=managed, name="x", actor=cast.operator)
