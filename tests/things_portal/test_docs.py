"""The documents name what there is: each test that one names exists, where it says, and each row of their tables of
tests has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)`(:?)|`(test_\w+)(?:\[[^`]*\])?`|([;|\n])")


@cache
def names_in(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^ *(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE))


@cache
def files() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


def missing(text: str) -> Iterator[str]:
    """What a document names and is not there. After ``file.py:`` the names up to the end of the part are its."""
    within: Path | None = None
    for file, colon, name, end in NAMED.findall(text):
        if end:
            within = None
        elif file:
            found = [path for path in files() if path.as_posix().endswith(f"/{file}")]
            within = found[0] if found and colon else None
            if not found:
                yield file
        elif not any(name in names_in(path) for path in ([within] if within else files())):
            yield f"{within.name}: {name}" if within else name


def rows(text: str) -> Iterator[str]:
    """The rows of the tables whose last column is "the test"."""
    inside = False
    for line in text.splitlines():
        if re.match(r"\|.*\| the test[^|]*\|$", line):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("| ---"):
            yield line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tests_that_a_document_names_exist(document: Path) -> None:
    assert list(missing(document.read_text())) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_row_of_a_table_of_tests_has_one(document: Path) -> None:
    without = [row for row in rows(document.read_text()) if not re.search(r"test_|…\[|the same", row.split("|")[-2])]
    assert without == []


def test_what_is_missing_is_seen() -> None:
    told = "`test_docs.py`: `test_what_is_missing_is_seen`, `test_no`; `test_gone.py`\n`test_nowhere[1]`"
    assert list(missing(told)) == ["test_docs.py: test_no", "test_gone.py", "test_nowhere"]
    assert list(rows("| a | the test |\n| --- | --- |\n| b | `test_x` |\n\n| c | d |")) == ["| b | `test_x` |"]
