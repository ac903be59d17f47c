"""Devices as they are, against a running portal: the operator's SDK, the printed examples, the simulated ones."""

from __future__ import annotations

import contextlib
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import cbor2
import pytest
from django.utils import timezone

from codec import tokens
from devices.models import Device, DeviceType
from downlinks import services as downlinks
from downlinks.models import Downlink, State
from flows import destination_inbox as inbox
from flows.models import Received
from ingest import pipeline, simulated
from ingest.models import RefusedMessage, SimulatedSender
from internet.models import InternetIdentity
from m2m.models import M2mIdentity
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import INTERNET, M2M, fresh_stores, waiting
from tests.processes import running, wait_for
from tests.things_portal.test_asgi import Server, free_port, read_answer
from tests.things_portal.test_killed_web import listens
from twin.models import Twin

__all__ = ["fresh_stores"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]

# (body, secret, token) as the SDK's own tests have them (reference, section 2.3).
VECTORS = [
    (
        b'[{"bn":"device-name","n":"humidity","vd":"aG9paG9pAA"}]',
        "MYKEY2",
        "4d53c667486bb4679922b901dd733a936a07983f73275941abfb3068a0ba8748",
    ),
    (
        (
            b'[{"bn":"device-name","i_":-23,"vd":"aG9paG9pAA"},{"i_":-19,"vb":true},{"i_":-18,"v":1.500000},'
            b'{"i_":-24,"v":10},{"i_":-15,"vs":"haihai"}]'
        ),
        "MYKEY",
        "ca385fee74e177be286d3b2bc5825fb1189ecb188fb47edb8ad5bbdd5e7836f0",
    ),
]


@contextlib.contextmanager
def web(tmp_path: Path) -> Iterator[Server]:
    """The web process as ``things up`` starts it."""
    server = Server(free_port(), tmp_path / "web.log")
    command = ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(server.port))
    with running(*command, "things_portal.asgi:application", log=server.log):
        wait_for(lambda: listens(server), "the server to listen", log=server.log)
        yield server


def sdk_request(body: bytes, token: str, path: str = M2M, host: str = "m.m") -> bytes:
    """What the SDK writes: these header lines in this order, and bare LF at their ends (reference, section 2.2)."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Things-Message-Token: {token}",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\n".join(lines).encode() + body


def reported(device: Device) -> dict[str, object]:
    """What the twin has after everything that waits has been processed: name → value."""
    pipeline.process(waiting())
    held = Twin.objects.filter(device=device).values_list("reported", flat=True).first() or {}
    return {name: entry["v"] for name, entry in held.items()}


def test_client_of_the_sdk_with_its_published_tokens(cast: Cast, tmp_path: Path) -> None:
    """M5: LF-only header lines in the SDK's order, and both token vectors."""
    flow = factories.flow(cast.project)
    with web(tmp_path) as server:
        for body, secret, published in VECTORS:
            device = factories.m2m_device(cast.project, secret=secret, in_flow=flow)
            assert tokens.message_token(body, secret) == published
            # "device-name" is no base name by the platform's own rules (reference, 3.1: urn:dev:<kind>:<id>:), and only
            # names a device where the portal has been told so. See the next test.
            status, answer = server.talk(sdk_request(body, published))
            assert (status, b"bad-base-name" in answer) == (400, True)
            own = body.replace(b"device-name", M2mIdentity.objects.get(device=device).base_name.encode())
            assert server.talk(sdk_request(own, published))[0] == 401
            assert server.talk(sdk_request(own, tokens.message_token(own, secret))) == (200, b"")
        assert own in {entry.body for entry in waiting()}
        # A kept connection, as the SDK has it while it fetches a file: several requests on one line.
        with server.connect() as line:
            for number in range(3):
                again = own.replace(b'"v":10', b'"v":%d' % number)
                line.sendall(sdk_request(again, tokens.message_token(again, secret)))
                assert read_answer(line) == (200, b"")
    values = reported(device)
    assert len(waiting()) == 5 and {"temperature", "pressure", "power", "humidity"} <= set(values)


