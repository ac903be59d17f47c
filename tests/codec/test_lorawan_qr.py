"""QR codes of devices (TR005): what a code says, every way in which one is broken, and that nothing else is raised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.lorawan.qr import DeviceCode, Problem, QrError, checksum, parse

# The specification's full example, and the label of a sensor as it came from its maker.
EXAMPLE = "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:OAABBCCDDEEFF:SYYWWNNNNNN:PFOOBAR:CAF2C"
LABEL = "LW:D0:70B3D5E75F600000:70B3D5E75E00F27A:01280017:P5070071006:S002E484C81:CFC83"
SHORT = "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122"
READ = DeviceCode("1122334455667788", "AABBCCDDEEFF0011", "AABB", "1122", "YYWWNNNNNN", ("FOOBAR",), "AABBCCDDEEFF")
EUIS = st.text("0123456789ABCDEF", min_size=16, max_size=16)
VALUES = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $*+-./", min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (EXAMPLE, READ),
        (f"  {EXAMPLE}\n", READ),
        (EXAMPLE.replace(":", "%3A"), READ),
        (EXAMPLE.replace(":", "%3a"), READ),
        (LABEL, DeviceCode("70B3D5E75F600000", "70B3D5E75E00F27A", "0128", "0017", "002E484C81", ("5070071006",))),
        (SHORT, DeviceCode("1122334455667788", "AABBCCDDEEFF0011", "AABB", "1122")),
        (SHORT.lower(), DeviceCode("1122334455667788", "AABBCCDDEEFF0011", "AABB", "1122")),
        (f"{SHORT}:SA%20B", DeviceCode("1122334455667788", "AABBCCDDEEFF0011", "AABB", "1122", "A B")),
        (f"{SHORT}::S:Xnew", DeviceCode("1122334455667788", "AABBCCDDEEFF0011", "AABB", "1122")),
    ],
)
def test_code_says(text: str, said: DeviceCode) -> None:
    assert parse(text) == said


def test_checksum_of_a_code_typed_in_lower_case_is_that_of_the_print() -> None:
    assert parse(EXAMPLE.lower()).dev_eui == "AABBCCDDEEFF0011"


def test_owner_token_stays_out_of_logs() -> None:
    assert "AABBCCDDEEFF'" not in repr(parse(EXAMPLE))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", Problem.NOT_A_DEVICE),
        ("https://maker.example/manual", Problem.NOT_A_DEVICE),
        ("LW", Problem.NOT_A_DEVICE),
        ("LW:", Problem.SCHEMA),
        ("LW:D1:1122334455667788:AABBCCDDEEFF0011:AABB1122", Problem.SCHEMA),
        ("LW:D0", Problem.SHORT),
        ("LW:D0:1122334455667788:AABBCCDDEEFF0011", Problem.SHORT),
        ("LW:D0:112233445566778:AABBCCDDEEFF0011:AABB1122", Problem.JOIN_EUI),
        ("LW:D0:112233445566778G:AABBCCDDEEFF0011:AABB1122", Problem.JOIN_EUI),
        ("LW:D0:1122334455667788:AABBCCDDEEFF001:AABB1122", Problem.DEV_EUI),
        ("LW:D0:1122334455667788:AABBCCDDEEFF001١:AABB1122", Problem.DEV_EUI),
        ("LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB112", Problem.PROFILE),
        (f"{SHORT}:SONE:STWO", Problem.TWICE),
        (EXAMPLE.replace("YYWW", "YYWX"), Problem.CHECKSUM),
        (f"{SHORT}:CAF2", Problem.CHECKSUM),
        (f"{SHORT}:CWXYZ", Problem.CHECKSUM),
        (f"{SHORT}:P{'X' * 1000}", Problem.LONG),
    ],
)
def test_broken_code_is_refused_with_the_reason(text: str, problem: Problem) -> None:
    with pytest.raises(QrError) as caught:
        parse(text)
    assert caught.value.problem is problem
    assert str(caught.value) == problem.value


@given(EUIS, EUIS, VALUES)
def test_written_code_is_read_back(join_eui: str, dev_eui: str, serial: str) -> None:
    text = f"LW:D0:{join_eui}:{dev_eui}:00010002:S{serial}"
    read = parse(f"{text}:C{checksum(text):04X}")
    assert (read.join_eui, read.dev_eui, read.serial) == (join_eui, dev_eui, serial)


@given(st.text(max_size=60), st.sampled_from(["", "LW:", "LW%3A", "LW:D0:", f"{SHORT}:", f"{SHORT}:C"]))
def test_any_text_is_read_or_refused(rest: str, start: str) -> None:
    try:
        assert len(parse(start + rest).dev_eui) == 16
    except QrError as error:
        assert isinstance(error.problem, Problem)
