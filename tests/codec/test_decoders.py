"""The built-in LoRa decoders: exact record names (T6), their order, and the location pack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import decoders
from codec.decoders import LoraMessage, decode
from codec.thingsml import encode_lora

MESSAGE = LoraMessage(
    payload=bytes.fromhex("7639"),
    at=1_700_000_000.5,
    fport=1,
    fcnt=12,
    fcnt_down=3,
    rssi=-117.0,
    snr=-19.0,
    esp=-136.054337,
    gateway_count=2,
    spreading_factor=12,
    channel="LC3",
    sub_band="G1",
    adr=True,
)


def test_raw_lora_records() -> None:
    decoded = decode(["raw-lora"], MESSAGE)
    assert (decoded.decoder, decoded.error) == ("raw-lora", None)
    assert [(m.name, m.value, m.unit, m.time) for m in decoded.measurements] == [
        ("payload", "7639", None, MESSAGE.at),
        ("port", 1.0, None, MESSAGE.at),
        ("timeOrigin", "NETWORK", None, MESSAGE.at),
    ]


def test_raw_lora_extended_records() -> None:
    values = {m.name: m.value for m in decode(["raw-lora-extended"], MESSAGE).measurements}
    assert values == {
        "payload": "7639",
        "port": 1.0,
        "timeOrigin": "NETWORK",
        "FCntUp": 12.0,
        "FCntDn": 3.0,
        "LrrRSSI": -117.0,
        "LrrSNR": -19.0,
        "LrrESP": -136.054337,
        "DevLrrCnt": 2.0,
        "SpFact": 12.0,
        "SubBand": "G1",
        "Channel": "LC3",
        "ADRbit": 1.0,
    }
    assert type(values["ADRbit"]) is float


def test_raw_lora_extended_leaves_out_the_unknown() -> None:
    bare = LoraMessage(payload=b"", at=1.0)
    values = {m.name: m.value for m in decode(["raw-lora-extended"], bare).measurements}
    assert values == {"payload": "", "port": 0.0, "timeOrigin": "NETWORK"}


def test_decode_first_that_can_wins() -> None:
    order = ["thingsml-lora", "cayenne-lpp", "raw-lora"]
    assert decode(order, MESSAGE).decoder == "raw-lora"
    assert decode(order, replace(MESSAGE, payload=bytes.fromhex("01670110"))).decoder == "cayenne-lpp"
    thingsml = decode(order, replace(MESSAGE, payload=encode_lora([("temperature", 20.5)])))
    assert (thingsml.decoder, thingsml.measurements[0].name) == ("thingsml-lora", "temperature")


def test_decode_none_can_gives_the_reason_of_the_first() -> None:
    decoded = decode(["cayenne-lpp", "thingsml-lora"], MESSAGE)
    assert decoded.measurements == ()
    assert decoded.decoder == ""
    assert decoded.error == "CayenneLPP: Byte 2: type 57 is not known."
    assert decode([], MESSAGE).error == "No decoder is chosen."


def test_decode_unknown_slug_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        decode(["geolocation"], MESSAGE)
    assert decoders.LABELS.keys() == decoders.DECODERS.keys() | {"codec", "geolocation"}


@dataclass(frozen=True)
class Solved:
    latitude: float = 51.907218
    longitude: float = 4.489303
    radius: float = 85.0
    method: str = "TDOA"
    solved_at: datetime | None = datetime(2018, 10, 19, 11, 20, 48, 500_000, tzinfo=UTC)


def test_geolocation_pack() -> None:
    assert [(m.name, m.value, m.unit, m.time) for m in decoders.geolocation(Solved(), 9.0)] == [
        ("locOrigin", "KPNLORA", None, 9.0),
        ("latitude", 51.907218, "lat", 9.0),
        ("longitude", 4.489303, "lon", 9.0),
        ("radius", 85.0, "m", 9.0),
        ("locMethod", "TDOA", None, 9.0),
        ("locTime", 1539948048.5, "s", 9.0),
    ]
    bare = decoders.geolocation(Solved(method="", solved_at=None), 9.0)
    assert [m.name for m in bare] == ["locOrigin", "latitude", "longitude", "radius"]


@given(st.binary(max_size=60))
def test_decode_any_payload_has_values_or_a_reason(payload: bytes) -> None:
    decoded = decode(["thingsml-lora", "cayenne-lpp"], replace(MESSAGE, payload=payload))
    assert bool(decoded.measurements) == (decoded.error is None)
