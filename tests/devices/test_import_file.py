"""Reading people's CSV files, and writing ones that can be mended (D12)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import import_file
from devices.import_file import FileUnreadable, read, write

TEXT = 'Name;DevEUI;Note\r\nHöhe 1;0059AC0000010001;"a;b""c"\r\n;;\r\nHöhe 2;0059AC0000010002;\r\n'
ROWS = [(2, ["Höhe 1", "0059AC0000010001", 'a;b"c']), (4, ["Höhe 2", "0059AC0000010002", ""])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_file_is_read_in_the_encodings_of_spreadsheets(encoding: str) -> None:
    table = read(TEXT.encode(encoding))
    assert (table.delimiter, table.header, table.rows) == (";", ["Name", "DevEUI", "Note"], ROWS)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_found(delimiter: str) -> None:
    table = read(delimiter.join(["name", "note"]).encode() + b"\n" + delimiter.join(["a", '"x,y;z"']).encode())
    assert (table.delimiter, table.rows) == (delimiter, [(2, ["a", "x,y;z"])])


def test_delimiter_in_the_line_of_a_spreadsheet_is_taken() -> None:
    assert read(b"sep=;\r\nname;a,b,c\r\nx;1,2,3\r\n").rows == [(2, ["x", "1,2,3"])]


def test_file_of_one_column_is_a_table() -> None:
    assert read(b"name\nA\nB").rows == [(2, ["A"]), (3, ["B"])]


def test_short_rows_are_filled_up() -> None:
    assert read(b"a,b,c\n1\n").rows == [(2, ["1", "", ""])]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "first line is empty"),
        (b"\n\nname\nA", "first line is empty"),
        (b"name,note\n", "no rows"),
        (b'name,note\nA,1\nB,"open\nC,2\n', "Row 3 (line 3)"),
        (b"name,note\nA,1,2\n", "Row 2 has 3 cells"),
        (b"PK\x03\x04\x00\x00\x81\x8d", "not a text file"),
        (b"name\n" + b"x" * 6000, "Row 2 has a cell"),
        (b"name," * 101 + b"\n1", "more than 100 columns"),
        (b"x" * (import_file.MAX_BYTES + 1), "20 MB"),
        (b"n\n" + b"x\n" * (import_file.MAX_ROWS + 1), "100,000 rows"),
    ],
    ids=["empty", "blank", "header only", "quote", "wide", "binary", "cell", "columns", "bytes", "rows"],
)
def test_what_cannot_be_read_is_told_with_its_row(content: bytes, sentence: str) -> None:
    with pytest.raises(FileUnreadable) as refused:
        read(content)
    assert sentence in str(refused.value)


@given(st.binary(max_size=300) | st.text(alphabet='a1",;\t\r\n\0=é', max_size=60).map(lambda text: text.encode()))
def test_any_bytes_give_a_table_or_the_own_error(content: bytes) -> None:
    with contextlib.suppress(FileUnreadable):
        table = read(content)
        assert all(len(cells) == len(table.header) for _number, cells in table.rows)


CELL = st.text(alphabet="a1é,;\"\n\t\r'=+-@", min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6), st.sampled_from(import_file.DELIMITERS))
def test_written_file_gives_the_same_cells_and_no_formula(rows: list[tuple[str, str]], delimiter: str) -> None:
    content = write(["name", "note"], rows, delimiter)
    table = read(content)
    assert [cells for _number, cells in table.rows] == [list(cells) for cells in rows]
    assert all(import_file.protected(cell)[0] not in "=+-@\t\r" for cells in rows for cell in cells)
