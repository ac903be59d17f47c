"""Bytes as people write them in hexadecimal, read in any spacing."""

from __future__ import annotations

import re
from typing import Final

from django.utils.translation import gettext as _

# What stands between separators.
GROUP: Final = re.compile(r"[^\s:,;._-]+")
WRONG: Final = re.compile(r"[^0-9A-Fa-f]")


class NotHexadecimal(ValueError):
    """The text is a sentence for the person who wrote it. ``place``: which character it is about, from 0."""

    def __init__(self, sentence: str, place: int) -> None:
        super().__init__(sentence)
        self.place = place


def read(text: str) -> bytes:
    """Bytes from hexadecimal in any spacing: ``0A ff``, ``0x0A, 0xFF``, ``0a:ff``, ``0AFF``.

    Raises NotHexadecimal for the first thing that is wrong. A lone digit between separators is refused, because "1 2"
    could mean two things.
    """
    digits = []
    for found in GROUP.finditer(text):
        prefix = 2 if found[0][:2] in {"0x", "0X"} else 0
        group, start = found[0][prefix:], found.start() + prefix
        wrong = WRONG.search(group)
        if wrong:
            sentence = _("“%(character)s” is not a hexadecimal digit (0–9, A–F).") % {"character": wrong[0]}
            raise NotHexadecimal(sentence, start + wrong.start())
        if not group or len(group) % 2:
            raise NotHexadecimal(_("Write each byte with two digits, such as 0A."), found.end() - 1)
        digits.append(group)
    return bytes.fromhex("".join(digits))
