"""LoRaWAN 1.0.x frames: bytes to objects and back.

Source: LoRaWAN L2 specification 1.0.x, sections 4 and 6.2. On air all multi-byte fields are little endian; here
EUIs are 16 upper-case hex digits in reading order, and addresses, nonces and counters are integers.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from .keys import crypt_payload, data_mic, mic, open_join_accept, seal_join_accept
from .mac import Direction

__all__ = [
    "MAX_FCNT_GAP",
    "DataFrame",
    "Direction",
    "FrameError",
    "JoinAccept",
    "JoinRequest",
    "OtherFrame",
    "SealedJoinAccept",
    "full_fcnt",
    "parse",
    "read",
]

# A counter that jumped further is refused (Regional Parameters 1.0.x, EU868).
MAX_FCNT_GAP = 16384
_JOIN_REQUEST, _JOIN_ACCEPT, _REJOIN_REQUEST, _PROPRIETARY = 0, 1, 6, 7
_UP, _DOWN = Direction.UPLINK, Direction.DOWNLINK
_DATA = {2: (_UP, False), 3: (_DOWN, False), 4: (_UP, True), 5: (_DOWN, True)}
_MTYPE = {kind: mtype << 5 for mtype, kind in _DATA.items()}


class FrameError(ValueError):
    """The bytes are not a LoRaWAN 1.0.x frame, or not one for this key; the text says why."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A device asks to join (6.2.4). ``mic`` is as received; ``build`` computes it anew."""

    app_eui: str
    dev_eui: str
    dev_nonce: int
    mic: bytes = b""

    def build(self, app_key: bytes) -> bytes:
        message = self._message()
        return message + mic(app_key, message)

    def verify(self, app_key: bytes) -> bool:
        return hmac.compare_digest(self.mic, mic(app_key, self._message()))

    def _message(self) -> bytes:
        euis = bytes.fromhex(self.app_eui)[::-1] + bytes.fromhex(self.dev_eui)[::-1]
        return b"\0" + euis + self.dev_nonce.to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class JoinAccept:
    """What a join-accept says, in the clear (6.2.5).

    ``rx_delay`` in seconds (0 on air means 1); ``cf_list``: five frequencies in Hz (0: none), or empty.
    """

    app_nonce: int
    net_id: int
    dev_addr: int
    rx1_dr_offset: int = 0
    rx2_data_rate: int = 0
    rx_delay: int = 1
    cf_list: tuple[int, ...] = ()

    def build(self, app_key: bytes) -> bytes:
        """The frame on air. Raises FrameError for a CFList of other than five frequencies."""
        if len(self.cf_list) not in (0, 5):
            raise FrameError("A CFList has five frequencies.")
        body = (
            self.app_nonce.to_bytes(3, "little")
            + self.net_id.to_bytes(3, "little")
            + self.dev_addr.to_bytes(4, "little")
            + bytes((self.rx1_dr_offset << 4 | self.rx2_data_rate, self.rx_delay))
        )
        if self.cf_list:
            body += b"".join([(hertz // 100).to_bytes(3, "little") for hertz in self.cf_list]) + b"\0"
        return b"\x20" + seal_join_accept(app_key, body + mic(app_key, b"\x20" + body))


@dataclass(frozen=True, slots=True)
class SealedJoinAccept:
    """A join-accept as heard: without the AppKey nothing in it can be read."""

    sealed: bytes

    def open(self, app_key: bytes) -> JoinAccept:
        """Raises FrameError when the MIC is not of this key."""
        clear = open_join_accept(app_key, self.sealed)
        body = clear[:-4]
        if not hmac.compare_digest(clear[-4:], mic(app_key, b"\x20" + body)):
            raise FrameError("The MIC of the join-accept is not of this key.")
        settings, frequencies = body[10], b""
        # CFListType 1 is a channel mask of regions with fixed channels: no frequencies to take from it.
        if len(body) == 28 and body[27] == 0:
            frequencies = body[12:27]
        return JoinAccept(
            app_nonce=int.from_bytes(body[0:3], "little"),
            net_id=int.from_bytes(body[3:6], "little"),
            dev_addr=int.from_bytes(body[6:10], "little"),
            rx1_dr_offset=settings >> 4 & 7,
            rx2_data_rate=settings & 15,
            rx_delay=(body[11] & 15) or 1,
            cf_list=tuple(
                int.from_bytes(frequencies[at : at + 3], "little") * 100 for at in range(0, len(frequencies), 3)
            ),
        )


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A data frame (4.3). ``frm_payload`` and ``fcnt16`` are as on air: encrypted, and the lower 16 bits.

    ``fpending`` is of downlinks; the same bit of an uplink (``class_b``) says that a class B device listens.
    """

    direction: Direction
    confirmed: bool
    dev_addr: int
    fcnt16: int
    adr: bool = False
    adr_ack_req: bool = False
    ack: bool = False
    fpending: bool = False
    class_b: bool = False
    fopts: bytes = b""
    fport: int | None = None
    frm_payload: bytes = b""
    mic: bytes = b""

    @classmethod
    def sealed(
        cls,
        *,
        direction: Direction,
        dev_addr: int,
        fcnt: int,
        nwk_skey: bytes,
        app_skey: bytes,
        fport: int | None = None,
        payload: bytes = b"",
        fopts: bytes = b"",
        confirmed: bool = False,
        adr: bool = False,
        adr_ack_req: bool = False,
        ack: bool = False,
        fpending: bool = False,
    ) -> DataFrame:
        """The frame for a clear ``payload``: encrypted, with its MIC. ``fcnt`` has all 32 bits.

        Raises FrameError for a frame that the specification forbids.
        """
        if payload and fport is None:
            raise FrameError("A payload needs an FPort.")
        key = app_skey if fport else nwk_skey
        bare = cls(
            direction=direction,
            confirmed=confirmed,
            dev_addr=dev_addr,
            fcnt16=fcnt & 0xFFFF,
            adr=adr,
            adr_ack_req=adr_ack_req,
            ack=ack,
            fpending=fpending,
            fopts=fopts,
            fport=fport,
            frm_payload=crypt_payload(key, direction, dev_addr, fcnt, payload),
        )
        # Not dataclasses.replace: this is the one place that history of days passes through 100,000 times.
        object.__setattr__(bare, "mic", data_mic(nwk_skey, direction, dev_addr, fcnt, bare._message()))
        return bare

    def build(self) -> bytes:
        """The frame on air, with the MIC it holds."""
        return self._message() + self.mic

    def verify(self, nwk_skey: bytes, fcnt: int) -> bool:
        """Whether the MIC is right for this key and the full counter."""
        expected = data_mic(nwk_skey, self.direction, self.dev_addr, fcnt, self._message())
        return hmac.compare_digest(self.mic, expected)

    def decrypt(self, *, nwk_skey: bytes, app_skey: bytes, fcnt: int) -> bytes:
        """The clear FRMPayload: MAC commands for FPort 0, else application data. Check the MIC before."""
        key = app_skey if self.fport else nwk_skey
        return crypt_payload(key, self.direction, self.dev_addr, fcnt, self.frm_payload)

    def _message(self) -> bytes:
        if len(self.fopts) > 15:
            raise FrameError("FOpts holds at most 15 bytes.")
        if self.fopts and self.fport == 0:
            raise FrameError("FOpts and FPort 0 exclude each other.")
        control = self.adr << 7 | self.adr_ack_req << 6 | self.ack << 5 | len(self.fopts)
        control |= (self.fpending or self.class_b) << 4
        header = (
            bytes((_MTYPE[self.direction, self.confirmed],))
            + self.dev_addr.to_bytes(4, "little")
            + bytes((control, self.fcnt16 & 0xFF, self.fcnt16 >> 8))
            + self.fopts
        )
        if self.fport is None:
            return header
        return header + bytes((self.fport,)) + self.frm_payload


@dataclass(frozen=True, slots=True)
class OtherFrame:
    """Bytes that are no join and no data frame of 1.0.x: a rejoin-request of 1.1, a proprietary frame, or no frame.

    ``mtype`` is None without any byte. ``rest`` is all behind MHDR, ``problem`` why it is not read further ("": it is
    whole). Of a rejoin-request (L2 1.1, section 6.2.4): its type (0-2), who asks, its counter; EUIs as elsewhere.
    """

    mtype: int | None
    rest: bytes
    problem: str = ""
    rejoin_type: int | None = None
    join_eui: str = ""
    dev_eui: str = ""
    net_id: int | None = None
    rejoin_count: int | None = None
    mic: bytes = b""


def read(data: bytes) -> JoinRequest | SealedJoinAccept | DataFrame | OtherFrame:
    """The frame in ``data`` (PHYPayload), whatever it is. Never raises."""
    try:
        return parse(data)
    except FrameError as error:
        mtype = data[0] >> 5 if data else None
        if mtype == _REJOIN_REQUEST and not data[0] & 3:
            return _read_rejoin(data[1:])
        if mtype == _PROPRIETARY and not data[0] & 3:
            return OtherFrame(mtype, data[1:])
        return OtherFrame(mtype, data[1:], str(error))


def _read_rejoin(rest: bytes) -> OtherFrame:
    """Types 0 and 2: NetID, DevEUI, RJcount0; type 1: JoinEUI, DevEUI, RJcount1; the MIC behind them."""
    by_network = len(rest) == 18 and rest[0] in (0, 2)
    if not by_network and not (len(rest) == 23 and rest[0] == 1):
        return OtherFrame(_REJOIN_REQUEST, rest, "The rejoin-request has no type, or not the length of its type.")
    eui_at = 4 if by_network else 9
    return OtherFrame(
        _REJOIN_REQUEST,
        rest,
        rejoin_type=rest[0],
        join_eui="" if by_network else rest[8:0:-1].hex().upper(),
        dev_eui=rest[eui_at : eui_at + 8][::-1].hex().upper(),
        net_id=int.from_bytes(rest[1:4], "little") if by_network else None,
        rejoin_count=int.from_bytes(rest[-6:-4], "little"),
        mic=rest[-4:],
    )


def parse(data: bytes) -> JoinRequest | SealedJoinAccept | DataFrame:
    """The frame in ``data`` (PHYPayload). Raises FrameError, and nothing else, for all other bytes."""
    if not data:
        raise FrameError("The frame is empty.")
    if data[0] & 3:
        raise FrameError("The major version is not LoRaWAN R1.")
    mtype = data[0] >> 5
    if mtype in _DATA:
        return _parse_data(data, *_DATA[mtype])
    if mtype == _JOIN_REQUEST:
        if len(data) != 23:
            raise FrameError("A join-request has 23 bytes.")
        return JoinRequest(
            app_eui=data[8:0:-1].hex().upper(),
            dev_eui=data[16:8:-1].hex().upper(),
            dev_nonce=int.from_bytes(data[17:19], "little"),
            mic=data[19:],
        )
    if mtype == _JOIN_ACCEPT:
        if len(data) not in (17, 33):
            raise FrameError("A join-accept has 17 or 33 bytes.")
        return SealedJoinAccept(data[1:])
    raise FrameError(f"Message type {mtype} is not of LoRaWAN 1.0.x.")


def _parse_data(data: bytes, direction: Direction, confirmed: bool) -> DataFrame:
    if len(data) < 12:
        raise FrameError("A data frame has at least 12 bytes.")
    if len(data) > 255:
        raise FrameError("A frame has at most 255 bytes.")
    control = data[5]
    port_at = 8 + (control & 15)
    end = len(data) - 4
    if port_at > end:
        raise FrameError("FOpts is longer than the frame.")
    fopts = data[8:port_at]
    fport = data[port_at] if port_at < end else None
    if fopts and fport == 0:
        raise FrameError("FOpts and FPort 0 exclude each other.")
    up = direction is Direction.UPLINK
    return DataFrame(
        direction=direction,
        confirmed=confirmed,
        dev_addr=int.from_bytes(data[1:5], "little"),
        fcnt16=int.from_bytes(data[6:8], "little"),
        adr=bool(control & 0x80),
        adr_ack_req=up and bool(control & 0x40),
        ack=bool(control & 0x20),
        fpending=not up and bool(control & 0x10),
        class_b=up and bool(control & 0x10),
        fopts=fopts,
        fport=fport,
        frm_payload=data[port_at + 1 : end],
        mic=data[end:],
    )


def full_fcnt(last: int | None, fcnt16: int) -> int | None:
    """The 32-bit counter of a frame from the last accepted one and the 16 bits on air (4.3.1.5).

    Always higher than ``last``. None where the gap is MAX_FCNT_GAP or more, or 32 bits are used up: refuse.
    """
    if last is None:
        return fcnt16
    gap = (fcnt16 - last) & 0xFFFF or 0x10000
    full = last + gap
    return full if gap < MAX_FCNT_GAP and full <= 0xFFFFFFFF else None
