"""The registry of bulk actions (D4): each gives its name, ``check`` (why a device cannot) and ``apply``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django_stubs_ext import StrOrPromise

from accounts.models import User

from .models import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAction:
    """``check`` gives "" or the sentence why this device is skipped; ``apply`` changes one device whole."""

    slug: str
    label: StrOrPromise
    check: Callable[[Device], str]
    apply: Callable[[Device, User], None]


_registered: dict[str, BulkAction] = {}


def register(action: BulkAction) -> None:
    _registered[action.slug] = action


def all_registered() -> list[BulkAction]:
    return list(_registered.values())
