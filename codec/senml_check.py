"""SenML as a person writes it, checked to the line: everything that is wrong, and what would be sent (S2, RFC 8428).

The rules are those of :mod:`codec.senml`; here are the places in the text, and more than the first error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final

from codec.senml import SenmlError, add_base, read_json
from codec.senml_records import UNITS, DoubledKeys

# More than so many help nobody.
MOST: Final = 10
BASE_FIELDS: Final = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+')


@dataclass(frozen=True, slots=True)
class Finding:
    """``line``, ``column`` and ``record`` count from 1, None where it is about none; ``field`` is the label."""

    sentence: str
    line: int | None = None
    column: int | None = None
    record: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        places = [
            f"line {self.line}" if self.line else "",
            f"column {self.column}" if self.column and not self.record else "",
            f"record {self.record}" if self.record else "",
            f"“{self.field}”" if self.field else "",
        ]
        where = ", ".join(place for place in places if place)
        return f"{where[0].upper()}{where[1:]}: {self.sentence}" if where else self.sentence


@dataclass(frozen=True, slots=True)
class Checked:
    """``errors`` in the order of the text; ``warnings`` hinder nothing; :data:`MOST` of each at most.

    ``records``: the list with the base name, as the device gets it; None where there is an error."""

    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    records: list[dict[str, object]] | None = None

    @property
    def compact(self) -> bytes:
        """The records as they are sent."""
        return json.dumps(self.records, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    @property
    def indented(self) -> str:
        """The records for people, one in a line."""
        lines = [json.dumps(record, ensure_ascii=False) for record in self.records or []]
        return "[\n  " + ",\n  ".join(lines) + "\n]"


def check(text: str, base_name: str) -> Checked:
    """Look at a measurement list for the device of the base name; "" where it has none yet. Never raises."""
    try:
        written = read_json(text.encode())
    except SenmlError as error:
        return Checked(errors=(_of_the_whole(text, error),))
    spans = list(_spans(text))
    errors: list[Finding] = []
    records: list[object] = list(written)
    while len(errors) < MOST:
        try:
            made = add_base(records, base_name)
        except SenmlError as error:
            if error.record is None:
                # That nothing is left to send says nothing where the records were taken out for their errors.
                if not errors:
                    errors.append(Finding(error.sentence, line=1, field=error.field))
                break
            place = error.record - 1
            errors.append(_of_a_record(text, spans[place], written[place], error))
            records[place] = _without(records[place], error.field, base_name)
        else:
            if not errors:
                return Checked(warnings=tuple(islice(_units(text, spans, written), MOST)), records=made)
            break
    return Checked(errors=tuple(sorted(errors, key=lambda each: (each.line or 0, each.column or 0))))


def _without(record: object, field: str | None, base_name: str) -> dict[str, object]:
    """What is left of a wrong record for those after it: its base fields."""
    held = record if isinstance(record, dict) else {}
    left = {key: value for key, value in held.items() if key in BASE_FIELDS and key != field}
    return left or {"bn": base_name}


def _of_the_whole(text: str, error: SenmlError) -> Finding:
    line, column = error.line, error.column
    if line is None:
        # A constant such as NaN, or something that is no list: the place of the first token that says so.
        constants = [found.start() for found in TOKEN.finditer(text) if found[0] in {"NaN", "Infinity", "-Infinity"}]
        first = TOKEN.search(text)
        offset = constants[0] if constants else first.start() if first else 0
        line, column = _place(text, offset)
    return Finding(error.sentence, line, column)


def _of_a_record(text: str, span: tuple[int, int], record: object, error: SenmlError) -> Finding:
    offset = span[0]
    if error.field is not None:
        found = _keys(text, span, error.field)
        # Of a label that stands twice, the second is one too many.
        offset = found[1 if isinstance(record, DoubledKeys) and len(found) > 1 else 0] if found else offset
    line, column = _place(text, offset)
    return Finding(error.sentence, line, column, error.record, error.field)


def _units(text: str, spans: Sequence[tuple[int, int]], records: Sequence[object]) -> Iterator[Finding]:
    for number, (span, record) in enumerate(zip(spans, records, strict=True), start=1):
        for field in ("bu", "u"):
            unit = record.get(field) if isinstance(record, dict) else None
            if isinstance(unit, str) and unit and unit not in UNITS:
                line, column = _place(text, (_keys(text, span, field) or [span[0]])[0])
                yield Finding(f"The unit {unit} is in no register.", line, column, number, field)


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each record of a valid list begins and ends."""
    depth, start = 0, None
    for found in TOKEN.finditer(text):
        mark = found[0]
        closing = mark in {"]", "}"}
        if depth == 1 and (closing or mark == ","):
            if start is not None:
                yield start, found.start()
            start = None
        elif depth == 1 and start is None:
            start = found.start()
        depth += 1 if mark in {"[", "{"} else -1 if closing else 0


def _keys(text: str, span: tuple[int, int], label: str) -> list[int]:
    """Where the label stands as a key of the record itself."""
    tokens = list(TOKEN.finditer(text, *span))
    depth, places = 0, []
    for token, after in pairwise(tokens):
        if token[0] in {"{", "["}:
            depth += 1
        elif token[0] in {"}", "]"}:
            depth -= 1
        elif depth == 1 and after[0] == ":" and token[0][0] == '"' and json.loads(token[0]) == label:
            places.append(token.start())
    return places
