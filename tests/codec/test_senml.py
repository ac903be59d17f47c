"""SenML in and out: RFC 8428's rules, the platform's habits (T6, M5, I3), and what must be refused."""

from __future__ import annotations

import json

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.measurements import Measurement, Value
from codec.senml import (
    SenmlError,
    add_base,
    device_urn,
    dump_json,
    parse_cbor,
    parse_json,
    read_json,
    unknown_units,
)
from codec.senml_records import resolve

NOW = 1_700_000_000.0
IMEI = "urn:dev:IMEI:356938035643809:"
DEVEUI = "urn:dev:DEVEUI:0059AC000017338B:"


def parse(records: object) -> list[tuple[str, Value, str | None, float]]:
    pack = parse_json(json.dumps(records).encode(), received_at=NOW)
    return [(m.name, m.value, m.unit, m.time) for m in pack.measurements]


def test_parse_sdk_vector_with_index() -> None:
    body = (
        b'[{"bn":"device-name","i_":-23,"vd":"aG9paG9pAA"},{"i_":-19,"vb":true},{"i_":-18,"v":1.500000},'
        b'{"i_":-24,"v":10},{"i_":-15,"vs":"haihai"}]'
    )
    pack = parse_json(body, received_at=NOW)
    assert pack.base_name == "device-name"
    assert not pack.has_own_time
    assert pack.device() is None
    assert [(m.name, m.value, m.unit) for m in pack.measurements] == [
        ("humidity", b"hoihoi\x00", "%RH"),
        ("power", True, "W"),
        ("pressure", 1.5, "Pa"),
        ("temperature", 10.0, "Cel"),
        ("breadth", "haihai", "m"),
    ]


def test_parse_base_only_first_record() -> None:
    pack = parse_json(
        b'[{"bn":"urn:dev:DEVEUI:0059ac000017338b:","bt":1637165561},{"n":"locOrigin","vs":"KPNLORA"},'
        b'{"n":"latitude","u":"lat","v":51.79}]',
        received_at=NOW,
    )
    assert pack.has_own_time
    assert pack.device() == ("DEVEUI", "0059AC000017338B")
    assert pack.measurements == (
        Measurement(name="locOrigin", value="KPNLORA", time=1637165561.0),
        Measurement(name="latitude", value=51.79, unit="lat", time=1637165561.0),
    )


def test_parse_base_fields_hold_until_replaced() -> None:
    records = [
        {"bn": IMEI, "bt": NOW - 100, "bu": "A", "bv": 20, "n": "a", "v": 1},
        {"n": "b", "vb": False, "t": 5},
        {"bn": IMEI + "gps:", "n": "c", "u": "lat", "v": 2, "t": -5},
        {"bt": -60, "bv": 0, "n": "d", "vs": "x"},
    ]
    assert parse(records) == [
        ("gps:c", 22.0, "lat", NOW - 105),
        ("a", 21.0, "A", NOW - 100),
        ("b", False, "A", NOW - 95),
        ("gps:d", "x", "A", NOW - 60),
    ]


@pytest.mark.parametrize(
    ("time", "resolved", "own"),
    [(0, NOW, False), (-10, NOW - 10, False), (2**28 - 1, NOW + 2**28 - 1, False), (2**28, 2.0**28, True)],
)
def test_parse_relative_and_absolute_time(time: int, resolved: float, own: bool) -> None:
    pack = parse_json(json.dumps([{"n": "a", "v": 1, "t": time}]).encode(), received_at=NOW)
    assert (pack.measurements[0].time, pack.has_own_time) == (resolved, own)


def test_parse_sum_makes_no_measurement_and_unknown_labels_are_left_out() -> None:
    assert parse([{"n": "a", "s": 5}, {"n": "b", "v": 1, "s": 2, "x": [1], "ut": 3}]) == [("b", 1.0, None, NOW)]


