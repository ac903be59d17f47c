"""`make bench`: loads 100,000 devices and 10 million frames, and prints each figure beside its physical limit."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import User
from devices.models import Device
from things_portal.bench import (
    deliveries,
    dispatch,
    export,
    findings,
    fleet,
    flows,
    intake,
    jobs,
    load,
    lora,
    pages,
    twins,
)
from things_portal.bench.pages import PageTime


class Command(BaseCommand):
    help = "Measure the portal at size (docs/benchmarks.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--devices", type=int, default=100_000)
        parser.add_argument("--frames", type=int, help="default: those that are there, else 10 million")
        parser.add_argument("--messages", type=int, default=20_000)
        parser.add_argument("--fleet", type=int, default=1_000_000)
        parser.add_argument("--finished", type=int, default=1_000_000, help="instructions, beside those that wait")
        parser.add_argument("--waiting", type=int, help="devices with an instruction that waits (default: all)")
        parts = ["pages", "lora", "fleet", "twin", "export", "intake", "jobs", "dispatch", "flows", "deliveries"]
        parser.add_argument("--only", choices=parts, help="one part of it")

    def handle(self, *args: Any, **options: Any) -> None:
        with scopes_disabled():
            self.bench(options)

    def bench(self, options: dict[str, Any]) -> None:
        only = options["only"]
        if only not in {"twin", "dispatch", "flows", "deliveries"}:
            seconds = load.prepare(options["devices"])
            if seconds:
                self.stdout.write(f"loaded {options['devices']:,} devices in {seconds:.0f} s")
            frames = options["frames"] or lora.loaded() or 10_000_000
            seconds = lora.prepare(frames)
            if seconds:
                self.stdout.write(f"loaded {frames:,} frames in {seconds:.0f} s")
        if only in {None, "fleet", "twin", "export"}:
            seconds = fleet.prepare(options["fleet"])
            if seconds:
                self.stdout.write(f"loaded a fleet of {options['fleet']:,} devices in {seconds:.0f} s")
            seconds = fleet.index_values()
            if seconds:
                self.stdout.write(f"indexed two values of them in {seconds:.0f} s")
        if only in {None, "twin"}:
            seconds = twins.prepare(timezone.now())
            if seconds:
                self.stdout.write(f"loaded a history of values in {seconds:.0f} s")
        self.machine()
        if only in {None, "dispatch"}:
            self.dispatch(options["devices"], options["waiting"] or options["devices"], options["finished"])
        if only in {None, "deliveries"}:
            self.deliveries(options["messages"])
        if only in {"dispatch", "deliveries"}:
            return
        with stack() as (port, web):
            if only in {None, "pages"}:
                self.pages(port)
            if only in {None, "lora"}:
                self.lora(port)
            if only in {None, "fleet"}:
                self.fleet(port)
            if only in {None, "export"}:
                self.export(port, web)
            if only in {None, "twin"}:
                self.twin(port)
            if only in {None, "intake"}:
                self.intake(port, options["messages"])
            if only in {None, "jobs"}:
                self.jobs(port)
            if only in {None, "flows"}:
                self.flows(port, options["devices"])

    def jobs(self, port: int) -> None:
        self.stdout.write(
            f"\n{'job over all devices, 1 worker':38}{'made in s':>11}{'a second':>10}"
            f"{'first 10 %':>12}{'last 10 %':>12}{'list p50 ms':>13}{'p95 ms':>8}"
        )
        for slug in ("deactivate", "activate"):
            row = jobs.measure(slug, port)
            self.stdout.write(
                f"{row.action:38}{row.made:11.2f}{row.rate:10,.0f}{row.first:12,.0f}{row.last:12,.0f}"
                f"{row.page[0]:13.1f}{row.page[1]:8.1f}"
            )

    def flows(self, port: int, devices: int) -> None:
        flows.prepare(devices)
        self.stdout.write(f"\n{flows.COUNT:,} Flows, one of {devices:,} devices")
        self.measure(port, User.objects.get(email=flows.OPERATOR), flows.paths())
        row = flows.delete()
        self.stdout.write(
            f"{row.devices:,} devices, their Flow deleted: {row.asked:.2f} s in the request,"
            f" {row.rest:.1f} s in {row.tasks} tasks"
        )

    def dispatch(self, devices: int, waiting: int, finished: int) -> None:
        dispatch.prepare(devices)
        self.stdout.write(
            f"\n{'instructions in the table, finished':38}{'a second':>10}{'slowest':>9}{'fastest tenth':>14}"
            f"{'alone p50 ms':>14}{'p95 ms':>8}{'longest':>9}{'asked ms':>10}{'ended ms':>10}"
        )
        for count in (0, finished):
            seconds = dispatch.fill(count)
            row = dispatch.measure(waiting=waiting)
            self.stdout.write(
                f"{f'{row.finished:,}, loaded in {seconds:.0f} s':38}{row.rate:10,.0f}{row.slowest:9,.0f}"
                f"{row.fastest:14,.0f}{row.alone[0]:14.0f}{row.alone[1]:8.0f}{row.alone[2]:9.0f}"
                f"{row.asked:10.2f}{row.ended:10.2f}"
            )

    def deliveries(self, messages: int) -> None:
        self.stdout.write(
            f"\n{'HTTPS deliveries, one deliverer':42}{'messages':>10}{'a second':>10}{'wait beside':>13}"
        )
        for row in deliveries.measure(messages):
            self.stdout.write(f"{row.what:42}{row.messages:10,}{row.rate:10,.0f}{row.beside:13,}")

    def machine(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version')")
            version = cursor.fetchone()[0]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        self.stdout.write(
            f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, PostgreSQL {version};"
            " load generator, web, consumers, PostgreSQL and Redis share them\n"
        )

    def pages(self, port: int) -> None:
        person = User.objects.get(email=load.OPERATOR)
        devices = Device.objects.filter(project__name=load.PROJECT).order_by("pk")
        hot, needle = devices[1].pk, devices[devices.count() // 2].identifier
        last = devices.count() // 50
        paths = {
            "All Devices, first page": "/devices/",
            "All Devices, search a word": "/devices/?q=sensor",
            "All Devices, search an identifier": f"/devices/?q={needle}",
            "All Devices, by last message": "/devices/?sort=-last_message",
            "All Devices, page in the middle": f"/devices/?page={last // 2}",
            "All Devices, last page": f"/devices/?page={last}",
            "LoRa data history": f"/devices/{hot}/lora/history/",
            "Device page": f"/devices/{hot}/device/",
            "Device Twin": f"/devices/{hot}/twin/",
        }
        self.measure(port, person, paths)

    def lora(self, port: int) -> None:
        rows, keys = lora.size()
        self.stdout.write(
            f"\nLoRa data history, {lora.loaded():,} frames: {rows / 2**30:.1f} GiB, keys {keys / 2**30:.1f} GiB"
        )
        self.rows(lora.measure(port))
        for timing in findings.measure():
            self.stdout.write(f"{timing.name}: p50 {timing.p50:.1f} ms, p95 {timing.p95:.1f} ms")

    def fleet(self, port: int) -> None:
        self.stdout.write("\nAll Devices of the fleet")
        self.measure(port, User.objects.get(email=fleet.OPERATOR), fleet.paths())

    def export(self, port: int, web: int) -> None:
        cookie = pages.session_cookie(User.objects.get(email=fleet.OPERATOR))
        self.stdout.write(f"\n{'all devices of the fleet as a file':38}{'MiB':>9}{'seconds':>9}{'MiB held more':>15}")
        for kind in ("csv", "json", "xlsx"):
            row = export.measure(port, cookie, kind, f"/devices/export/devices.{kind}", web)
            self.stdout.write(f"{row.kind:38}{row.size / 2**20:9.1f}{row.seconds:9.1f}{row.grown:15.1f}")

    def twin(self, port: int) -> None:
        self.stdout.write("\nDevice Twins of the fleet")
        self.rows(twins.measure(port))
        self.stdout.write(f"\n{'batch of messages, each of a device':38}{'p50 ms':>9}{'p95 ms':>9}")
        twins.warm()
        for what, work in (("twins alone", twins.merge), ("the whole way", twins.update)):
            for values in (2, 20):
                row = work(values)
                name = f"{row.messages:,} of {row.values} values, {what}"
                self.stdout.write(f"{name:38}{row.p50:9.1f}{row.p95:9.1f}")

    def measure(self, port: int, person: User, paths: dict[str, str]) -> None:
        self.rows(pages.measure(port, person, name, path) for name, path in paths.items())

    def rows(self, measured: Iterable[PageTime]) -> None:
        self.stdout.write(
            f"{'page, over HTTP, 1 connection':38}{'p50 ms':>9}{'p95 ms':>9}{'SQL ms':>9}{'p50/SQL':>9}{'queries':>9}"
        )
        for row in measured:
            ratio = row.p50 / row.sql
            self.stdout.write(f"{row.name:38}{row.p50:9.1f}{row.p95:9.1f}{row.sql:9.2f}{ratio:9.1f}{row.queries:9d}")

    def intake(self, port: int, messages: int) -> None:
        identifiers = list(
            Device.objects.filter(project__name=load.PROJECT).order_by("pk").values_list("identifier", flat=True)
        )
        row = intake.measure(port, identifiers, messages=messages)
        self.stdout.write(
            f"\n{row.messages:,} messages over {row.connections} connections, HTTP to twin\n"
            f"  visible in the twin  {row.visible:9,.0f} a second   {row.visible / row.copied:.3f} of COPY\n"
            f"  answered 2xx         {row.accepted:9,.0f} a second   {row.accepted / row.copied:.3f} of COPY\n"
            f"  COPY of as many rows {row.copied:9,.0f} a second"
        )


@contextlib.contextmanager
def stack() -> Iterator[tuple[int, int]]:
    """The web and the consumers as ``things up`` starts them, on the bench's database; gives port and process id of
    the web."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    web = ["-m", "granian", "--interface", "asgi", "--port", str(port), "--backpressure", "4096", "--no-ws"]
    commands = [
        [*web, "things_portal.asgi:application"],
        *[["manage.py", "ingest_consumer"]] * settings.INGEST_SHARDS,
    ]
    processes = [
        subprocess.Popen([sys.executable, *command], cwd=settings.BASE_DIR, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        wait_until_ready(port)
        yield port, processes[0].pid
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(20)


def wait_until_ready(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/readyz", headers={"Host": "localhost"})
            with urllib.request.urlopen(request, timeout=2):  # noqa: S310
                return
        time.sleep(0.1)
    raise RuntimeError("the web does not answer")
