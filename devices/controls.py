"""What a device type lets people ask of its devices: predefined commands and desired-state controls (T1, T5, S2, W3).

Both stand in JSON columns of :class:`~devices.models.DeviceType` and are read here, once, into typed values. A value
becomes an instruction in one of three ways: the type's codec (``encodeDownlink``), bytes that are written down, or a
SenML record.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from django.utils.translation import gettext as _

Scalar = bool | int | float | str

LONGEST_NAME: Final = 100
LONGEST_TEXT: Final = 200
MOST: Final = 40
MOST_CHOICES: Final = 200
NAME: Final = re.compile(r"^[^\s\x00-\x1f](?:[^\x00-\x1f]{0,98}[^\s\x00-\x1f])?$")
# {value} is the text in UTF-8; the others a number of so many bits, the most significant byte first unless "le".
PLACE: Final = re.compile(r"\{value(?::([ui](?:8|16|32))(le)?)?\}")
FORMATS: Final[Mapping[str, str]] = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i"}
LONGEST_TEMPLATE: Final = 600


class ControlError(ValueError):
    """A description or value that cannot be; the text is a sentence for the person. ``where``: the field, or ""."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class By(StrEnum):
    """How a value becomes an instruction."""

    CODEC = "codec"
    BYTES = "bytes"
    SENML = "senml"


class Kind(StrEnum):
    ENUM = "enum"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Choice:
    """A value to choose. ``payload``: its bytes, where the way is BYTES and it has bytes of its own."""

    label: str
    value: Scalar
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """``{"by", "fport", "template", "confirmed"}``. FPort and confirmation belong to LoRa; with CODEC the codec may
    name the FPort, and ``fport`` is for where it does not. ``template``: hexadecimal with places for the value, such as
    ``01{value:u16}``, for values without bytes of their own."""

    by: By
    fport: int | None = None
    template: str = ""
    confirmed: bool = False

    def written(self, value: Scalar, choices: Sequence[Choice]) -> bytes:
        """The bytes of the value, for BYTES. Raises ControlError where it does not fit its place."""
        for choice in choices:
            if choice.payload is not None and same(choice.value, value):
                return choice.payload
        return fill(self.template, value)


@dataclass(frozen=True, slots=True)
class Command:
    """A predefined command: ``{"name", "label", "help", "choices", "way"}``. ``name`` is the key of the value in what
    the codec gets and of the SenML record. Without choices it has no value to choose: it is sent as ``true``."""

    name: str
    label: str
    help: str
    choices: tuple[Choice, ...]
    way: Way

    def clean(self, value: Any) -> Scalar:
        """The value as it is sent. Raises ControlError where it is none of the choices."""
        if not self.choices:
            return True
        return chosen(value, self.choices)

    def label_of(self, value: Any) -> str:
        """The value as its choice is called; of a command without values the command itself."""
        return next((choice.label for choice in self.choices if same(choice.value, value)), self.label)

    def words(self, value: Any) -> str:
        """Command and value in a line."""
        return f"{self.label}: {self.label_of(value)}" if self.choices else self.label


