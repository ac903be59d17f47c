"""Two questions about JSON documents, without Django: what a merge patch makes of one (RFC 7396), and in what one that
is desired differs from one that is reported (the delta of device shadows)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# A document that nests deeper is refused before it gets here: what follows calls itself once per level.
DEEPEST: Final = 16


def merge(target: Any, patch: Any) -> Any:
    """``target`` as ``patch`` makes it (RFC 7396, section 2); neither is changed.

    An object merges member by member, and null removes the member; everything else, arrays too, replaces the whole.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def delta(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``desired`` is not in ``reported``: only the members that differ, in objects inside too.

    What only ``reported`` has does not count. Arrays compare as a whole, and so does everything else.
    """
    found: dict[str, Any] = {}
    for name, wanted in desired.items():
        said = reported.get(name)
        if isinstance(wanted, Mapping) and isinstance(said, Mapping):
            differing = delta(wanted, said)
            if differing:
                found[name] = differing
        elif name not in reported or not equal(wanted, said):
            found[name] = wanted
    return found


def equal(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def depth(document: Any) -> int:
    """How many levels of objects and arrays; of a scalar 0. It counts level by level, so that none is too deep."""
    levels, present = 0, [document]
    while present := [value for value in present if isinstance(value, Mapping | list)]:
        levels += 1
        present = [inner for value in present for inner in (value.values() if isinstance(value, Mapping) else value)]
    return levels
