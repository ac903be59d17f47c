"""MAC commands of LoRaWAN 1.0.x, both directions (L2 1.0.4, section 5), and those of 1.1 by their length.

Nothing here raises on bytes from outside: what cannot be read stands at the end as one undecodable rest. Class B
differs between versions: 1.0.2 packs a data rate into PingSlotInfoReq and a range of them into the request that it
calls PingSlotFreqReq; from 1.0.3 on the period stands in the lowest bits, and the request names one data rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final


class Direction(IntEnum):
    UPLINK = 0
    DOWNLINK = 1


class Version(IntEnum):
    """The last number of LoRaWAN 1.0.x. What 1.0.4 says of class B, 1.0.3 said too."""

    V1_0_2 = 2
    V1_0_3 = 3
    V1_0_4 = 4


class Rest(Enum):
    """Why bytes could not be read: a command that ends too soon, a maker's own (CID 80-FF), or an unknown one."""

    CUT_SHORT = "cut short"
    PROPRIETARY = "proprietary"
    UNKNOWN = "unknown"


Fields = dict[str, int | float | bool | str | tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class MacCommand:
    """``cid`` None: an undecodable rest, whole in ``raw``, and ``rest`` says why; ``name`` is then that of the command
    that was cut short, or "". ``fields`` have their units in their names (``_db``, ``_hz``, ``_ms`` …)."""

    cid: int | None
    name: str
    raw: bytes
    fields: Fields = field(default_factory=dict)
    rest: Rest | None = None


@dataclass(frozen=True, slots=True)
class _Shape:
    name: str
    length: int
    read: Callable[[bytes], Fields]


def _none(_body: bytes) -> Fields:
    return {}


def _frequency(body: bytes) -> int:
    return int.from_bytes(body, "little") * 100


def _flags(*names: str) -> Callable[[bytes], Fields]:
    """Acknowledgement bits, lowest first."""
    return lambda body: {name: bool(body[0] >> bit & 1) for bit, name in enumerate(names)}


def _link_adr(body: bytes) -> Fields:
    mask = int.from_bytes(body[1:3], "little")
    return {
        "data_rate": body[0] >> 4,
        "tx_power": body[0] & 0x0F,
        "channels": tuple(channel for channel in range(16) if mask >> channel & 1),
        "mask_control": body[3] >> 4 & 0x07,
        "transmissions": body[3] & 0x0F,
    }


def _dev_status(body: bytes) -> Fields:
    margin = body[1] & 0x3F
    return {"battery": body[0], "margin_db": margin - 64 if margin > 31 else margin}


def _rx_param(body: bytes) -> Fields:
    return {
        "rx1_offset": body[0] >> 4 & 0x07,
        "rx2_data_rate": body[0] & 0x0F,
        "rx2_frequency_hz": _frequency(body[1:4]),
    }


def _rates(octet: int) -> Fields:
    return {"min_data_rate": octet & 0x0F, "max_data_rate": octet >> 4}


_EIRP = (8, 10, 12, 13, 14, 16, 18, 20, 21, 24, 26, 27, 29, 30, 33, 36)


def _tx_param(body: bytes) -> Fields:
    return {
        "downlink_dwell_limited": bool(body[0] >> 5 & 1),
        "uplink_dwell_limited": bool(body[0] >> 4 & 1),
        "max_eirp_dbm": _EIRP[body[0] & 0x0F],
    }


def _device_time(body: bytes) -> Fields:
    """Seconds since 1980-01-06 00:00:00 UTC, without leap seconds."""
    return {"gps_s": int.from_bytes(body[:4], "little") + body[4] / 256}


def _beacon_timing(body: bytes) -> Fields:
    """The beacon comes in a slot of 30 ms (1.0.x, section 14.1)."""
    earliest = int.from_bytes(body[:2], "little") * 30
    return {"earliest_ms": earliest, "latest_ms": earliest + 30, "channel": body[2]}


def _force_rejoin(body: bytes) -> Fields:
    value = int.from_bytes(body, "little")
    return {
        "period_s": 32 << (value >> 11 & 0x07),
        "retries": value >> 8 & 0x07,
        "rejoin_type": value >> 4 & 0x07,
        "data_rate": value & 0x0F,
    }


def _version(body: bytes) -> Fields:
    return {"minor_version": body[0] & 0x0F}


def _class(body: bytes) -> Fields:
    return {"device_class": {0: "A", 2: "C"}.get(body[0], f"{body[0]:02X}")}


_UP: Final[Mapping[int, _Shape]] = {
    0x01: _Shape("ResetInd", 1, _version),
    0x02: _Shape("LinkCheckReq", 0, _none),
    0x03: _Shape("LinkADRAns", 1, _flags("channels_ok", "data_rate_ok", "power_ok")),
    0x04: _Shape("DutyCycleAns", 0, _none),
    0x05: _Shape("RXParamSetupAns", 1, _flags("rx2_frequency_ok", "rx2_data_rate_ok", "rx1_offset_ok")),
    0x06: _Shape("DevStatusAns", 2, _dev_status),
    0x07: _Shape("NewChannelAns", 1, _flags("frequency_ok", "data_rates_ok")),
    0x08: _Shape("RXTimingSetupAns", 0, _none),
    0x09: _Shape("TxParamSetupAns", 0, _none),
    0x0A: _Shape("DlChannelAns", 1, _flags("frequency_ok", "uplink_frequency_exists")),
    0x0B: _Shape("RekeyInd", 1, _version),
    0x0C: _Shape("ADRParamSetupAns", 0, _none),
    0x0D: _Shape("DeviceTimeReq", 0, _none),
    0x0F: _Shape("RejoinParamSetupAns", 1, _flags("time_ok")),
    0x10: _Shape("PingSlotInfoReq", 1, lambda b: {"period_s": 1 << (b[0] & 0x07)}),
    0x11: _Shape("PingSlotChannelAns", 1, _flags("frequency_ok", "data_rate_ok")),
    0x12: _Shape("BeaconTimingReq", 0, _none),
    0x13: _Shape("BeaconFreqAns", 1, _flags("frequency_ok")),
    0x20: _Shape("DeviceModeInd", 1, _class),
}

_DOWN: Final[Mapping[int, _Shape]] = {
    0x01: _Shape("ResetConf", 1, _version),
    0x02: _Shape("LinkCheckAns", 2, lambda b: {"margin_db": b[0], "gateways": b[1]}),
    0x03: _Shape("LinkADRReq", 4, _link_adr),
    0x04: _Shape("DutyCycleReq", 1, lambda b: {"duty_cycle": 1 / (1 << (b[0] & 0x0F))}),
    0x05: _Shape("RXParamSetupReq", 4, _rx_param),
    0x06: _Shape("DevStatusReq", 0, _none),
    0x07: _Shape("NewChannelReq", 5, lambda b: {"channel": b[0], "frequency_hz": _frequency(b[1:4])} | _rates(b[4])),
    0x08: _Shape("RXTimingSetupReq", 1, lambda b: {"delay_ms": ((b[0] & 0x0F) or 1) * 1000}),
    0x09: _Shape("TxParamSetupReq", 1, _tx_param),
    0x0A: _Shape("DlChannelReq", 4, lambda b: {"channel": b[0], "frequency_hz": _frequency(b[1:4])}),
    0x0B: _Shape("RekeyConf", 1, _version),
    0x0C: _Shape("ADRParamSetupReq", 1, lambda b: {"limit": 1 << (b[0] >> 4), "delay": 1 << (b[0] & 0x0F)}),
    0x0D: _Shape("DeviceTimeAns", 5, _device_time),
    0x0E: _Shape("ForceRejoinReq", 2, _force_rejoin),
    0x0F: _Shape(
        "RejoinParamSetupReq", 1, lambda b: {"period_s": 1 << (b[0] >> 4) + 10, "messages": 1 << (b[0] & 0x0F) + 4}
    ),
    0x10: _Shape("PingSlotInfoAns", 0, _none),
    0x11: _Shape("PingSlotChannelReq", 4, lambda b: {"frequency_hz": _frequency(b[:3]), "data_rate": b[3] & 0x0F}),
    0x12: _Shape("BeaconTimingAns", 3, _beacon_timing),
    0x13: _Shape("BeaconFreqReq", 3, lambda b: {"frequency_hz": _frequency(b)}),
    0x20: _Shape("DeviceModeConf", 1, _class),
}

_UP_1_0_2: Final = {
    **_UP,
    0x10: _Shape("PingSlotInfoReq", 1, lambda b: {"period_s": 1 << (b[0] >> 4 & 0x07), "data_rate": b[0] & 0x0F}),
    0x11: _Shape("PingSlotFreqAns", 1, _flags("frequency_ok", "data_rates_ok")),
}
_DOWN_1_0_2: Final = {
    **_DOWN,
    0x11: _Shape("PingSlotFreqReq", 4, lambda b: {"frequency_hz": _frequency(b[:3])} | _rates(b[3])),
}
_TABLES: Final = {
    (direction, version): old if version is Version.V1_0_2 else new
    for direction, new, old in ((Direction.UPLINK, _UP, _UP_1_0_2), (Direction.DOWNLINK, _DOWN, _DOWN_1_0_2))
    for version in Version
}

# The CIDs of which the device's half starts the exchange; all others are the network's.
DEVICE_STARTS = frozenset({0x01, 0x02, 0x0B, 0x0D, 0x10, 0x12, 0x20})


def decode(data: bytes, direction: Direction, version: Version = Version.V1_0_4) -> list[MacCommand]:
    """The commands in order. An unknown CID, or a command cut short, ends the reading: the lengths of what
    follows cannot be known, so the rest is one entry with ``cid`` None. Commands that came later than ``version``
    are read all the same: a fleet is mixed, and their CIDs mean nothing else before."""
    table = _TABLES[direction, version]
    commands = []
    position = 0
    while position < len(data):
        shape = table.get(data[position])
        end = position + 1 + (shape.length if shape else 0)
        if shape is None or end > len(data):
            commands.append(_undecodable(data[position:], shape))
            break
        body = data[position + 1 : end]
        commands.append(MacCommand(data[position], shape.name, data[position:end], shape.read(body)))
        position = end
    return commands


def _undecodable(rest: bytes, shape: _Shape | None) -> MacCommand:
    why = Rest.CUT_SHORT if shape else Rest.PROPRIETARY if rest[0] >= 0x80 else Rest.UNKNOWN
    return MacCommand(None, shape.name if shape else "", rest, rest=why)


def encode(cid: int, body: bytes, direction: Direction) -> bytes:
    """One command as bytes. Raises ValueError for an unknown CID or a body of the wrong length."""
    shape = _TABLES[direction, Version.V1_0_4].get(cid)
    if shape is None or len(body) != shape.length:
        raise ValueError(f"CID {cid:02X} does not take {len(body)} bytes in this direction")
    return bytes([cid]) + body
