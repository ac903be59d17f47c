"""How fast one deliverer delivers over HTTPS, alone and beside a destination that never answers, and how fast the
messages of one device go, each after the answer to the one before it.

The receiver is a process on the same machine that takes everything; the deliverer is the portal's own process.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Project, Subscription
from flows import deliveries
from flows.models import Delivery, DeliveryState, Destination, Kind

PROJECT: Final = "Deliveries"
DEVICES: Final = 1_000
# Far from the numbers of real ones.
FIRST_DEVICE: Final = 1 << 40
PACK: Final = (
    '[{"bn":"urn:dev:DEVEUI:0059AC0000000000:","bt":1795600000.25,"n":"temperature","u":"Cel","v":21.5},'
    '{"n":"humidity","u":"%RH","v":48.0},{"n":"batteryVoltage","u":"V","v":3.6}]'
)
FILL: Final = """
INSERT INTO flows_delivery (device_id, created_at, destination_id, seq, due_at, identifier, body)
SELECT %(first)s + n %% %(devices)s, %(now)s + n * interval '1 microsecond', %(destination)s, n, %(now)s, 'bench',
    %(body)s
FROM generate_series(1, %(count)s) AS n
"""


@dataclass(frozen=True, slots=True)
class Row:
    """``rate``: messages a second until the last was delivered; ``beside``: that waited for the dead destination."""

    what: str
    messages: int
    rate: float
    beside: int


def measure(messages: int) -> Iterator[Row]:
    subscription = Subscription.objects.get(slug="modular")
    project, _made = Project.objects.get_or_create(name=PROJECT, defaults={"subscription": subscription})
    with TemporaryDirectory() as folder, deaf() as dead_port:
        pem = certificate(Path(folder))
        with (
            receiver(pem) as port,
            destination(project, "Well", port) as well,
            destination(project, "Dead", dead_port) as dead,
            deliverer(pem),
        ):
            timed("warm", well, DEVICES)
            yield timed("1,000 devices", well, messages)
            yield timed("one device", well, messages // 10, devices=1)
            fill(dead, messages, DEVICES)
            yield timed("1,000 devices, beside a dead destination", well, messages, beside=dead)


def timed(
    what: str, well: Destination, messages: int, *, devices: int = DEVICES, beside: Destination | None = None
) -> Row:
    started = fill(well, messages, devices)
    while Delivery.objects.filter(destination_id=well.pk, state=DeliveryState.WAITING).exists():
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    waiting = deliveries.counts(beside.pk, timezone.now(), most=messages)[0] if beside else 0
    return Row(what, messages, messages / seconds, waiting)


def fill(to: Destination, messages: int, devices: int) -> float:
    """So many messages for the destination, all at once; the moment at which they were there."""
    values: dict[str, Any] = {
        "first": FIRST_DEVICE, "devices": devices, "now": timezone.now(), "destination": to.pk, "count": messages,
        "body": PACK.encode(),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(FILL, values)
    deliveries.ring()
    return time.perf_counter()


@contextlib.contextmanager
def destination(project: Project, name: str, port: int) -> Iterator[Destination]:
    """One that goes with all that is its own."""
    made = Destination(project=project, name=name, kind=Kind.HTTPS, url=f"https://localhost:{port}/in")
    made.set_secrets({"shared_secret": "only-for-the-bench-0123456789-ABCDEF"})
    made.save()
    try:
        yield made
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM flows_delivery WHERE destination_id = %s", [made.pk])
        made.delete()


def certificate(folder: Path) -> Path:
    """Certificate and key of localhost, of nobody else's authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = folder / "localhost.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return pem


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield listening.getsockname()[1]


@contextlib.contextmanager
def receiver(pem: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "things_portal.bench.receiver", str(pem)]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextlib.contextmanager
def deliverer(pem: Path) -> Iterator[None]:
    environment = os.environ | {"THINGS_DELIVERY_NETWORKS": "127.0.0.0/8,::1/128", "THINGS_DELIVERY_CA_FILE": str(pem)}
    process = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=settings.BASE_DIR, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
