"""Tables in files of people (D12): read from any CSV that spreadsheets write, and written so that it can be mended.

Knows no models. Files come as they are: comma, semicolon or tab, with or without a byte order mark, in UTF-8,
UTF-16 or Windows-1252. What cannot be read is told with the line (RFC 4180 is the form that is meant).
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _

MAX_BYTES: Final = 20 * 1024 * 1024
MAX_ROWS: Final = 100_000
MAX_COLUMNS: Final = 100
MAX_CELL: Final = 5_000
DELIMITERS: Final = (",", ";", "\t")
# The column that a file of refused rows has more than the file that was sent.
ERROR_COLUMN: Final = "error"
# Spreadsheets take a cell that starts so for a formula.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_KEPT_FROM_FORMULA: Final = re.compile(r"'+[=+\-@\t\r]")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class FileUnreadable(Exception):
    """The file is not a table; the text is a sentence for the person, with the line where there is one."""


@dataclass(frozen=True, slots=True)
class Table:
    """``rows``: (number as a spreadsheet counts, the header being 1; as many cells as the header has)."""

    delimiter: str
    header: list[str]
    rows: list[tuple[int, list[str]]]


def read(content: bytes) -> Table:
    """The table in the file. Rows without any text are left out. Raises FileUnreadable, and nothing else."""
    if len(content) > MAX_BYTES:
        raise FileUnreadable(_("The file is larger than 20 MB. Divide it into several files."))
    text = _text(content)
    first, _end, rest = text.partition("\n")
    delimiter = ""
    if re.fullmatch(r"sep=[,;\t]\r?", first, re.IGNORECASE):
        delimiter, text = first[4], rest
    delimiter = delimiter or _delimiter(text)
    records = _records(text, delimiter)
    header = [cell.strip() for cell in next(records, (1, []))[1]]
    if not any(header):
        raise FileUnreadable(_("The first line is empty. It must have the names of the columns."))
    while not header[-1]:
        header.pop()
    if len(header) > MAX_COLUMNS:
        raise FileUnreadable(_("The file has more than %(most)d columns.") % {"most": MAX_COLUMNS})
    rows = []
    for number, cells in records:
        if not any(cell.strip() for cell in cells):
            continue
        rows.append((number, _cells(number, cells, len(header))))
        if len(rows) > MAX_ROWS:
            text = _("The file has more than %(most)s rows. Divide it into several files.")
            raise FileUnreadable(text % {"most": number_format(MAX_ROWS, force_grouping=True)})
    if not rows:
        raise FileUnreadable(_("There are no rows under the names of the columns."))
    return Table(delimiter, header, rows)


def _text(content: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    guesses = [encoding] if encoding else ["utf-8", "cp1252"]
    if not encoding and b"\0" in content[:200]:
        # Text in UTF-16 without a mark: a Latin letter has its zero byte behind it, or before it.
        guesses = ["utf-16-le" if content[1:2] == b"\0" else "utf-16-be"]
    for guess in guesses:
        try:
            text = content.decode(guess)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise FileUnreadable(_("This is not a text file. Save the sheet as “CSV UTF-8” and choose that file."))


def _delimiter(text: str) -> str:
    """The delimiter with which most of the first records are as long as the header, and the header is longest."""

    def score(delimiter: str) -> tuple[int, int]:
        head: list[list[str]] = []
        with contextlib.suppress(FileUnreadable):
            head.extend(cells for _number, cells in islice(_records(text, delimiter), 20) if cells)
        wide = len(head[0]) if head else 0
        return (sum(len(cells) == wide for cells in head), wide) if wide > 1 else (0, wide)

    return max(DELIMITERS, key=score)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            text = _("Row %(row)d (line %(line)d) cannot be read: a quotation mark is missing or misplaced.")
            raise FileUnreadable(text % {"row": number, "line": line}) from error
        yield number, cells


def _cells(number: int, cells: list[str], width: int) -> list[str]:
    if len(cells) > width and any(cell.strip() for cell in cells[width:]):
        text = _("Row %(row)d has %(cells)d cells, more than the %(columns)d columns that the first line names.")
        raise FileUnreadable(text % {"row": number, "cells": len(cells), "columns": width})
    if any(len(cell) > MAX_CELL for cell in cells):
        text = _("Row %(row)d has a cell with more than %(most)d characters.")
        raise FileUnreadable(text % {"row": number, "most": MAX_CELL})
    kept = [_unprotected(cell) for cell in cells[:width]]
    return kept + [""] * (width - len(kept))


def _unprotected(cell: str) -> str:
    return cell[1:] if _KEPT_FROM_FORMULA.match(cell) else cell


def protected(cell: str) -> str:
    """The cell so that no spreadsheet takes it for a formula: with an apostrophe, which :func:`read` takes off."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def write(header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> bytes:
    """A file in UTF-8 with a byte order mark, so that spreadsheets open it; :func:`read` gives the same cells."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow([protected(name) for name in header])
    writer.writerows([protected(cell) for cell in cells] for cells in rows)
    return codecs.BOM_UTF8 + out.getvalue().encode()
