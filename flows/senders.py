"""One try of one delivery: HTTPS push, MQTT publish, the portal's own test endpoint (F5). Network calls only."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import paho.mqtt.client as mqtt
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from paho.mqtt.enums import CallbackAPIVersion

from codec import tokens

from . import addresses, signing
from . import destination_inbox as inbox
from .models import Authentication, Destination, Kind

CONNECT_SECONDS: Final = 5.0
# From the first byte of the request to the last of the answer that is read.
TOTAL_SECONDS: Final = 15.0
# So much of an answer is read; the rest says nothing.
MOST_ANSWER: Final = 4096


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is delivered. ``id`` and ``attempt`` (from 1) are told to the receiver."""

    id: UUID
    attempt: int
    body: bytes
    project: str
    device: int
    identifier: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """``error`` "": it was accepted. ``status``: the HTTP status where there was one."""

    error: str = ""
    status: int | None = None


class Sender(ABC):
    """Delivers to one destination; used by one thread, with what connection it keeps open."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.secrets = destination.get_secrets()

    @abstractmethod
    def send(self, parcel: Parcel) -> Outcome:
        """One try. Never raises for what the receiver or the network does."""

    def settle(self) -> None:
        """Called by the thread that writes down what became of the tries, before it does."""
        return

    def close(self) -> None:
        return


def sender(destination: Destination) -> Sender:
    kind, key = Kind(destination.kind), inbox.key_in(destination.url)
    endpoint = destination if kind == Kind.TEST else inbox.find(key) if kind == Kind.HTTPS and key else None
    return PortalSender(destination, endpoint) if endpoint else SENDERS[kind](destination)


@cache
def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def tls() -> ssl.SSLContext:
    """Certificates are verified, by the system's authorities and those of the setting."""
    return _context(settings.DELIVERY_CA_FILE)


def explained(error: Exception) -> str:
    """What went wrong, as a sentence without anything of the message in it."""
    match error:
        case addresses.AddressRefused():
            return str(error)
        case ssl.SSLCertVerificationError():
            return _("Its certificate is not valid: %s.") % error.verify_message
        case ssl.SSLError():
            return _("No encrypted connection could be made.")
        case TimeoutError():
            return _("It did not answer in time.")
        case socket.gaierror():
            return _("Its name is not known.")
        case ConnectionRefusedError():
            return _("Nobody listens there: the connection was refused.")
        case ConnectionError() | http.client.HTTPException():
            return _("It closed the connection without an answer.")
        case _:
            return _("It could not be reached: %s.") % (getattr(error, "strerror", "") or type(error).__name__)


# --- HTTPS ---


class _Connection(http.client.HTTPSConnection):
    """To an address that was looked at; the certificate is that of the name."""

    def connect(self) -> None:
        plain = addresses.connect(self.host, self.port or 443, CONNECT_SECONDS)
        self.sock = tls().wrap_socket(plain, server_hostname=self.host)


