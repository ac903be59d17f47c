"""MAC commands against published vectors, both directions, and any bytes whatever (L4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.lorawan.mac import Direction, Rest, Version, decode, encode

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK

# Vectors published with ChirpStack's lrwn (MIT; maccommand.rs) and those of reference 2.3. ResetInd and BeaconTimingAns
# stand in neither: they are made by hand from the specifications.
PUBLISHED_UP = [
    ("0101", "ResetInd", {"minor_version": 1}),
    ("02", "LinkCheckReq", {}),
    ("0300", "LinkADRAns", {"channels_ok": False, "data_rate_ok": False, "power_ok": False}),
    ("0301", "LinkADRAns", {"channels_ok": True, "data_rate_ok": False, "power_ok": False}),
    ("0302", "LinkADRAns", {"channels_ok": False, "data_rate_ok": True, "power_ok": False}),
    ("0304", "LinkADRAns", {"channels_ok": False, "data_rate_ok": False, "power_ok": True}),
    ("0307", "LinkADRAns", {"channels_ok": True, "data_rate_ok": True, "power_ok": True}),
    ("04", "DutyCycleAns", {}),
    ("0505", "RXParamSetupAns", {"rx2_frequency_ok": True, "rx2_data_rate_ok": False, "rx1_offset_ok": True}),
    ("060022", "DevStatusAns", {"battery": 0, "margin_db": -30}),
    ("06ff1e", "DevStatusAns", {"battery": 255, "margin_db": 30}),
    ("067f3f", "DevStatusAns", {"battery": 127, "margin_db": -1}),
    ("067f00", "DevStatusAns", {"battery": 127, "margin_db": 0}),
    # The Things Stack publishes -16 for this one; six bits of two's complement give what stands here.
    ("06422f", "DevStatusAns", {"battery": 66, "margin_db": -17}),
    ("0700", "NewChannelAns", {"frequency_ok": False, "data_rates_ok": False}),
    ("0701", "NewChannelAns", {"frequency_ok": True, "data_rates_ok": False}),
    ("0702", "NewChannelAns", {"frequency_ok": False, "data_rates_ok": True}),
    ("08", "RXTimingSetupAns", {}),
    ("09", "TxParamSetupAns", {}),
    ("0a01", "DlChannelAns", {"frequency_ok": True, "uplink_frequency_exists": False}),
    ("0a02", "DlChannelAns", {"frequency_ok": False, "uplink_frequency_exists": True}),
    ("0b01", "RekeyInd", {"minor_version": 1}),
    ("0c", "ADRParamSetupAns", {}),
    ("0d", "DeviceTimeReq", {}),
    ("0f01", "RejoinParamSetupAns", {"time_ok": True}),
    ("1003", "PingSlotInfoReq", {"period_s": 8}),
    ("1101", "PingSlotChannelAns", {"frequency_ok": True, "data_rate_ok": False}),
    ("1102", "PingSlotChannelAns", {"frequency_ok": False, "data_rate_ok": True}),
    ("12", "BeaconTimingReq", {}),
    ("1301", "BeaconFreqAns", {"frequency_ok": True}),
    ("2002", "DeviceModeInd", {"device_class": "C"}),
]
LINK_ADR = {"data_rate": 5, "tx_power": 2, "channels": (2, 9), "mask_control": 1, "transmissions": 1}
PUBLISHED_DOWN = [
    ("021403", "LinkCheckAns", {"margin_db": 20, "gateways": 3}),
    ("0352040211", "LinkADRReq", LINK_ADR),
    ("040d", "DutyCycleReq", {"duty_cycle": 1 / 8192}),
    ("053b010204", "RXParamSetupReq", {"rx1_offset": 3, "rx2_data_rate": 11, "rx2_frequency_hz": 26_265_700}),
    ("055c42ffff", "RXParamSetupReq", {"rx1_offset": 5, "rx2_data_rate": 12, "rx2_frequency_hz": 0xFFFF42 * 100}),
    ("06", "DevStatusReq", {}),
    (
        "07030102045a",
        "NewChannelReq",
        {"channel": 3, "frequency_hz": 26_265_700, "min_data_rate": 10, "max_data_rate": 5},
    ),
    (
        "070fffff4242",
        "NewChannelReq",
        {"channel": 15, "frequency_hz": 0x42FFFF * 100, "min_data_rate": 2, "max_data_rate": 4},
    ),
    ("080f", "RXTimingSetupReq", {"delay_ms": 15_000}),
    ("0800", "RXTimingSetupReq", {"delay_ms": 1000}),
    (
        "090f",
        "TxParamSetupReq",
        {"downlink_dwell_limited": False, "uplink_dwell_limited": False, "max_eirp_dbm": 36},
    ),
    ("091f", "TxParamSetupReq", {"downlink_dwell_limited": False, "uplink_dwell_limited": True, "max_eirp_dbm": 36}),
    ("092f", "TxParamSetupReq", {"downlink_dwell_limited": True, "uplink_dwell_limited": False, "max_eirp_dbm": 36}),
    ("0a00287684", "DlChannelReq", {"channel": 0, "frequency_hz": 868_100_000}),
    ("0a01107a84", "DlChannelReq", {"channel": 1, "frequency_hz": 868_200_000}),
    ("0a04ffff42", "DlChannelReq", {"channel": 4, "frequency_hz": 0x42FFFF * 100}),
    ("0b01", "RekeyConf", {"minor_version": 1}),
    ("0caf", "ADRParamSetupReq", {"limit": 1024, "delay": 32768}),
    ("0d0100000000", "DeviceTimeAns", {"gps_s": 1.0}),
    ("0d0100000002", "DeviceTimeAns", {"gps_s": 1.0078125}),
    ("0dffffff4242", "DeviceTimeAns", {"gps_s": 0x42FFFFFF + 0x42 / 256}),
    ("0e251c", "ForceRejoinReq", {"period_s": 256, "retries": 4, "rejoin_type": 2, "data_rate": 5}),
    ("0fef", "RejoinParamSetupReq", {"period_s": 2**24, "messages": 2**19}),
    ("10", "PingSlotInfoAns", {}),
    ("1128768405", "PingSlotChannelReq", {"frequency_hz": 868_100_000, "data_rate": 5}),
    ("12020003", "BeaconTimingAns", {"earliest_ms": 60, "latest_ms": 90, "channel": 3}),
    ("13287684", "BeaconFreqReq", {"frequency_hz": 868_100_000}),
    ("2000", "DeviceModeConf", {"device_class": "A"}),
]
PUBLISHED = [(UP, *vector) for vector in PUBLISHED_UP] + [(DOWN, *vector) for vector in PUBLISHED_DOWN]


@pytest.mark.parametrize(("direction", "data", "name", "fields"), PUBLISHED)
def test_published_command(direction: Direction, data: str, name: str, fields: dict[str, object]) -> None:
    octets = bytes.fromhex(data)
    (command,) = decode(octets, direction)
    assert (command.cid, command.name, command.fields, command.raw) == (octets[0], name, fields, octets)
    assert encode(octets[0], octets[1:], direction) == octets


@pytest.mark.parametrize("direction", Direction)
def test_all_published_commands_in_one_frame(direction: Direction) -> None:
    vectors = [vector for vector in PUBLISHED if vector[0] is direction]
    commands = decode(bytes.fromhex("".join(data for _direction, data, *_rest in vectors)), direction)
    assert [command.name for command in commands] == [name for _direction, _data, name, _fields in vectors]


CLASS_B = [
    (UP, "1053", "PingSlotInfoReq", {"period_s": 32, "data_rate": 3}, "PingSlotInfoReq", {"period_s": 8}),
    (
        UP,
        "1102",
        "PingSlotFreqAns",
        {"frequency_ok": False, "data_rates_ok": True},
        "PingSlotChannelAns",
        {"frequency_ok": False, "data_rate_ok": True},
    ),
    (
        DOWN,
        "1128768453",
        "PingSlotFreqReq",
        {"frequency_hz": 868_100_000, "min_data_rate": 3, "max_data_rate": 5},
        "PingSlotChannelReq",
        {"frequency_hz": 868_100_000, "data_rate": 3},
    ),
]


@pytest.mark.parametrize(("direction", "data", "old_name", "old", "name", "fields"), CLASS_B)
def test_class_b_is_read_as_its_version_says(
    direction: Direction, data: str, old_name: str, old: dict[str, object], name: str, fields: dict[str, object]
) -> None:
    (command,) = decode(bytes.fromhex(data), direction, Version.V1_0_2)
    assert (command.name, command.fields) == (old_name, old)
    for version in (Version.V1_0_3, Version.V1_0_4):
        (command,) = decode(bytes.fromhex(data), direction, version)
        assert (command.name, command.fields) == (name, fields)


def test_direction_picks_the_table() -> None:
    assert [command.name for command in decode(bytes.fromhex("0604"), DOWN)] == ["DevStatusReq", "DutyCycleReq"]
    assert [command.name for command in decode(bytes.fromhex("060401"), UP)] == ["DevStatusAns"]


@pytest.mark.parametrize(
    ("data", "names", "rest", "why"),
    [
        ("0206", ["LinkCheckReq", "DevStatusAns"], "06", Rest.CUT_SHORT),
        ("0280ff00", ["LinkCheckReq", ""], "80ff00", Rest.PROPRIETARY),
        ("0e", [""], "0e", Rest.UNKNOWN),
        ("030703070307", ["LinkADRAns"] * 3, None, None),
    ],
)
def test_what_cannot_be_read_stands_at_the_end(data: str, names: list[str], rest: str | None, why: Rest | None) -> None:
    commands = decode(bytes.fromhex(data), UP)
    assert [command.name for command in commands] == names
    assert commands[-1].rest is why
    if rest:
        assert (commands[-1].cid, commands[-1].raw.hex(), commands[-1].fields) == (None, rest, {})


@given(st.binary(max_size=240), st.sampled_from(Direction), st.sampled_from(Version))
def test_any_bytes_are_read_whole(data: bytes, direction: Direction, version: Version) -> None:
    commands = decode(data, direction, version)
    assert b"".join(command.raw for command in commands) == data
    assert all(command.cid is not None for command in commands[:-1])
    for command in commands:
        assert (command.cid is None) is (command.rest is not None)
        if command.cid is not None:
            assert encode(command.cid, command.raw[1:], direction) == command.raw


@pytest.mark.parametrize(("cid", "body"), [(0x03, b""), (0x80, b""), (0x06, b"\x01")])
def test_encode_refuses_what_decode_would_not_read(cid: int, body: bytes) -> None:
    with pytest.raises(ValueError, match="CID"):
        encode(cid, body, DOWN)