@dataclass(frozen=True, slots=True)
class Control:
    """A desired-state control. ``name`` is the desired value's key in the twin.

    ``reported``: the name of the reported value that answers it; "" where none does, and the device's acknowledgement
    is the end. ``tolerance``: a reported number this close is the same. ``wait``: how long after the instruction has
    been delivered the report may take; ``tries``: how often it is sent at most; ``give_up``: after this long from the
    request it has failed, whatever is left.
    """

    name: str
    label: str
    kind: Kind
    way: Way
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Choice, ...] = ()
    longest: int = LONGEST_TEXT
    reported: str = ""
    tolerance: float = 0.0
    wait: timedelta = timedelta(hours=6)
    tries: int = 3
    give_up: timedelta = timedelta(days=2)

    def clean(self, value: Any) -> Scalar:
        """The value as it is desired, from a form's text or from JSON. Raises ControlError with a sentence."""
        match self.kind:
            case Kind.ENUM:
                return chosen(value, self.choices)
            case Kind.BOOLEAN:
                return as_boolean(value)
            case Kind.NUMBER:
                return self._number(value)
        text = value if isinstance(value, str) else ""
        if not text.strip() or "\x00" in text:
            raise ControlError(_("Write a text."))
        if len(text) > self.longest:
            raise ControlError(_("A text of %d characters at most.") % self.longest)
        return text

    def _number(self, value: Any) -> Scalar:
        try:
            number = float(value.strip().replace(",", ".")) if isinstance(value, str) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise ControlError(_("Write a number."))
        if self.minimum is not None and number < self.minimum:
            raise ControlError(_("%(least)s at least.") % {"least": _short(self.minimum)})
        if self.maximum is not None and number > self.maximum:
            raise ControlError(_("%(most)s at most.") % {"most": _short(self.maximum)})
        return int(number) if number.is_integer() and abs(number) < 2**53 else number

    def answered_by(self, wanted: Any, reported: Any) -> bool:
        """Whether the reported value is what was wanted: 1, 1.0, "1" and true are the same where the kind says so."""
        match self.kind:
            case Kind.NUMBER:
                try:
                    return abs(float(wanted) - float(reported)) <= self.tolerance + 1e-9 * abs(float(wanted))
                except (TypeError, ValueError):
                    return False
            case Kind.BOOLEAN:
                try:
                    return as_boolean(wanted) == as_boolean(reported)
                except ControlError:
                    return False
        return same(wanted, reported) or str(wanted) == str(reported)

    def label_of(self, value: Any) -> str:
        """The value as its choice is called, or as it is."""
        if self.kind is Kind.BOOLEAN and isinstance(value, bool):
            return _("on") if value else _("off")
        for choice in self.choices:
            if same(choice.value, value):
                return choice.label
        return _short(value) if isinstance(value, float) else str(value)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def chosen(value: Any, choices: Sequence[Choice]) -> Scalar:
    """The choice that is meant, by its value or by its value as text. Raises ControlError."""
    for choice in choices:
        if same(choice.value, value) or (isinstance(value, str) and text_of(choice.value) == value):
            return choice.value
    raise ControlError(_("Choose one of the values."))


def text_of(value: Scalar) -> str:
    """The value as a form carries it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def as_boolean(value: Any) -> bool:
    """Raises ControlError for what says neither yes nor no."""
    words: dict[Any, bool] = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in {0, 1}:
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ControlError(_("Choose on or off."))


def fill(template: str, value: Scalar) -> bytes:
    """The template's bytes with the value in its places. Raises ControlError."""

    def place(match: re.Match[str]) -> str:
        size, little = match[1], match[2]
        if size is None:
            return text_of(value).encode().hex()
        if isinstance(value, str):
            raise ControlError(_("The value is no number."))
        number = int(value) if isinstance(value, bool) else round(value)
        try:
            return struct.pack(("<" if little else ">") + FORMATS[size], number).hex()
        except struct.error as error:
            raise ControlError(_("%(value)s does not fit in its bytes.") % {"value": number}) from error

    digits = re.sub(r"[\s:-]", "", PLACE.sub(place, template))
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise ControlError(_("Write each byte with two hexadecimal digits, such as 0A."), "template") from error


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- reading the JSON columns ---


def commands_of(described: Iterable[Any]) -> list[Command]:
    """Raises ControlError for what is no description of commands."""
    return [_command(one) for one in _all(described)]


def controls_of(described: Iterable[Any]) -> list[Control]:
    """Raises ControlError for what is no description of controls."""
    return [_control(one) for one in _all(described)]


def _all(described: Iterable[Any]) -> list[Mapping[str, Any]]:
    those = list(described)
    if len(those) > MOST or not all(isinstance(one, Mapping) for one in those):
        raise ControlError(_("A list of %d descriptions at most is wanted.") % MOST)
    names = [one.get("name") for one in those]
    if len(set(map(str, names))) < len(names):
        raise ControlError(_("Each name can stand once."), "name")
    return those


def _command(one: Mapping[str, Any]) -> Command:
    way = _way(one)
    choices = _choices(one, way)
    if way.by is By.BYTES and not choices and PLACE.search(way.template):
        raise ControlError(_("A command without values has no place for one in its bytes."), "template")
    _require_bytes(way, choices)
    return Command(_name(one), _label(one), str(one.get("help", ""))[:LONGEST_TEXT], choices, way)