class HttpsSender(Sender):
    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        parts = urlsplit(destination.url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.connection: _Connection | None = None

    def send(self, parcel: Parcel) -> Outcome:
        reused = self.connection is not None
        try:
            return self._try(parcel)
        except (ConnectionError, http.client.HTTPException) as error:
            self.close()
            if not reused:
                return Outcome(explained(error))
        except (OSError, addresses.AddressRefused, ValueError) as error:
            self.close()
            return Outcome(explained(error))
        # The receiver has closed a connection that lay idle: that says nothing of the message.
        try:
            return self._try(parcel)
        except (OSError, http.client.HTTPException, addresses.AddressRefused, ValueError) as error:
            self.close()
            return Outcome(explained(error))

    def _try(self, parcel: Parcel) -> Outcome:
        if self.connection is None:
            self.connection = _Connection(self.host, self.port, timeout=CONNECT_SECONDS)
            self.connection.connect()
        connection, overdue = self.connection, threading.Event()

        def cut() -> None:
            # Time-outs of the socket are for each read: whoever sends a byte now and then would hold it for ever.
            overdue.set()
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(TOTAL_SECONDS, cut)
        watch.daemon = True
        connection.sock.settimeout(TOTAL_SECONDS)
        watch.start()
        try:
            connection.request("POST", self.path, parcel.body, headers_of(self.destination, self.secrets, parcel))
            answer = connection.getresponse()
            said = answer.read(MOST_ANSWER)
            # http.client takes the end of the connection for the end of the head, and of the body that was asked for.
            if not answer.headers or (answer.length and len(said) < MOST_ANSWER):
                raise http.client.IncompleteRead(said)
            if not answer.isclosed():
                self.close()
            status = answer.status
        except (OSError, http.client.HTTPException) as error:
            if overdue.is_set():
                raise TimeoutError from error
            raise
        finally:
            watch.cancel()
        expected = self.destination.expected_status
        if status == expected or (expected is None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES):
            return Outcome(status=status)
        return Outcome(_told(status), status)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def headers_of(destination: Destination, secrets: Mapping[str, Any], parcel: Parcel) -> dict[str, str]:
    """What is said with a message, as the destination's facts have it."""
    secret, now = str(secrets.get("shared_secret", "")), int(time.time())
    headers = {
        **{str(name): str(value) for name, value in secrets.get("headers", {}).items()},
        "Content-Type": "application/json",
        "User-Agent": "Things",
        "Things-Plug-UUID": str(destination.uuid),
        "Things-Message-Token": tokens.message_token(parcel.body, secret),
        "Things-Delivery-Id": str(parcel.id),
        "Things-Delivery-Attempt": str(parcel.attempt),
        "Things-Timestamp": str(now),
        "Things-Signature": signing.signature(parcel.body, secret, delivery=str(parcel.id), timestamp=now),
    }
    credential = str(secrets.get("credential", ""))
    match destination.authentication:
        case Authentication.BASIC:
            headers["Authorization"] = signing.basic(destination.username, credential)
        case Authentication.BEARER:
            headers["Authorization"] = f"Bearer {credential}"
        case Authentication.API_KEY:
            headers["X-API-Key"] = credential
    return headers


def _told(status: int) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return _("It answered %d and points elsewhere: redirects are not followed.") % status
    return _("It answered %d.") % status


# --- MQTT ---


class _Client(mqtt.Client):
    """Connects to an address that was looked at; the certificate is that of the name."""

    def _create_socket_connection(self) -> socket.socket:
        return addresses.connect(self._host, self._port, CONNECT_SECONDS)

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        # Its own leaves the socket open where no encrypted connection comes about, and waits as long as it keeps alive.
        tcp_sock.settimeout(CONNECT_SECONDS)
        return tls().wrap_socket(tcp_sock, server_hostname=self._host)

    def end(self) -> None:
        self.disconnect()
        self.loop_stop()
        # Its own sockets would wait for the collector otherwise.
        self._reset_sockets()


class MqttSender(Sender):
    """Publishes at QoS 1 over TLS (MQTT 3.1.1): accepted is what the broker has acknowledged."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self.client: _Client | None = None

    def send(self, parcel: Parcel) -> Outcome:
        try:
            client = self.client or self._connected()
            topic = topic_of(self.destination.topic, parcel)
            published = client.publish(topic, parcel.body, qos=1)
            published.wait_for_publish(TOTAL_SECONDS)
            if not published.is_published():
                raise TimeoutError
        except (OSError, addresses.AddressRefused, ValueError, RuntimeError) as error:
            self.close()
            return Outcome(str(error) if isinstance(error, _Refused) else explained(error))
        return Outcome()

    def _connected(self) -> _Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv311)
        client.tls_set_context(tls())
        client.connect_timeout = CONNECT_SECONDS
        if self.destination.username:
            client.username_pw_set(self.destination.username, str(self.secrets.get("credential", "")) or None)
        answered, code = threading.Event(), []

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            code.append(reason)
            answered.set()

        client.on_connect = on_connect
        try:
            client.connect(self.destination.host, self.destination.port or 8883, keepalive=30)
            client.loop_start()
            if not answered.wait(CONNECT_SECONDS):
                raise TimeoutError
            if code[0].is_failure:
                raise _Refused(_("The broker refused the connection: %s.") % code[0])
        except BaseException:
            client.end()
            raise
        self.client = client
        return client

    def close(self) -> None:
        if self.client is not None:
            self.client.end()
            self.client = None


class _Refused(OSError):
    """The broker's no, as a sentence."""


def topic_of(template: str, parcel: Parcel) -> str:
    names = {"project": parcel.project, "device": str(parcel.device), "identifier": parcel.identifier}
    for name, value in names.items():
        # What a topic gives a meaning to is none of a name's business (MQTT 3.1.1, section 4.7).
        clean = "".join("-" if each in "/+#\0" else each for each in value)
        template = template.replace(f"{{{name}}}", clean)
    return template


# --- the test endpoint ---


class PortalSender(Sender):
    """To a test endpoint of the portal, without the network: what a receiver would get stands on its page."""

    def __init__(self, destination: Destination, endpoint: Destination) -> None:
        super().__init__(destination)
        self.endpoint = endpoint
        self.arrived: SimpleQueue[inbox.Arrived] = SimpleQueue()

    def send(self, parcel: Parcel) -> Outcome:
        headers = headers_of(self.destination, self.secrets, parcel)
        sender, secret = parcel.identifier if parcel.device else "test", str(self.secrets.get("shared_secret", ""))
        self.arrived.put(inbox.Arrived(timezone.now(), list(headers.items()), parcel.body, sender, secret))
        return Outcome(status=HTTPStatus.NO_CONTENT)

    def settle(self) -> None:
        if arrived := [self.arrived.get() for _ in range(self.arrived.qsize())]:
            inbox.keep(self.endpoint, arrived)


SENDERS: Final[dict[Kind, type[Sender]]] = {Kind.HTTPS: HttpsSender, Kind.MQTT: MqttSender}