def test_parse_full_name_without_base() -> None:
    pack = parse_json(json.dumps([{"n": IMEI + "battery", "v": 1}]).encode(), received_at=NOW)
    assert (pack.base_name, pack.device(), pack.measurements[0].name) == (
        "",
        ("IMEI", "356938035643809"),
        "battery",
    )


@pytest.mark.parametrize(
    "records",
    [
        [{"bn": IMEI, "n": "a", "v": 1}, {"bn": DEVEUI, "n": "a", "v": 1}],
        [{"n": "a", "v": 1}, {"bn": DEVEUI, "n": "a", "v": 1}],
    ],
)
def test_device_refuses_several(records: object) -> None:
    pack = parse_json(json.dumps(records).encode(), received_at=NOW)
    with pytest.raises(SenmlError, match="one device"):
        pack.device()


@pytest.mark.parametrize(
    ("body", "record", "field"),
    [
        ("[]", None, None),
        ("{}", None, None),
        ("[1]", 1, None),
        ("[{}]", 1, None),
        ('[{"n":"a","v":1},{"n":"a"}]', 2, None),
        ('[{"n":"a","v":1,"vs":"x"}]', 1, "vs"),
        ('[{"n":"a","v":true}]', 1, "v"),
        ('[{"n":"a","v":"1"}]', 1, "v"),
        ('[{"n":"a","v":null}]', 1, "v"),
        ('[{"n":"a","vb":1}]', 1, "vb"),
        ('[{"n":"a","vs":1}]', 1, "vs"),
        ('[{"n":"a","v":1e999}]', 1, "v"),
        ('[{"n":"a","v":1' + "0" * 400 + "}]", 1, "v"),
        ('[{"n":"a","v":1' + "0" * 5000 + "}]", None, None),
        ('[{"n":"a","v":NaN}]', None, None),
        ('[{"bv":1e308,"n":"a","v":1e308}]', 1, "v"),
        ('[{"n":"a","v":1,"v":2}]', 1, "v"),
        ('[{"v":1}]', 1, "n"),
        (f'[{{"bn":"{IMEI}","v":1}}]', 1, "n"),
        ('[{"n":"a b","v":1}]', 1, "n"),
        ('[{"n":"_a","v":1}]', 1, "n"),
        ('[{"n":"a\\n","v":1}]', 1, "n"),
        ('[{"bn":"urn:dev:IMEI:12:","n":"a","v":1}]', 1, "bn"),
        ('[{"n":"a","i_":-24,"v":1}]', 1, "i_"),
        ('[{"i_":15,"v":1}]', 1, "i_"),
        ('[{"i_":1.0,"v":1}]', 1, "i_"),
        ('[{"n":"a","v":1,"new_":1}]', 1, "new_"),
        ('[{"n":"a","vd":"AA=="}]', 1, "vd"),
        ('[{"n":"a","vd":"+/+/"}]', 1, "vd"),
        ('[{"n":"a","vd":"A"}]', 1, "vd"),
        ('[{"n":"a","vs":"\\u0000"}]', 1, "vs"),
        ('[{"n":"a","vs":"\\ud800"}]', 1, "vs"),
        ('[{"bver":11,"n":"a","v":1}]', 1, "bver"),
        ('[{"bver":0,"n":"a","v":1}]', 1, "bver"),
        ('[{"n":"a","v":1},{"bver":5,"n":"a","v":1}]', 2, "bver"),
        ('[{"n":"a","v":1,"t":1e15}]', 1, "t"),
        ('[{"bt":-1e15,"n":"a","v":1}]', 1, "bt"),
    ],
)
def test_parse_refuses_with_place(body: str, record: int | None, field: str | None) -> None:
    with pytest.raises(SenmlError) as caught:
        parse_json(body.encode(), received_at=NOW)
    assert (caught.value.record, caught.value.field) == (record, field)


def test_parse_syntax_error_has_line_and_column() -> None:
    with pytest.raises(SenmlError) as caught:
        parse_json(b'[{"n":"a",\n "v":}]', received_at=NOW)
    assert (caught.value.line, caught.value.column) == (2, 6)
    assert str(caught.value) == "Line 2, column 6: This is not JSON: Expecting value."


