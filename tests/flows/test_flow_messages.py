"""The last messages through a Flow (F4), of every connectivity."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from devices import flow_messages
from devices.models import Device, DeviceState, FlowLink, SenmlMessage
from flows.models import Flow
from lora.models import FrameKind
from tests import factories, lora_frames
from tests.cast import Cast


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def frame(device: Device, at: datetime, seq: int = 1, **values: Any) -> None:
    lora_frames.frame(device, at, seq, **{"fport": 2} | values)
    heard(device, at)


def pack(device: Device, at: datetime, seq: int = 1) -> None:
    SenmlMessage.objects.create(device_id=device.pk, received_at=at, seq=seq, digest=b"x", body=b"[{}]", records=1)
    heard(device, at)


def heard(device: Device, at: datetime) -> None:
    rows = DeviceState.objects.filter(pk=device.pk)
    rows.filter(last_message_at=None).update(last_message_at=at)
    rows.filter(last_message_at__lt=at).update(last_message_at=at)


def linked_since(flow: Flow, at: datetime) -> None:
    FlowLink.objects.filter(flow=flow).update(linked_at=at)


def told(flow: Flow, now: datetime, *, devices: int = 1) -> list[tuple[str, str]]:
    found = flow_messages.newest(flow, [flow.project_id], now, devices=devices)
    assert found is not None
    return [(each.device_name, each.heard.text) for each in found]


@pytest.mark.parametrize("devices", [1, 10_000], ids=["small", "large"])
def test_newest_first_of_all_connectivities(cast: Cast, flow: Flow, now: datetime, devices: int) -> None:
    lora = factories.lora_device(cast.project, name="L", in_flow=flow)
    m2m = factories.m2m_device(cast.project, name="M", in_flow=flow)
    internet = factories.internet_device(cast.project, name="I", in_flow=flow)
    outside = factories.lora_device(cast.project, name="O")
    linked_since(flow, now - timedelta(hours=1))
    frame(lora, now - timedelta(minutes=5))
    pack(m2m, now - timedelta(minutes=4))
    pack(internet, now - timedelta(minutes=3))
    frame(lora, now - timedelta(minutes=2), seq=2, kind=FrameKind.JOIN_REQUEST, fport=None, payload=b"")
    frame(lora, now - timedelta(minutes=1), seq=3, payload=bytes(20))
    frame(outside, now)
    assert told(flow, now, devices=devices) == [
        ("L", "FPort 2: " + "00 " * 16 + "…"),
        ("L", "Join request"),
        ("I", "1 record, 4\xa0bytes"),
        ("M", "1 record, 4\xa0bytes"),
        ("L", "FPort 2: 01 67"),
    ]


def test_what_came_before_the_link_did_not_go_through(cast: Cast, flow: Flow, now: datetime) -> None:
    device = factories.lora_device(cast.project, in_flow=flow)
    linked_since(flow, now - timedelta(minutes=10))
    frame(device, now - timedelta(minutes=11))
    assert told(flow, now) == []
    frame(device, now - timedelta(minutes=9), seq=2)
    assert len(told(flow, now)) == 1


def test_downlinks_and_devices_of_other_projects_are_not_shown(cast: Cast, flow: Flow, now: datetime) -> None:
    device = factories.lora_device(cast.project, in_flow=flow)
    theirs = factories.lora_device(cast.elsewhere, in_flow=flow)
    linked_since(flow, now - timedelta(hours=1))
    frame(device, now, direction=1)
    frame(theirs, now)
    assert told(flow, now) == []


@pytest.mark.parametrize("devices", [1, 10_000], ids=["small", "large"])
def test_none_is_missing_among_many_devices(
    cast: Cast, flow: Flow, now: datetime, monkeypatch: pytest.MonkeyPatch, devices: int
) -> None:
    """The newest are exact: of a device that sends often several, of others none."""
    monkeypatch.setattr(flow_messages, "SHOWN", 4)
    often, *others = [factories.lora_device(cast.project, name=f"D{n}", in_flow=flow) for n in range(6)]
    linked_since(flow, now - timedelta(hours=1))
    for minute in (1, 3, 5, 20):
        frame(often, now - timedelta(minutes=minute), seq=minute)
    for number, device in enumerate(others):
        frame(device, now - timedelta(minutes=4 + number * 3))
    assert [name for name, _text in told(flow, now, devices=devices)] == ["D0", "D0", "D1", "D0"]


def test_page_shows_them_with_links_and_reads_them_again(cast: Cast, flow: Flow, now: datetime) -> None:
    device = factories.lora_device(cast.project, name="House", in_flow=flow)
    client = cast.client(cast.viewer)
    assert "Nothing was heard from its devices" in client.get(f"/flows/{flow.pk}/").content.decode()
    linked_since(flow, now - timedelta(hours=1))
    frame(device, now)
    address = f"/flows/{flow.pk}/messages/"
    for text in (
        client.get(f"/flows/{flow.pk}/").content.decode().partition('id="flow-messages"')[2],
        client.get(address, headers={"HX-Request": "true"}).content.decode(),
    ):
        assert re.search(rf'class="row-link" href="/devices/{device.pk}/">House<', text)
        assert "FPort 2: 01 67" in text
    assert client.get(address)["Location"] == f"/flows/{flow.pk}/", "without script"
    assert cast.client(cast.stranger).get(address).status_code == 404
    assert client.post(address).status_code == 405


def test_too_much_to_look_through_says_where_to_look(cast: Cast, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_messages, "SORTED_BY_NAME", -1)
    monkeypatch.setattr(flow_messages, "WALK", "SELECT 1, now() FROM pg_sleep(%(limit)s)")
    monkeypatch.setattr(flow_messages, "WALK_MS", 1)
    text = cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
    assert f"/devices/?flow={flow.pk}&amp;sort=-last_message" in text


def test_twenty_devices_cost_as_many_queries_as_two(
    cast: Cast, flow: Flow, now: datetime, django_assert_num_queries: Any
) -> None:
    client = cast.client(cast.viewer)
    for number in range(20):
        device = factories.lora_device(cast.project, in_flow=flow)
        linked_since(flow, now - timedelta(hours=1))
        frame(device, now)
        if number in {1, 19}:
            with django_assert_num_queries(9):
                client.get(f"/flows/{flow.pk}/messages/", headers={"HX-Request": "true"})
