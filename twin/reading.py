"""How a Device Twin is read by people: names, units, numbers, groups, the send interval (W1, W2, W5)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from common.written import text_of, unit_of

# Words in a measurement's name by which it tells of the device itself and not of its surroundings (W2).
DEVICE_WORDS: Final = frozenset(
    {"firmware", "fw", "version", "hardware", "hw", "software", "sw", "serial", "model", "battery", "bat", "vbat"}
    | {"mode", "crc", "interval", "reset", "resets", "reboot", "reboots", "uptime", "status", "setting", "settings"}
    | {"config", "configuration", "error", "errors"}
)
# Words of a name: camelCase, ACRONYMWord, snake_case, kebab-case, and digits on their own.
WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Names that run several such words together and carry no capitals to split them by.
DEVICE_PREFIX: Final = re.compile(r"^(?:firmware|battery|uptime)", re.IGNORECASE)

LONG_TEXT: Final = 120


@dataclass(frozen=True, slots=True)
class Reading:
    """One reported value. ``text`` is ready to show; ``code``: hexadecimal bytes; ``long``: it wants a line."""

    name: str
    label: str
    text: str
    unit: str
    at: datetime | None
    code: bool = False

    @property
    def long(self) -> bool:
        return len(self.text) > LONG_TEXT


@dataclass(frozen=True, slots=True)
class Reported:
    """The reported state in its two groups, each by name."""

    device: list[Reading]
    other: list[Reading]

    def __len__(self) -> int:
        return len(self.device) + len(self.other)


def reported(values: Mapping[str, Mapping[str, Any]]) -> Reported:
    """Read ``Twin.reported`` (name → ``{"v", "u", "t", "b"}``). Never raises: a value of a shape that we do not
    know is shown as it is."""
    readings = sorted((reading(name, entry) for name, entry in values.items()), key=lambda one: one.label.lower())
    return Reported(
        device=[one for one in readings if tells_of_device(one.name)],
        other=[one for one in readings if not tells_of_device(one.name)],
    )


def reading(name: str, entry: Mapping[str, Any]) -> Reading:
    value, unit = entry.get("v"), str(entry.get("u") or "")
    octets = _octets(value) if entry.get("b") else None
    return Reading(
        name=name,
        label=name[:1].upper() + name[1:],
        text=octets.hex(" ").upper() if octets is not None else text_of(value, unit),
        unit=unit_of(unit),
        at=_moment(entry.get("t")),
        code=octets is not None,
    )


@dataclass(frozen=True, slots=True)
class Property:
    """One property of the metadata. ``seen`` names this value of it: its moment as a form carries it."""

    key: str
    text: str
    at: datetime | None
    seen: str


def properties(metadata: Mapping[str, Mapping[str, Any]]) -> list[Property]:
    """Read ``Twin.metadata`` (key → ``{"v", "t"}``), by key. Never raises."""
    return sorted((property_of(key, entry) for key, entry in metadata.items()), key=lambda one: one.key.lower())


def property_of(key: str, entry: Mapping[str, Any] | None) -> Property:
    """``entry`` None: a property that is not there; its ``seen`` is empty."""
    entry = entry or {}
    moment = entry.get("t")
    return Property(key, str(entry.get("v", "")), _moment(moment), "" if moment is None else repr(moment))


def tells_of_device(name: str) -> bool:
    """Whether the measurement belongs to the group Device: decided from its name alone."""
    return bool(DEVICE_PREFIX.match(name)) or any(word.lower() in DEVICE_WORDS for word in WORDS.findall(name))


def duration(span: timedelta) -> str:
    """A span of time in its two largest units: "45 s", "10 min 2 s", "1 h", "2 d 3 h"."""
    seconds = round(span.total_seconds())
    if seconds < 1:
        return _("less than a second")
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, _("%d d")), (hours, _("%d h")), (minutes, _("%d min")), (rest, _("%d s"))]
    first = next(index for index, (count, _text) in enumerate(parts) if count)
    return " ".join(text % count for count, text in parts[first : first + 2] if count)


def send_interval(last: datetime | None, previous: datetime | None) -> str:
    """The observed send interval: between the two most recent messages; "" while there are not two (W5)."""
    if last is None or previous is None:
        return ""
    return duration(abs(last - previous))


def count_of(values: Reported) -> str:
    return ngettext("%d value", "%d values", len(values)) % len(values)


def _octets(value: object) -> bytes | None:
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        return None


def _moment(seconds: object) -> datetime | None:
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