def test_parse_limits() -> None:
    record = '{"n":"a","v":1}'
    assert len(parse_json(f"[{','.join([record] * 1000)}]".encode(), received_at=NOW).measurements) == 1000
    for body in (f"[{','.join([record] * 1001)}]", " " * 65_537, "[" * 60_000, "\ufeff[]"):
        with pytest.raises(SenmlError):
            parse_json(body.encode(), received_at=NOW)
    with pytest.raises(SenmlError, match="UTF-8"):
        parse_json(b"\xff", received_at=NOW)


def test_parse_cbor_equals_json() -> None:
    numbered = cbor2.dumps([{-2: IMEI, -3: NOW, 0: "a", 1: "V", 2: 1.5}, {23: -24, 2: 20}, {0: "d", 8: b"\xff", 30: 1}])
    labelled = b'[{"bn":"%s","bt":1.7e9,"n":"a","u":"V","v":1.5},{"i_":-24,"v":20},{"n":"d","vd":"_w"}]' % IMEI.encode()
    assert parse_cbor(numbered, received_at=5.0) == parse_json(labelled, received_at=5.0)


@given(st.binary(max_size=80))
def test_parse_any_bytes(body: bytes) -> None:
    for parser in (parse_json, parse_cbor):
        try:
            parser(body, received_at=NOW)
        except SenmlError as error:
            assert error.sentence


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
LABELS = st.sampled_from(
    ["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "i_", "x", "x_"]
)


@given(st.lists(st.dictionaries(LABELS, SCALARS, max_size=4), max_size=4))
def test_parse_any_records(records: list[dict[str, object]]) -> None:
    numbers = {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "vd": 8, "bn": -2, "bt": -3, "i_": 23}
    bodies = [
        (parse_json, json.dumps(records, default=lambda value: value.hex()).encode()),
        (parse_cbor, cbor2.dumps([{numbers.get(k, k): v for k, v in r.items()} for r in records])),
    ]
    for parser, body in bodies:
        try:
            pack = parser(body, received_at=NOW)
        except SenmlError:
            continue
        assert all(m.name and 0 <= m.time < 2**38 for m in pack.measurements)


@pytest.mark.parametrize(
    ("base", "device"),
    [
        (IMEI, ("IMEI", "356938035643809")),
        ("urn:dev:deveui:0059ac000017338b:", ("DEVEUI", "0059AC000017338B")),
        (
            "urn:dev:DVNUUID:6F9619FF-8B86-4011-B42D-00C04FC964FF:",
            ("DVNUUID", "6f9619ff-8b86-4011-b42d-00c04fc964ff"),
        ),
        (IMEI[:-1], None),
        (IMEI + "gps:", None),
        ("urn:dev:IMEI:٣٥٦٩٣٨٠٣٥٦٤٣٨٠٩:", None),
        ("urn:dev:mac:0024befffe804ff1:", None),
        ("", None),
    ],
)
def test_device_urn(base: str, device: tuple[str, str] | None) -> None:
    assert device_urn(base) == device


MEASUREMENTS = [
    Measurement(name="temperature", value=21.0, unit="Cel", time=NOW + 0.25),
    Measurement(name="open", value=True, time=NOW + 2.75),
    Measurement(name="id", value=b"\xff\xfe", time=NOW + 0.25),
    Measurement(name="note", value="é", time=NOW),
]


def test_dump_merged_layout() -> None:
    body = dump_json(MEASUREMENTS, base_name=IMEI, base_time=NOW + 0.25)
    assert json.loads(body) == [
        {"bn": IMEI, "bt": NOW + 0.25, "n": "temperature", "u": "Cel", "v": 21.0},
        {"n": "open", "vb": True, "t": 2.5},
        {"n": "id", "vd": "__4"},
        {"n": "note", "vs": "é", "t": -0.25},
    ]
    assert b" " not in body


def test_dump_legacy_layout() -> None:
    body = dump_json(MEASUREMENTS[:2], base_name=IMEI, base_time=NOW + 0.25, layout="legacy")
    assert json.loads(body) == [
        {"bn": IMEI, "bt": 1_700_000_000},
        {"n": "temperature", "u": "Cel", "v": 21.0},
        {"n": "open", "vb": True, "t": 3},
    ]
    assert b'"bt":1700000000}' in body


def test_dump_refuses() -> None:
    with pytest.raises(ValueError, match="at least one"):
        dump_json([], base_name=IMEI, base_time=NOW)
    with pytest.raises(ValueError, match="absolute"):
        dump_json(MEASUREMENTS, base_name=IMEI, base_time=5.0)


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False)
            | st.booleans()
            | st.text("aé", max_size=5)
            | st.binary(max_size=5),
            st.floats(min_value=1e9, max_value=2e9),
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(min_value=1e9, max_value=2e9),
)
def test_dump_then_parse(values: list[tuple[Value, float]], base_time: float) -> None:
    given_in = sorted(
        (Measurement(name="m", value=value, time=round(time, 6)) for value, time in values), key=lambda m: m.time
    )
    body = dump_json(given_in, base_name=IMEI, base_time=base_time)
    parsed = parse_json(body, received_at=5.0).measurements
    assert [m.value for m in parsed] == [m.value for m in given_in]
    assert [m.time for m in parsed] == pytest.approx([m.time for m in given_in], abs=2e-6, rel=0)


