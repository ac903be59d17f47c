"""Carrying out many devices' instructions at once: one claim, a call each, one note (S4, S5; scale).

The same claim as :mod:`downlinks.execution`'s, for the heads of a batch of devices; sent outside transactions; what the
network took is written down together. A worker that dies in between leaves leases, and what it has sent is sent again
under the same id, as with a single one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from devices import connectivity, live
from devices.models import Device

from . import queue
from .execution import CLAIM_MANY, Taken, attempt, in_use, parameters, read

# Seconds. Whoever is still waiting then is left to others: the lease must outlast the slowest call after it.
BUDGET: Final = 10.0
# Seconds. A slow network's answers do not wait for the end of the batch before they are written down.
NOTE_EVERY: Final = 1.0

# By the index of heads (what executes is one): where few execute, the key looks as good to the planner, and it
# finds all that a device ever had. In the order of the devices, as those who report for several hold them, lest
# two wait for each other.
HELD: Final = """
WITH held AS MATERIALIZED (
    SELECT d.device_id, d.number FROM downlinks_downlink AS d
    JOIN unnest(%(devices)s::bigint[], %(numbers)s::int[], %(attempts)s::int[]) AS n (device_id, number, attempts)
        ON d.device_id = n.device_id AND d.number = n.number
    WHERE d.device_id = ANY(%(devices)s) AND d.head AND d.state = 'executing' AND d.accepted_at IS NULL {more}
    ORDER BY d.device_id FOR NO KEY UPDATE OF d
)
UPDATE downlinks_downlink AS d SET {values} FROM held
WHERE d.device_id = ANY(%(devices)s) AND d.device_id = held.device_id AND d.number = held.number
    AND d.head AND d.state = 'executing' AND d.accepted_at IS NULL
RETURNING d.device_id"""
ACCEPTED: Final = HELD.format(values="accepted_at = %(now)s, due_at = d.deadline, cause = '', reason = ''", more="")
FETCHED_LATER: Final = HELD.format(values="due_at = LEAST(d.deadline, d.valid_until)", more="")
# Only by the one who has it still.
HANDED_BACK: Final = HELD.format(values="due_at = %(now)s", more="AND d.attempts = n.attempts")


def run_many(device_ids: Collection[int], *, now: datetime | None = None, budget: float = BUDGET) -> int:
    """Send the heads of these devices' queues that may be sent and that nobody else is at; how many were claimed.

    What cannot be begun within ``budget`` seconds is given back and rung for again.
    """
    with scopes_disabled():
        taken = take_many(device_ids, now or timezone.now())
        devices = Device.objects.select_related("type", "project", *connectivity.needed_to_send()).in_bulk(list(taken))
        batch = Batch(taken, now)
        started = time.monotonic()
        for device_id in taken:
            device = devices.get(device_id)
            # Deactivated or removed since the claim: nothing is sent, and the lease runs out.
            if device is None or not in_use(device):
                continue
            if time.monotonic() - started >= budget:
                batch.left.append(device_id)
            else:
                batch.send(device)
        batch.note()
        batch.hand_back()
    return len(taken)


def take_many(device_ids: Collection[int], now: datetime) -> dict[int, Taken]:
    """Claim the heads of these queues; by device, in the order asked for."""
    asked = list(dict.fromkeys(device_ids))
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_MANY, parameters(asked, now))
        found = {row[0]: read(row) for row in cursor.fetchall()}
    _tell(found)
    return {device_id: found[device_id] for device_id in asked if device_id in found}


class Batch:
    """Claimed instructions by device, what their network said of them, and those that nobody got to."""

    def __init__(self, taken: Mapping[int, Taken], now: datetime | None) -> None:
        self.taken, self.now = taken, now
        self.answers: dict[int, bool] = {}
        self.left: list[int] = []
        self.noted = time.monotonic()

    def send(self, device: Device) -> None:
        answer = attempt(device, self.taken[device.pk], self.now)
        if answer is not None:
            self.answers[device.pk] = answer
        if time.monotonic() - self.noted >= NOTE_EVERY:
            self.note()

    def note(self) -> None:
        """Write down what the networks took. Those that are reported on already have it from there."""
        accepted = [pk for pk, answer in self.answers.items() if answer]
        noted = self._change(ACCEPTED, accepted)
        for pk in set(accepted) - noted:
            queue.note(pk, self.taken[pk].number, "accepted_at", accepted_at=self._moment(), cause="", reason="")
        self._change(FETCHED_LATER, [pk for pk, answer in self.answers.items() if not answer])
        _tell(self.answers)
        self.answers = {}
        self.noted = time.monotonic()

    def hand_back(self) -> None:
        queue.ring(*self._change(HANDED_BACK, self.left))

    def _change(self, statement: str, ids: Collection[int]) -> set[int]:
        if not ids:
            return set()
        held = [self.taken[pk] for pk in ids]
        with connection.cursor() as cursor:
            values: dict[str, Any] = {
                "devices": list(ids),
                "numbers": [one.number for one in held],
                "now": self._moment(),
            }
            cursor.execute(statement, values | {"attempts": [one.attempts for one in held]})
            return {device_id for (device_id,) in cursor.fetchall()}

    def _moment(self) -> datetime:
        return self.now or timezone.now()


def _tell(ids: Collection[int]) -> None:
    if ids:
        told = list(ids)
        transaction.on_commit(lambda: live.publish((device_id, ("downlinks",)) for device_id in told))
