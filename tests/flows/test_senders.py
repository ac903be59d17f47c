"""One try over the network: what the receiver is told, and what counts as accepted (F5)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from codec import tokens
from flows import addresses, senders, signing
from flows.models import Destination, Flow
from flows.senders import HttpsSender, Parcel
from tests.cast import Cast
from tests.flows.conftest import SECRET, destination
from tests.flows.receivers import Broker, Certificates, Https, free_port

pytestmark = pytest.mark.django_db
BODY = b'[{"bn":"urn:dev:DVNUUID:1:","n":"temperature","u":"Cel","v":21.5}]'


def parcel(number: int = 1, **changes: Any) -> Parcel:
    facts = {"id": uuid.UUID(int=number), "attempt": 1, "body": BODY, "project": "P", "device": 7, "identifier": "ID"}
    return Parcel(**facts | changes)


def tried(to: Destination, **changes: Any) -> senders.Outcome:
    with contextlib.closing(senders.sender(to)) as sender:
        return sender.send(parcel(**changes))


class TestHttps:
    @pytest.fixture
    def to(self, flow: Flow, https: Https) -> Destination:
        return destination(flow, url=https.url)

    def test_receiver_can_check_body_moment_and_delivery(self, https: Https, to: Destination) -> None:
        assert tried(to, attempt=3) == senders.Outcome(status=200)
        (request,) = https.requests
        headers = request.headers
        assert (request.path, request.body, headers["Content-Type"]) == ("/in?key=1", BODY, "application/json")
        assert headers["Host"] == f"localhost:{https.port}"
        assert headers["Things-Plug-UUID"] == str(to.uuid)
        assert headers["Things-Message-Token"] == tokens.message_token(BODY, SECRET)
        assert (headers["Things-Delivery-Id"], headers["Things-Delivery-Attempt"]) == (str(uuid.UUID(int=1)), "3")
        assert headers["Things-Signature"] == signing.signature(
            BODY, SECRET, delivery=headers["Things-Delivery-Id"], timestamp=int(headers["Things-Timestamp"])
        )
        assert "Authorization" not in headers

    @pytest.mark.parametrize(
        ("authentication", "name", "value"),
        [
            ("basic", "Authorization", "Basic bWU6czNjcmV0"),
            ("bearer", "Authorization", "Bearer s3cret"),
            ("api-key", "X-API-Key", "s3cret"),
        ],
    )
    def test_authentication_and_headers_of_its_own(
        self, flow: Flow, https: Https, authentication: str, name: str, value: str
    ) -> None:
        secrets = {"credential": "s3cret", "headers": {"X-Tenant": "north"}}
        to = destination(flow, url=https.url, authentication=authentication, username="me", secrets=secrets)
        assert not tried(to).error
        assert https.requests[0].headers[name] == value
        assert https.requests[0].headers["X-Tenant"] == "north"

    def test_connection_is_kept_and_made_again_where_it_was_closed(self, https: Https, to: Destination) -> None:
        sender = HttpsSender(to)
        assert not sender.send(parcel(1)).error
        first = sender.connection
        assert not sender.send(parcel(2)).error
        assert sender.connection is first
        https.plan.append("cut")  # as one that lay idle for too long
        assert not sender.send(parcel(3)).error
        assert sender.connection is not None
        assert sender.connection is not first
        sender.close()
        assert len(https.requests) == 3

    @pytest.mark.parametrize(
        ("does", "status", "said"),
        [
            (500, 500, "It answered 500."),
            (404, 404, "It answered 404."),
            (302, 302, "redirects are not followed"),
            ("cut", None, "closed the connection"),
            ("half", None, "closed the connection"),
        ],
    )
    def test_what_is_not_accepted(
        self, https: Https, to: Destination, does: int | str, status: int | None, said: str
    ) -> None:
        https.then = does
        outcome = tried(to)
        assert outcome.status == status
        assert said in outcome.error

    def test_another_answer_may_be_expected(self, flow: Flow, https: Https) -> None:
        https.then = 418
        to = destination(flow, url=https.url, expected_status=418)
        assert not tried(to).error
        https.then = 200
        assert tried(to).error == "It answered 200."

    @pytest.mark.parametrize("does", ["hang", "drip"])
    def test_whole_try_has_its_time(
        self, https: Https, to: Destination, does: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(senders, "TOTAL_SECONDS", 0.2)
        https.then = does
        assert tried(to).error == "It did not answer in time."

    def test_nobody_there_and_no_such_name(self, flow: Flow, https: Https) -> None:
        nobody = destination(flow, url=f"https://localhost:{free_port()}/")
        assert "refused" in tried(nobody).error
        nowhere = destination(flow, url="https://nowhere.invalid/")
        assert tried(nowhere).error == "Its name is not known."

    def test_certificate_of_another_name_or_of_nobody(
        self, flow: Flow, https: Https, to: Destination, settings: Any, tmp_path: Path
    ) -> None:
        other = Certificates.make(tmp_path, "elsewhere.example")
        impostor = Https(other)
        impostor.start()
        settings.DELIVERY_CA_FILE = str(other.authority)
        assert "certificate is not valid" in tried(destination(flow, url=impostor.url)).error
        assert "certificate is not valid" in tried(to).error
        impostor.stop()
        assert impostor.requests == https.requests == []


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
         "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "::"],
    )  # fmt: skip
    def test_private_ones_are_refused(self, address: str) -> None:
        assert not addresses.allowed(address)

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"])
    def test_public_ones_are_allowed(self, address: str) -> None:
        assert addresses.allowed(address)

    def test_setting_allows_a_network(self, settings: Any) -> None:
        settings.DELIVERY_NETWORKS = ["10.0.0.0/8"]
        assert addresses.allowed("10.1.2.3")
        assert not addresses.allowed("192.168.1.1")

    def test_name_with_one_private_address_is_refused(
        self, flow: Flow, https: Https, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.DELIVERY_NETWORKS = []
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.216.34", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        outcome = tried(destination(flow, url=https.url))
        assert "inside a private network" in outcome.error
        assert https.requests == []

    def test_name_that_points_elsewhere_a_moment_later_changes_nothing(
        self, flow: Flow, https: Https, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection is made to the address that was looked at: the name is resolved once."""
        asked = []
        resolve = socket.getaddrinfo

        def once(*args: Any, **kwargs: Any) -> Any:
            asked.append(args[0])
            return resolve(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", once)
        assert not tried(destination(flow, url=https.url)).error
        assert asked.count("localhost") == 1


class TestMqtt:
    def test_published_at_least_once_under_the_topic_of_the_device(
        self, cast: Cast, flow: Flow, reachable: None, certificates: Certificates
    ) -> None:
        broker = Broker(certificates)
        broker.start()
        to = destination(flow, kind="mqtt", host="localhost", port=broker.port, topic="things/{project}/{identifier}")
        sender = senders.sender(to)
        try:
            assert not sender.send(parcel(project="A/B #1", identifier="0059AC")).error
            assert not sender.send(parcel(2, identifier="0059AD")).error
            assert broker.wait_for(2) == [("things/A-B -1/0059AC", BODY), ("things/P/0059AD", BODY)]
        finally:
            sender.close()
            broker.stop()
        assert sender.send(parcel()).error

    def test_broker_that_never_answers(
        self, flow: Flow, reachable: None, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Connected, encrypted, and not a word."""
        monkeypatch.setattr(senders, "CONNECT_SECONDS", 0.3)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.pem)
        with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as listening:
            held: list[socket.socket] = []
            taking = threading.Thread(target=lambda: held.append(listening.accept()[0]))
            taking.start()
            port = listening.getsockname()[1]
            assert tried(destination(flow, kind="mqtt", host="localhost", port=port, topic="t")).error == (
                "It did not answer in time."
            )
            taking.join(5)
            held[0].close()

    def test_private_address_and_wrong_certificate(self, flow: Flow, certificates: Certificates, settings: Any) -> None:
        to = destination(flow, kind="mqtt", host="localhost", port=free_port(), topic="t")
        assert "inside a private network" in tried(to).error


def test_secrets_are_nowhere_in_plain(flow: Flow) -> None:
    to = destination(flow, url="https://receiver.example/", secrets={"credential": "s3cret"})
    held = Destination.objects.get(pk=to.pk)
    assert SECRET.encode() not in bytes(held.secrets)
    assert held.get_secrets() == {"shared_secret": SECRET, "credential": "s3cret"}
