"""Deleting from the device's page and from the admin (D9, P4): told first, named, and then only looked at."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices import deletion, network
from devices.models import Category, Device, DeviceType, Identity, NetworkTask
from downlinks import services as downlinks
from ingest import stream
from ingest.consumer import process_and_keep
from lora.events import Reception, Uplink
from lora.models import Frame
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import now, pack, take
from tests.processes import wait_for, waiting_for_us
from twin import services as twin

DEV_EUI = "0059AC0000D9D9D9"


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(
        cast.project, name="House 1", dev_eui=DEV_EUI, in_flow=factories.flow(cast.project, "Climate")
    )


def url(device: Device) -> str:
    return f"/devices/{device.pk}/delete/"


def being_deleted(device: Device) -> bool:
    with scopes_disabled():
        return NetworkTask.objects.filter(device=device, operation=NetworkTask.Operation.DELETE).exists()


def test_page_tells_what_goes_and_asks_for_the_name(cast: Cast, device: Device) -> None:
    html = cast.client(cast.operator).get(url(device)).content.decode()
    for text in (
        "Delete House 1?",
        "Climate",
        DEV_EUI,
        "can never be added again",
        "Or deactivate it?",
        "No: activate it",
    ):
        assert text in html


@pytest.mark.parametrize("typed", ["", "house 1", "House", "House 1 x"])
def test_wrong_name_deletes_nothing(cast: Cast, device: Device, typed: str) -> None:
    response = cast.client(cast.operator).post(url(device), {"typed": typed})
    assert response.status_code == 422
    shown = response.content.decode()
    assert 'id="id_typed_error"' in shown and "Nothing is saved yet" not in shown
    assert not being_deleted(device)


def test_typed_name_deletes(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    response = client.post(url(device), {"typed": " House 1 "})
    assert response["Location"] == "/devices/"
    assert being_deleted(device)
    assert "House 1 is being deleted." in client.get("/devices/").content.decode()
    # Asked once more: it is on its way already.
    assert client.post(url(device), {"typed": "House 1"}).status_code == 302
    assert network.run(device.pk)
    assert client.get(f"/devices/{device.pk}/device/").status_code == 404
    with scopes_disabled():
        assert AuditEntry.objects.get(action="device.deleted").actor == cast.operator


def test_device_that_is_being_deleted_is_looked_at_and_not_changed(cast: Cast, device: Device) -> None:
    with scopes_disabled():
        deletion.request(device=device, actor=cast.operator)
    client = cast.client(cast.operator)
    for tab in ("device", "twin", "flows", "lora", "lora/history", "downlinks"):
        response = client.get(f"/devices/{device.pk}/{tab}/", follow=True)
        if response.status_code == 404:
            continue
        html = response.content.decode()
        assert "This device is being deleted." in html
        assert not re.search(rf'<form[^>]*method="post"[^>]*action="/devices/{device.pk}', html)
    response = client.post(f"/devices/{device.pk}/device/", {"name": "Other", "description": ""}, follow=True)
    assert "Nothing was changed: the device is being deleted." in response.content.decode()
    assert client.post(f"/devices/{device.pk}/deactivate/").status_code == 302
    with scopes_disabled():
        device.refresh_from_db()
    assert (device.name, device.processing_status) == ("House 1", "active")


def test_managed_device_is_not_deleted_by_its_project(cast: Cast) -> None:
    DeviceType.objects.create(
        slug="managed-x", name="Sensor", category=Category.MANAGED, connectivity="lora", key_source="portal"
    )
    managed = factories.device(cast.project, "managed-x", name="Bought")
    client = cast.client(cast.administrator)
    assert "/delete/" not in client.get(f"/devices/{managed.pk}/device/").content.decode()
    assert client.get(url(managed)).status_code == 403
    assert client.post(url(managed), {"typed": "Bought"}).status_code == 403
    assert not being_deleted(managed)


def test_read_only_account_has_no_way_to_delete(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    assert "/delete/" not in client.get(f"/devices/{device.pk}/device/").content.decode()
    assert client.post(url(device), {"typed": "House 1"}).status_code == 403
    assert cast.client(cast.stranger).post(url(device), {"typed": "House 1"}).status_code == 404
    assert not being_deleted(device)


def test_work_under_way_is_waited_for(cast: Cast, device: Device) -> None:
    with scopes_disabled():
        NetworkTask.objects.create(device=device, operation=NetworkTask.Operation.DEACTIVATE)
    response = cast.client(cast.operator).post(url(device), {"typed": "House 1"}, follow=True)
    assert "still at work" in response.content.decode()
    assert not being_deleted(device)


def test_support_deletes_managed_devices_too_and_nothing_else_deletes(cast: Cast) -> None:
    DeviceType.objects.create(
        slug="managed-x", name="Sensor", category=Category.MANAGED, connectivity="lora", key_source="portal"
    )
    managed = factories.device(cast.project, "managed-x", name="Bought")
    staff = factories.user("staff@example.com", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(staff)
    data: dict[str, Any] = {"action": "delete_for_good", "_selected_action": [managed.pk]}
    page = client.post("/admin/devices/device/", data)
    assert "Bought" in page.content.decode()
    assert not being_deleted(managed)
    client.post("/admin/devices/device/", data | {"confirmed": "1"})
    assert being_deleted(managed)
    client.post(
        "/admin/devices/device/", {"action": "delete_selected", "_selected_action": [managed.pk], "post": "yes"}
    )
    assert client.get(f"/admin/devices/device/{managed.pk}/delete/").status_code == 403
    with scopes_disabled():
        assert Device.objects.filter(pk=managed.pk).exists()


def test_nothing_of_the_device_is_left_in_any_table(cast: Cast, unscoped: None) -> None:
    """Every table with a column for a device, whoever adds one later: only what is meant to outlive it stays."""
    flow = factories.flow(cast.project)
    radio = factories.lora_device(cast.project, dev_eui=DEV_EUI, in_flow=flow)
    sim = factories.m2m_device(cast.project, in_flow=flow)
    stream.accept_events([heard(1)])
    stream.accept_senml("m2m", sim.pk, pack(sim, {"n": "t", "v": 1}), received_at=now().timestamp())
    process_and_keep(take())
    for device in (radio, sim):
        twin.set_metadata([device.pk], {"room": "1"}, actor=None)
    downlinks.request(device=radio, encoder="raw-lora", fport=1, payload=b"\x01", actor=cast.operator)
    cast.client(cast.operator).get("/devices/", {"where": "metadata:room=1"})
    before = {table for table, count in rows_of([radio.pk, sim.pk]).items() if count}
    assert {"lora_frame", "twin_twin", "downlinks_downlink", "devices_columnvalue", "devices_flowlink"} <= before
    assert {"devices_senmlmessage", "m2m_simcard", "devices_identity"} <= before
    for device in (radio, sim):
        deletion.request(device=device, actor=cast.operator)
        assert network.run(device.pk)
    assert {table for table, count in rows_of([radio.pk, sim.pk]).items() if count} == {"accounts_auditentry"}
    assert Identity.objects.filter(urn=f"DEVEUI:{DEV_EUI}", device_id=None).exists()


def rows_of(ids: list[int]) -> dict[str, int]:
    """Rows of the devices by table, in every table that names one."""
    found = {}
    tables = {
        (model._meta.db_table, field.column)
        for model in apps.get_models()
        for field in model._meta.fields
        if field.column == "device_id"
    }
    with connection.cursor() as cursor:
        for table, column in sorted(tables):
            cursor.execute(f"SELECT count(*) FROM {table} WHERE {column} = ANY(%s)", [ids])
            found[table] = cursor.fetchone()[0]
    return found


def heard(fcnt: int) -> Uplink:
    reception = Reception(gateway="7076FF0056060B8A", rssi=-100.0, snr=5.0, esp=-101.0)
    return Uplink(
        dev_eui=DEV_EUI, at=now() - timedelta(minutes=9 - fcnt), fcnt=fcnt, fport=1, payload=b"\x01", mic=f"{fcnt:08x}",
        receptions=(reception,),
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["messages", "removal"])
def test_messages_that_come_meanwhile_leave_nothing_and_harm_no_others(cast: Cast, first: str) -> None:
    """A batch and the removal at once, in both orders: no row of the device is left, and the other device has its."""
    with scopes_disabled():
        flow = factories.flow(cast.project)
        gone = factories.lora_device(cast.project, dev_eui=DEV_EUI, in_flow=flow)
        stays = factories.internet_device(cast.project, in_flow=flow)
        deletion.request(device=gone, actor=None)
        stream.accept_events([heard(1)])
        stream.accept_senml("internet", stays.pk, pack(stays, {"n": "t", "v": 1}), received_at=now().timestamp())
        entries = take()
        errors: list[BaseException] = []

        def other(work: Any) -> threading.Thread:
            def run() -> None:
                try:
                    with scopes_disabled():
                        work()
                except BaseException as error:
                    errors.append(error)
                finally:
                    connection.close()

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        def remove() -> None:
            network.run(gone.pk, now=timezone.now() + timedelta(minutes=1))

        def write() -> None:
            process_and_keep(entries)

        # Who holds the device's state is waited for; the other begins before that and ends after it.
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM devices_devicestate WHERE device_id = %s FOR UPDATE", [gone.pk])
            threads = [other(work) for work in ((write, remove) if first == "messages" else (remove, write))]
            wait_for(lambda: waiting_for_us() >= 1, "one of the two to wait")
        for thread in threads:
            thread.join(20)
        assert errors == []
        if Device.objects.filter(pk=gone.pk).exists():
            remove()  # the one that lost against a deadlock is tried again by its sweeper
        assert not Device.objects.filter(pk=gone.pk).exists()
        assert not Frame.objects.filter(device_id=gone.pk).exists()
        assert stays.pk in {row.pk for row in Device.objects.all()}
        assert rows_of([stays.pk])["devices_senmlmessage"] == 1
