"""The audit trail's only writer: every service calls :func:`record` or, for many changes at once,
:func:`record_many` in the transaction of its change (P6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils import timezone

from .models import AuditEntry, User

SYSTEM = "system"


def actor_label(actor: User | None) -> str:
    return actor.email if actor else SYSTEM


@dataclass(frozen=True, slots=True)
class Change:
    """One of many changes of the same kind; the fields as :func:`record` takes them."""

    project_id: int
    target: str
    device_id: int | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


def record(
    *,
    project_id: int,
    actor: User | None,
    action: str,
    target: str,
    device_id: int | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Keep one change. ``action`` is a dotted word of the code (``device.deactivated``).

    ``before`` and ``after`` hold only what changed, as JSON-ready values, and never a secret.
    ``actor`` None is the portal itself (a worker, a network's answer).
    Raises RuntimeError outside a transaction: a change and its record stand or fall together.
    """
    change = Change(project_id, target, device_id, before or {}, after or {})
    record_many([change], actor=actor, action=action)


def record_many(changes: Iterable[Change], *, actor: User | None, action: str) -> None:
    """Keep many changes of one kind in one statement; otherwise as :func:`record`."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"audit.record({action!r}) outside the transaction of its change")
    label, at = actor_label(actor), timezone.now()
    AuditEntry.objects.bulk_create(
        AuditEntry(
            project_id=change.project_id,
            at=at,
            actor=actor,
            actor_label=label,
            action=action,
            target=change.target[:200],
            device_id=change.device_id,
            before=dict(change.before),
            after=dict(change.after),
        )
        for change in changes
    )
