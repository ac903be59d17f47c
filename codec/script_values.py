"""What a codec gave as ``data`` (TS013) as measurements.

The rule, and there is no other:
* A number, true or false, or a text is a measurement under its key. null is none.
* What stands in an object carries the object's key before it, what stands in a list its index (from 0), joined by "_":
  ``{"air": {"temperature": 21.5}, "probes": [4, 5]}`` gives ``air_temperature``, ``probes_0`` and ``probes_1``.
* An object with ``value`` and ``unit`` and nothing else is one value with its unit. Other values have the unit that the
  device type names for them, or none.
* SenML names have letters, digits and ``- : . / _`` (RFC 8428, section 4.5.1) and begin with a letter or a digit: other
  characters become "_", and what cannot begin a name is left out. Of two values of one name the first counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from codec.measurements import Measurement, Value

MOST: Final = 200
LONGEST_NAME: Final = 100
LONGEST_UNIT: Final = 40
LONGEST_TEXT: Final = 1000
_FOREIGN = re.compile(r"[^A-Za-z0-9\-:./_]")
_FOREIGN_UNIT = re.compile(r"[\x00-\x20\x7f]")
_NO_BEGIN = re.compile(r"^[^A-Za-z0-9]+")


class TooMuch(ValueError):
    """More values, a longer name or a longer text than a message may have; the text is a sentence."""


def measurements(data: Mapping[str, Any], at: datetime, units: Mapping[str, str]) -> list[Measurement]:
    """``data`` as JSON, at the moment ``at``; ``units``: SenML unit by name. Raises TooMuch."""
    time = at.timestamp()
    found: dict[str, Measurement] = {}
    for path, value, unit in _leaves("", data):
        name = _NO_BEGIN.sub("", _FOREIGN.sub("_", path))
        if not name or name in found:
            continue
        if len(name) > LONGEST_NAME:
            raise TooMuch(f"A name has {len(name)} characters; at most {LONGEST_NAME} are accepted.")
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise TooMuch(f"The text “{name}” has {len(value)} characters; at most {LONGEST_TEXT} are accepted.")
        if len(found) == MOST:
            raise TooMuch(f"There are more than {MOST} values.")
        found[name] = Measurement(name=name, value=value, unit=unit or units.get(name) or None, time=time)
    return list(found.values())


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Value, str | None]]:
    """Path, value and the unit that stands beside it, of every single value."""
    match value:
        case bool() | str():
            yield path, value, None
        case int() | float() if math.isfinite(value):
            yield path, float(value), None
        case {"value": bool() | int() | float() | str() as only, "unit": str(unit), **rest} if path and not rest:
            for _path, single, _unit in _leaves(path, only):
                yield path, single, _FOREIGN_UNIT.sub("", unit)[:LONGEST_UNIT] or None
        case dict():
            for key, one in value.items():
                yield from _leaves(f"{path}_{key}" if path else key, one)
        case list():
            for index, one in enumerate(value):
                yield from _leaves(f"{path}_{index}", one)
