"""The addresses of pages: the framework's ``reverse``, which looks for the pattern of a name each time. It stays the
same as long as the process lives, and a device's page has thirty addresses."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from django.urls import NoReverseMatch, reverse

# No number of an address is as high; nor are its digits a part of another one's.
MARK: Final = 7_000_000_000_000_000_000


@cache
def _pattern(name: str, keys: tuple[str, ...]) -> str | None:
    """The address with a place for each number; None where numbers alone make none."""
    marks = {key: MARK + number for number, key in enumerate(keys)}
    try:
        text = reverse(name, kwargs=marks).replace("{", "{{").replace("}", "}}")
    except NoReverseMatch:
        return None
    for key, mark in marks.items():
        text = text.replace(str(mark), f"{{{key}}}")
    return text


def address(name: str, /, **kwargs: Any) -> str:
    """The address of the page. Raises NoReverseMatch as ``reverse`` does."""
    if all(type(value) is int and 0 <= value < MARK for value in kwargs.values()):
        pattern = _pattern(name, tuple(kwargs))
        if pattern is not None:
            return pattern.format_map(kwargs)
    return reverse(name, kwargs=kwargs)
