"""Merge patches and deltas of JSON documents (W8)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from common.merge_patch import delta, depth, equal, merge

# RFC 7396, appendix A, in its order.
APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_merge_does_what_the_appendix_says(original: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((original, patch))
    assert merge(original, patch) == result
    assert (original, patch) == before, "neither is changed"


@pytest.mark.parametrize(
    ("desired", "reported", "differs"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": 1}, {"a": True}, {"a": 1}),
        ({"a": 1}, {}, {"a": 1}),
        ({}, {"a": 1}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "d": 4}}, {}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, {"a": [1, 2]}),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, {}),
        ({"a": [{"b": 2}]}, {"a": [{"b": 2, "c": 3}]}, {"a": [{"b": 2}]}),
        ({"a": None}, {"a": None}, {}),
        ({"a": None}, {}, {"a": None}),
        ({"a": {}}, {"a": {"b": 1}}, {}),
    ],
)
def test_delta_holds_only_the_members_that_differ(desired: Any, reported: Any, differs: Any) -> None:
    assert delta(desired, reported) == differs


def test_equal_is_that_of_json() -> None:
    assert equal({"a": [1, "x", None]}, {"a": [1.0, "x", None]})
    assert not equal([0], [False])
    assert not equal({"a": 1}, {"a": 1, "b": 1})
    assert not equal([1], [1, 1])


def test_depth_is_counted_without_going_deep() -> None:
    assert [depth(one) for one in (1, {}, {"a": 1}, [[]], {"a": [{"b": 1}], "c": 2})] == [0, 1, 1, 2, 3]
    deep: Any = 1
    for _level in range(20_000):
        deep = [deep]
    assert depth(deep) == 20_000
