"""Runs a codec's text on what a person writes, what a device sent, and on its stored test cases (T5). Stores nothing.

A run is bounded by the engine; a set of runs by BUDGET, so that a slow text costs a page no more than that.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from codec import script, script_values
from codec.measurements import Measurement, Value
from codec.script import ScriptFailed
from common import hexadecimal

from . import source_difference
from .connectivity import Message
from .models import CodecCase, CodecFunction
from .source_difference import Line

LARGEST_SOURCE: Final = script.LONGEST_SOURCE
LARGEST_CASE: Final = 16 * 1024
BUDGET: Final = 2.0
# The recvTime of a test case that names none.
RECEIVED: Final = datetime(2026, 1, 1, tzinfo=UTC)
Clock = Callable[[], float]
Units = Mapping[str, str]


class NotACase(ValueError):
    """Input or expectation that cannot be; the text is a sentence. ``where``: "given" or "expected"."""

    def __init__(self, message: str, where: str) -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one run: ``given`` and ``got`` in the form of a stored test case, or why there is nothing.

    ``unread``: why the data makes no measurements. ``milliseconds``: what the run took, with its start.
    """

    function: CodecFunction
    given: Mapping[str, Any]
    got: Mapping[str, Any] = field(default_factory=dict)
    failed: ScriptFailed | None = None
    measurements: Sequence[Measurement] = ()
    unread: str = ""
    logs: Sequence[str] = ()
    milliseconds: float = 0.0

    @property
    def data(self) -> str:
        """What it gave, as people read it: JSON, or bytes in pairs."""
        if self.function is CodecFunction.ENCODE_DOWNLINK:
            return spaced(self.got.get("bytes", ""))
        return as_text(self.got.get("data")) if self.got.get("data") is not None else ""

    @property
    def values(self) -> list[tuple[str, str, str]]:
        """Its measurements: name, value, unit."""
        return [(one.name, value_text(one.value), one.unit or "") for one in self.measurements]

    @property
    def errors(self) -> Sequence[str]:
        found: Sequence[str] = self.got.get("errors", ())
        return found

    @property
    def warnings(self) -> Sequence[str]:
        found: Sequence[str] = self.got.get("warnings", ())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a stored case; ``trial`` None: there was no time left for it."""

    case: CodecCase
    trial: Trial | None
    passed: bool
    difference: Sequence[Line] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """A real message and what the text makes of it; ``trial`` None: there was no time left for it."""

    message: Message
    trial: Trial | None

    @property
    def octets(self) -> str:
        return spaced(self.message.payload.hex())

    @property
    def values(self) -> dict[str, tuple[str, str]]:
        """Value and unit by name."""
        return {name: (value, unit) for name, value, unit in self.trial.values} if self.trial else {}


def problem_of(source: str) -> tuple[frozenset[str], ScriptFailed | None]:
    """The functions that the text has, or why it does not run at all."""
    try:
        return script.functions_of(source), None
    except ScriptFailed as failed:
        return frozenset(), failed


def run(source: str, function: CodecFunction, given: Mapping[str, Any], *, units: Units | None = None) -> Trial:
    """One run with a checked input. Never raises for what the text does."""
    started = time.perf_counter()
    try:
        got, logs = _got(source, function, given)
    except ScriptFailed as failed:
        return Trial(function=function, given=given, failed=failed, logs=failed.logs, milliseconds=_since(started))
    took = _since(started)
    measurements: Sequence[Measurement] = ()
    unread = ""
    if function is CodecFunction.DECODE_UPLINK and got.get("data") is not None:
        try:
            measurements = script_values.measurements(got["data"], _received(given), units or {})
        except ValueError as error:
            unread = str(error)
    return Trial(
        function=function,
        given=given,
        got=got,
        measurements=measurements,
        unread=unread,
        logs=logs,
        milliseconds=took,
    )


def _got(source: str, function: CodecFunction, given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    result: script.Decoded | script.Encoded
    if function is CodecFunction.ENCODE_DOWNLINK:
        result = script.encode_downlink(source, given["data"])
        got: dict[str, Any] = {"bytes": result.payload.hex().upper()} if not result.errors else {}
        if result.fport is not None and not result.errors:
            got["fPort"] = result.fport
    else:
        payload = bytes.fromhex(given["bytes"])
        if function is CodecFunction.DECODE_UPLINK:
            result = script.decode_uplink(source, payload, given["fPort"], _received(given))
        else:
            result = script.decode_downlink(source, payload, given["fPort"])
        got = {"data": result.data} if result.data is not None else {}
    if result.errors:
        got["errors"] = list(result.errors)
    if result.warnings:
        got["warnings"] = list(result.warnings)
    return got, result.logs


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _received(given: Mapping[str, Any]) -> datetime:
    return parse_datetime(given["recvTime"]) or RECEIVED if "recvTime" in given else RECEIVED


def read(source: str, messages: Iterable[Message], units: Units, *, clock: Clock = time.monotonic) -> list[Read]:
    """Each message decoded, as long as there is time."""
    ends = clock() + BUDGET
    function = CodecFunction.DECODE_UPLINK
    return [
        Read(
            one, run(source, function, uplink(one.payload, one.fport, one.at), units=units) if clock() < ends else None
        )
        for one in messages
    ]


def run_cases(source: str, cases: Iterable[CodecCase], *, clock: Clock = time.monotonic) -> list[Outcome]:
    """Each case run in turn, as long as there is time; one that is not run has not passed."""
    ends = clock() + BUDGET
    made = []
    for case in cases:
        if clock() >= ends:
            made.append(Outcome(case=case, trial=None, passed=False))
            continue
        trial = run(source, CodecFunction(case.function), case.given)
        passed = trial.failed is None and same(_bare(case.expected), trial.got)
        differs = () if passed else source_difference.difference(_sorted(case.expected), _sorted(trial.got))
        made.append(Outcome(case=case, trial=trial, passed=passed, difference=differs))
    return made


def _sorted(value: Any) -> str:
    """JSON in one order, so that only what differs is a difference."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)


