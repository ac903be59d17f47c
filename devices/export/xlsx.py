"""Rows as a spreadsheet (Office Open XML, ECMA-376 part 1, section 18), streamed into a ZIP that is never held."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from .writers import CHUNK, Cell, Head, Row

# A sheet holds no more rows. It also ends before its XML needs the 64-bit sizes of ZIP, of which Excel complains.
SHEET_ROWS: Final = 1_048_576
SHEET_BYTES: Final = 2_000_000_000
# Excel refuses a file with a longer text in a cell; counted in UTF-16.
TEXT_LIMIT: Final = 32_767
# Of 9: the next ones take twice the time for a tenth less.
LEVEL: Final = 1
# Excel keeps numbers in 64-bit floats and shows 15 digits: a longer number is an identifier, and becomes text.
WHOLE: Final = 10**15
# Day 0 of the 1900 date system as all programs count it.
DAY_0: Final = datetime(1899, 12, 30)  # noqa: DTZ001
# What has to change in a text: markup, "_x000D_" (which would be read as a character), what XML does not allow.
SPECIAL: Final = re.compile("[&<>\r]|_(?=x[0-9A-Fa-f]{4}_)|[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
REPLACED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;", "_": "_x005F_"}

DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
CONTENT: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
# Cell styles by number: 0 plain, 1 a moment, 2 a head.
STYLES: Final = f"""{DECLARATION}<styleSheet xmlns="{MAIN}">\
<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>\
<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>\
<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>\
<fills count="2"><fill><patternFill patternType="none"/></fill>\
<fill><patternFill patternType="gray125"/></fill></fills>\
<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>\
<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>\
<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>\
<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>\
<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/></cellXfs>\
<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"""


class _Drain:
    """A file that cannot be sought in: what the ZIP writes into it is taken out at once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        made = b"".join(self._parts)
        self._parts, self.size = [], 0
        return made


def xlsx_stream(heads: Sequence[Head], rows: Iterable[Row], zone: ZoneInfo) -> Iterator[bytes]:
    """A workbook with as many sheets as the rows need, each with a bold head that stays in view.

    Moments are dates in ``zone``, whose name is in the head: a spreadsheet knows no zones.
    """
    drain = _Drain()
    source = iter(rows)
    row = next(source, None)
    sheets = 0
    archive = zipfile.ZipFile(drain, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
    while not sheets or row is not None:
        sheets += 1
        with archive.open(f"xl/worksheets/sheet{sheets}.xml", "w") as sheet:
            written, number = sheet.write(_sheet_begin(heads, zone)), 1
            while row is not None and number < SHEET_ROWS and written < SHEET_BYTES:
                number += 1
                written += sheet.write(_row_xml(number, row, zone))
                row = next(source, None)
                if drain.size > CHUNK:
                    yield drain.take()
            sheet.write(b"</sheetData></worksheet>")
    for name, text in _parts(sheets):
        archive.writestr(name, text)
    archive.close()
    yield drain.take()


def _sheet_begin(heads: Sequence[Head], zone: ZoneInfo) -> bytes:
    widths = "".join(
        f'<col min="{n}" max="{n}" width="{20 if head.moment else 26}" customWidth="1"/>'
        for n, head in enumerate(heads, 1)
    )
    labels = [f"{head.label} ({zone.key})" if head.moment else head.label for head in heads]
    cells = "".join(_text(f"{column(n)}1", label, ' s="2"') for n, label in enumerate(labels))
    return (
        f'{DECLARATION}<worksheet xmlns="{MAIN}"><sheetViews><sheetView workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
        f'<cols>{widths}</cols><sheetData><row r="1">{cells}</row>'
    ).encode()


def _row_xml(number: int, row: Row, zone: ZoneInfo) -> bytes:
    cells = "".join([_cell(f"{column(n)}{number}", cell, zone) for n, cell in enumerate(row) if cell is not None])
    return f'<row r="{number}">{cells}</row>'.encode()


def _cell(place: str, cell: Cell, zone: ZoneInfo) -> str:
    if isinstance(cell, str):
        return _text(place, cell) if cell else ""
    if isinstance(cell, bool):
        return f'<c r="{place}" t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, datetime):
        since = cell.astimezone(zone).replace(tzinfo=None) - DAY_0
        return f'<c r="{place}" s="1"><v>{since.days + since.seconds / 86400:.6f}</v></c>'
    if cell is None or not math.isfinite(cell):
        return ""
    if isinstance(cell, int) and abs(cell) >= WHOLE:
        return _text(place, str(cell))
    return f'<c r="{place}"><v>{cell!r}</v></c>'


def _text(place: str, text: str, style: str = "") -> str:
    if len(text) > TEXT_LIMIT // 2:
        text = text.encode("utf-16-le", "surrogatepass")[: TEXT_LIMIT * 2].decode("utf-16-le", "ignore")
    clean = SPECIAL.sub(lambda found: REPLACED.get(found[0], ""), text)
    return f'<c r="{place}"{style} t="inlineStr"><is><t xml:space="preserve">{clean}</t></is></c>'


@cache
def column(number: int) -> str:
    """The letters of the column: 0 is A, 26 is AA."""
    before, letter = divmod(number, 26)
    return (column(before - 1) if before else "") + chr(65 + letter)


def _parts(sheets: int) -> Iterator[tuple[str, str]]:
    """The parts that say how the sheets hang together: only now is known how many there are."""
    numbers = range(1, sheets + 1)
    listed = "".join(f'<sheet name="Devices {n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    related = "".join(_relation(f"rId{n}", f"{OFFICE}/worksheet", f"worksheets/sheet{n}.xml") for n in numbers)
    typed = "".join(_override(f"/xl/worksheets/sheet{n}.xml", "worksheet+xml") for n in numbers)
    yield (
        "xl/workbook.xml",
        f'{DECLARATION}<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>',
    )
    yield "xl/_rels/workbook.xml.rels", _relations(related + _relation("rIdS", f"{OFFICE}/styles", "styles.xml"))
    yield "xl/styles.xml", STYLES
    yield "_rels/.rels", _relations(_relation("rId1", f"{OFFICE}/officeDocument", "xl/workbook.xml"))
    types = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f"{_override('/xl/workbook.xml', 'sheet.main+xml')}{_override('/xl/styles.xml', 'styles+xml')}{typed}"
    )
    yield "[Content_Types].xml", f'{DECLARATION}<Types xmlns="{PACKAGE}/content-types">{types}</Types>'


def _override(part: str, kind: str) -> str:
    return f'<Override PartName="{part}" ContentType="{CONTENT}.{kind}"/>'


def _relations(inner: str) -> str:
    return f'{DECLARATION}<Relationships xmlns="{PACKAGE}/relationships">{inner}</Relationships>'


def _relation(name: str, kind: str, target: str) -> str:
    return f'<Relationship Id="{name}" Type="{kind}" Target="{target}"/>'
