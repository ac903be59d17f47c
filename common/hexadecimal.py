"""Bytes as people write them in hexadecimal, read in any spacing."""

from __future__ import annotations

import re
from typing import Final

from django.utils.translation import gettext as _

SEPARATORS: Final = re.compile(r"[\s:,;._-]+")


class NotHexadecimal(ValueError):
    """The text is a sentence for the person who wrote it."""


def read(text: str) -> bytes:
    """Bytes from hexadecimal in any spacing: ``0A ff``, ``0x0A, 0xFF``, ``0a:ff``, ``0AFF``.

    Raises NotHexadecimal. A lone digit between separators is refused, because "1 2" could mean two things.
    """
    groups = [group[2:] if group[:2] in {"0x", "0X"} else group for group in SEPARATORS.split(text.strip()) if group]
    digits = "".join(groups)
    wrong = re.search(r"[^0-9A-Fa-f]", digits)
    if wrong:
        raise NotHexadecimal(_("“%(character)s” is not a hexadecimal digit (0–9, A–F).") % {"character": wrong[0]})
    if any(len(group) % 2 for group in groups) or "" in groups:
        raise NotHexadecimal(_("Write each byte with two digits, such as 0A."))
    return bytes.fromhex(digits)
