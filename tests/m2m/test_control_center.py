"""Cisco IoT Control Center against recorded answers, which a real HTTPS server on this machine serves."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices import network
from devices.errors import NetworkRefused, NetworkUnavailable
from devices.models import Connection, Device
from m2m import cards
from m2m.carriers import control_center
from m2m.carriers.control_center import ControlCenter
from m2m.models import CarrierAccount, SimCard
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")
ICCID = "8988216716970004975"
# As the interface's documentation shows an answer to Get Device Details.
DETAILS: dict[str, Any] = {
    "iccid": ICCID,
    "imsi": "901161697004975",
    "msisdn": "882351697004975",
    "imei": "",
    "status": "ACTIVATED",
    "ratePlan": "hphlr rp1",
    "communicationPlan": "CP_Basic_ON",
    "customer": None,
    "dateActivated": "2016-06-29 00:21:33.339+0000",
    "dateAdded": "2014-07-22 23:31:46.571+0000",
    "accountId": "100020620",
    "fixedIPAddress": None,
}


class Server:
    """Serves the answers in ``answers`` (status, body) in turn, the last one again and again; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.authorizations: set[str] = set()
        self.delay = 0.0
        self.url = ""

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else None
        self.asked.append((request.command, request.path, body))
        self.authorizations.add(request.headers.get("Authorization", ""))
        time.sleep(self.delay)
        status, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    cert, key = certificate(tmp_path)
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.handle(self)

        do_PUT = do_POST = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *args: Any) -> None:
            """Nothing on the terminal."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    served.url = f"https://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    yield served
    http.shutdown()
    http.server_close()


@pytest.fixture
def card(cast: Cast) -> SimCard:
    return factories.sim(cast.project, ICCID)


def carrier(server: Server) -> ControlCenter:
    return ControlCenter(server.url, "portal", "0a1b-key")


def test_details_are_read(server: Server, card: SimCard) -> None:
    server.answers = [(200, DETAILS)]
    said = carrier(server).details(card)
    assert (said.status, said.word, said.rate_plan, said.msisdn) == (
        "active",
        "ACTIVATED",
        "hphlr rp1",
        "+882351697004975",
    )
    assert said.activated_at == datetime.datetime(2016, 6, 29, 0, 21, 33, 339000, tzinfo=datetime.UTC)
    assert server.asked == [("GET", f"/rws/api/v1/devices/{ICCID}", None)]
    assert server.authorizations == {"Basic " + base64.b64encode(b"portal:0a1b-key").decode()}


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("INVENTORY", "inventory"),
        ("ACTIVATION_READY", "inventory"),
        ("TEST_READY", "inventory"),
        ("RETIRED", "deactivated"),
    ],
)
def test_words_of_the_carrier(server: Server, card: SimCard, word: str, status: str) -> None:
    server.answers = [(200, DETAILS | {"status": word, "msisdn": None, "dateActivated": None})]
    said = carrier(server).details(card)
    assert (said.status, said.msisdn, said.activated_at) == (status, "", None)


def test_status_is_put_and_read_again(server: Server, card: SimCard) -> None:
    off, on = DETAILS | {"status": "DEACTIVATED"}, DETAILS
    server.answers = [(200, off), (200, {"iccid": ICCID}), (200, on)]
    assert carrier(server).set_active(card, active=True).word == "ACTIVATED"
    assert [(method, body) for method, _path, body in server.asked] == [
        ("GET", None), ("PUT", {"status": "ACTIVATED"}), ("GET", None)
    ]  # fmt: skip


def test_what_it_is_already_is_not_put_again(server: Server, card: SimCard) -> None:
    server.answers = [(200, DETAILS)]
    carrier(server).set_active(card, active=True)
    server.answers = [(200, DETAILS | {"status": "INVENTORY"})]
    carrier(server).set_active(card, active=False)
    assert {method for method, _path, _body in server.asked} == {"GET"}


def test_accepted_and_not_done_yet_is_asked_again_later(server: Server, card: SimCard) -> None:
    server.answers = [(200, DETAILS | {"status": "INVENTORY"}), (202, b""), (200, DETAILS | {"status": "INVENTORY"})]
    with pytest.raises(NetworkUnavailable, match="not changed"):
        carrier(server).set_active(card, active=True)


def test_text_message(server: Server, card: SimCard) -> None:
    server.answers = [(200, {"smsMsgId": 123456789})]
    assert carrier(server).send_sms(card, "APN=things") == "123456789"
    assert server.asked == [("POST", f"/rws/api/v1/devices/{ICCID}/smsMessages", {"messageText": "APN=things"})]


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (404, {"errorMessage": "Resource not found", "errorCode": "10000001"}, NetworkRefused, "does not know"),
        (400, {"errorMessage": "Invalid status.", "errorCode": "10000024"}, NetworkRefused, "Invalid status."),
        (400, {"errorMessage": "Rate Limit Exceeded", "errorCode": "40000029"}, NetworkUnavailable, "too often"),
        (429, b"", NetworkUnavailable, "too often"),
        (401, {"errorMessage": "Invalid credentials"}, NetworkUnavailable, "API key"),
        (500, b"<html>", NetworkUnavailable, "HTTP 500"),
        (302, b"", NetworkUnavailable, "HTTP 302"),
        (200, b"<html>", NetworkUnavailable, "HTTP 200"),
        (200, [], NetworkUnavailable, "HTTP 200"),
        (200, {"status": "SOMETHING_NEW"}, NetworkUnavailable, "not known here"),
    ],
)
def test_refusals(server: Server, card: SimCard, status: int, body: Any, error: type[Exception], words: str) -> None:
    server.answers = [(status, body)]
    with pytest.raises(error, match=words) as raised:
        carrier(server).details(card)
    assert "0a1b-key" not in str(raised.value)


def test_certificate_is_verified(server: Server, card: SimCard, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [(200, DETAILS)]
    with pytest.raises(NetworkUnavailable):
        ControlCenter(server.url.replace("127.0.0.1", "localhost"), "portal", "key").details(card)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NetworkUnavailable):
        carrier(server).details(card)
    assert server.asked == []


def test_plain_http_is_not_spoken(card: SimCard) -> None:
    for address in ("http://127.0.0.1:1", "", "https://"):
        with pytest.raises(NetworkUnavailable, match="not set up"):
            ControlCenter(address, "portal", "key")


def test_carrier_that_is_silent_or_gone(server: Server, card: SimCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_center, "TIMEOUT", 0.2)
    server.answers, server.delay = [(200, DETAILS)], 0.6
    with pytest.raises(NetworkUnavailable, match="does not answer"):
        carrier(server).details(card)
    with pytest.raises(NetworkUnavailable, match="does not answer"):
        ControlCenter("https://127.0.0.1:1", "portal", "key").details(card)


def test_device_is_registered_through_it(server: Server, cast: Cast) -> None:
    """The whole way, with the key from the database."""
    account = CarrierAccount(slug="cc", name="CC", kind="control_center", base_url=server.url, username="portal")
    account.set_api_key("0a1b-key")
    account.default = True
    account.save()
    device = factories.m2m_device(cast.project, connection=Connection.NOT_LINKED)
    SimCard.objects.filter(device=device).update(status="inventory")
    server.answers = [(200, DETAILS | {"status": "INVENTORY"}), (200, {}), (200, DETAILS)]
    network.request_registration(device=device, actor=cast.operator)
    assert network.run(device.pk)
    card = SimCard.objects.get(device=device)
    assert Device.objects.get(pk=device.pk).connection_status == Connection.ACTIVE
    assert (card.status, card.rate_plan, card.msisdn) == ("active", "hphlr rp1", "+882351697004975")
    server.answers = [(404, {"errorMessage": "not found"})]
    assert cards.refresh(card) == "The carrier does not know this ICCID."
