"""SenML as it is written, checked to the line (S2, RFC 8428)."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import senml, senml_check
from codec.senml_check import check

NAME = "urn:dev:IMEI:356938035643809:"


def told(text: str) -> list[str]:
    return [str(error) for error in check(text, NAME).errors]


def test_good_list_gets_the_base_name_and_is_what_is_sent() -> None:
    found = check('[\n {"n": "setpoint", "u": "Cel", "v": 21.5},\n {"n": "on", "vb": true}\n]', NAME)
    assert found.errors == found.warnings == ()
    assert found.records == [
        {"bn": NAME, "n": "setpoint", "u": "Cel", "v": 21.5},
        {"n": "on", "vb": True},
    ]
    assert json.loads(found.compact) == json.loads(found.indented) == found.records
    assert found.indented.count("\n") == 3


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ('{"n": "a",\n "v": 1,\n "vs": "x"}', "Line 5, record 2, “vs”: A record must have one value"),
        ('{"n": "a"}', "Line 3, record 2: The record has no value (v, vs, vb or vd)."),
        ('{"n": "a b", "v": 1}', "Line 3, record 2, “n”: A name starts with a letter or digit"),
        ('{"n": "ä", "v": 1}', "Line 3, record 2, “n”"),
        ('{"v": 1}', "Line 3, record 2, “n”: The record has no name"),
        ('{"n": "a", "v": "1"}', "Line 3, record 2, “v”: The value must be a number."),
        ('{"n": "a", "vb": 1}', "Line 3, record 2, “vb”: The value must be true or false."),
        ('{"n": "a", "vs": 1}', "Line 3, record 2, “vs”: The value must be text."),
        ('{"n": "a",\n"vd": "a=="}', "Line 4, record 2, “vd”: The data must be base64url"),
        ('{"n": "a", "v": 1, "s": "x"}', "Line 3, record 2, “s”: The value must be a number."),
        ('{"n": "a", "v": 1,\n "t": 1e300}', "Line 4, record 2, “t”: The time is outside"),
        ('{"n": "a", "v": 1, "bver": 11}', "Line 3, record 2, “bver”: SenML version 11 is newer"),
        ('{"n": "a", "v": 1, "bver": 5}', "Line 3, record 2, “bver”: All records of a pack"),
        ('{"n": "a", "v": 1,\n\n "must_": 1}', "Line 5, record 2, “must_”: The label must be understood"),
        ('{"n": "a", "v": 1,\n "v": 2}', "Line 4, record 2, “v”: The label stands twice"),
        ('{"bn": "urn:dev:IMEI:356938035643817:", "n": "a", "v": 1}', "Line 3, record 2, “bn”: The base name is not"),
        ("7", "Line 3, record 2: A record must be an object"),
        ('["n"]', "Line 3, record 2: A record must be an object"),
        ('{"n": "a", "x": {"v": "1"}, "v": "1"}', "Line 3, record 2, “v”"),
    ],
)
def test_error_names_line_record_and_field(record: str, says: str) -> None:
    (error,) = told('[\n {"n": "a", "vs": "},{[\\""}\n,' + record + "]")
    assert error.startswith(says)


def test_place_is_that_of_the_key_itself_and_not_of_a_text_like_it() -> None:
    before = '[{"n": "a", "x": {"v": 0}, "y": "\\"v\\": ", '
    (error,) = check(before + '"v": "1"}]', NAME).errors
    assert (error.line, error.column) == (1, len(before) + 1)


def test_every_wrong_record_is_told_and_those_after_keep_their_base() -> None:
    text = '[\n{"bu": "Cel", "v": 1, "vs": "x"},\n{"n": "b"},\n{"n": "c", "v": 1},\n{"n": "d", "v": "x"}]'
    assert [error.split(":")[0] for error in told(text)] == [
        "Line 2, record 1, “vs”",
        "Line 3, record 2",
        "Line 5, record 4, “v”",
    ]


def test_many_errors_are_told_up_to_a_number() -> None:
    assert len(told("[" + ",".join(['{"n": "a"}'] * 40) + "]")) == senml_check.MOST


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[\n{"n": "a" "v": 1}]', "Line 2, column 11: This is not JSON"),
        ('[{"n": "a", "v": 1}', "Line 1, column 20: This is not JSON"),
        ('[{"n": "a",\n "v": NaN}]', "Line 2, column 7: NaN is not a JSON number."),
        ('\n {"n": "a", "v": 1}', "Line 2, column 2: A pack is a list of records"),
        ("[]", "Line 1: The pack has no records."),
        ('[{"bu": "Cel"}]', "Line 1: The list has no value to send."),
        ("", "Line 1, column 1: This is not JSON"),
        (f'[{{"n": "a", "vs": "{"x" * senml.MAX_BYTES}"}}]', "Line 1, column 1: The pack has 65"),
    ],
)
def test_error_of_the_whole_has_its_place(text: str, says: str) -> None:
    (error,) = told(text)
    assert error.startswith(says)


def test_unknown_unit_is_a_warning_only() -> None:
    found = check('[{"n": "a", "v": 1, "u": "Cel"},\n{"n": "b", "v": 1, "u": "celsius"}]', NAME)
    assert [str(each) for each in found.warnings] == ["Line 2, record 2, “u”: The unit celsius is in no register."]
    assert found.records


def test_longest_list_is_looked_at_in_little_time() -> None:
    text = "[" + ",\n".join(['{"n": "abcdefghij", "u": "x", "v": 1}'] * 1000) + "]"
    started = time.perf_counter()
    assert len(check(text, NAME).warnings) == senml_check.MOST
    assert time.perf_counter() - started < 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["n", "v", "vs", "bn", "u", "x_", "t"]), inner),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4), st.sampled_from([None, 1]))
def test_it_agrees_with_the_service_and_never_raises(records: list[object], indent: int | None) -> None:
    text = json.dumps(records, indent=indent)
    found = check(text, NAME)
    try:
        sent = senml.add_base(senml.read_json(text.encode()), NAME)
    except senml.SenmlError:
        assert found.errors
        assert found.records is None
    else:
        assert found.records == sent


@given(st.text(alphabet='[]{}":,nv1 \n\\x', max_size=40))
def test_any_text_is_looked_at(text: str) -> None:
    found = check(text, NAME)
    assert bool(found.errors) != bool(found.records)
