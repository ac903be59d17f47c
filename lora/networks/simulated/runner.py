"""Keeps the simulated network running on the database: what is registered is powered on, what is queued is sent.

The world computes; this file reads what the portal asked for, hands the world's events on and keeps its state.
Events go out before the state is kept: a process killed in between makes the same frames again (the draws are
seeded), and the portal stores a frame that comes twice once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from django.db import transaction

from common import crypto
from lora.events import DownlinkFailed, Event
from lora.models import SimulatedDevice, SimulatedDownlink

from .world import EndDeviceConfig, Fault, NotRegistered, PayloadTooLarge, World

logger = logging.getLogger(__name__)
Sink = Callable[[list[Event]], None]
# A simulation that was away makes up for this much and no more.
CATCH_UP = timedelta(days=2)


class Runner:
    """One simulated network. ``sink`` takes the events durably before it returns."""

    def __init__(self, *, seed: int, now: datetime, sink: Sink) -> None:
        self.world = World(seed=seed, now=now)
        self.sink = sink
        self.versions: dict[str, int] = {}
        self.now = now

    def load(self) -> None:
        """Take up every device where its last kept state left it; call once, before the first step."""
        earliest = self.now
        states = []
        for row in SimulatedDevice.objects.exclude(state=b""):
            state = json.loads(crypto.decrypt(row.state, purpose=f"simulation {row.dev_eui}"))
            states.append(state["device"])
            earliest = min(earliest, datetime.fromisoformat(state["at"]))
        if states:
            self.world = World(seed=self.world.seed, now=max(earliest, self.now - CATCH_UP))
            for state in states:
                self.world.load(state)

    def step(self, now: datetime) -> int:
        """Everything that is due by ``now``; how many events there were."""
        touched = self._follow_devices(now)
        events: list[Event] = list(self.world.advance(now))
        taken, failed = self._take_downlinks(now)
        events += failed
        if events:
            self.sink(events)
        touched |= {event.dev_eui for event in events} | {row.dev_eui for row in taken}
        self._keep(touched, taken, now)
        self.now = now
        return len(events)

    def _follow_devices(self, now: datetime) -> set[str]:
        versions = dict(SimulatedDevice.objects.values_list("dev_eui", "version"))
        changed = {dev_eui for dev_eui, version in versions.items() if self.versions.get(dev_eui) != version}
        for row in SimulatedDevice.objects.filter(pk__in=changed):
            self._follow(row, now)
        for dev_eui in self.versions.keys() - versions.keys():
            self.world.power_off(dev_eui)
            self.world.deregister(dev_eui)
        self.versions = versions
        return changed

    def _follow(self, row: SimulatedDevice, now: datetime) -> None:
        key = row.get_app_key()
        if not row.registered:
            self.world.deregister(row.dev_eui)
        else:
            self.world.register(dev_eui=row.dev_eui, app_eui=row.app_eui, app_key=key)
            self.world.set_enabled(row.dev_eui, row.enabled)
        if not row.powered:
            self.world.power_off(row.dev_eui)
            return
        config = EndDeviceConfig(
            dev_eui=row.dev_eui,
            app_eui=row.app_eui,
            app_key=key,
            interval=timedelta(seconds=row.interval_seconds),
            profile=row.profile,
            latitude=row.latitude,
            longitude=row.longitude,
            faults=frozenset(Fault(fault) for fault in row.faults),
        )
        self.world.power_on(config, at=now)

    def _take_downlinks(self, now: datetime) -> tuple[list[SimulatedDownlink], list[Event]]:
        taken, failed = [], []
        for row in SimulatedDownlink.objects.filter(taken_at=None).order_by("created_at")[:1000]:
            taken.append(row)
            correlation_id = str(row.correlation_id)
            try:
                self.world.enqueue(
                    row.dev_eui,
                    fport=row.fport,
                    payload=bytes(row.payload),
                    confirmed=row.confirmed,
                    correlation_id=correlation_id,
                )
            except PayloadTooLarge as error:
                failed.append(self._failed(row, now, "TOO_LARGE", str(error)))
            except ValueError as error:
                failed.append(self._failed(row, now, "REFUSED", str(error)))
            except NotRegistered:
                failed.append(self._failed(row, now, "NOT_REGISTERED", "The network does not know this device."))
        return taken, failed

    @staticmethod
    def _failed(row: SimulatedDownlink, now: datetime, cause: str, reason: str) -> Event:
        return DownlinkFailed(
            dev_eui=row.dev_eui, at=now, correlation_id=str(row.correlation_id), cause=cause, reason=reason
        )

    def _keep(self, touched: Iterable[str], taken: list[SimulatedDownlink], now: datetime) -> None:
        with transaction.atomic():
            for dev_eui in sorted(touched):
                state = json.dumps({"at": now.astimezone(UTC).isoformat(), "device": self.world.dump(dev_eui)})
                SimulatedDevice.objects.filter(pk=dev_eui).update(
                    state=crypto.encrypt(state.encode(), purpose=f"simulation {dev_eui}")
                )
            if taken:
                SimulatedDownlink.objects.filter(pk__in=[row.pk for row in taken]).update(taken_at=now)
