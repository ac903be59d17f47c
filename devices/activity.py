"""Tells whoever holds something back for devices that are not active that they are active now (S5).

``devices`` does not know who that is: each registers itself in ``AppConfig.ready``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

# Device ids, in the transaction in which they became active in the portal or on their network, or both; some of them
# may be active in one of the two only.
on_active: Final[list[Callable[[Sequence[int]], None]]] = []


def tell(device_ids: Sequence[int]) -> None:
    for hear in on_active:
        hear(device_ids)