@pytest.mark.parametrize(("body", "secret", "published"), VECTORS, ids=[secret for _b, secret, _t in VECTORS])
def test_published_messages_of_the_sdk_are_taken_as_they_are(
    cast: Cast, tmp_path: Path, body: bytes, secret: str, published: str
) -> None:
    """To the byte, with the published token and bare-LF lines: the device has the name of the vectors."""
    device = factories.m2m_device(cast.project, secret=secret, in_flow=factories.flow(cast.project))
    person = cast.client(cast.operator)
    person.post(f"/devices/{device.pk}/m2m/base-name/", {"own_name": "device-name"})
    other = "0" + published[1:]
    with web(tmp_path) as server:
        assert server.talk(sdk_request(body, published)) == (200, b"")
        wrong = server.talk(sdk_request(body, other))
        # Nobody learns from outside that a device has that name.
        assert wrong == server.talk(sdk_request(body.replace(b"device-name", b"device-same"), other))
        assert wrong[0] == 400 and b"bad-base-name" in wrong[1]
        wait_for(lambda: RefusedMessage.objects.filter(device=device).exists(), "the refusal", log=server.log)
    [entry] = waiting()
    assert (entry.body, entry.meta["device_id"]) == (body, device.pk)
    values = reported(device)
    assert values["humidity"] and ("temperature" in values) == (secret == "MYKEY")
    page = person.get(f"/devices/{device.pk}/m2m/").content.decode()
    assert "device-name" in page and "Token does not fit" in page


@pytest.mark.parametrize(("body", "secret", "published"), VECTORS, ids=[secret for _b, secret, _t in VECTORS])
def test_published_tokens_as_they_are(cast: Cast, tmp_path: Path, body: bytes, secret: str, published: str) -> None:
    """Both vectors to the byte, written by the SDK's client with its bare-LF lines, to the running portal: whoever has
    the secret is told that the token fits, and with any other that it does not."""
    flow, keys = factories.flow(cast.project), {secret: "k" * 43, "MYKEY3": "x" * 43}
    for shared, key in keys.items():
        factories.destination(flow, shared, secrets={"shared_secret": shared}, inbox_hash=inbox.hashed(key))
    with web(tmp_path) as server:
        for key in keys.values():
            assert server.talk(sdk_request(body, published, f"/test-endpoints/{key}/", "localhost"))[0] == 204
    found = {row.destination.name: row for row in Received.objects.select_related("destination")}
    assert {name: (row.body, row.proved) for name, row in found.items()} == {
        secret: (body, True), "MYKEY3": (body, False)
    }  # fmt: skip
    page = cast.client(cast.viewer).get(f"/destinations/{found[secret].destination_id}/").content.decode()
    assert published in page and html.escape(body.decode()) in page and "Does not fit" not in page


def test_waiting_instruction_comes_in_the_answer_to_the_sdk(cast: Cast, tmp_path: Path) -> None:
    device = factories.m2m_device(cast.project, secret="MYKEY", in_flow=factories.flow(cast.project))
    for value in (1, 2):
        payload = f'[{{"n":"url","v":{value}}}]'.encode()
        downlinks.request(device=device, encoder="raw-senml", payload=payload, actor=None)
    base = M2mIdentity.objects.get(device=device).base_name
    with web(tmp_path) as server:
        answers = []
        for number in range(3):
            body = f'[{{"bn":"{base}","bt":{timezone.now().timestamp():.0f},"n":"t","v":{number}}}]'.encode()
            answers.append(server.talk(sdk_request(body, tokens.message_token(body, "MYKEY"))))
    assert [status for status, _body in answers] == [200, 200, 200]
    assert [body.count(b'"url"') for _status, body in answers] == [1, 1, 0]
    assert base.encode() in answers[0][1]


