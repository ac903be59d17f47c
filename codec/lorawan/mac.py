"""MAC commands of LoRaWAN 1.0.x, both directions (L2 1.0.4, section 5), and those of 1.1 by their length.

Nothing here raises on bytes from outside: what cannot be read stands at the end as one undecodable rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class Direction(IntEnum):
    UPLINK = 0
    DOWNLINK = 1


Fields = dict[str, int | float | bool | str]


@dataclass(frozen=True, slots=True)
class MacCommand:
    """``cid`` None: an undecodable rest, whole in ``raw``. ``fields`` have their units in their names."""

    cid: int | None
    name: str
    raw: bytes
    fields: Fields = field(default_factory=dict)


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


def _link_check(body: bytes) -> Fields:
    return {"margin_db": body[0], "gateways": body[1]}


def _link_adr(body: bytes) -> Fields:
    return {
        "data_rate": body[0] >> 4,
        "tx_power": body[0] & 0x0F,
        "channel_mask": f"{int.from_bytes(body[1:3], 'little'):016b}",
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


def _new_channel(body: bytes) -> Fields:
    return {
        "channel": body[0],
        "frequency_hz": _frequency(body[1:4]),
        "max_data_rate": body[4] >> 4,
        "min_data_rate": body[4] & 0x0F,
    }


_EIRP = (8, 10, 12, 13, 14, 16, 18, 20, 21, 24, 26, 27, 29, 30, 33, 36)


def _tx_param(body: bytes) -> Fields:
    return {
        "downlink_dwell_limited": bool(body[0] >> 5 & 1),
        "uplink_dwell_limited": bool(body[0] >> 4 & 1),
        "max_eirp_dbm": _EIRP[body[0] & 0x0F],
    }


def _device_time(body: bytes) -> Fields:
    return {"gps_seconds": int.from_bytes(body[:4], "little") + body[4] / 256}


_UP: Final[Mapping[int, _Shape]] = {
    0x01: _Shape("ResetInd", 1, lambda b: {"version": b[0] & 0x0F}),
    0x02: _Shape("LinkCheckReq", 0, _none),
    0x03: _Shape("LinkADRAns", 1, _flags("channel_mask_ok", "data_rate_ok", "power_ok")),
    0x04: _Shape("DutyCycleAns", 0, _none),
    0x05: _Shape("RXParamSetupAns", 1, _flags("channel_ok", "rx2_data_rate_ok", "rx1_offset_ok")),
    0x06: _Shape("DevStatusAns", 2, _dev_status),
    0x07: _Shape("NewChannelAns", 1, _flags("frequency_ok", "data_rate_range_ok")),
    0x08: _Shape("RXTimingSetupAns", 0, _none),
    0x09: _Shape("TxParamSetupAns", 0, _none),
    0x0A: _Shape("DlChannelAns", 1, _flags("frequency_ok", "uplink_frequency_exists")),
    0x0B: _Shape("RekeyInd", 1, lambda b: {"version": b[0] & 0x0F}),
    0x0C: _Shape("ADRParamSetupAns", 0, _none),
    0x0D: _Shape("DeviceTimeReq", 0, _none),
    0x0F: _Shape("RejoinParamSetupAns", 1, _flags("time_ok")),
    0x10: _Shape("PingSlotInfoReq", 1, lambda b: {"periodicity": b[0] & 0x07}),
    0x11: _Shape("PingSlotChannelAns", 1, _flags("frequency_ok", "data_rate_ok")),
    0x12: _Shape("BeaconTimingReq", 0, _none),
    0x13: _Shape("BeaconFreqAns", 1, _flags("frequency_ok")),
    0x20: _Shape("DeviceModeInd", 1, lambda b: {"class": "AC"[b[0] == 2] if b[0] in {0, 2} else b[0]}),
}

_DOWN: Final[Mapping[int, _Shape]] = {
    0x01: _Shape("ResetConf", 1, lambda b: {"version": b[0] & 0x0F}),
    0x02: _Shape("LinkCheckAns", 2, _link_check),
    0x03: _Shape("LinkADRReq", 4, _link_adr),
    0x04: _Shape("DutyCycleReq", 1, lambda b: {"max_duty_cycle": f"1/{1 << (b[0] & 0x0F)}"}),
    0x05: _Shape("RXParamSetupReq", 4, _rx_param),
    0x06: _Shape("DevStatusReq", 0, _none),
    0x07: _Shape("NewChannelReq", 5, _new_channel),
    0x08: _Shape("RXTimingSetupReq", 1, lambda b: {"delay_s": (b[0] & 0x0F) or 1}),
    0x09: _Shape("TxParamSetupReq", 1, _tx_param),
    0x0A: _Shape("DlChannelReq", 4, lambda b: {"channel": b[0], "frequency_hz": _frequency(b[1:4])}),
    0x0B: _Shape("RekeyConf", 1, lambda b: {"version": b[0] & 0x0F}),
    0x0C: _Shape("ADRParamSetupReq", 1, lambda b: {"limit_exponent": b[0] >> 4, "delay_exponent": b[0] & 0x0F}),
    0x0D: _Shape("DeviceTimeAns", 5, _device_time),
    0x0E: _Shape("ForceRejoinReq", 2, lambda b: {"data_rate": b[0] & 0x0F}),
    0x0F: _Shape("RejoinParamSetupReq", 1, lambda b: {"max_time": b[0] >> 4, "max_count": b[0] & 0x0F}),
    0x10: _Shape("PingSlotInfoAns", 0, _none),
    0x11: _Shape("PingSlotChannelReq", 4, lambda b: {"frequency_hz": _frequency(b[:3]), "data_rate": b[3] & 0x0F}),
    0x12: _Shape("BeaconTimingAns", 3, lambda b: {"delay_slots": int.from_bytes(b[:2], "little"), "channel": b[2]}),
    0x13: _Shape("BeaconFreqReq", 3, lambda b: {"frequency_hz": _frequency(b)}),
    0x20: _Shape("DeviceModeConf", 1, lambda b: {"class": "AC"[b[0] == 2] if b[0] in {0, 2} else b[0]}),
}

_TABLES = {Direction.UPLINK: _UP, Direction.DOWNLINK: _DOWN}

# The answer to each request, by the CID they share, and who starts: 0x02, 0x0D, 0x10, 0x12 are the device's.
DEVICE_STARTS = frozenset({0x01, 0x02, 0x0B, 0x0D, 0x10, 0x12, 0x20})


def decode(data: bytes, direction: Direction) -> list[MacCommand]:
    """The commands in order. An unknown CID, or a command cut short, ends the reading: the lengths of what
    follows cannot be known, so the rest is one entry with ``cid`` None."""
    table = _TABLES[direction]
    commands = []
    position = 0
    while position < len(data):
        shape = table.get(data[position])
        end = position + 1 + (shape.length if shape else 0)
        if shape is None or end > len(data):
            commands.append(MacCommand(None, "Undecodable", bytes(data[position:])))
            break
        body = bytes(data[position + 1 : end])
        commands.append(MacCommand(data[position], shape.name, bytes(data[position:end]), shape.read(body)))
        position = end
    return commands


def encode(cid: int, body: bytes, direction: Direction) -> bytes:
    """One command as bytes. Raises ValueError for an unknown CID or a body of the wrong length."""
    shape = _TABLES[direction].get(cid)
    if shape is None or len(body) != shape.length:
        raise ValueError(f"CID {cid:02X} does not take {len(body)} bytes in this direction")
    return bytes([cid]) + body


_UNITS = {"_db": " dB", "_dbm": " dBm", "_hz": " Hz", "_s": " s"}


def _value(name: str, value: float | bool | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_hz"):
        return f"{int(value) / 1_000_000:g} MHz" if value else "off"
    if name == "battery":
        return {0: "external power", 255: "not known"}.get(int(value), f"{round((int(value) - 1) / 2.53)} %")
    unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
    return f"{value}{unit}"


def describe(command: MacCommand) -> str:
    """The fields of a command in words: ``data rate 5, tx power 2``; "" where it has none."""
    if command.cid is None:
        return f"{len(command.raw)} bytes that are no known command"
    words = []
    for name, value in command.fields.items():
        label = name
        for suffix in _UNITS:
            label = label.removesuffix(suffix)
        words.append(f"{label.replace('_', ' ')} {_value(name, value)}")
    return ", ".join(words)
