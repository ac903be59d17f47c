"""A virtual class A end device: OTAA, ADR, MAC commands, retransmissions, duty cycle, and the faults it can have.

Source: LoRaWAN 1.0.x sections 4.3.1, 5 and 6.2. Moments are whole microseconds since 1970 (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from random import Random

from codec.lorawan import eu868, keys
from codec.lorawan.frames import DataFrame, FrameError, JoinRequest, SealedJoinAccept, full_fcnt, parse
from codec.lorawan.mac import Direction, decode

from . import payloads

SECOND = 1_000_000
# Two bytes on this port set the send interval in minutes. The next message says so, and then every so many.
INTERVAL_PORT, INTERVAL_EVERY = 10, 12
DATA_PORT = 1
# A confirmed frame is sent this often at most until it is acknowledged (1.0.x, section 19).
CONFIRMED_TRIALS = 8
JOIN_RETRY, JOIN_RETRY_CAP = 10 * SECOND, 600 * SECOND
CONFIRMED_SHARE, LINK_CHECK_SHARE, TIME_SHARE = 0.03, 0.02, 0.01
ALL_CHANNELS = 0xFFFF
# A device that moves must not let the network fit its data rate to where it was (4.3.1.1): it keeps its own.
MOBILE = frozenset({"tracker"})


class Fault(StrEnum):
    WRONG_APP_KEY = "wrong_app_key"
    JOIN_UNHEARD = "join_unheard"
    POWER_CYCLE = "power_cycle"
    ALWAYS_CONFIRMED = "always_confirmed"
    MAC_SILENT = "mac_silent"
    HEAVY_LOSS = "heavy_loss"
    OUT_OF_RANGE = "out_of_range"
    # It hears its network, and no instruction.
    DEAF = "deaf"
    # It acknowledges instructions and does nothing of what they say.
    DISOBEDIENT = "disobedient"
    # It does not notice that its confirmed messages were acknowledged.
    ACK_BLIND = "ack_blind"
    # One gateway just hears it, at SF12 only, with which it joins.
    FAR_AWAY = "far_away"
    # The network finds no position for it.
    UNLOCATABLE = "unlocatable"
    # The gateway that reaches it has used up its duty cycle whenever an instruction is due.
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class EndDeviceConfig:
    """``app_key`` is what the owner believes is in the device; WRONG_APP_KEY puts another one there."""

    dev_eui: str
    app_eui: str
    app_key: bytes
    interval: timedelta
    profile: str
    latitude: float
    longitude: float
    faults: frozenset[Fault] = frozenset()

    @property
    def device_key(self) -> bytes:
        if Fault.WRONG_APP_KEY in self.faults:
            return bytes(octet ^ 0xA5 for octet in self.app_key)
        return self.app_key

    @property
    def interval_us(self) -> int:
        return max(1, int(self.interval.total_seconds() * SECOND))


@dataclass(slots=True)
class Transmission:
    """A frame that leaves the device. ``rate`` is the DR, ``power`` the EIRP in dBm."""

    phy: bytes
    frequency: int
    channel: int
    rate: int
    power: float
    airtime_us: int


@dataclass(slots=True)
class EndDevice:
    """The device's memory, all of plain values. ``fcnt_up`` is the next counter, ``fcnt_down`` the last heard."""

    nwk_skey: bytes = b""
    app_skey: bytes = b""
    dev_addr: int = 0
    dev_nonce: int = 0
    join_attempts: int = 0
    fcnt_up: int = 0
    fcnt_down: int | None = None
    rate: int = 0
    power: int = 0
    nb_trans: int = 1
    channels: list[int] = field(default_factory=lambda: list(eu868.DEFAULT_CHANNELS))
    mask: int = ALL_CHANNELS
    rx1_offset: int = 0
    rx2_rate: int = eu868.RX2_DATA_RATE
    rx2_frequency: int = eu868.RX2_FREQUENCY
    rx_delay: int = 1
    adr_ack_count: int = 0
    answers: bytes = b""
    sticky: dict[str, bytes] = field(default_factory=dict)
    owes_ack: bool = False
    hurry: bool = False
    last_snr: float = 0.0
    messages: int = 0
    since_join: int = 0
    interval_us: int = 0
    owes_interval: bool = False
    next_message: int = 0
    jitter: float = 0.0
    last_frame: bytes = b""
    last_confirmed: bool = False
    trials_left: int = 0
    # Airtime credit per sub-band in microseconds, and when it was counted.
    credit: dict[str, list[float]] = field(default_factory=dict)

    @property
    def joined(self) -> bool:
        return bool(self.nwk_skey)

    def forget_session(self) -> None:
        """As after a loss of power: no keys; the next thing to do is to join."""
        self.nwk_skey = self.app_skey = self.last_frame = b""
        self.join_attempts = self.trials_left = self.rx1_offset = 0
        self.rx2_rate, self.rx2_frequency = eu868.RX2_DATA_RATE, eu868.RX2_FREQUENCY
        self.hurry = False

    # --- sending ---

    def transmission(self, config: EndDeviceConfig, rng: Random, now: int) -> Transmission | int:
        """The frame that is due; or, where the duty cycle forbids it, the moment from which it is allowed."""
        self.jitter = rng.random()
        if Fault.POWER_CYCLE in config.faults and self.joined and self.since_join and not self.trials_left:
            self.forget_session()
        if self.joined and self._lost_the_network():
            self.forget_session()
        joining = not self.joined
        if joining:
            # The first try at SF10, then further down to SF12, which reaches farthest.
            self.rate = 0 if Fault.FAR_AWAY in config.faults else max(0, 2 - self.join_attempts)
            self.power = 0
        usable = [0, 1, 2] if joining else self._usable()
        channel = usable[int(rng.random() * len(usable))]
        # Nobody sets an interval under a minute but to try things out, and at SF12 the 1 % would forbid it: such
        # a device sends all the same.
        if config.interval_us >= 60 * SECOND:
            # A full frame is assumed: what it needs exactly is known when it is built.
            need = eu868.airtime(self.rate, 23 if joining else 64) * SECOND
            if self._wait(channel, need, now) > 0:
                wait, channel = min((self._wait(index, need, now), index) for index in usable)
                if wait > 0:
                    return now + wait
        phy = self._join_request(config, rng) if joining else self._data(config, rng, now)
        airtime = int(eu868.airtime(self.rate, len(phy)) * SECOND)
        band, _share = eu868.sub_band(self.channels[channel])
        self._refresh(band, now)[0] -= airtime
        return Transmission(phy, self.channels[channel], channel, self.rate, eu868.eirp(self.power), airtime)

    def _usable(self) -> list[int]:
        usable = [index for index, hertz in enumerate(self.channels) if hertz and self.mask >> index & 1]
        return usable or [0, 1, 2]

    def _refresh(self, band: str, now: int) -> list[float]:
        """Credit of the sub-band: a fifth of the hour's 1 % at once and four fifths of 1 % of the time since, so
        that no hour whatever has more than its 36 s."""
        account = self.credit.setdefault(band, [7.2 * SECOND, now])
        account[0] = min(7.2 * SECOND, account[0] + 0.008 * (now - account[1]))
        account[1] = now
        return account

    def _wait(self, channel: int, need: float, now: int) -> int:
        missing = need - self._refresh(eu868.sub_band(self.channels[channel])[0], now)[0]
        return int(missing / 0.008) + 1 if missing > 0 else 0

    def _join_request(self, config: EndDeviceConfig, rng: Random) -> bytes:
        self.dev_nonce = rng.randrange(0x10000)
        self.join_attempts += 1
        return JoinRequest(config.app_eui, config.dev_eui, self.dev_nonce).build(config.device_key)

    def _data(self, config: EndDeviceConfig, rng: Random, now: int) -> bytes:
        """A new message, a bare answer, or the last frame once more (same FCnt, same MIC)."""
        if self.trials_left and self.last_frame:
            self.trials_left -= 1
            return self.last_frame
        silent = Fault.MAC_SILENT in config.faults
        bare = self.hurry
        self.hurry = False
        fopts = b"".join(self.sticky.values()) + self.answers
        self.answers = b""
        if not silent and not bare:
            if self.since_join == 0 or rng.random() < TIME_SHARE:
                fopts += b"\x0d"
            if rng.random() < LINK_CHECK_SHARE:
                fopts += b"\x02"
        self._back_off()
        payload, port, confirmed = b"", None, False
        if len(fopts) > 15:
            # Too much for FOpts: the answers go alone, encrypted on FPort 0, and the message follows.
            payload, port, fopts, self.hurry = fopts, 0, b"", False
        elif not bare:
            self.messages += 1
            self.since_join += 1
            self._plan_next(config, now)
            payload = self._measure(config, rng, now, eu868.DATA_RATES[self.rate].max_payload - len(fopts))
            port = DATA_PORT
            confirmed = rng.random() < CONFIRMED_SHARE or Fault.ALWAYS_CONFIRMED in config.faults
        frame = DataFrame.sealed(
            direction=Direction.UPLINK,
            dev_addr=self.dev_addr,
            fcnt=self.fcnt_up,
            nwk_skey=self.nwk_skey,
            app_skey=self.app_skey,
            fport=port,
            payload=payload,
            fopts=fopts,
            confirmed=confirmed,
            adr=config.profile not in MOBILE,
            adr_ack_req=self.adr_ack_count >= eu868.ADR_ACK_LIMIT,
            ack=self.owes_ack,
        )
        self.fcnt_up += 1
        self.owes_ack = False
        self.last_frame, self.last_confirmed = frame.build(), confirmed
        self.trials_left = (CONFIRMED_TRIALS if confirmed else self.nb_trans) - 1
        return self.last_frame

    def _measure(self, config: EndDeviceConfig, rng: Random, now: int, room: int) -> bytes:
        tells = self.interval_us > 0 and (self.owes_interval or self.messages % INTERVAL_EVERY == 0)
        payload = payloads.measure(
            config.profile,
            rng,
            at=now / SECOND,
            count=self.messages,
            latitude=config.latitude,
            longitude=config.longitude,
            room=room,
            interval=self.interval_us // (60 * SECOND) if tells else None,
        )
        # It stands first in what fits at all.
        self.owes_interval &= not (tells and payload)
        return payload

    def _plan_next(self, config: EndDeviceConfig, now: int) -> None:
        """Three more soon after the join, so that whoever installs the device sees it working; then regularly."""
        interval = self.interval_us or config.interval_us
        if self.since_join <= 3 and Fault.POWER_CYCLE not in config.faults:
            self.next_message = now + min(10 * SECOND, interval)
        else:
            self.next_message = now + int(interval * (0.98 + 0.04 * self.jitter))

    def _back_off(self) -> None:
        """ADR back-off (4.3.1.1): without any downlink for long, first full power, then a slower rate."""
        self.adr_ack_count += 1
        over = self.adr_ack_count - eu868.ADR_ACK_LIMIT
        if over > 0 and over % eu868.ADR_ACK_DELAY == 0:
            if self.power:
                self.power = 0
            else:
                self.rate = max(0, self.rate - 1)
                self.mask, self.nb_trans = ALL_CHANNELS, 1

    def _lost_the_network(self) -> bool:
        """Nothing heard since well after the slowest rate was reached: the session is taken for dead."""
        return self.adr_ack_count >= eu868.ADR_ACK_LIMIT + 7 * eu868.ADR_ACK_DELAY and not self.trials_left

    def next_action(self, config: EndDeviceConfig, now: int) -> int:
        """When the device acts next, after its receive windows have passed at ``now``."""
        if not self.joined:
            wait = min(JOIN_RETRY << min(self.join_attempts - 1, 8), JOIN_RETRY_CAP)
            return now + int(wait * (0.9 + 0.2 * self.jitter))
        if self.trials_left:
            return now + int((1 + 2 * self.jitter) * SECOND)
        if self.hurry and Fault.POWER_CYCLE not in config.faults:
            return now + int((2 + 2 * self.jitter) * SECOND)
        return max(self.next_message, now + SECOND // 10)

    # --- hearing ---

    def rx_rate(self, config: EndDeviceConfig, window: str, uplink_rate: int) -> int | None:
        """The data rate that the device listens at in a window; None where it does not listen."""
        if not self.joined and Fault.JOIN_UNHEARD in config.faults:
            # Its first window opens too early to hear anything, its second is set to SF9 instead of SF12.
            return 3 if window == "RX2" else None
        if window == "RX1":
            return eu868.rx1_data_rate(uplink_rate, self.rx1_offset)
        return self.rx2_rate

    def hear(self, config: EndDeviceConfig, phy: bytes, snr: float, now: int) -> bool:
        """Take a downlink heard in a window; False, and nothing changed, where it is not for this device."""
        try:
            frame = parse(phy)
            if isinstance(frame, SealedJoinAccept):
                return not self.joined and self._accept(config, frame, now)
        except FrameError:
            return False
        if not isinstance(frame, DataFrame) or frame.direction is not Direction.DOWNLINK or not self.joined:
            return False
        if frame.fport and Fault.DEAF in config.faults:
            return False
        fcnt = full_fcnt(self.fcnt_down, frame.fcnt16)
        if frame.dev_addr != self.dev_addr or fcnt is None or not frame.verify(self.nwk_skey, fcnt):
            return False
        self.fcnt_down, self.last_snr, self.adr_ack_count = fcnt, snr, 0
        self.sticky = {}
        if not self.last_confirmed or (frame.ack and Fault.ACK_BLIND not in config.faults):
            self.trials_left = 0
        self.owes_ack = frame.confirmed
        self.hurry = frame.confirmed or frame.fpending
        clear = frame.decrypt(nwk_skey=self.nwk_skey, app_skey=self.app_skey, fcnt=fcnt)
        if Fault.MAC_SILENT not in config.faults:
            self._obey(config, clear if frame.fport == 0 else frame.fopts)
        obeys = Fault.DISOBEDIENT not in config.faults
        if obeys and frame.fport == INTERVAL_PORT and len(clear) == 2 and any(clear):
            self.interval_us = int.from_bytes(clear, "big") * 60 * SECOND
            self.owes_interval = True
            self.next_message = now + self.interval_us
        return True

    def _accept(self, config: EndDeviceConfig, sealed: SealedJoinAccept, now: int) -> bool:
        accept = sealed.open(config.device_key)
        self.nwk_skey, self.app_skey = keys.session_keys(
            config.device_key, accept.app_nonce, accept.net_id, self.dev_nonce
        )
        self.dev_addr = accept.dev_addr
        self.rx1_offset, self.rx2_rate, self.rx_delay = accept.rx1_dr_offset, accept.rx2_data_rate, accept.rx_delay
        self.rx2_frequency = eu868.RX2_FREQUENCY
        self.channels = [*eu868.DEFAULT_CHANNELS, *accept.cf_list]
        self.mask, self.nb_trans, self.power = ALL_CHANNELS, 1, 0
        self.fcnt_up, self.fcnt_down = 0, None
        self.join_attempts = self.adr_ack_count = self.since_join = self.trials_left = 0
        self.answers, self.sticky, self.owes_ack, self.hurry = b"", {}, False, False
        self.next_message = now + 2 * SECOND
        return True

    def _obey(self, config: EndDeviceConfig, commands: bytes) -> None:
        for command in decode(commands, Direction.DOWNLINK):
            body = command.raw[1:]
            match command.name:
                case "LinkADRReq":
                    self.answers += bytes((0x03, self._link_adr(config, body)))
                case "DutyCycleReq":
                    self.answers += b"\x04"
                case "RXParamSetupReq":
                    # Repeated in each uplink until a downlink shows that the network uses the new setting (5.4).
                    self.sticky["05"] = bytes((0x05, self._rx_param(body)))
                case "DevStatusReq":
                    level = payloads.battery_level(config.profile, self.messages)
                    margin = max(-32, min(31, round(self.last_snr)))
                    self.answers += bytes((0x06, 1 + round(level * 2.53), margin & 0x3F))
                case "NewChannelReq":
                    self.answers += bytes((0x07, self._new_channel(body)))
                case "RXTimingSetupReq":
                    self.rx_delay = body[0] & 15 or 1
                    self.sticky["08"] = b"\x08"

    def _link_adr(self, config: EndDeviceConfig, body: bytes) -> int:
        """All of it or nothing (5.2); the acknowledged bits say what was possible."""
        rate, power, mask = body[0] >> 4, body[0] & 15, int.from_bytes(body[1:3], "little")
        if body[3] >> 4 & 7 == 6:
            mask = ALL_CHANNELS
        defined = sum(1 << index for index, hertz in enumerate(self.channels) if hertz)
        mask_ok = bool(mask & defined) and body[3] >> 4 & 7 in (0, 6)
        status = mask_ok | (rate <= eu868.MAX_DATA_RATE) << 1 | (power <= eu868.MAX_TX_POWER) << 2
        if status == 7:
            self.mask, self.nb_trans = mask, body[3] & 15 or 1
            if config.profile not in MOBILE:
                self.rate, self.power = rate, power
        return int(status)

    def _rx_param(self, body: bytes) -> int:
        offset, rate, frequency = body[0] >> 4 & 7, body[0] & 15, int.from_bytes(body[1:4], "little") * 100
        try:
            eu868.sub_band(frequency)
            frequency_ok = True
        except ValueError:
            frequency_ok = False
        status = frequency_ok | (rate < len(eu868.DATA_RATES)) << 1 | (offset <= eu868.MAX_RX1_DR_OFFSET) << 2
        if status == 7:
            self.rx1_offset, self.rx2_rate, self.rx2_frequency = offset, rate, frequency
        return int(status)

    def _new_channel(self, body: bytes) -> int:
        index, frequency = body[0], int.from_bytes(body[1:4], "little") * 100
        if index < 3 or index > 15:
            return 0
        try:
            eu868.sub_band(frequency)
        except ValueError:
            if frequency:
                return 2
        self.channels += [0] * (index + 1 - len(self.channels))
        self.channels[index] = frequency
        return 3
