"""Receivers for destinations: a real HTTPS server that behaves as it is told, a real MQTT broker, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion


@dataclass(frozen=True)
class Certificates:
    """``authority``: what is trusted; ``pem``: certificate and key of localhost."""

    authority: Path
    pem: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> Certificates:
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Receivers of the tests")])
        alternatives = [x509.DNSName(each) for each in names or ("localhost",)]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        certificate = made.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        authority, pem = folder / "authority.pem", folder / "localhost.pem"
        authority.write_bytes(certificate)
        pem.write_bytes(certificate + private)
        return cls(authority, pem)


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Https:
    """``plan``: what the next requests meet, then ``then``: a status, or "hang", "cut" (closed without an answer),
    "half" (the sending half is closed in the middle of the answer), "drip", "mute" (taken, and never answered)."""

    certificates: Certificates
    plan: deque[int | str] = field(default_factory=deque)
    then: int | str = 200
    requests: list[Request] = field(default_factory=list)
    misbehaved: list[str] = field(default_factory=list)
    port: int = 0
    server: ThreadingHTTPServer | None = None
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/in?key=1"

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                does = owner.plan.popleft() if owner.plan else owner.then
                if does == "mute" or not isinstance(does, str):
                    owner.requests.append(Request(self.path, dict(self.headers), body))
                if isinstance(does, str):
                    owner.misbehaved.append(does)
                    owner.misbehave(self, does)
                    return
                self.send_response(does)
                if does == 302:
                    self.send_header("Location", "https://169.254.169.254/latest/")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *args: Any) -> None:
                return

        self.server = Server(("127.0.0.1", self.port), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificates.pem)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def misbehave(self, handler: BaseHTTPRequestHandler, does: str) -> None:
        handler.close_connection = True
        if does in {"hang", "mute"}:
            self.released.wait(30)
        elif does == "half":
            handler.wfile.write(b"HTTP/1.1 200 O")
            handler.wfile.flush()
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_WR)
        elif does == "drip":
            with contextlib.suppress(OSError):
                for each in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
                    handler.wfile.write(bytes([each]))
                    handler.wfile.flush()
                    if self.released.wait(0.05):
                        break

    def stop(self) -> None:
        self.released.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


class Broker:
    """An MQTT broker over TLS, and what was published to it."""

    def __init__(self, certificates: Certificates, port: int = 0) -> None:
        self.certificates, self.port = certificates, port or free_port()
        self.published: list[tuple[str, bytes]] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.broker: Any = None
        self.listener: Any = None
        self.news = threading.Condition()

    def start(self) -> None:
        from amqtt.broker import Broker as Amqtt
        from amqtt.contexts import BrokerConfig

        config = {
            "listeners": {
                "default": {
                    "type": "tcp", "bind": f"127.0.0.1:{self.port}", "ssl": True,
                    "certfile": str(self.certificates.pem), "keyfile": str(self.certificates.pem),
                }
            },
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }  # fmt: skip
        self.thread.start()

        async def begin() -> None:
            self.broker = Amqtt(BrokerConfig.from_dict(config), loop=self.loop)
            await self.broker.start()

        asyncio.run_coroutine_threadsafe(begin(), self.loop).result(10)
        self.listen()

    def listen(self) -> None:
        """Somebody who is subscribed to everything, by another connection."""
        ready = threading.Event()
        self.listener = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self.listener.tls_set(ca_certs=str(self.certificates.authority))
        self.listener.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.listener.on_subscribe = lambda *_: ready.set()
        self.listener.on_message = lambda _client, _data, message: self.heard(message.topic, message.payload)
        self.listener.connect("localhost", self.port)
        self.listener.loop_start()
        assert ready.wait(10)

    def heard(self, topic: str, payload: bytes) -> None:
        with self.news:
            self.published.append((topic, payload))
            self.news.notify_all()

    def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.published) >= count, 10), self.published
            return list(self.published)

    def stop(self) -> None:
        if self.listener is not None:
            self.listener.disconnect()
            self.listener.loop_stop()
            self.listener._reset_sockets()
            self.listener = None
        if self.broker is not None:
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(self.broker.shutdown(), self.loop).result(10)
            self.broker = None
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Gate:
    """Stands before a receiver and passes bytes on, as it is told: "open", "refuse" (closed at once), "hang" (nothing
    is passed), "half" (after some messages the answers stay away: the side that sends them is closed)."""

    BYTES = 1800

    def __init__(self, port: int) -> None:
        self.behind, self.does = port, "open"
        self.halved = 0
        self.held: list[socket.socket] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _address = self.listening.accept()
                self.held.append(line)
                if self.does == "refuse":
                    line.close()
                elif self.does != "hang":
                    self.join(line, socket.create_connection(("127.0.0.1", self.behind)))

    def join(self, outside: socket.socket, inside: socket.socket) -> None:
        self.held.append(inside)
        half = self.does == "half"
        threading.Thread(target=self.pump, args=(outside, inside, half), daemon=True).start()
        threading.Thread(target=self.pump, args=(inside, outside, False), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket, half: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                passed += len(piece)
                if half and passed > self.BYTES:
                    half = False
                    self.halved += 1
                    source.shutdown(socket.SHUT_WR)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        for each in (self.listening, *self.held):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
