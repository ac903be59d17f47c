"""The virtual LoRaWAN network server: joins, sessions, counters, MAC exchange, ADR and the downlink queues.

It knows of a device only what a gateway heard: bytes on air. Moments are whole microseconds since 1970 (UTC).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from codec.lorawan import eu868, keys
from codec.lorawan.frames import DataFrame, FrameError, JoinAccept, JoinRequest, full_fcnt, parse
from codec.lorawan.mac import Direction, decode

from . import state

# An experimental NetID; the device addresses carry its lower seven bits at their top.
NET_ID = 0x000001
MAX_PAYLOAD = 242
CONFIRMED_TRIES, MAC_TRIES = 4, 3
ADR_FRAMES, ADR_MARGIN, ADR_STEP = 20, 10.0, 3.0
# Below this margin of the uplink the answer goes out in RX2, where gateways may send with 13 dB more.
RX1_MARGIN = 5.0
STATUS_EVERY = 86_400 * 1_000_000
LINK_ADR, RX_PARAM, DEV_STATUS = 0x03, 0x05, 0x06
_NONCES, _DONE = 512, 200
_GPS_EPOCH, _LEAP_SECONDS = 315_964_800, 18


class AlreadyRegistered(Exception):
    """The network knows the DevEUI with another AppEUI or AppKey."""


class NotRegistered(Exception):
    """The network does not know the DevEUI."""


class PayloadTooLarge(ValueError):
    """No data rate of EU868 carries this payload; the text says the limit."""


@dataclass(slots=True)
class Queued:
    """A downlink that waits, or (confirmed, ``tries`` > 0) one whose ACK is awaited under ``fcnt``."""

    correlation_id: str
    fport: int
    payload: bytes
    confirmed: bool
    tries: int = 0
    fcnt: int = 0


@dataclass(slots=True)
class Session:
    """``fcnt_up``: the last accepted counter; ``fcnt_down``: the next one to send."""

    dev_addr: int
    nwk_skey: bytes
    app_skey: bytes
    fcnt_up: int | None = None
    fcnt_down: int = 0
    last_mic: bytes = b""
    repeats: int = 0


@dataclass(slots=True)
class Registration:
    """What the server holds of a device. ``pending``: the session of a join that no uplink has confirmed yet.

    ``wanted``: MAC requests ``[CID, tries]`` in the order of sending, all until answered or given up.
    """

    dev_eui: str
    app_eui: str
    app_key: bytes
    enabled: bool = True
    joins: int = 0
    nonces: list[int] = field(default_factory=list)
    session: Session | None = None
    pending: Session | None = None
    queue: list[Queued] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    wanted: list[list[int]] = field(default_factory=list)
    answers: bytes = b""
    ack_due: bool = False
    answer_due: bool = False
    snr: list[float] = field(default_factory=list)
    adr: bool = False
    rate: int = 0
    power: int = 0
    asked_power: int = 0
    status_at: int = 0

    def sessions(self) -> Iterator[Session]:
        if self.pending:
            yield self.pending
        if self.session:
            yield self.session

    def want(self, cid: int) -> None:
        if all(cid != known for known, _tries in self.wanted):
            self.wanted.append([cid, 0])


@dataclass(slots=True)
class Heard:
    """An uplink that the server took. ``repeated``: the same confirmed frame once more.

    ``acknowledged`` and ``failed``: downlinks whose fate it decided.
    """

    registration: Registration
    frame: DataFrame
    fcnt: int
    payload: bytes
    mac: bytes
    repeated: bool = False
    acknowledged: Queued | None = None
    failed: Queued | None = None


@dataclass(slots=True)
class HeardJoin:
    """A join-request of a registered device; ``answered`` where the server lets it in."""

    registration: Registration
    request: JoinRequest
    answered: bool


@dataclass(slots=True)
class Downlink:
    """A data frame to send now. ``fopts``: MAC commands in clear; ``item``: the instruction that it carries."""

    phy: bytes
    frame: DataFrame
    fcnt: int
    mac: bytes
    item: Queued | None


class Server:
    """All registrations; ``seed`` makes AppNonce and DevAddr."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.registrations: dict[str, Registration] = {}
        self._by_address: dict[int, set[str]] = {}

    # --- what the network's interface offers ---

    def register(self, dev_eui: str, app_eui: str, app_key: bytes) -> bool:
        """Whether the device is new here. Raises AlreadyRegistered for other keys than the known ones."""
        known = self.registrations.get(dev_eui)
        if known is None:
            self.registrations[dev_eui] = Registration(dev_eui, app_eui, app_key)
        elif (known.app_eui, known.app_key) != (app_eui, app_key):
            raise AlreadyRegistered(dev_eui)
        return known is None

    def deregister(self, dev_eui: str) -> None:
        if registration := self.registrations.pop(dev_eui, None):
            for session in registration.sessions():
                self._by_address[session.dev_addr].discard(dev_eui)

    def adopt(self, registration: Registration) -> None:
        """Take up a registration that was kept, in place of one that is known."""
        self.deregister(registration.dev_eui)
        self.registrations[registration.dev_eui] = registration
        for session in registration.sessions():
            self._by_address.setdefault(session.dev_addr, set()).add(registration.dev_eui)

    def known(self, dev_eui: str) -> Registration:
        try:
            return self.registrations[dev_eui]
        except KeyError:
            raise NotRegistered(dev_eui) from None

    def enqueue(self, dev_eui: str, item: Queued) -> None:
        registration = self.known(dev_eui)
        if len(item.payload) > MAX_PAYLOAD:
            raise PayloadTooLarge(f"A LoRaWAN payload has at most {MAX_PAYLOAD} bytes.")
        if not 1 <= item.fport <= 223:
            raise ValueError("FPort is 1 to 223.")
        if item.correlation_id in registration.done:
            return
        if all(item.correlation_id != waiting.correlation_id for waiting in registration.queue):
            registration.queue.append(item)

    # --- uplinks ---

    def hear(self, phy: bytes, *, best_snr: float, gateways: int, rate: int, now: int) -> Heard | HeardJoin | None:
        """Take a frame from the gateways; None where it is refused: unknown, disabled, wrong MIC, replayed."""
        try:
            frame = parse(phy)
        except FrameError:
            return None
        if isinstance(frame, JoinRequest):
            return self._hear_join(frame)
        if not isinstance(frame, DataFrame) or frame.direction is not Direction.UPLINK:
            return None
        for dev_eui in self._by_address.get(frame.dev_addr, ()):
            registration = self.registrations[dev_eui]
            for session in registration.sessions():
                if session.dev_addr != frame.dev_addr:
                    continue
                if heard := self._match(registration, session, frame):
                    if not registration.enabled:
                        return None
                    self._take(heard, session, best_snr=best_snr, gateways=gateways, rate=rate, now=now)
                    return heard
        return None

    def _hear_join(self, request: JoinRequest) -> HeardJoin | None:
        registration = self.registrations.get(request.dev_eui)
        if registration is None or not registration.enabled:
            return None
        fresh = request.dev_nonce not in registration.nonces
        answered = fresh and request.app_eui == registration.app_eui and request.verify(registration.app_key)
        if answered:
            registration.nonces = [*registration.nonces[1 - _NONCES :], request.dev_nonce]
        return HeardJoin(registration, request, answered)

    def _match(self, registration: Registration, session: Session, frame: DataFrame) -> Heard | None:
        last = session.fcnt_up
        if last is not None and frame.fcnt16 == last & 0xFFFF and frame.mic == session.last_mic:
            # The device did not hear the ACK. An unconfirmed duplicate tells nothing new.
            if not frame.confirmed or session.repeats >= 8:
                return None
            session.repeats += 1
            return self._opened(registration, session, frame, last, repeated=True)
        fcnt = full_fcnt(last, frame.fcnt16)
        if fcnt is None or not frame.verify(session.nwk_skey, fcnt):
            return None
        return self._opened(registration, session, frame, fcnt, repeated=False)

    @staticmethod
    def _opened(registration: Registration, session: Session, frame: DataFrame, fcnt: int, *, repeated: bool) -> Heard:
        clear = frame.decrypt(nwk_skey=session.nwk_skey, app_skey=session.app_skey, fcnt=fcnt)
        if frame.fport == 0:
            return Heard(registration, frame, fcnt, b"", clear, repeated)
        return Heard(registration, frame, fcnt, clear, frame.fopts, repeated)

    def _take(self, heard: Heard, session: Session, *, best_snr: float, gateways: int, rate: int, now: int) -> None:
        registration = heard.registration
        registration.ack_due = heard.frame.confirmed
        registration.answer_due = heard.frame.adr_ack_req
        if heard.repeated:
            return
        if session is registration.pending:
            self._confirm(registration, session)
        session.fcnt_up, session.last_mic, session.repeats = heard.fcnt, heard.frame.mic, 0
        registration.answers = b""
        registration.adr = heard.frame.adr
        if rate != registration.rate:
            registration.rate, registration.snr = rate, []
        registration.snr = [*registration.snr[1 - ADR_FRAMES :], best_snr]
        self._read_mac(registration, heard.mac, best_snr, gateways, now)
        if len(registration.snr) >= ADR_FRAMES and self.adr_target(registration):
            registration.want(LINK_ADR)
        if now - registration.status_at >= STATUS_EVERY:
            registration.want(DEV_STATUS)
        self._settle_confirmed(heard)

    def _confirm(self, registration: Registration, session: Session) -> None:
        """The device uses the new session: the old one ends, and the network sets the device up."""
        if (old := registration.session) and old.dev_addr != session.dev_addr:
            self._by_address[old.dev_addr].discard(registration.dev_eui)
        registration.session, registration.pending = session, None
        registration.wanted = [[DEV_STATUS, 0], [RX_PARAM, 0], [LINK_ADR, 0]]
        registration.snr, registration.power, registration.asked_power = [], 0, 0

    @staticmethod
    def _settle_confirmed(heard: Heard) -> None:
        queue = heard.registration.queue
        if not queue or not queue[0].tries:
            return
        if heard.frame.ack:
            heard.acknowledged = queue.pop(0)
        elif queue[0].tries >= CONFIRMED_TRIES:
            heard.failed = queue.pop(0)
        if done := heard.acknowledged or heard.failed:
            heard.registration.done = [*heard.registration.done[1 - _DONE :], done.correlation_id]

    def _read_mac(self, registration: Registration, mac: bytes, snr: float, gateways: int, now: int) -> None:
        for command in decode(mac, Direction.UPLINK):
            match command.cid:
                case 0x02:
                    margin = max(0, min(254, round(eu868.link_margin(registration.rate, snr))))
                    registration.answers += bytes((0x02, margin, gateways))
                case 0x0D:
                    seconds, rest = divmod(now, 1_000_000)
                    gps = seconds - _GPS_EPOCH + _LEAP_SECONDS
                    registration.answers += b"\x0d" + gps.to_bytes(4, "little") + bytes((rest * 256 // 1_000_000,))
                case 0x03 | 0x05 | 0x06:
                    registration.wanted = [wanted for wanted in registration.wanted if wanted[0] != command.cid]
                    if command.cid == LINK_ADR:
                        registration.snr = []
                        if command.raw[1] == 7:
                            registration.power = registration.asked_power

    @staticmethod
    def adr_target(registration: Registration) -> tuple[int, int] | None:
        """Data rate and TXPower that the best of the last frames allows, or None where they are right already."""
        rate, power = registration.rate, registration.power
        if not registration.snr or not registration.adr:
            return None
        # Rounded towards zero: within a step of the margin nothing changes, or the network would ask for ever.
        steps = int((eu868.link_margin(rate, max(registration.snr)) - ADR_MARGIN) / ADR_STEP)
        while steps > 0 and rate < eu868.MAX_DATA_RATE:
            rate, steps = rate + 1, steps - 1
        while steps > 0 and power < eu868.MAX_TX_POWER:
            power, steps = power + 1, steps - 1
        while steps < 0 and power > 0:
            power, steps = power - 1, steps + 1
        return None if (rate, power) == (registration.rate, registration.power) else (rate, power)

    # --- downlinks ---

    def join_accept(self, heard: HeardJoin) -> tuple[bytes, Session]:
        """The frame that lets the device in; its session waits for the device's first uplink."""
        registration = heard.registration
        registration.joins += 1
        rng = Random(f"{self.seed}:{registration.dev_eui}:join:{registration.joins}")  # noqa: S311
        accept = JoinAccept(
            app_nonce=rng.randrange(1 << 24),
            net_id=NET_ID,
            dev_addr=(NET_ID & 0x7F) << 25 | rng.randrange(1 << 25),
            rx2_data_rate=eu868.RX2_DATA_RATE,
            cf_list=eu868.EXTRA_CHANNELS,
        )
        nwk_skey, app_skey = keys.session_keys(registration.app_key, accept.app_nonce, NET_ID, heard.request.dev_nonce)
        if (old := registration.pending) and not (
            registration.session and registration.session.dev_addr == old.dev_addr
        ):
            self._by_address[old.dev_addr].discard(registration.dev_eui)
        registration.pending = Session(accept.dev_addr, nwk_skey, app_skey)
        self._by_address.setdefault(accept.dev_addr, set()).add(registration.dev_eui)
        return accept.build(registration.app_key), registration.pending

    @staticmethod
    def has_downlink(registration: Registration) -> bool:
        return bool(
            registration.session
            and (
                registration.ack_due
                or registration.answer_due
                or registration.answers
                or registration.wanted
                or registration.queue
            )
        )

    def oversized(self, registration: Registration, rates: tuple[int, int]) -> list[Queued]:
        """Take what fits neither window off the head of the queue."""
        room = max(eu868.DATA_RATES[rate].max_payload for rate in rates)
        dropped = []
        while registration.queue and len(registration.queue[0].payload) > room:
            dropped.append(registration.queue.pop(0))
            registration.done = [*registration.done[1 - _DONE :], dropped[-1].correlation_id]
        return dropped

    def downlink(self, registration: Registration, rate: int, now: int) -> Downlink | None:
        """The data frame for a window at this data rate; None where there is nothing to send."""
        session = registration.session
        if session is None or not registration.enabled or not self.has_downlink(registration):
            return None
        fopts = registration.answers
        while registration.wanted and registration.wanted[0][1] >= MAC_TRIES:
            if registration.wanted.pop(0)[0] == LINK_ADR:
                registration.snr = []
        if registration.wanted:
            fopts += self._request(registration, registration.wanted[0], now)
        queue = registration.queue
        room = eu868.DATA_RATES[rate].max_payload - len(fopts)
        item = queue[0] if queue and len(queue[0].payload) <= room else None
        if not (item or fopts or registration.ack_due or registration.answer_due or queue):
            return None
        fcnt, session.fcnt_down = session.fcnt_down, session.fcnt_down + 1
        frame = DataFrame.sealed(
            direction=Direction.DOWNLINK,
            dev_addr=session.dev_addr,
            fcnt=fcnt,
            nwk_skey=session.nwk_skey,
            app_skey=session.app_skey,
            fport=item.fport if item else None,
            payload=item.payload if item else b"",
            fopts=fopts,
            confirmed=bool(item and item.confirmed),
            adr=True,
            ack=registration.ack_due,
            fpending=len(queue) > (item is not None),
        )
        registration.answers, registration.ack_due, registration.answer_due = b"", False, False
        if item and item.confirmed:
            item.tries, item.fcnt = item.tries + 1, fcnt
        elif item:
            queue.pop(0)
            registration.done = [*registration.done[1 - _DONE :], item.correlation_id]
        return Downlink(frame.build(), frame, fcnt, fopts, item)

    def _request(self, registration: Registration, wanted: list[int], now: int) -> bytes:
        wanted[1] += 1
        if wanted[0] == DEV_STATUS:
            # Asking counts, not the answer: a device that never answers is not asked all day.
            registration.status_at = now
            return b"\x06"
        if wanted[0] == RX_PARAM:
            return bytes((RX_PARAM, eu868.RX2_DATA_RATE)) + (eu868.RX2_FREQUENCY // 100).to_bytes(3, "little")
        rate, power = self.adr_target(registration) or (registration.rate, registration.power)
        registration.asked_power = power
        return bytes((LINK_ADR, rate << 4 | power, 0xFF, 0x00, 0x01))


def load_registration(data: dict[str, Any]) -> Registration:
    """The registration that ``state.dump`` wrote."""
    registration = state.load(Registration, data)
    for name in ("session", "pending"):
        setattr(registration, name, state.load(Session, data[name]) if data[name] else None)
    registration.queue = [state.load(Queued, item) for item in data["queue"]]
    return registration