def test_add_base_merges_into_the_first_record() -> None:
    assert add_base([{"n": "led", "vb": True}, {"n": "x", "v": 1}], IMEI) == [
        {"bn": IMEI, "n": "led", "vb": True},
        {"n": "x", "v": 1},
    ]
    assert add_base(read_json(b'[{"bn":"%s"},{"n":"x","v":1}]' % IMEI.encode()), IMEI)[0] == {"bn": IMEI}


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "[1]",
        '[{"n":"x"}]',
        '[{"n":"x","v":1,"n":"y"}]',
        '[{"bt":5}]',
        '[{"n":"x","s":1}]',
        '[{"bn":"urn:dev:IMEI:356938035643800:","n":"x","v":1}]',
        '[{"n":"x","v":1},{"bn":5,"n":"x","v":1}]',
        '[{"n":"x","v":1},{"bn":"","n":"x","v":1}]',
    ],
)
def test_add_base_refuses(body: str) -> None:
    with pytest.raises(SenmlError):
        add_base(read_json(body.encode()), IMEI)


def test_unknown_units_are_only_named() -> None:
    made = [Measurement(name="a", value=1.0, unit=unit, time=NOW) for unit in ("Cel", "smiles", "ppm", "smiles", None)]
    assert unknown_units(made) == ["smiles"]


NAMED = st.sampled_from(["temperature", "a b", "", "x" * 120, "-no", "sub/x"])
RECORD = st.fixed_dictionaries(
    {},
    optional={
        "n": NAMED | st.just(1),
        "v": st.sampled_from([21.5, 3, 2**60, True, "3", float("inf")]),
        "u": st.sampled_from(["Cel", "", None, "\x00", "x" * 120]),
        "t": st.sampled_from([0, -5, 2**30]),
        "bn": st.sampled_from(["urn:dev:IMEI:356938035643809:", "urn:dev:IMEI:1:", "plain:", ""]),
        "bt": st.sampled_from([0, 5, 2**30, -3 * 2**31, 1e12]),
        "bu": st.just("Cel"),
        "bv": st.just(1),
        "x": st.just(1),
        "i_": st.just(-24),
    },
)


@given(st.lists(RECORD, min_size=1, max_size=5))
def test_short_way_through_plain_records_reads_them_as_the_long_one(records: list[dict[str, object]]) -> None:
    def told(given_in: list[dict[str, object]]) -> object:
        try:
            return resolve(given_in, received_at=NOW)
        except SenmlError as error:
            return str(error)

    # A label that SenML does not know is left out, and is none of a plain record.
    assert told(records) == told([record | {"unknown": 1} for record in records])
