"""What differs between two texts, line by line, as pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

AROUND: Final = 3
# Comparing takes time with the square of the lines; beyond this many the changed part is shown as a whole.
MOST_LINES: Final = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """``kind``: "same", "gone", "new", or "gap" for lines that are left out. Numbers from 1 in their own text."""

    kind: str
    text: str = ""
    before: int | None = None
    after: int | None = None


def difference(before: str, after: str) -> list[Line]:
    """The changed lines with some around them; nothing where the texts are the same."""
    old, new = (text.split("\n") if text else [] for text in (before.rstrip("\n"), after.rstrip("\n")))
    made: list[Line] = []
    for group in _grouped(old, new):
        made.append(Line("gap"))
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                numbers = zip(range(old_from, old_to), range(new_from, new_to), strict=True)
                made += [Line("same", old[one], one + 1, other + 1) for one, other in numbers]
                continue
            made += [Line("gone", old[number], before=number + 1) for number in range(old_from, old_to)]
            made += [Line("new", new[number], after=number + 1) for number in range(new_from, new_to)]
    starts_at_the_top = len(made) > 1 and (made[1].before or 1) == 1 and (made[1].after or 1) == 1
    return made[1:] if starts_at_the_top else made


Piece = tuple[str, int, int, int, int]


def _grouped(old: list[str], new: list[str]) -> list[list[Piece]]:
    """The pieces that differ with AROUND lines about them, as SequenceMatcher gives them."""
    pieces = _pieces(old, new)
    groups: list[list[Piece]] = [[]]
    for number, (tag, old_from, old_to, new_from, new_to) in enumerate(pieces):
        if tag != "equal":
            groups[-1].append((tag, old_from, old_to, new_from, new_to))
            continue
        long, first, last = old_to - old_from, number == 0, number == len(pieces) - 1
        if not first and not last and long <= 2 * AROUND:
            groups[-1].append((tag, old_from, old_to, new_from, new_to))
            continue
        some = min(long, AROUND)
        if not first:
            groups[-1].append((tag, old_from, old_from + some, new_from, new_from + some))
            groups.append([])
        if not last:
            groups[-1].append((tag, old_to - some, old_to, new_to - some, new_to))
    return [group for group in groups if any(piece[0] != "equal" for piece in group)]


def _pieces(old: list[str], new: list[str]) -> list[Piece]:
    """The same lines at both ends are taken off first: most changes are small, and that part costs nothing."""
    shorter = min(len(old), len(new))
    head = next((number for number in range(shorter) if old[number] != new[number]), shorter)
    left = shorter - head
    tail = next((number for number in range(left) if old[-1 - number] != new[-1 - number]), left)
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    pieces: list[Piece] = [("equal", 0, head, 0, head)] if head else []
    if len(middle_old) + len(middle_new) > MOST_LINES:
        pieces.append(("replace", head, len(old) - tail, head, len(new) - tail))
    else:
        matcher = SequenceMatcher(None, middle_old, middle_new)
        pieces += [(tag, a + head, b + head, c + head, d + head) for tag, a, b, c, d in matcher.get_opcodes()]
    if tail:
        pieces.append(("equal", len(old) - tail, len(old), len(new) - tail, len(new)))
    return pieces
