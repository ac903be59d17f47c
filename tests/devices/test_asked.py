"""The state of All Devices in its address (D3, D11): whatever is asked is spelled in one way, and nothing raises."""

from __future__ import annotations

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from devices.asked import BASE, Asked, ValueKey, Where, number

PARAMETERS = ("q", "project", "type", "connectivity", "processing", "connection", "flow", "silent", "sync", "health")
MORE = ("where", "where_key", "where_op", "where_value", "col", "col_key", "col_source", "sort", "page", "view")
WORDS = (
    *(
        "1",
        "0",
        "-1",
        "9" * 40,
        "lora",
        "active",
        "7d",
        "0d",
        "never",
        "out",
        "name",
        "-flows",
        "reported:t",
        "٣",
        "good",
    ),
    *("good", "reported:t>1", "metadata:batch=7", "desired:x!", "reported:a~b", "metadata::=:", "-metadata:a b"),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(WORDS),
)


@given(st.lists(st.tuples(st.sampled_from(PARAMETERS + MORE), TEXTS), max_size=12))
def test_any_address_is_understood_and_its_spelling_means_the_same(pairs: list[tuple[str, str]]) -> None:
    data = QueryDict(mutable=True)
    for name, value in pairs:
        data.appendlist(name, value)
    asked = Asked.parse(data, [1, 2])
    again = Asked.parse(QueryDict(asked.address().lstrip("?")), [1, 2])
    assert again == asked
    assert again.address() == asked.address()
    assert Asked.parse(QueryDict(asked.text), [1, 2]).text == asked.text


def asked(text: str) -> Asked:
    return Asked.parse(QueryDict(text), [1, 2])


def test_plain_list_has_a_plain_address() -> None:
    assert asked("").address() == "?"
    assert asked("sort=name&page=1&q=").address() == "?"
    assert not asked("project=1").filtered


def test_foreign_projects_are_left_out() -> None:
    assert asked("project=1&project=7").projects == (1,)


@pytest.mark.parametrize(
    ("text", "column", "operator", "value"),
    [
        ("reported:temperature>25", ("reported", "temperature"), ">", "25"),
        ("reported:temperature >= 25.5", ("reported", "temperature"), ">=", "25.5"),
        ("metadata:batch=7", ("metadata", "batch"), "=", "7"),
        ("metadata:room number!=B 12", ("metadata", "room number"), "!=", "B 12"),
        ("reported:mode~eco", ("reported", "mode"), "~", "eco"),
        ("desired:interval!", ("desired", "interval"), "!", ""),
        ("desired:interval?", ("desired", "interval"), "?", ""),
        ("reported:a:b=1", ("reported", "a:b"), "=", "1"),
    ],
)
def test_condition_is_read(text: str, column: tuple[str, str], operator: str, value: str) -> None:
    one = Where.parse(text)
    assert one == Where(ValueKey(*column), operator, value)
    assert Where.parse(str(one)) == one


@pytest.mark.parametrize(
    "text", ["", "temperature>25", "reported:>1", "reported:t", "reported:t>", "other:t>1", "reported: =1"]
)
def test_what_is_no_condition_is_left_out(text: str) -> None:
    assert Where.parse(text) is None


def test_condition_of_the_form_joins_the_others() -> None:
    found = asked("where=metadata:batch%3D7&where_key=reported:temperature&where_op=>&where_value=25").where
    assert [str(one) for one in found] == ["metadata:batch=7", "reported:temperature>25"]
    # A form that is half filled in asks for nothing.
    assert asked("where_key=reported:temperature&where_op=>&where_value=").where == ()


def test_columns_stand_in_the_order_of_the_table_and_values_after_them() -> None:
    found = asked("col=reported:t&col=flows&col=type&col=nonsense&col_key=batch&col_source=metadata").columns
    assert found == ("name", "type", "flows", "reported:t", "metadata:batch")
    assert asked("col=nonsense").columns == ("name",)
    assert asked("").columns == BASE


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7.0), ("-7.5", -7.5), ("7,5", 7.5), (".5", 0.5), ("1e3", 1000.0), (" 7 ", 7.0)]
    + [(text, None) for text in ("", "seven", "1e999", "0x10", "inf", "nan", "1.2.3", "٣", "-")],
)
def test_number_is_what_reads_as_one(text: str, value: float | None) -> None:
    assert number(text) == value
