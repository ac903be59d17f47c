"""The simulation's state as JSON-ready data and back: dataclasses of plain values, bytes and lists of them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

State = TypeVar("State")
_BYTES = "$hex"


def dump(state: object) -> dict[str, Any]:
    """A dataclass instance with slots as a dict; bytes become ``{"$hex": …}``. What it holds is copied."""
    return {field.name: _plain(getattr(state, field.name)) for field in fields(state)}  # type: ignore[arg-type]


def load(kind: type[State], data: dict[str, Any]) -> State:
    """The inverse of :func:`dump`. Fields that ``data`` lacks take their defaults; unknown ones are left out."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _whole(value) for name, value in data.items() if name in known})


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return {_BYTES: value.hex()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
    return dump(value) if is_dataclass(value) else value


def _whole(value: Any) -> Any:
    match value:
        case dict():
            if value.keys() == {_BYTES}:
                return bytes.fromhex(value[_BYTES])
            return {key: _whole(inner) for key, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
    return value