@pytest.mark.parametrize("kind", ["m2m", "internet"])
def test_printed_examples_work_and_cbor_too(cast: Cast, tmp_path: Path, kind: str) -> None:
    """M3, I2: what the page prints is run as it stands, with the secret in its place."""
    device = (factories.m2m_device if kind == "m2m" else factories.internet_device)(cast.project)
    identity = (M2mIdentity if kind == "m2m" else InternetIdentity).objects.get(device=device)
    with web(tmp_path) as server:
        page = cast.client(cast.viewer).get(
            f"/devices/{device.pk}/{kind}/", headers={"host": f"127.0.0.1:{server.port}"}
        )
        texts = dict(re.findall(r'<pre class="code" id="example-(\w+)">(.*?)</pre>', page.content.decode(), re.DOTALL))
        assert set(texts) == {"curl", "python"}
        for name, command in (("curl", ["sh", "-c"]), ("python", [sys.executable, "-c"])):
            program = html.unescape(texts[name])
            assert factories.SECRET not in program
            program = program.replace("paste-the-shared-secret-here", factories.SECRET)
            environment = {"PATH": "/usr/bin:/bin"}
            ran = subprocess.run(
                [*command, program], capture_output=True, check=True, text=True, timeout=20, env=environment
            )
            assert "200" in ran.stdout, ran
        body = cbor2.dumps([{-2: identity.base_name, 0: "temperature", 2: 21.5}])
        proof = f"Things-Message-Token: {tokens.message_token(body, factories.SECRET)}"
        way = M2M if kind == "m2m" else INTERNET
        assert server.post(way, body, proof, "Content-Type: application/senml+cbor")[0] == 200
    entries = waiting()
    assert [entry.meta["device_id"] for entry in entries] == [device.pk] * 3
    assert pipeline.process(entries).processed == 3
    page = cast.client(cast.viewer).get(f"/devices/{device.pk}/{kind}/").content.decode()
    assert page.count('<td class="m-main">temperature</td><td class="m-end">21.5</td>') == 3


def test_simulated_devices_send_and_follow_instructions(cast: Cast, tmp_path: Path) -> None:
    """A message, an instruction in its answer, a report of it soon, and the instruction is Delivered."""
    DeviceType.objects.filter(slug__in=["own-m2m", "own-internet"]).update(encoders=["raw-senml"])
    flow = factories.flow(cast.project)
    devices = [factories.m2m_device(cast.project, in_flow=flow), factories.internet_device(cast.project, in_flow=flow)]
    now = timezone.now()
    for device, model in zip(devices, (M2mIdentity, InternetIdentity), strict=True):
        identity = model.objects.get(device=device)
        simulated.add(
            device,
            base_name=identity.base_name,
            secret=factories.SECRET,
            interval=timedelta(minutes=5),
            next_at=now - timedelta(seconds=1),
        )
    with web(tmp_path) as server:
        address = f"http://127.0.0.1:{server.port}"
        assert simulated.step(address, now) == 2 and simulated.step(address, now) == 0
        for device in devices:
            payload = b'[{"n":"interval","v":1},{"n":"mode","vs":"days"},{"n":"on","vb":true}]'
            downlinks.request(device=device, encoder="raw-senml", payload=payload, actor=None)
        soon = now + timedelta(minutes=5)
        assert simulated.step(address, soon) == 2
        senders = list(SimulatedSender.objects.all())
        assert {sender.interval_seconds for sender in senders} == {60}
        assert all(sender.next_at == soon + simulated.SOON for sender in senders)
        assert simulated.step(address, soon + simulated.SOON) == 2
        # A new secret in the portal: the device has the old one still, and is refused until it is given the new.
        identity = M2mIdentity.objects.get(device=devices[0])
        identity.set_secret("z" * 40)
        identity.save()
        assert simulated.step(address, soon + timedelta(minutes=3)) == 1
    assert {row.state for row in Downlink.objects.all()} == {State.DELIVERED}
    for device in devices:
        values = reported(device)
        assert (values["interval"], values["mode"], values["on"]) == (1, "days", True)
        assert "temperature" in values
    # A portal that is away is no error: they try again soon.
    later = soon + timedelta(minutes=9)
    assert simulated.step(f"http://127.0.0.1:{free_port()}", later) == 0
    assert {sender.next_at - later for sender in SimulatedSender.objects.all()} == {timedelta(seconds=10)}


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"{}", b"[]", b'[1,{"n":1}]', b'[{"n":"interval","v":"x"}]'])
def test_simulated_device_is_not_harmed_by_an_answer(cast: Cast, answer: bytes) -> None:
    device = factories.internet_device(cast.project)
    simulated.add(device, base_name="urn:dev:DVNUUID:x:", secret="s" * 40, interval=timedelta(minutes=5))
    sender = SimulatedSender.objects.get()
    simulated.follow(sender, answer, timezone.now())
    assert SimulatedSender.objects.get().interval_seconds == 300
