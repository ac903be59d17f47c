"""The content of an instruction (S2)."""

from __future__ import annotations

import json

import pytest

from devices import connectivity
from devices.models import Device
from downlinks import encoding
from downlinks.errors import InstructionRefused
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork

pytestmark = pytest.mark.usefixtures("unscoped")


@pytest.mark.parametrize(
    "text", ["010AFF", "01 0a ff", " 01:0A:ff ", "0x01 0x0A 0XFF", "0x010AFF", "01-0A-FF", "01, 0A; FF", "01\n0A\tFF"]
)
def test_hexadecimal_in_any_spacing(text: str) -> None:
    assert encoding.from_hexadecimal(text) == b"\x01\x0a\xff"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0G", "“G” is not"),
        ("01 ü", "“ü” is not"),
        ("٠١", "is not"),
        ("123", "two digits"),
        ("1 2", "two digits"),
        ("0x1 0x2", "two digits"),
        ("0x", "two digits"),
        ("0x01 0x", "two digits"),
    ],
)
def test_hexadecimal_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(InstructionRefused, match=says) as refused:
        encoding.from_hexadecimal(text)
    assert refused.value.field == "payload"


def check(device: Device, encoder: str = "raw-lora", fport: int | None = 2, payload: bytes = b"\x01") -> bytes:
    room = connectivity.largest_payloads([device]).get(device.pk)
    return encoding.encoded(device, encoder=encoder, fport=fport, payload=payload, confirmed=False, room=room)


@pytest.mark.parametrize("fport", [1, 223])
def test_fports_of_applications_are_taken(device: Device, fport: int) -> None:
    assert check(device, fport=fport) == b"\x01"


@pytest.mark.parametrize("fport", [None, 0, 224, -1])
def test_other_fports_are_refused(device: Device, fport: int | None) -> None:
    with pytest.raises(InstructionRefused, match="1 to 223") as refused:
        check(device, fport=fport)
    assert refused.value.field == "fport"


def test_size_is_that_of_the_present_data_rate(device: Device, network: RecordedNetwork) -> None:
    network.room = 11
    assert check(device, payload=bytes(11))
    with pytest.raises(InstructionRefused, match="at most 11 fit"):
        check(device, payload=bytes(12))
    network.room = None
    assert check(device, payload=bytes(242))
    with pytest.raises(InstructionRefused, match="at most 242"):
        check(device, payload=bytes(243))


def test_nothing_is_not_sent(device: Device) -> None:
    with pytest.raises(InstructionRefused, match="nothing to send"):
        check(device, payload=b"")


def test_senml_gets_the_base_name_of_its_device(cast: Cast, fetching: Device) -> None:
    m2m = factories.m2m_device(cast.project)
    for device, name in (
        (m2m, f"urn:dev:IMEI:{m2m.identifier}:"),
        (fetching, f"urn:dev:DVNUUID:{fetching.internet.dvn_uuid}:"),
    ):
        out = check(device, "raw-senml", None, b'[{"n":"a","v":1},{"n":"b","vs":"\xc3\xa9"}]')
        assert json.loads(out) == [{"bn": name, "n": "a", "v": 1}, {"n": "b", "vs": "é"}]
        assert check(device, "raw-senml", None, out) == out, "base values may be there already"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"{}", b"[]", b'[{"n":"a"}]', b'[{"n":"a","v":"x"}]', b'[{"bn":"urn:dev:IMEI:1:","n":"a","v":1}]'],
)
def test_wrong_senml_is_refused_beside_its_field(fetching: Device, payload: bytes) -> None:
    with pytest.raises(InstructionRefused) as refused:
        check(fetching, "raw-senml", None, payload)
    assert refused.value.field == "payload"


def test_forms_belong_to_their_connectivity(cast: Cast, device: Device, fetching: Device) -> None:
    with pytest.raises(InstructionRefused, match="LoRa device"):
        check(device, "raw-senml", None)
    with pytest.raises(InstructionRefused, match="belong to LoRa"):
        check(fetching, "raw-senml", 2)
    without = factories.device(cast.project, "own-internet")
    with pytest.raises(InstructionRefused, match="no network info"):
        check(without, "raw-senml", None, b'[{"n":"a","v":1}]')