def _control(one: Mapping[str, Any]) -> Control:
    try:
        kind = Kind(one.get("kind", ""))
    except ValueError as error:
        raise ControlError(_("A control is a choice, a number, on or off, or a text."), "kind") from error
    way = _way(one)
    choices = _choices(one, way)
    if kind is Kind.ENUM and not choices:
        raise ControlError(_("Write the values that can be chosen."), "choices")
    if kind is Kind.BOOLEAN and choices and {choice.value for choice in choices} != {True, False}:
        raise ControlError(_("On and off have the values true and false."), "choices")
    if kind in {Kind.NUMBER, Kind.TEXT} and choices:
        raise ControlError(_("Only a choice has values to choose."), "choices")
    _require_bytes(way, choices)
    minimum, maximum = _maybe_number(one, "minimum"), _maybe_number(one, "maximum")
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ControlError(_("The smallest value is larger than the largest."), "minimum")
    made = Control(
        name=_name(one),
        label=_label(one),
        kind=kind,
        way=way,
        unit=str(one.get("unit", ""))[:20],
        minimum=minimum,
        maximum=maximum,
        choices=choices,
        longest=_whole(one, "longest", 1, LONGEST_TEXT, LONGEST_TEXT),
        reported=str(one.get("reported", ""))[:LONGEST_NAME],
        tolerance=max(0.0, _maybe_number(one, "tolerance") or 0.0),
        wait=timedelta(seconds=_whole(one, "wait_seconds", 10, 30 * 86400, 6 * 3600)),
        tries=_whole(one, "tries", 1, 20, 3),
        give_up=timedelta(seconds=_whole(one, "give_up_seconds", 60, 90 * 86400, 2 * 86400)),
    )
    if way.by is By.BYTES and kind is Kind.NUMBER:
        for limit in (minimum, maximum):
            if limit is not None:
                way.written(limit, choices)
    return made


def _way(one: Mapping[str, Any]) -> Way:
    described = one.get("way")
    if not isinstance(described, Mapping):
        raise ControlError(_("Say how a value becomes an instruction."), "way")
    try:
        by = By(described.get("by", ""))
    except ValueError as error:
        raise ControlError(_("Say how a value becomes an instruction."), "way") from error
    fport = described.get("fport")
    if fport is not None and (not isinstance(fport, int) or isinstance(fport, bool) or not 1 <= fport <= 223):
        raise ControlError(_("The FPort is a number from 1 to 223."), "fport")
    if by is By.BYTES and fport is None:
        raise ControlError(_("The FPort is a number from 1 to 223."), "fport")
    template = str(described.get("template", ""))
    if len(template) > LONGEST_TEMPLATE:
        raise ControlError(_("A text of %d characters at most.") % LONGEST_TEMPLATE, "template")
    if template:
        fill(PLACE.sub(lambda place: "{value:u8}" if place[1] else "00", template), 0)
    return Way(by, fport, template, bool(described.get("confirmed", False)))


def _choices(one: Mapping[str, Any], way: Way) -> tuple[Choice, ...]:
    described = one.get("choices") or []
    if not isinstance(described, list) or len(described) > MOST_CHOICES:
        raise ControlError(_("A list of %d values at most is wanted.") % MOST_CHOICES, "choices")
    made = []
    for each in described:
        value = each.get("value") if isinstance(each, Mapping) else None
        if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            raise ControlError(_("A value is a number, a text, or true or false."), "choices")
        payload = None
        if way.by is By.BYTES and each.get("bytes"):
            payload = fill(str(each["bytes"])[:LONGEST_TEMPLATE], value)
        made.append(Choice(str(each.get("label") or text_of(value))[:LONGEST_TEXT], value, payload))
    if len({text_of(choice.value) for choice in made}) < len(made):
        raise ControlError(_("Each value can stand once."), "choices")
    return tuple(made)


def _require_bytes(way: Way, choices: Sequence[Choice]) -> None:
    if way.by is By.BYTES and not way.template and (not choices or any(one.payload is None for one in choices)):
        raise ControlError(_("Write the bytes that are sent."), "template")


def _name(one: Mapping[str, Any]) -> str:
    name = one.get("name")
    if not isinstance(name, str) or not NAME.match(name):
        raise ControlError(_("A name of 1 to %d characters is wanted.") % LONGEST_NAME, "name")
    return name


def _label(one: Mapping[str, Any]) -> str:
    return str(one.get("label") or one["name"])[:LONGEST_NAME]


def _maybe_number(one: Mapping[str, Any], key: str) -> float | None:
    value = one.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ControlError(_("Write a number."), key)
    return float(value)


def _whole(one: Mapping[str, Any], key: str, least: int, most: int, default: int) -> int:
    value = one.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ControlError(
            _("A whole number from %(least)d to %(most)d is wanted.") % {"least": least, "most": most}, key
        )
    return value
