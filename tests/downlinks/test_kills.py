"""S4 on the whole portal, as ``things up`` runs it: any of its processes is killed at any step of an instruction.

The portal has stores of its own, which its supervisor starts again as everything else. The test speaks to its database
as one more process; locks hold a worker where it is to die. What would be waited for by the clock is brought forward.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_scopes import scopes_disabled
from psycopg.conninfo import conninfo_to_dict

from accounts.models import Project
from codec import tokens
from devices import connectivity, live
from devices.models import Device
from downlinks import queue, reports, services
from downlinks.models import Downlink
from lora.models import SimulatedDownlink
from tests import factories
from tests.ingest.conftest import INTERNET, pack
from tests.processes import wait_for
from tests.things_portal.test_asgi import Server, free_port
from things_portal import cli, embedded

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc and parent-death signals are Linux's"),
]
OTHERS = {"DATABASE_URL", "REDIS_URL", "THINGS_HOME", "STATIC_ROOT", "ALLOWED_HOSTS"}
# Seconds; on a machine that is busy with other tests a process takes a while to start.
PATIENCE = 120


class Portal:
    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.url = embedded.stores(embedded.Home.prepare(root))[0].url

    def pid(self, name: str) -> int:
        children = json.loads((self.root / "run" / "state.json").read_text())["children"]
        return next(int(child["pid"] or 0) for child in children if child["name"] == name)

    def kill(self, *names: str) -> None:
        """SIGKILL for the processes and their children; they are started again when this returns."""
        pids = {name: self.pid(name) for name in names}
        for pid in pids.values():
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        for name, pid in pids.items():
            wait_for(lambda name=name, pid=pid: self.pid(name) not in {0, pid}, f"{name} to start", seconds=PATIENCE)
        if "postgres" in names:
            wait_for(self.answers, "PostgreSQL to answer again", seconds=PATIENCE)

    def signal(self, name: str, number: int) -> None:
        os.killpg(os.getpgid(self.pid(name)), number)

    def answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    folder = Path(tempfile.mkdtemp(prefix="things-"))
    folder.chmod(0o755)
    root = folder / ".things"
    environment = {name: value for name, value in os.environ.items() if name not in OTHERS} | {
        "THINGS_HOME": str(root),
        "THINGS_SIMULATED_NETWORK": "1",
        "THINGS_SIMULATED_INTERVAL": "2",
        "THINGS_SWEEP_SECONDS": "1",
        "THINGS_CELERY_CONCURRENCY": "1",
        "THINGS_INGEST_CONSUMERS": "1",
    }
    port = free_port()
    command = [sys.executable, "-m", "things_portal.cli", "up", "--no-demo", "--port", str(port)]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(command, cwd=cli.BASE_DIR, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        serves = lambda: up.poll() is not None or listens(port)  # noqa: E731
        wait_for(serves, "the portal to start", seconds=180, log=folder / "up.log")
        yield Portal(root, port)
    finally:
        up.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.wait(20)
        up.kill()
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def there(portal: Portal, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    """Django in this process works on the portal's database. It rings for nobody and tells nobody: the rings of this
    process are lost, as those of a web process that dies."""
    monkeypatch.setattr(queue, "ring", lambda *_device_ids: None)
    monkeypatch.setattr(live, "publish", lambda _changes: None)
    with django_db_blocker.unblock(), scopes_disabled():
        connection.close()
        before = dict(connection.settings_dict)
        parts = conninfo_to_dict(portal.url)
        own = {"NAME": parts["dbname"], "USER": parts["user"], "HOST": parts["host"], "PORT": parts["port"]}
        connection.settings_dict.update(own)
        try:
            yield portal
        finally:
            connection.close()
            connection.settings_dict.update(before)


def project() -> Project:
    return Project.objects.filter(name="Kills").first() or factories.project("Kills")


def joined_device() -> Device:
    """One that is on the network, and whose queue is empty: where a test has failed, another one."""
    free = Device.objects.filter(project=project(), type__connectivity="lora").exclude(downlinks__head=True).first()
    if free is not None:
        return free
    number = Device.objects.count()
    device = factories.lora_device(
        project(), dev_eui=f"0059AC00000{number:05X}", app_key=bytes(range(16)), in_flow=factories.flow(project())
    )
    connectivity.of(device).register(device)
    return device


def ask(device: Device, **values: Any) -> Downlink:
    made = services.request(device=device, encoder="raw-lora", fport=2, payload=b"\x01", actor=None, **values)
    hurry(device)
    return made


def hurry(device: Device) -> None:
    """The clock: what waits for a ring, a lease or the next try is due now."""
    Downlink.objects.filter(device=device, head=True, accepted_at=None).update(due_at=timezone.now())


def again(read: Callable[[], Any]) -> Any:
    """What the database says once it is there again."""
    found: list[Any] = []

    def says() -> bool:
        try:
            found.append(read())
        except OperationalError:
            connection.close()
        return bool(found)

    wait_for(says, "the database to answer", seconds=PATIENCE)
    return found[0]


def states(device: Device) -> list[str]:
    return list(Downlink.objects.filter(device=device).order_by("number").values_list("state", flat=True))


def waiting(connected: psycopg.Connection[Any], *words: str) -> bool:
    """Whether some statement with these words waits for a lock."""
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database() AND query LIKE ALL(%s)"
    )
    row = connected.execute(statement, [[f"%{word}%" for word in words]]).fetchone()
    return bool(row and row[0])


# Beat and the web have no part in the steps: they die together.
VICTIMS = {"worker": ["worker"], "beat and web": ["beat", "web"], "redis": ["redis"], "postgres": ["postgres"]}
STEPS = ["before the claim", "before it is sent", "before its answer is noted", "before it is acknowledged"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_and_nothing_sent_twice(there: Portal, victim: str, step: str) -> None:
    device = joined_device()
    acknowledged = step == "before it is acknowledged"
    autocommit = {"autocommit": True, "connect_timeout": 5}
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(there.url) as row,
        psycopg.connect(there.url) as network,
        psycopg.connect(there.url, **autocommit) as watch,
    ):
        sends = lambda: waiting(watch, "INSERT INTO lora_simulateddownlink")  # noqa: E731
        head = "SELECT FROM downlinks_downlink WHERE device_id = %s AND head FOR UPDATE"
        if step in STEPS[1:3]:
            network.execute("LOCK TABLE lora_simulateddownlink IN ACCESS EXCLUSIVE MODE")
        first = ask(device, confirmed=acknowledged)
        ask(device)
        match step:
            case "before the claim":
                rung = Downlink.objects.filter(pk=first.pk, due_at__gt=timezone.now())
                wait_for(rung.exists, "the ring that nobody hears", seconds=PATIENCE)
            case "before it is sent":
                wait_for(sends, "it to be sent", seconds=PATIENCE)
            case "before its answer is noted":
                wait_for(sends, "it to be sent", seconds=PATIENCE)
                row.execute(head, [device.pk])
                network.rollback()
                wait_for(
                    lambda: waiting(watch, "downlinks_downlink", "accepted_at"), "it to be noted", seconds=PATIENCE
                )
            case _:
                taken = Downlink.objects.filter(pk=first.pk, accepted_at__isnull=False)
                wait_for(taken.exists, "the network to have it", seconds=PATIENCE)
                reports.on_sent(device.pk, str(first.correlation_id), timezone.now())
        there.kill(*VICTIMS[victim])
        if victim != "worker":
            there.signal("worker", signal.SIGCONT)
        if victim != "postgres":
            row.rollback()
            network.rollback()

    def ended() -> bool:
        def look() -> bool:
            hurry(device)
            # The radio takes ten seconds for each, and minutes for one that waits for its duty cycle: here the network
            # tells at once what it will tell once more then.
            for each in Downlink.objects.filter(device=device, head=True, accepted_at__isnull=False):
                told = reports.on_acknowledged if each.sent_at else reports.on_sent
                told(device.pk, str(each.correlation_id), timezone.now())
            return not Downlink.objects.filter(device=device, head=True).exists()

        return bool(again(look))

    wait_for(ended, f"both to end: {again(lambda: states(device))}", seconds=PATIENCE)
    before, after = Downlink.objects.filter(device=device, number__gte=first.number).order_by("number")
    assert [before.state, after.state] == ["delivered", "delivered"]
    sent = set(SimulatedDownlink.objects.filter(dev_eui=device.identifier).values_list("pk", flat=True))
    assert sent == set(Downlink.objects.filter(device=device).values_list("correlation_id", flat=True)), "each once"
    assert before.finished_at
    assert after.executing_at
    assert before.finished_at <= after.executing_at


def test_device_that_fetches_has_each_once_whatever_dies(there: Portal, tmp_path: Path) -> None:
    """M5, I3: a device that has no answer repeats its message, as devices do. Killed in between: the web, then the
    database, then Redis, in which its messages are kept."""
    at = project()
    device = factories.internet_device(at, in_flow=factories.flow(at))
    wanted = [21.0 + number for number in range(6)]
    for value in wanted:
        payload = f'[{{"n":"setpoint","v":{value}}}]'.encode()
        services.request(device=device, encoder="raw-senml", payload=payload, actor=None)
    had: list[float] = []
    victims = iter(["web", "postgres", "redis"])
    server = Server(there.port, tmp_path / "web.log")
    for number in range(3 * len(wanted)):
        body = pack(device, {"n": "t", "v": number}, bt=time.time())
        if number % 2 and (victim := next(victims, None)):
            there.kill(victim)
        wait_for(lambda body=body: answered(server, body, had), "an answer to the message", seconds=PATIENCE)
        if again(lambda: not Downlink.objects.filter(device=device, head=True).exists()):
            break
    assert had == wanted, "in their order, none left out, each given to the device once"
    assert again(lambda: states(device)) == ["delivered"] * len(wanted)


def answered(server: Server, body: bytes, had: list[float]) -> bool:
    """Send it once; True where it was answered. What the answer brings is noted."""
    proof = f"Things-Message-Token: {tokens.message_token(body, factories.SECRET)}"
    try:
        status, content = server.post(INTERNET, body, proof)
    except (OSError, AssertionError):
        return False
    if status == 200 and content:
        had.append(json.loads(content)[0]["v"])
    return status == 200
