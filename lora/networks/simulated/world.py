"""The simulated LoRaWAN network as a whole: a discrete-event world of devices, air and server.

Deterministic and replayable: each device draws from generators named by seed, DevEUI and one counter, so that no
device disturbs another, and it makes no difference in which steps the time is advanced. Inside, moments are whole
microseconds since 1970 (UTC); outside, aware datetimes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any

from codec.lorawan import eu868
from lora.events import Event

from . import air, payloads, state, telling
from .end_device import SECOND, EndDevice, EndDeviceConfig, Fault
from .server import (
    RX1_MARGIN,
    AlreadyRegistered,
    Heard,
    HeardJoin,
    NotRegistered,
    PayloadTooLarge,
    Queued,
    Registration,
    Server,
    load_registration,
)
from .telling import EPOCH, Exchange

__all__ = ["AlreadyRegistered", "EndDeviceConfig", "Fault", "NotRegistered", "PayloadTooLarge", "World"]

# Share of answers for which no gateway has the first window free.
BUSY = 0.1
# The code that networks give for a gateway that may not send for now.
NO_DUTY_CYCLE = "D0"
# Faults that show in the join: with one of them, or without it any more, a device starts anew.
_OF_THE_JOIN = {Fault.JOIN_UNHEARD, Fault.OUT_OF_RANGE, Fault.FAR_AWAY}


class Phase(StrEnum):
    """What happens when the device is due: it sends; its frame has arrived; a receive window opens."""

    SEND = "send"
    AIR = "air"
    RX1 = "rx1"
    RX2 = "rx2"


@dataclass(slots=True)
class Node:
    """A device in the world. ``due``: when ``phase`` happens; None: it is switched off."""

    dev_eui: str
    config: EndDeviceConfig | None = None
    device: EndDevice = field(default_factory=EndDevice)
    phase: Phase = Phase.SEND
    due: int | None = None
    draws: int = 0
    exchange: Exchange | None = None


class World:
    """``seed``: all chance comes from it. ``now``: where the time starts."""

    def __init__(self, *, seed: int, now: datetime) -> None:
        self.seed = seed
        self._now = _microseconds(now)
        self._server = Server(seed)
        self._nodes: dict[str, Node] = {}
        self._agenda: list[tuple[int, str]] = []

    # --- the network server's side ---

    def register(self, *, dev_eui: str, app_eui: str, app_key: bytes) -> None:
        """Make the device known. The same keys again change nothing; others raise AlreadyRegistered.

        A device that is on when it becomes known starts anew: whoever registers one switches it on for that.
        """
        if self._server.register(dev_eui, app_eui, app_key):
            node = self._nodes.get(dev_eui)
            if node and node.config and node.due is not None:
                self._start(node, self._now, anew=True)

    def deregister(self, dev_eui: str) -> None:
        """Forget the device, its session and its queue. Unknown is fine."""
        self._server.deregister(dev_eui)

    def set_enabled(self, dev_eui: str, enabled: bool) -> None:
        """Accept the device's frames or refuse them all; the session stays. Raises NotRegistered."""
        self._server.known(dev_eui).enabled = enabled

    def enqueue(self, dev_eui: str, *, fport: int, payload: bytes, confirmed: bool, correlation_id: str) -> None:
        """Queue a downlink; one with a known correlation id changes nothing.

        Raises NotRegistered, PayloadTooLarge for what no data rate carries, ValueError for an FPort outside
        1-223. What is too large for the device's present data rate fails later (DownlinkFailed TOO_LARGE).
        """
        self._server.enqueue(dev_eui, Queued(correlation_id, fport, payload, confirmed))

    # --- the device's side ---

    def power_on(self, config: EndDeviceConfig, *, at: datetime) -> None:
        """Switch the device on at ``at``; again with another configuration replaces that.

        The session stays where the device's keys do; the same configuration again changes nothing.
        """
        node = self._nodes.setdefault(config.dev_eui, Node(config.dev_eui))
        old, running = node.config, node.due is not None
        if running and old == config:
            return
        node.config = config
        if old and old.interval != config.interval:
            node.device.interval_us = 0
        anew = old is None or (old.device_key, old.app_eui) != (config.device_key, config.app_eui)
        anew = anew or bool((old.faults if old else frozenset()) & _OF_THE_JOIN ^ config.faults & _OF_THE_JOIN)
        if anew or not running or not node.device.joined:
            self._start(node, max(_microseconds(at), self._now), anew=anew)
        elif node.phase is Phase.SEND and node.due is not None and old and old.interval != config.interval:
            self._schedule(node, min(node.due, max(_microseconds(at), self._now) + config.interval_us))
            node.device.next_message = min(node.device.next_message, node.due)

    def power_off(self, dev_eui: str) -> None:
        """Switch the device off. What it holds stays in its memory. Unknown is fine."""
        if node := self._nodes.get(dev_eui):
            node.due, node.exchange, node.phase = None, None, Phase.SEND

    def _start(self, node: Node, at: int, *, anew: bool) -> None:
        if anew:
            node.device.forget_session()
        node.phase, node.exchange = Phase.SEND, None
        node.device.join_attempts = 0
        node.device.next_message = at + 2 * SECOND
        self._schedule(node, at + SECOND + int(2 * SECOND * self._rng(node).random()))

    # --- time ---

    def next_at(self) -> datetime | None:
        """When the next thing happens; None in a world without switched-on devices."""
        while self._agenda:
            due, dev_eui = self._agenda[0]
            if self._nodes[dev_eui].due == due:
                return telling.moment(due)
            heapq.heappop(self._agenda)
        return None

    def advance(self, until: datetime) -> list[Event]:
        """Run all that is due up to and with ``until``; the events in the order of time."""
        end = _microseconds(until)
        found: list[Event] = []
        while self._agenda and self._agenda[0][0] <= end:
            due, dev_eui = heapq.heappop(self._agenda)
            node = self._nodes[dev_eui]
            # An agenda entry that was put off or taken back stays in the heap and is passed over here.
            if node.due != due:
                continue
            while node.due is not None and node.due <= end:
                self._step(node, node.due, found)
            if node.due is not None:
                heapq.heappush(self._agenda, (node.due, dev_eui))
        self._now = max(self._now, end)
        found.sort(key=lambda event: (event.at, event.dev_eui))
        return found

    # --- persistence ---

    def dump(self, dev_eui: str) -> dict[str, Any]:
        """All of the device on both sides, with its keys, as JSON-ready data. An unknown device dumps as nothing."""
        node = self._nodes.get(dev_eui) or Node(dev_eui)
        config = node.config
        registration = self._server.registrations.get(dev_eui)
        return state.dump(replace(node, config=None)) | {
            "config": config
            and {
                "app_eui": config.app_eui,
                "app_key": config.app_key.hex(),
                "interval": config.interval_us,
                "profile": config.profile,
                "latitude": config.latitude,
                "longitude": config.longitude,
                "faults": sorted(config.faults),
            },
            "server": state.dump(registration) if registration else None,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take up what :meth:`dump` wrote, in place of what is known of the device.

        What was due before this world's time happens at once.
        """
        node = state.load(Node, {**data, "config": None, "device": None, "exchange": None})
        node.device = state.load(EndDevice, data["device"])
        node.exchange = state.load(Exchange, data["exchange"]) if data["exchange"] else None
        node.phase = Phase(data["phase"])
        if config := data["config"]:
            node.config = EndDeviceConfig(
                dev_eui=node.dev_eui,
                app_eui=config["app_eui"],
                app_key=bytes.fromhex(config["app_key"]),
                interval=timedelta(microseconds=config["interval"]),
                profile=config["profile"],
                latitude=config["latitude"],
                longitude=config["longitude"],
                faults=frozenset(Fault(fault) for fault in config["faults"]),
            )
        self._nodes[node.dev_eui] = node
        if node.due is not None:
            self._schedule(node, max(node.due, self._now))
        self._server.deregister(node.dev_eui)
        if data["server"]:
            self._server.adopt(load_registration(data["server"]))

    # --- one step of one device ---

    def _rng(self, node: Node) -> Random:
        node.draws += 1
        return Random(f"{self.seed}:{node.dev_eui}:{node.draws}")  # noqa: S311

    def _schedule(self, node: Node, due: int) -> None:
        node.due = due
        heapq.heappush(self._agenda, (due, node.dev_eui))

    def _step(self, node: Node, now: int, found: list[Event]) -> None:
        config, exchange = node.config, node.exchange
        assert config is not None
        if node.phase is Phase.SEND or exchange is None:
            self._send(node, config, now)
        elif node.phase is Phase.AIR:
            self._arrive(node, config, exchange, now, found)
        elif exchange.joining:
            self._answer_join(node, config, exchange, now, found)
        else:
            self._answer(node, config, exchange, now, found)

    def _send(self, node: Node, config: EndDeviceConfig, now: int) -> None:
        rng = self._rng(node)
        sent = node.device.transmission(config, rng, now)
        if isinstance(sent, int):
            node.due = sent
            return
        heard: list[list[float]] = []
        place = payloads.position(config.profile, config.latitude, config.longitude, now / SECOND)
        if Fault.OUT_OF_RANGE not in config.faults:
            loss = _losses(config, place)
            heard = air.receive(rng, loss, eirp=sent.power, rate=sent.rate, lost=_lost(config))
        joining = not node.device.joined
        solved = None if joining else air.locate(rng, len(heard), *place)
        if Fault.UNLOCATABLE in config.faults:
            solved = None
        node.exchange = Exchange(sent.phy, sent.frequency, sent.channel, sent.rate, joining, heard, solved)
        node.phase, node.due = Phase.AIR, now + sent.airtime_us

    def _finish(self, node: Node, config: EndDeviceConfig, now: int) -> None:
        node.phase, node.exchange = Phase.SEND, None
        node.due = node.device.next_action(config, now)

    def _arrive(self, node: Node, config: EndDeviceConfig, exchange: Exchange, now: int, found: list[Event]) -> None:
        taken = None
        if exchange.heard:
            taken = self._server.hear(
                exchange.phy,
                best_snr=exchange.heard[0][2],
                gateways=len(exchange.heard),
                rate=exchange.rate,
                now=now,
            )
        match taken:
            case Heard():
                found += telling.uplink(taken, exchange, now)
            case HeardJoin():
                found.append(telling.join_request(taken, exchange, now))
                if taken.answered:
                    exchange.accept, session = self._server.join_accept(taken)
                    exchange.dev_addr = session.dev_addr
        if taken is None or (exchange.joining and not exchange.accept):
            last = eu868.JOIN_ACCEPT_DELAY2 if exchange.joining else eu868.RECEIVE_DELAY2
            self._finish(node, config, now + last * SECOND)
            return
        first = eu868.JOIN_ACCEPT_DELAY1 if exchange.joining else eu868.RECEIVE_DELAY1
        node.phase, node.due = Phase.RX1, now + first * SECOND

    def _window(self, node: Node, exchange: Exchange, busy: float) -> tuple[str, Random]:
        """RX1 or RX2 for an answer that is due in RX1; in RX2 nothing is left to choose."""
        rng = self._rng(node)
        margin = eu868.link_margin(exchange.rate, exchange.heard[0][2])
        if node.phase is Phase.RX2 or (margin >= RX1_MARGIN and rng.random() >= busy):
            return ("RX2" if node.phase is Phase.RX2 else "RX1"), rng
        return "", rng

    def _answer_join(
        self, node: Node, config: EndDeviceConfig, exchange: Exchange, now: int, found: list[Event]
    ) -> None:
        registration = self._server.registrations.get(node.dev_eui)
        if registration is None or not registration.enabled:
            self._finish(node, config, now + SECOND)
            return
        window, rng = self._window(node, exchange, 0.5)
        if not window:
            node.phase, node.due = Phase.RX2, now + SECOND
            return
        rate = telling.downlink_rate(exchange, window)
        found.append(telling.join_accept(node.dev_eui, exchange, window, now))
        self._to_device(node, config, exchange, phy=exchange.accept, window=window, rate=rate, rng=rng, now=now)

    def _answer(self, node: Node, config: EndDeviceConfig, exchange: Exchange, now: int, found: list[Event]) -> None:
        registration = self._server.registrations.get(node.dev_eui)
        if registration is None or not registration.enabled or not self._server.has_downlink(registration):
            self._finish(node, config, now + SECOND)
            return
        if node.phase is Phase.RX1:
            self._drop_oversized(registration, exchange, now, found)
        window, rng = self._window(node, exchange, BUSY)
        if not window and registration.queue:
            # RX2 is slow: a payload that only RX1 carries goes out there whatever the margin.
            head = len(registration.queue[0].payload) + len(registration.answers)
            if head + 5 > eu868.DATA_RATES[eu868.RX2_DATA_RATE].max_payload:
                window = "RX1"
        if not window:
            node.phase, node.due = Phase.RX2, now + SECOND
            return
        rate = telling.downlink_rate(exchange, window)
        sent = self._server.downlink(registration, rate, now)
        if sent is None:
            self._finish(node, config, now + SECOND)
            return
        if sent.item and Fault.NOT_SENT in config.faults:
            told = telling.downlink(sent, node.dev_eui, exchange, window, now)
            found.append(replace(told, delivered=False, cause=NO_DUTY_CYCLE))
            self._finish(node, config, now + SECOND)
            return
        found.append(telling.downlink(sent, node.dev_eui, exchange, window, now))
        self._to_device(node, config, exchange, phy=sent.phy, window=window, rate=rate, rng=rng, now=now)

    def _drop_oversized(self, registration: Registration, exchange: Exchange, now: int, found: list[Event]) -> None:
        rates = eu868.rx1_data_rate(exchange.rate), eu868.RX2_DATA_RATE
        room = max(eu868.DATA_RATES[rate].max_payload for rate in rates)
        found += [
            telling.too_large(item, registration.dev_eui, room, now)
            for item in self._server.oversized(registration, rates)
        ]

    def _to_device(
        self,
        node: Node,
        config: EndDeviceConfig,
        exchange: Exchange,
        *,
        phy: bytes,
        window: str,
        rate: int,
        rng: Random,
        now: int,
    ) -> None:
        """Over the air to the device, which hears it where it listens in this window at this data rate."""
        end = now + int(eu868.airtime(rate, len(phy), crc=False) * SECOND)
        device = node.device
        tuned = device.rx_rate(config, window, exchange.rate) == rate
        if window == "RX2":
            tuned = tuned and device.rx2_frequency == eu868.RX2_FREQUENCY
        place = payloads.position(config.profile, config.latitude, config.longitude, now / SECOND)
        snr = air.device_hears(
            rng,
            _losses(config, place)[int(exchange.heard[0][0])],
            eirp=eu868.RX2_MAX_EIRP if window == "RX2" else eu868.MAX_EIRP,
            rate=rate,
            lost=_lost(config),
        )
        if tuned and snr is not None:
            device.hear(config, phy, snr, end)
        self._finish(node, config, end)


def _losses(config: EndDeviceConfig, place: tuple[float, float]) -> tuple[float, ...]:
    loss = air.losses(config.dev_eui, *place)
    return air.far(loss) if Fault.FAR_AWAY in config.faults else loss


def _lost(config: EndDeviceConfig) -> float:
    return air.HEAVY_LOSS if Fault.HEAVY_LOSS in config.faults else air.COLLISIONS


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)
