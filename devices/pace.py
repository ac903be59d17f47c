"""How fast a job may go (D4): so many devices a second, and so many a minute for each gateway.

Kept as JSON in the job's row, in the transaction of what it allowed, so that a worker's death forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any

MINUTE = 60


class Pace:
    """The pace of one job. ``kept``: ``{"tokens", "at"}`` of the bucket (devices, seconds of the epoch), and
    ``{"minute", "sent", "booked"}``: per key, how many went in the present minute (number of the epoch), and the
    last minute that is promised to devices, with how many."""

    def __init__(self, kept: Mapping[str, Any], per_second: int | None, per_minute: int | None) -> None:
        self.per_second, self.per_minute = per_second, per_minute
        self.tokens: float = kept.get("tokens", per_second or 0)
        self.at: float | None = kept.get("at")
        self.minute: int = kept.get("minute", 0)
        self.sent: dict[str, int] = dict(kept.get("sent", {}))
        self.booked: dict[str, list[int]] = dict(kept.get("booked", {}))

    def kept(self) -> dict[str, Any]:
        """As the job's row keeps it."""
        bucket = {"tokens": self.tokens, "at": self.at} if self.per_second else {}
        minutes = {"minute": self.minute, "sent": self.sent, "booked": self.booked} if self.per_minute else {}
        return bucket | minutes

    def allowed(self, now: datetime, most: int) -> int:
        """How many of ``most`` may go now. The bucket holds what a second brings, and never more."""
        if not self.per_second:
            return most
        seconds = now.timestamp()
        if self.at is not None:
            self.tokens = min(self.per_second, self.tokens + max(0.0, seconds - self.at) * self.per_second)
        self.at = seconds
        # A sum of tenths must not come out as 4.999…
        return min(most, floor(self.tokens + 1e-6))

    def full_at(self, now: datetime) -> datetime:
        """When the bucket is full again: going for each device by itself would wake a worker for every one."""
        missing = (self.per_second or 0) - self.tokens
        return now + timedelta(seconds=missing / self.per_second) if self.per_second else now

    def spend(self, count: int) -> None:
        if self.per_second:
            self.tokens -= count

    def share(self, ids: Sequence[int], keys: Mapping[int, str], now: datetime) -> dict[int, datetime]:
        """Count the devices that go now; the others, with the minute that is theirs. A device without key goes.

        Minutes are promised one after another: a device is put off once, whatever the length of the queue. The
        promise is looked at again when it is due: a job that stood still does not catch up in one minute.
        """
        if not self.per_minute:
            return {}
        present = int(now.timestamp()) // MINUTE
        if present != self.minute:
            self.minute, self.sent = present, {}
            self.booked = {key: booked for key, booked in self.booked.items() if booked[0] > present}
        later: dict[int, datetime] = {}
        for pk in ids:
            key = keys.get(pk)
            if key is None:
                continue
            if self.sent.get(key, 0) < self.per_minute:
                self.sent[key] = self.sent.get(key, 0) + 1
            else:
                later[pk] = datetime.fromtimestamp(self._book(key, present) * MINUTE, UTC)
        return later

    def _book(self, key: str, present: int) -> int:
        minute, count = self.booked.get(key, [present + 1, 0])
        minute, count = (minute + 1, 1) if count >= (self.per_minute or 0) else (minute, count + 1)
        self.booked[key] = [minute, count]
        return minute
