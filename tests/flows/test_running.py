"""Destinations of the running portal: its own processes, killed in the middle, and real receivers (F5, F6, M5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from codec import tokens
from codec.measurements import Measurement
from devices.models import Device
from flows import deliveries
from flows.deliveries import Outgoing
from flows.models import Delivery, DeliveryState, Destination, Flow
from ingest import stream
from m2m.models import M2mIdentity
from tests import factories
from tests.cast import Cast
from tests.flows.conftest import destination
from tests.flows.receivers import Broker, Certificates, Https
from tests.ingest.conftest import fresh_stores
from tests.processes import kill, running, wait_for
from tests.things_portal.test_device_http import sdk_request, web

__all__ = ["fresh_stores"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True)]
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def emptied(transactional_db: None) -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE flows_delivery")


@pytest.fixture(autouse=True)
def reachable_by_processes(reachable: None, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGS_DELIVERY_NETWORKS", "127.0.0.0/8,::1/128")
    monkeypatch.setenv("THINGS_DELIVERY_CA_FILE", str(certificates.authority))


def put(devices: list[Device], each: int) -> list[bytes]:
    """So many messages of each device, each with another value; the bodies."""
    now = timezone.now() - timedelta(minutes=5)
    deliveries.enqueue(
        [
            Outgoing(
                device.pk,
                now + number * SECOND,
                f"{device.pk} {number}",
                f"urn:dev:DVNUUID:{device.identifier}:",
                [Measurement(name="n", value=float(number), time=(now + number * SECOND).timestamp())],
            )
            for device in devices
            for number in range(each)
        ],
        now,
    )
    return [bytes(body) for body in Delivery.objects.values_list("body", flat=True)]


def in_order(bodies: list[bytes]) -> bool:
    by_device: dict[str, list[float]] = {}
    for body in dict.fromkeys(bodies):
        (record,) = orjson.loads(body)
        by_device.setdefault(record["bn"], []).append(record["v"])
    return all(values == sorted(values) for values in by_device.values())


def waiting() -> int:
    return Delivery.objects.filter(state=DeliveryState.WAITING).count()


def lease_runs_out() -> None:
    """What a killed process held is free after fifteen seconds: they pass."""
    Destination.objects.update(leased_until=timezone.now())


def test_killed_deliverer_loses_nothing_and_keeps_the_order(
    cast: Cast, flow: Flow, https: Https, tmp_path: Path
) -> None:
    """Killed while an answer is waited for, to a message that was not taken (hang) and to one that was (mute)."""
    to = destination(flow, url=https.url)
    devices = [factories.internet_device(cast.project, in_flow=flow) for _ in range(6)]
    sent = put(devices, 50)
    log = tmp_path / "deliverer.log"
    for falls_silent in ("hang", "mute"):
        silent = len(https.misbehaved)
        https.plan.extend([200] * 40 + [falls_silent] * 4)
        with running("manage.py", "deliver", log=log) as deliverer:
            wait_for(lambda: len(https.misbehaved) > silent, "the receiver to fall silent", log=log)  # noqa: B023
            kill(deliverer)
        assert waiting()
        https.plan.clear()
        lease_runs_out()
    with running("manage.py", "deliver", log=log):
        wait_for(lambda: not waiting(), "everything to be delivered", log=log)
    assert len(sent) == 300
    assert sorted(set(https.bodies)) == sorted(sent)
    assert in_order(https.bodies)
    assert len(https.bodies) > len(sent)
    # What came twice has the id that it had before, so that the receiver can tell.
    ids = {request.headers["Things-Delivery-Id"]: request.body for request in https.requests}
    assert len(ids) == 300
    assert all(ids[request.headers["Things-Delivery-Id"]] == request.body for request in https.requests)
    assert set(Delivery.objects.values_list("state", flat=True)) == {DeliveryState.DELIVERED}
    to.refresh_from_db()
    assert (to.failures, to.error) == (0, "")


def test_deliverer_that_is_told_to_stop_leaves_nothing_half_done(
    cast: Cast, flow: Flow, https: Https, tmp_path: Path
) -> None:
    to = destination(flow, url=https.url)
    sent = put([factories.internet_device(cast.project, in_flow=flow) for _ in range(4)], 100)
    log = tmp_path / "deliverer.log"
    with running("manage.py", "deliver", log=log) as deliverer:
        wait_for(lambda: len(https.requests) > 20, "some of the messages to arrive", log=log)
        deliverer.terminate()
        assert deliverer.wait(10) == 0
    to.refresh_from_db()
    assert to.leased_until is None
    assert len(https.requests) == len(sent) - waiting()
    with running("manage.py", "deliver", log=log):
        wait_for(lambda: not waiting(), "everything to be delivered", log=log)
    assert sorted(https.bodies) == sorted(sent)  # each of them once


def test_message_of_the_sdk_arrives_in_both_layouts(
    cast: Cast, flow: Flow, https: Https, certificates: Certificates, tmp_path: Path
) -> None:
    """A raw socket with bare-LF header lines in, the two outbound layouts of the platform (reference, 3.2) out, byte
    for byte, by HTTPS and by MQTT."""
    broker = Broker(certificates)
    broker.start()
    made = {
        layout: destination(flow, f"HTTPS {layout}", url=https.url, layout=layout) for layout in ("merged", "legacy")
    }
    for layout in made:
        destination(
            flow, f"MQTT {layout}", kind="mqtt", host="localhost", port=broker.port, topic=f"{layout}/{{identifier}}",
            layout=layout, secrets={},
        )  # fmt: skip
    device = factories.m2m_device(cast.project, secret="MYKEY", in_flow=flow)
    base = M2mIdentity.objects.get(device=device).base_name
    start = int(timezone.now().timestamp()) - 300
    body = (
        f'[{{"bn":"{base}","bt":{start + 60.75},"n":"temperature","u":"Cel","v":21.5}},'
        f'{{"i_":-23,"v":40,"t":-60.5}},{{"n":"door","vb":true,"t":-0.375}},{{"n":"mode","vs":"haihai"}}]'
    ).encode()
    with (
        web(tmp_path) as server,
        running("manage.py", "ingest_consumer", log=tmp_path / "consumer.log"),
        running("manage.py", "deliver", log=tmp_path / "deliverer.log"),
    ):
        assert server.talk(sdk_request(body, tokens.message_token(body, "MYKEY"))) == (200, b"")
        wait_for(lambda: len(https.requests) >= 2, "both pushes", log=tmp_path / "consumer.log")
        published = dict(broker.wait_for(2))
        wait_for(lambda: not waiting(), "the deliveries to be written down", log=tmp_path / "deliverer.log")
    broker.stop()
    assert stream.backlog() == 0
    merged = (
        f'[{{"bn":"{base}","bt":{start + 0.25},"n":"humidity","u":"%RH","v":40.0}},{{"n":"door","vb":true,"t":60.125}},'
        f'{{"n":"temperature","u":"Cel","v":21.5,"t":60.5}},{{"n":"mode","vs":"haihai","t":60.5}}]'
    ).encode()
    legacy = (
        f'[{{"bn":"{base}","bt":{start}}},{{"n":"humidity","u":"%RH","v":40.0}},{{"n":"door","vb":true,"t":60}},'
        f'{{"n":"temperature","u":"Cel","v":21.5,"t":61}},{{"n":"mode","vs":"haihai","t":61}}]'
    ).encode()
    pushed = {request.headers["Things-Plug-UUID"]: request for request in https.requests}
    assert pushed[str(made["merged"].uuid)].body == merged
    assert pushed[str(made["legacy"].uuid)].body == legacy
    imei = base.split(":")[3]
    assert published == {f"merged/{imei}": merged, f"legacy/{imei}": legacy}
