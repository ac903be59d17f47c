"""What differs between two texts: the changed lines, some around them, and a bound on the work."""

from __future__ import annotations

import pytest

from devices import source_difference
from devices.source_difference import difference

TEN = [f"line {number}" for number in range(1, 11)]


def told(before: list[str], after: list[str]) -> list[str]:
    signs = {"same": " ", "gone": "-", "new": "+", "gap": "…"}
    return [f"{signs[line.kind]}{line.text}" for line in difference("\n".join(before), "\n".join(after))]


@pytest.mark.parametrize("text", ["", "a", "a\nb\n"])
def test_same_texts_differ_in_nothing(text: str) -> None:
    assert difference(text, text) == []


def test_changed_line_with_three_around_it_and_its_numbers() -> None:
    lines = difference("\n".join(TEN), "\n".join([*TEN[:4], "new", *TEN[5:]]))
    assert [line.kind for line in lines] == ["gap", *["same"] * 3, "gone", "new", *["same"] * 3]
    assert [(line.before, line.after) for line in lines[4:6]] == [(5, None), (None, 5)]


def test_two_changes_far_apart_have_a_gap_between_them() -> None:
    many = [str(number) for number in range(30)]
    changed = ["first", *many[1:29], "last"]
    assert told(many, changed) == [
        "-0", "+first", " 1", " 2", " 3", "…", " 26", " 27", " 28", "-29", "+last",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], ["a"], ["+a"]),
        (["a"], [], ["-a"]),
        (["a", "b"], ["b"], ["-a", " b"]),
        (["a", "a"], ["a", "a", "a"], [" a", " a", "+a"]),
        (["a", "b", "c"], ["c", "b", "a"], ["+c", "+b", " a", "-b", "-c"]),
    ],
)
def test_small_ones(before: list[str], after: list[str], expected: list[str]) -> None:
    assert told(before, after) == expected


def test_much_that_changed_is_shown_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_difference, "MOST_LINES", 4)
    assert told(["x", "a", "b", "c", "y"], ["x", "b", "a", "c", "d", "y"]) == [
        " x", "-a", "-b", "-c", "+b", "+a", "+c", "+d", " y",
    ]  # fmt: skip
