"""MAC commands against published vectors, both directions, and any bytes whatever (L4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.lorawan.mac import Direction, decode, describe, encode

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK


@pytest.mark.parametrize(
    ("data", "direction", "name", "fields"),
    [
        ("021403", DOWN, "LinkCheckAns", {"margin_db": 20, "gateways": 3}),
        (
            "0352040211",
            DOWN,
            "LinkADRReq",
            {
                "data_rate": 5,
                "tx_power": 2,
                "channel_mask": "0000001000000100",
                "mask_control": 1,
                "transmissions": 1,
            },
        ),
        ("0307", UP, "LinkADRAns", {"channel_mask_ok": True, "data_rate_ok": True, "power_ok": True}),
        (
            "055c42ffff",
            DOWN,
            "RXParamSetupReq",
            {"rx1_offset": 5, "rx2_data_rate": 12, "rx2_frequency_hz": 0xFFFF42 * 100},
        ),
        ("060022", UP, "DevStatusAns", {"battery": 0, "margin_db": -30}),
        ("06ff3f", UP, "DevStatusAns", {"battery": 255, "margin_db": -1}),
        ("06422f", UP, "DevStatusAns", {"battery": 66, "margin_db": -17}),
        (
            "070fffff4242",
            DOWN,
            "NewChannelReq",
            {"channel": 15, "frequency_hz": 0x42FFFF * 100, "max_data_rate": 4, "min_data_rate": 2},
        ),
        (
            "092f",
            DOWN,
            "TxParamSetupReq",
            {"downlink_dwell_limited": True, "uplink_dwell_limited": False, "max_eirp_dbm": 36},
        ),
        ("0a04ffff42", DOWN, "DlChannelReq", {"channel": 4, "frequency_hz": 0x42FFFF * 100}),
        ("0dffffff4242", DOWN, "DeviceTimeAns", {"gps_seconds": 0x42FFFFFF + 0x42 / 256}),
        ("0800", DOWN, "RXTimingSetupReq", {"delay_s": 1}),
        ("0d", UP, "DeviceTimeReq", {}),
    ],
)
def test_published_command(data: str, direction: Direction, name: str, fields: dict[str, object]) -> None:
    octets = bytes.fromhex(data)
    (command,) = decode(octets, direction)
    assert (command.cid, command.name, command.fields, command.raw) == (octets[0], name, fields, octets)
    assert encode(octets[0], octets[1:], direction) == octets


def test_direction_picks_the_table() -> None:
    assert [command.name for command in decode(bytes.fromhex("0604"), DOWN)] == ["DevStatusReq", "Undecodable"]
    assert [command.name for command in decode(bytes.fromhex("060401"), UP)] == ["DevStatusAns"]


@pytest.mark.parametrize(
    ("data", "names", "rest"),
    [
        ("0206", ["LinkCheckReq", "Undecodable"], "06"),
        ("0280ff00", ["LinkCheckReq", "Undecodable"], "80ff00"),
        ("030703070307", ["LinkADRAns"] * 3, None),
    ],
)
def test_what_cannot_be_read_stands_at_the_end(data: str, names: list[str], rest: str | None) -> None:
    commands = decode(bytes.fromhex(data), UP)
    assert [command.name for command in commands] == names
    if rest:
        assert (commands[-1].cid, commands[-1].raw.hex()) == (None, rest)


@given(st.binary(max_size=240), st.sampled_from(Direction))
def test_any_bytes_are_read_whole_and_described(data: bytes, direction: Direction) -> None:
    commands = decode(data, direction)
    assert b"".join(command.raw for command in commands) == data
    for command in commands:
        assert isinstance(describe(command), str)
        if command.cid is not None:
            assert encode(command.cid, command.raw[1:], direction) == command.raw


@pytest.mark.parametrize(("cid", "body"), [(0x03, b""), (0x80, b""), (0x06, b"\x01")])
def test_encode_refuses_what_decode_would_not_read(cid: int, body: bytes) -> None:
    with pytest.raises(ValueError, match="CID"):
        encode(cid, body, DOWN)


@pytest.mark.parametrize(
    ("data", "direction", "words"),
    [
        ("060022", UP, ["external power", "-30 dB"]),
        ("06ff00", UP, ["not known"]),
        ("06fe00", UP, ["100 %"]),
        ("0500d2ad84", DOWN, ["869.525 MHz"]),
        ("021403", DOWN, ["margin 20 dB", "gateways 3"]),
        ("80", UP, ["1 bytes that are no known command"]),
    ],
)
def test_description_says_the_fields_in_words(data: str, direction: Direction, words: list[str]) -> None:
    (command,) = decode(bytes.fromhex(data), direction)
    assert all(word in describe(command) for word in words)
