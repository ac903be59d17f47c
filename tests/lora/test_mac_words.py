"""MAC commands in words: every field with its unit (L4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.lorawan.mac import Direction, decode
from lora.mac_words import Command, explained

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK


def one(data: str, direction: Direction) -> Command:
    (command,) = explained(bytes.fromhex(data), direction)
    return command


@pytest.mark.parametrize(
    ("data", "direction", "said"),
    [
        ("021403", DOWN, {"Margin": "20 dB", "Gateways": "3"}),
        (
            "0352070001",
            DOWN,
            {
                "Data rate": "DR5 · SF7/125 kHz · 5470 bit/s",
                "Transmit power": "12 dBm EIRP (step 2)",
                "Channels to use": "0, 1, 2",
                "Channel mask control": "0: channels 0 to 15",
                "Each message is sent": "once",
            },
        ),
        (
            "03ff000063",
            DOWN,
            {
                "Data rate": "DR15: the present one stays",
                "Transmit power": "the present one stays",
                "Channels to use": "all that the device knows",
                "Channel mask control": "6: all channels on",
                "Each message is sent": "3 times",
            },
        ),
        (
            "0379000020",
            DOWN,
            {
                "Data rate": "DR7 · FSK · 50000 bit/s",
                "Transmit power": "step 9, which EU868 does not use",
                "Channels to use": "none",
                "Channel mask control": "2: not used in EU868",
                "Each message is sent": "once (0: as it comes from the factory)",
            },
        ),
        ("0306", UP, {"Channels": "refused", "Data rate": "accepted", "Transmit power": "accepted"}),
        ("0407", DOWN, {"At most on air": "1/128 of the time (0.781 %)"}),
        ("0400", DOWN, {"At most on air": "no limit"}),
        (
            "0520d2ad84",
            DOWN,
            {
                "RX1 data rate": "2 steps below that of the uplink",
                "RX2 data rate": "DR0 · SF12/125 kHz · 250 bit/s",
                "RX2 frequency": "869.525 MHz",
            },
        ),
        ("0507", UP, {"RX2 frequency": "accepted", "RX2 data rate": "accepted", "RX1 data rate": "accepted"}),
        ("060022", UP, {"Battery": "external power", "Margin": "-30 dB"}),
        ("06ff00", UP, {"Battery": "the device cannot measure it", "Margin": "0 dB"}),
        ("06fe00", UP, {"Battery": "100 % (254 of 254)", "Margin": "0 dB"}),
        ("060100", UP, {"Battery": "0 % (1 of 254)", "Margin": "0 dB"}),
        (
            "0703184f8450",
            DOWN,
            {
                "Channel": "3",
                "Frequency": "867.1 MHz",
                "Slowest data rate": "DR0 · SF12/125 kHz · 250 bit/s",
                "Fastest data rate": "DR5 · SF7/125 kHz · 5470 bit/s",
            },
        ),
        ("0702", UP, {"Frequency": "refused", "Data rates": "accepted"}),
        ("0805", DOWN, {"RX1 opens after": "5000 ms"}),
        ("091d", DOWN, {"Longest downlink": "no limit", "Longest uplink": "400 ms", "Most power": "30 dBm"}),
        ("0a00287684", DOWN, {"Channel": "0", "Frequency": "868.1 MHz"}),
        ("0a01", UP, {"Frequency": "accepted", "Uplink frequency of the channel": "does not exist"}),
        # GPS second 1,167,264,018 is the first one of 2017, when the last leap second was put in.
        ("0d1209934580", DOWN, {"Time": "2017-01-01 00:00:00.500 UTC"}),
        ("12020003", DOWN, {"Comes in at least": "60 ms", "Comes in at most": "90 ms", "Channel": "3"}),
        ("13000000", DOWN, {"Frequency": "0: off, or the default"}),
        ("1301", UP, {"Frequency": "accepted"}),
        ("0101", UP, {"LoRaWAN version": "1.1"}),
        ("0c65", DOWN, {"Asks for an answer after": "64 messages", "Slows down after another": "32 messages"}),
        ("2002", UP, {"Class": "C"}),
    ],
)
def test_every_field_is_said_with_its_unit(data: str, direction: Direction, said: dict[str, str]) -> None:
    command = one(data, direction)
    assert {field.label: field.text for field in command.fields} == said
    assert command.topic
    assert command.octets == bytes.fromhex(data).hex(" ").upper()


def test_what_the_device_refused_is_marked() -> None:
    assert [field.refused for field in one("0306", UP).fields] == [True, False, False]
    assert not any(field.refused for field in one("0a00", UP).fields[1:])


@pytest.mark.parametrize("data", ["02", "04", "06", "08", "0d", "12"])
def test_commands_without_fields_say_what_they_are_about(data: str) -> None:
    command = explained(bytes.fromhex(data), DOWN if data == "06" else UP)[0]
    assert command.topic
    assert command.fields == []


def test_class_b_says_what_an_older_device_means() -> None:
    command = one("1053", UP)
    assert [(field.label, field.text) for field in command.fields] == [("Every", "8 s")]
    assert [(field.label, field.text) for field in command.older] == [
        ("Every", "32 s"),
        ("Data rate", "DR3 · SF9/125 kHz · 1760 bit/s"),
    ]
    command = one("1128768453", DOWN)
    assert command.name == "PingSlotChannelReq"
    assert [field.label for field in command.older] == ["Frequency", "Slowest data rate", "Fastest data rate"]
    assert one("0307", UP).older == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("0600", "2 bytes: DevStatusAns begins, and its end is missing."),
        ("80aabb", "3 bytes: a command of the maker's own, whose length is not known."),
        ("0e", "1 byte: no command that LoRaWAN 1.0 knows."),
    ],
)
def test_the_rest_says_why_it_is_not_readable(data: str, words: str) -> None:
    *_before, rest = explained(bytes.fromhex("02" + data), UP)
    assert (rest.readable, rest.topic, rest.name) == (False, words, "Not readable")
    assert rest.octets == bytes.fromhex(data).hex(" ").upper()


@given(st.binary(max_size=240), st.sampled_from(Direction))
def test_any_bytes_are_explained_whole(data: bytes, direction: Direction) -> None:
    commands = explained(data, direction)
    assert bytes.fromhex("".join(command.octets for command in commands)) == data
    read = decode(data, direction)
    assert [len(command.fields) for command in commands] == [len(command.fields) for command in read]
    assert all(field.label and field.text for command in commands for field in [*command.fields, *command.older])
