"""Compiles the translations: each ``django.po`` under ``LOCALE_PATHS`` becomes the ``django.mo`` beside it.

Needs nothing but Python, so that no machine needs the gettext tools; both files are committed.
"""

from __future__ import annotations

import ast
import struct
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

CONTEXT, PLURAL = "\x04", "\0"


def read_po(text: str) -> dict[str, str]:
    """The catalogue as the .mo keeps it: context and plural joined into the key, plural forms into the value.

    Entries that are fuzzy or have an empty form are left out: English is better than a guess. Obsolete ones are
    comments.
    """
    found: dict[str, str] = {}
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        field = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if not line.startswith('"'):
                field, _, line = line.partition(" ")  # noqa: PLW2901
                fields[field] = ""
            fields[field] += ast.literal_eval(line)
        forms = [value for name, value in fields.items() if name.startswith("msgstr")]
        fuzzy = any(line.startswith("#,") and "fuzzy" in line for line in block.splitlines())
        if "msgid" not in fields or fuzzy or not all(forms):
            continue
        key = fields["msgid"] + (PLURAL + fields["msgid_plural"] if "msgid_plural" in fields else "")
        if "msgctxt" in fields:
            key = fields["msgctxt"] + CONTEXT + key
        found[key] = PLURAL.join(forms)
    return found


def mo_bytes(catalogue: dict[str, str]) -> bytes:
    """The catalogue in the format of GNU gettext (manual, "The Format of GNU MO Files"), without a hash table."""
    pairs = sorted((key.encode(), value.encode()) for key, value in catalogue.items())
    header = 7 * 4
    at = header + len(pairs) * 16
    tables: list[bytes] = []
    texts: list[bytes] = []
    for column in (0, 1):
        for pair in pairs:
            tables.append(struct.pack("<II", len(pair[column]), at))
            texts.append(pair[column] + b"\0")
            at += len(pair[column]) + 1
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), header, header + len(pairs) * 8, 0, header + len(pairs) * 16)
    return head + b"".join(tables) + b"".join(texts)


class Command(BaseCommand):
    help = "Compile the translations: .po to .mo."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        for folder in settings.LOCALE_PATHS:
            for po in sorted(Path(folder).glob("*/LC_MESSAGES/django.po")):
                catalogue = read_po(po.read_text(encoding="utf-8"))
                po.with_suffix(".mo").write_bytes(mo_bytes(catalogue))
                self.stdout.write(f"{po.parent.parent.name}: {len(catalogue) - 1} texts")
