"""What may stand in desired values and metadata: keys, texts, JSON values, and how much of it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _

from .errors import TwinRefused

LONGEST_KEY: Final = 100
LONGEST_TEXT: Final = 1_000
# Characters of JSON.
LONGEST_VALUE: Final = 4_000
# Of one device, in metadata and in desired values each; the size is that of the part as JSON.
MOST_KEYS: Final = 100
MOST_BYTES: Final = 32 * 1024


def check_keys(changes: Mapping[str, Any]) -> None:
    """Raises TwinRefused for an empty or too long key and for characters that do not print."""
    for key in changes:
        if not key.strip():
            raise TwinRefused(_("A property needs a key."), "key")
        if key != key.strip():
            raise TwinRefused(_("A key has no spaces at its ends."), "key")
        if len(key) > LONGEST_KEY:
            raise TwinRefused(_("A key has %d characters at most.") % LONGEST_KEY, "key")
        # Cc: control characters; Cs: halves of a character, which are no text.
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in key):
            raise TwinRefused(_("A key has no line breaks or other control characters."), "key")


def check_texts(changes: Mapping[str, str | None]) -> None:
    """Raises TwinRefused for keys, and texts that are too long or that PostgreSQL cannot keep."""
    check_keys(changes)
    for text in changes.values():
        if text is not None and len(text) > LONGEST_TEXT:
            raise TwinRefused(_("A value has %d characters at most.") % LONGEST_TEXT, "value")
        if text is not None and not is_text(text):
            raise TwinRefused(_("The value has a character that cannot be kept."), "value")


def check_values(changes: Mapping[str, Any]) -> None:
    """Raises TwinRefused for keys, and values that are no JSON, too long or not to be kept."""
    check_keys(changes)
    for value in changes.values():
        try:
            length = len(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise TwinRefused(_("The value cannot be written as JSON."), "value") from error
        if length > LONGEST_VALUE:
            raise TwinRefused(_("A value has %d characters at most.") % LONGEST_VALUE, "value")
        if not all(is_text(text) for text in texts_in(value)):
            raise TwinRefused(_("The value has a character that cannot be kept."), "value")


def is_text(text: str) -> bool:
    """Whether PostgreSQL keeps it: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield str(key)
                yield from texts_in(inner)
        case list() | tuple():
            for inner in value:
                yield from texts_in(inner)
