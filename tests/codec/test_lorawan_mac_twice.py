"""MAC commands read twice: by the portal, and by a second decoder made here of the specification's own tables (L4).

The tables are the bit layouts of LoRaWAN L2 1.0.4 (sections 5 and 14 to 16) and of 1.0.2's class B, written down as the
specification draws them: octets in the order on air, in each octet the highest bit first; numbers of several octets are
little endian. Nothing of codec.lorawan is used to read them, and no number is computed twice in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codec.lorawan.mac import Direction, Version, decode

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK
Raw = dict[str, int]

# CID: name, then each field as "name:bits", octets parted by "|". "-" is RFU.
LAYOUTS_UP = {
    0x02: ("LinkCheckReq", ""),
    0x03: ("LinkADRAns", "-:5 power:1 rate:1 mask:1"),
    0x04: ("DutyCycleAns", ""),
    0x05: ("RXParamSetupAns", "-:5 offset:1 rate:1 channel:1"),
    0x06: ("DevStatusAns", "battery:8 | -:2 margin:6"),
    0x07: ("NewChannelAns", "-:6 range:1 frequency:1"),
    0x08: ("RXTimingSetupAns", ""),
    0x09: ("TxParamSetupAns", ""),
    0x0A: ("DlChannelAns", "-:6 exists:1 frequency:1"),
    0x0D: ("DeviceTimeReq", ""),
    0x10: ("PingSlotInfoReq", "-:5 periodicity:3"),
    0x11: ("PingSlotChannelAns", "-:6 rate:1 frequency:1"),
    0x12: ("BeaconTimingReq", ""),
    0x13: ("BeaconFreqAns", "-:7 frequency:1"),
}
LAYOUTS_DOWN = {
    0x02: ("LinkCheckAns", "margin:8 | count:8"),
    0x03: ("LinkADRReq", "rate:4 power:4 | mask:16 | -:1 control:3 times:4"),
    0x04: ("DutyCycleReq", "-:4 cycle:4"),
    0x05: ("RXParamSetupReq", "-:1 offset:3 rate:4 | frequency:24"),
    0x06: ("DevStatusReq", ""),
    0x07: ("NewChannelReq", "index:8 | frequency:24 | high:4 low:4"),
    0x08: ("RXTimingSetupReq", "-:4 delay:4"),
    0x09: ("TxParamSetupReq", "-:2 down:1 up:1 eirp:4"),
    0x0A: ("DlChannelReq", "index:8 | frequency:24"),
    0x0D: ("DeviceTimeAns", "seconds:32 | fraction:8"),
    0x10: ("PingSlotInfoAns", ""),
    0x11: ("PingSlotChannelReq", "frequency:24 | -:4 rate:4"),
    0x12: ("BeaconTimingAns", "delay:16 | channel:8"),
    0x13: ("BeaconFreqReq", "frequency:24"),
}
LAYOUTS = {
    (UP, Version.V1_0_4): LAYOUTS_UP,
    (DOWN, Version.V1_0_4): LAYOUTS_DOWN,
    (UP, Version.V1_0_2): LAYOUTS_UP
    | {0x10: ("PingSlotInfoReq", "-:1 periodicity:3 rate:4"), 0x11: ("PingSlotFreqAns", "-:6 range:1 frequency:1")},
    (DOWN, Version.V1_0_2): LAYOUTS_DOWN | {0x11: ("PingSlotFreqReq", "frequency:24 | high:4 low:4")},
}
EIRP = ["8", "10", "12", "13", "14", "16", "18", "20", "21", "24", "26", "27", "29", "30", "33", "36"]


def second(data: bytes, layouts: dict[int, tuple[str, str]]) -> tuple[list[tuple[str, Raw]], bytes]:
    """The commands with their raw fields, and the bytes that are left."""
    found: list[tuple[str, Raw]] = []
    while data and data[0] in layouts:
        name, drawn = layouts[data[0]]
        fields = [part.split(":") for part in drawn.replace("|", " ").split()]
        size = sum(int(bits) for _name, bits in fields) // 8
        if len(data) < 1 + size:
            break
        body, data = list(data[1 : 1 + size]), data[1 + size :]
        raw: Raw = {}
        line = ""
        for field, bits in fields:
            if int(bits) > 8:
                octets = [body.pop(0) for _ in range(int(bits) // 8)]
                raw[field] = sum(octet * 256**place for place, octet in enumerate(octets))
                continue
            line = line or f"{body.pop(0):08b}"
            if field != "-":
                raw[field] = int(line[: int(bits)], 2)
            line = line[int(bits) :]
        found.append((name, raw))
    return found, data


def meant(name: str, raw: Raw) -> Mapping[str, object]:
    """What the fields mean, in the units of :class:`codec.lorawan.mac.MacCommand`."""
    hertz = raw.get("frequency", 0) * 100
    match name:
        case "LinkADRAns":
            return {"channels_ok": raw["mask"] == 1, "data_rate_ok": raw["rate"] == 1, "power_ok": raw["power"] == 1}
        case "RXParamSetupAns":
            names = {"rx2_frequency_ok": "channel", "rx2_data_rate_ok": "rate", "rx1_offset_ok": "offset"}
            return {ours: raw[theirs] == 1 for ours, theirs in names.items()}
        case "DevStatusAns":
            margin = raw["margin"]
            return {"battery": raw["battery"], "margin_db": margin if margin < 32 else margin - 64}
        case "NewChannelAns" | "PingSlotFreqAns":
            return {"frequency_ok": raw["frequency"] == 1, "data_rates_ok": raw["range"] == 1}
        case "DlChannelAns":
            return {"frequency_ok": raw["frequency"] == 1, "uplink_frequency_exists": raw["exists"] == 1}
        case "PingSlotInfoReq":
            rate = {"data_rate": raw["rate"]} if "rate" in raw else {}
            return {"period_s": 2 ** raw["periodicity"]} | rate
        case "PingSlotChannelAns":
            return {"frequency_ok": raw["frequency"] == 1, "data_rate_ok": raw["rate"] == 1}
        case "BeaconFreqAns":
            return {"frequency_ok": raw["frequency"] == 1}
        case "LinkCheckAns":
            return {"margin_db": raw["margin"], "gateways": raw["count"]}
        case "LinkADRReq":
            mask = f"{raw['mask']:016b}"[::-1]
            return {
                "data_rate": raw["rate"], "tx_power": raw["power"], "mask_control": raw["control"],
                "channels": tuple(at for at, bit in enumerate(mask) if bit == "1"), "transmissions": raw["times"],
            }  # fmt: skip
        case "DutyCycleReq":
            return {"duty_cycle": float(Fraction(1, 2 ** raw["cycle"]))}
        case "RXParamSetupReq":
            return {"rx1_offset": raw["offset"], "rx2_data_rate": raw["rate"], "rx2_frequency_hz": hertz}
        case "NewChannelReq":
            rates = {"min_data_rate": raw["low"], "max_data_rate": raw["high"]}
            return {"channel": raw["index"], "frequency_hz": hertz} | rates
        case "RXTimingSetupReq":
            return {"delay_ms": max(raw["delay"], 1) * 1000}
        case "TxParamSetupReq":
            return {
                "max_eirp_dbm": int(EIRP[raw["eirp"]]),
                "downlink_dwell_limited": raw["down"] == 1,
                "uplink_dwell_limited": raw["up"] == 1,
            }
        case "DlChannelReq":
            return {"channel": raw["index"], "frequency_hz": hertz}
        case "DeviceTimeAns":
            return {"gps_s": float(Fraction(raw["seconds"] * 256 + raw["fraction"], 256))}
        case "PingSlotChannelReq":
            return {"frequency_hz": hertz, "data_rate": raw["rate"]}
        case "PingSlotFreqReq":
            return {"frequency_hz": hertz, "min_data_rate": raw["low"], "max_data_rate": raw["high"]}
        case "BeaconTimingAns":
            return {"earliest_ms": 30 * raw["delay"], "latest_ms": 30 * (raw["delay"] + 1), "channel": raw["channel"]}
        case "BeaconFreqReq":
            return {"frequency_hz": hertz}
    assert raw == {}, name
    return {}


@st.composite
def streams(draw: st.DrawFn) -> tuple[tuple[Direction, Version], bytes]:
    """Commands with any bytes for fields, and then anything: so that most of the bytes are commands."""
    key = draw(st.sampled_from(sorted(LAYOUTS)))
    parts = []
    for cid in draw(st.lists(st.sampled_from(sorted(LAYOUTS[key])), max_size=8)):
        drawn = LAYOUTS[key][cid][1].replace("|", " ").split()
        size = sum(int(part.split(":")[1]) for part in drawn) // 8
        parts.append(bytes([cid]) + draw(st.binary(min_size=size, max_size=size)))
    return key, b"".join(parts) + draw(st.binary(max_size=6))


# The CIDs that only 1.1 has, and which are read by their length: not in these tables.
ONLY_1_1 = {0x01, 0x0B, 0x0C, 0x0E, 0x0F, 0x20}


@given(streams())
@example(((UP, Version.V1_0_2), bytes.fromhex("1053110206007f")))
@example(((DOWN, Version.V1_0_2), bytes.fromhex("1128768453")))
def test_both_decoders_agree(stream: tuple[tuple[Direction, Version], bytes]) -> None:
    (direction, version), data = stream
    ours = decode(data, direction, version)
    theirs, left = second(data, LAYOUTS[direction, version])
    assert [(command.name, command.fields) for command in ours[: len(theirs)]] == [
        (name, meant(name, raw)) for name, raw in theirs
    ]
    assert b"".join(command.raw for command in ours[len(theirs) :]) == left
    if left and left[0] not in ONLY_1_1:
        assert [command.cid for command in ours[len(theirs) :]] == [None]


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("version", [Version.V1_0_2, Version.V1_0_4])
@pytest.mark.parametrize("octet", [0x00, 0x01, 0x55, 0x80, 0xAA, 0xFF])
def test_every_command_with_every_kind_of_bits(direction: Direction, version: Version, octet: int) -> None:
    for cid, (name, drawn) in LAYOUTS[direction, version].items():
        size = sum(int(part.split(":")[1]) for part in drawn.replace("|", " ").split()) // 8
        data = bytes([cid]) + bytes([octet]) * size
        (command,) = decode(data, direction, version)
        (read,), left = second(data, LAYOUTS[direction, version])
        assert (command.name, command.fields, left) == (name, meant(*read), b"")