def _bare(expected: Mapping[str, Any]) -> dict[str, Any]:
    """An empty list of errors or warnings says the same as none."""
    found = {key: value for key, value in expected.items() if value != [] or key not in {"errors", "warnings"}}
    if isinstance(found.get("bytes"), str):
        found["bytes"] = found["bytes"].upper()
    return found


def same(one: Any, other: Any) -> bool:
    """Equal as JSON. Numbers that arithmetic with fractions makes different in the last digits are the same."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


# --- the form of a stored case ---


def uplink(payload: bytes, fport: int | None, at: datetime | None = None) -> dict[str, Any]:
    """The input of a decoding function as a case keeps it."""
    given: dict[str, Any] = {"bytes": payload.hex().upper(), "fPort": fport}
    return given if at is None else given | {"recvTime": at.astimezone(UTC).isoformat(timespec="milliseconds")}


def checked_given(function: CodecFunction, given: Any) -> dict[str, Any]:
    """The input as it is kept. Raises NotACase."""
    if not isinstance(given, Mapping):
        raise NotACase(_("Write the input as a JSON object."), "given")
    if function is CodecFunction.ENCODE_DOWNLINK:
        if not isinstance(given.get("data"), Mapping) or set(given) != {"data"}:
            raise NotACase(_('The input of encodeDownlink has "data", an object, and nothing else.'), "given")
        return _fits({"data": dict(given["data"])}, "given")
    unknown = set(given) - {"bytes", "fPort", "recvTime"}
    if unknown:
        raise NotACase(
            _('The input has "bytes", "fPort" and, where it matters, "recvTime"; not "%s".') % min(unknown), "given"
        )
    made = uplink(_octets(given.get("bytes"), "given"), _fport(given.get("fPort"), "given"))
    if "recvTime" in given:
        made["recvTime"] = _moment(given["recvTime"])
    return _fits(made, "given")


def checked_expected(function: CodecFunction, expected: Any) -> dict[str, Any]:
    """What is expected as it is kept. Raises NotACase."""
    if not isinstance(expected, Mapping):
        raise NotACase(_("Write what is expected as a JSON object."), "expected")
    encodes = function is CodecFunction.ENCODE_DOWNLINK
    names = {"errors", "warnings", *(("bytes", "fPort") if encodes else ("data",))}
    unknown = set(expected) - names
    if unknown or not expected:
        raise NotACase(
            _("What is expected has one or more of %(names)s.")
            % {"names": ", ".join(f'"{one}"' for one in sorted(names))},
            "expected",
        )
    made = dict(expected)
    for name in ("errors", "warnings"):
        texts = made.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise NotACase(_('"%s" is a list of texts.') % name, "expected")
    if "data" in made and not isinstance(made["data"], Mapping):
        raise NotACase(_('"data" is an object.'), "expected")
    if "bytes" in made:
        made["bytes"] = _octets(made["bytes"], "expected").hex().upper()
    if "fPort" in made:
        made["fPort"] = _fport(made["fPort"], "expected")
    return _fits(made, "expected")


def _octets(value: Any, where: str) -> bytes:
    """TS013 writes bytes as a list of numbers; hexadecimal is for people."""
    if isinstance(value, list) and all(isinstance(one, int) and 0 <= one <= 255 for one in value):
        return bytes(value)
    if not isinstance(value, str):
        raise NotACase(_('"bytes" are hexadecimal, such as "0A FF", or a list of numbers from 0 to 255.'), where)
    try:
        return hexadecimal.read(value)
    except hexadecimal.NotHexadecimal as error:
        raise NotACase(str(error), where) from error


def _fport(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 255:
        raise NotACase(_('"fPort" is a number from 1 to 255.'), where)
    return value


def _moment(value: Any) -> str:
    try:
        found = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise NotACase(_('"recvTime" is a moment with its zone, such as "2026-01-31T12:00:00Z".'), "given")
    return found.astimezone(UTC).isoformat(timespec="milliseconds")


def _fits(made: dict[str, Any], where: str) -> dict[str, Any]:
    """The database takes no number without end, no half of a character and no character 0."""
    try:
        octets = json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotACase(_("It has a number or a character that cannot be kept."), where) from error
    if b"\\u0000" in octets:
        raise NotACase(_("It has a number or a character that cannot be kept."), where)
    if len(octets) > LARGEST_CASE:
        raise NotACase(_("A test case holds %d KiB at most.") % (LARGEST_CASE // 1024), where)
    return made


def as_text(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def value_text(value: Value) -> str:
    """A measured value with all its digits, as a program would write it."""
    if isinstance(value, bool):
        return _("on") if value else _("off")
    if isinstance(value, bytes):
        return spaced(value.hex())
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def spaced(digits: str) -> str:
    """Hexadecimal in pairs: "0A FF"."""
    return " ".join(digits[place : place + 2] for place in range(0, len(digits), 2)).upper()
