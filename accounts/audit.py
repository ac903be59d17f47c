"""The audit trail's only writer: every service calls :func:`record` in the transaction of its change (P6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from .models import AuditEntry, User

SYSTEM = "system"


def actor_label(actor: User | None) -> str:
    return actor.email if actor else SYSTEM


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
    if not connection.in_atomic_block:
        raise RuntimeError(f"audit.record({action!r}) outside the transaction of its change")
    AuditEntry.objects.create(
        project_id=project_id,
        actor=actor,
        actor_label=actor_label(actor),
        action=action,
        target=target[:200],
        device_id=device_id,
        before=dict(before or {}),
        after=dict(after or {}),
    )
