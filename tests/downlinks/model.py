"""What S3 to S5 say should happen to the instructions of one device, as plain as it can be said: for test_machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from downlinks import execution
from tests.downlinks.conftest import T0

DAY = timedelta(days=1)
FINAL = {"cancelled", "failed", "delivered"}


@dataclass
class Row:
    """``taken``: the portal knows that the network or the device has it. ``had``: the network has it, whether or not
    the portal knows. ``due``: nobody else may try before."""

    confirmed: bool = False
    valid: datetime | None = None
    state: str = "pending"
    tries: int = 0
    taken: bool = False
    had: bool = False
    sent: datetime | None = None
    due: datetime | None = None
    deadline: datetime | None = None
    cause: str = ""

    def end(self, state: str, cause: str = "") -> None:
        self.state, self.cause = state, cause


@dataclass
class Model:
    """``fetching``: an M2M or Internet device. ``knows``: its network can be asked what it has had."""

    fetching: bool = False
    knows: bool = True
    rows: list[Row] = field(default_factory=list)
    portal: bool = True
    connected: bool = True
    now: datetime = T0

    @property
    def active(self) -> bool:
        return self.portal and self.connected

    def head(self) -> Row | None:
        return next((row for row in self.rows if row.state not in FINAL), None)

    def may_go(self, row: Row) -> bool:
        valid = row.valid is None or row.valid > self.now
        return self.active and valid and (row.deadline is None or row.deadline > self.now)

    def _begin(self, row: Row) -> None:
        row.state, row.tries = "executing", row.tries + 1
        row.deadline = row.deadline or self.now + DAY

    # --- a worker ---

    def run(self, answer: str) -> bool:
        """Whether the worker takes it. ``answer``: what becomes of its call."""
        head = self.head()
        if head is None or head.taken or not self.may_go(head) or (head.due is not None and head.due > self.now):
            return False
        self._begin(head)
        assert head.deadline
        head.due = min(self.now + execution.LEASE, head.deadline)
        if self.fetching:
            head.due = min(head.deadline, head.valid or head.deadline)
        elif head.tries > 1 and self.knows and head.had:
            head.taken = True
        elif answer == "taken":
            head.taken = head.had = True
        elif answer == "refused":
            head.end("failed", "refused")
        else:
            head.had = head.had or answer in {"dies after", "answer lost"}
            if answer in {"unavailable", "answer lost"}:
                wait = timedelta(seconds=execution.BACKOFF[min(head.tries, len(execution.BACKOFF)) - 1])
                head.due = min(self.now + wait, head.deadline, head.valid or head.deadline)
        return True

    # --- the network ---

    def report(self, row: Row, what: str) -> None:
        """In any order, late, twice."""
        if row.state != "executing":
            return
        match what:
            case "sent" if row.confirmed:
                row.taken, row.sent = True, row.sent or self.now
            case "sent" | "acknowledged":
                row.end("delivered")
            case "not sent" | "given up":
                row.end("failed", "network's")

    def report_unnamed(self, what: str) -> None:
        head = self.head()
        if head is None or self.fetching:
            return
        acknowledged = what == "acknowledged" and head.confirmed and head.sent
        if acknowledged or (what == "given up" and head.taken):
            self.report(head, what)

    # --- a device that fetches ---

    def hand_over(self) -> Row | None:
        head = self.head()
        if not self.fetching or head is None:
            return None
        again = head.taken and self.active and head.deadline is not None and head.deadline > self.now
        if not again and not self.may_go(head):
            return None
        self._begin(head)
        head.taken, head.sent, head.due = True, head.sent or self.now, head.deadline
        return head

    def came_back(self) -> None:
        head = self.head()
        if self.fetching and head and head.state == "executing" and head.sent and head.sent < self.now:
            head.end("delivered")

    # --- the sweeper ---

    def sweep(self) -> None:
        for row in self.rows:
            if row.state == "pending" and row.valid and row.valid <= self.now:
                row.end("failed", "portal:expired")
        head = self.head()
        if head is None or head.state != "executing" or not head.deadline or not head.due:
            return
        if head.deadline <= self.now:
            head.end("failed", "portal:in time")
        elif head.valid and head.valid <= self.now and not head.taken and head.due <= self.now:
            head.end("failed", "portal:expired")
