"""ThingsML for LoRa: the index table, packs read strictly, and the encoder as the inverse."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.measurements import Measurement, Value
from codec.thingsml import INDEX, NotThingsML, decode_lora, encode_lora

AT = 1_700_000_000.0


def test_index_is_the_published_list() -> None:
    assert sorted(INDEX) == list(range(-24, 15))
    assert INDEX[-24] == ("temperature", "Cel")
    assert INDEX[5] == ("batteryLevel", "%EL")
    assert INDEX[14] == ("counter", None)
    assert len({name for name, _ in INDEX.values()}) == 39


def test_decode_index_name_and_value_types() -> None:
    # [{23: -24, 2: 21.5}, {0: "door", 4: true}, {23: 14, 2: 7}, {0: "id", 8: h'01ff'}], bytes written by hand.
    payload = bytes.fromhex("84 a2173702f94d60 a20064646f6f7204f5 a2170e0207 a20062696408 4201ff")
    assert decode_lora(payload, AT) == [
        Measurement(name="temperature", value=21.5, unit="Cel", time=AT),
        Measurement(name="door", value=True, time=AT),
        Measurement(name="counter", value=7.0, time=AT),
        Measurement(name="id", value=b"\x01\xff", time=AT),
    ]


def test_decode_base_values_and_times() -> None:
    pack = [
        {-2: "urn:dev:DEVEUI:0059AC000017338B:", -3: AT - 60, -4: "V", 0: "battery", 2: 3},
        {0: "battery", 2: 4, 6: -30},
        {-5: 100, 23: -24, 2: 1},
    ]
    assert [(m.name, m.value, m.unit, m.time) for m in decode_lora(cbor2.dumps(pack), AT)] == [
        ("battery", 4.0, "V", AT - 90),
        ("battery", 3.0, "V", AT - 60),
        ("temperature", 101.0, "Cel", AT - 60),
    ]


def test_decode_decimal_fraction() -> None:
    payload = bytes.fromhex("81 a2 1737 02 c4 82 21 19ffff")  # [{23: -24, 2: 4([-2, 65535])}]
    assert decode_lora(payload, AT)[0].value == 655.35


@pytest.mark.parametrize(
    "pack",
    [
        [],
        {},
        [1],
        [{}],
        [{23: -25, 2: 1}],
        [{23: 15, 2: 1}],
        [{23: 0}],
        [{23: 0, 2: True}],
        [{23: 0, 2: "1"}],
        [{23: 0, 2: 1, 4: True}],
        [{23: 0, 0: "heading", 2: 1}],
        [{23: 0, 2: float("nan")}],
        [{23: 0, 2: float("inf")}],
        [{23: 0, 2: 1, 99: 1}],
        [{23: 0, 2: 1, "x": 1}],
        [{"n": "a", "v": 1}],
        [{0: "a b", 2: 1}],
        [{0: "a", 8: "AAAA"}],
        [{0: b"a", 2: 1}],
        [{0: "a", 2: 1, -1: 11}],
        [{0: "a", 5: 1}],
        [{-3: AT}],
        [{23: 0, 2: 2**70}],
    ],
)
def test_decode_refuses(pack: object) -> None:
    with pytest.raises(NotThingsML):
        decode_lora(cbor2.dumps(pack), AT)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "7639",
        encode_lora([("temperature", 20)]).hex() + "00",  # something follows
        encode_lora([("temperature", 20)]).hex()[:-2],  # cut off
        "81a3173702010202",  # key 2 twice
        "d9d9f7" + encode_lora([("temperature", 20)]).hex(),  # a tag
        "81a2173702c5820103",  # a bigfloat, which is no decimal fraction
        "81a2173702c5821a7fffffff01",  # a bigfloat that would take for ever
        "81a2173702c4821a7fffffff01",  # a decimal fraction of the same kind
        "81a2173702d81c01",  # a shared reference
        "81" * 200,  # nested
        "9bffffffffffffffff",  # a length that is a lie
    ],
)
def test_decode_refuses_bytes(payload: str) -> None:
    with pytest.raises(NotThingsML):
        decode_lora(bytes.fromhex(payload), AT)


@given(st.binary(max_size=80))
def test_decode_any_bytes(payload: bytes) -> None:
    try:
        decoded = decode_lora(payload, AT)
    except NotThingsML as error:
        assert str(error)
    else:
        assert decoded


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in INDEX.values()]) | st.just("own:name_1"),
            st.floats(allow_nan=False, allow_infinity=False)
            | st.booleans()
            | st.text("abcé", max_size=8)
            | st.binary(max_size=8),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_encode_then_decode(values: list[tuple[str, Value]]) -> None:
    decoded = decode_lora(encode_lora(values), AT)
    assert [(m.name, m.value, type(m.value)) for m in decoded] == [(n, v, type(v)) for n, v in values]


def test_encode_is_small_and_refuses() -> None:
    assert encode_lora([(-24, 20)]).hex() == "81a202141737"
    with pytest.raises(ValueError, match="not in the ThingsML list"):
        encode_lora([(15, 1.0)])
    with pytest.raises(ValueError, match="at least one"):
        encode_lora([])
