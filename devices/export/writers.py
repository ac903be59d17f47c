"""Rows as CSV and JSON, streamed: no writer holds more than a chunk, however many rows come."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import orjson
from django_stubs_ext import StrOrPromise

# What a cell holds; None: nothing is known. Moments are aware.
Cell = str | int | float | bool | datetime | None
Row = Sequence[Cell]
# Bytes that are gathered before they are handed on: fewer make the server busy with handing on.
CHUNK: Final = 64 * 1024
# A spreadsheet runs a cell that begins like this as a formula, also in a file of comma-separated texts.
FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


@dataclass(frozen=True, slots=True)
class Head:
    """A column of a file. ``key``: its name for programs; ``label``: for people; ``moment``: it holds moments."""

    key: str
    label: str
    moment: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file. ``slug``: the end of its name; ``write(heads, rows, zone)`` gives its bytes in chunks,
    ``zone`` is the person's."""

    slug: str
    label: StrOrPromise
    help: StrOrPromise
    content_type: str
    write: Callable[[Sequence[Head], Iterable[Row], ZoneInfo], Iterator[bytes]]


def csv_stream(
    heads: Sequence[Head], rows: Iterable[Row], zone: ZoneInfo, *, quoting: int = csv.QUOTE_MINIMAL
) -> Iterator[bytes]:
    """RFC 4180 in UTF-8 with a byte order mark, without which spreadsheets take it for another encoding.

    Moments are ISO 8601 with their offset. A text that a spreadsheet would run as a formula has an apostrophe
    before it; numbers have none.
    """
    text = io.StringIO()
    write = csv.writer(text, quoting=quoting).writerow  # type: ignore[arg-type]
    text.write("\ufeff")
    write([_csv_cell(head.label, zone) for head in heads])
    for row in rows:
        write([_csv_cell(cell, zone) for cell in row])
        if text.tell() > CHUNK:
            yield _emptied(text)
    yield _emptied(text)


def json_stream(heads: Sequence[Head], rows: Iterable[Row], zone: ZoneInfo) -> Iterator[bytes]:
    """An array of objects, one a line, named by the keys of the columns; moments are RFC 3339 in UTC."""
    keys = [head.key for head in heads]
    text, before = bytearray(b"["), b"\n"
    for row in rows:
        text += before + _json_line(dict(zip(keys, row, strict=True)))
        before = b",\n"
        if len(text) > CHUNK:
            yield bytes(text)
            text.clear()
    yield bytes(text + b"\n]\n")


def _csv_cell(cell: Cell, zone: ZoneInfo) -> str:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(FORMULA) else cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime):
        return cell.astimezone(zone).isoformat(timespec="seconds")
    return str(cell) if math.isfinite(cell) else ""


def _emptied(text: io.StringIO) -> bytes:
    made = text.getvalue().encode(errors="replace")
    text.seek(0)
    text.truncate()
    return made


def _json_line(values: dict[str, Cell]) -> bytes:
    try:
        return orjson.dumps(values, option=orjson.OPT_UTC_Z)
    except TypeError:
        # Integers beyond 64 bits, which JSON allows.
        return json.dumps(values, default=datetime.isoformat, ensure_ascii=False).encode()
