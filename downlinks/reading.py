"""How the queue of a device is read by people: the status table a page at a time, and one instruction (S3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from devices.models import Device
from lora.carried import Instruction
from lora.frames import oldest_kept
from lora.models import Frame
from lora.search import Cursor

from . import causes, execution
from .models import FINAL, Downlink, Source, State
from .queue import head_of

PAGE: Final = 20
# Whoever waits behind more than so many is told so.
COUNTED: Final = 1000
FRAMES: Final = 10
COLUMNS: Final = (
    "number", "state", "head", "encoder", "label", "fport", "payload", "confirmed", "requested_at",
    "requested_by__email", "source", "executing_at", "attempts", "valid_until", "again", "cancelled_by__email",
    "accepted_at", "gateway", "window", "fcnt_down", "sent_at", "acknowledged_at", "finished_at", "deadline",
    "correlation_id", "cause", "reason",
)  # fmt: skip
SOURCES: Final = {
    Source.PAGE: gettext_lazy("in the portal"),
    Source.API: gettext_lazy("through the API"),
    Source.BULK: gettext_lazy("to many devices at once"),
    Source.DESIRED: gettext_lazy("for a desired state"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A transition or fact of an instruction. ``at`` None: it has not happened; ``notes`` say more."""

    label: str
    at: datetime | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Queue:
    """What a pending instruction waits for. ``held``: why the whole queue waits, as a sentence, or ""; ``head``: the
    number that is executing or next, None where nothing is open; ``before``: how many are open before those of the
    page."""

    held: str = ""
    head: int | None = None
    before: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction in the table. ``values``: the columns as they are stored; ``ahead``: how many are open before
    a pending one."""

    values: dict[str, Any]
    queue: Queue = Queue()
    ahead: int = 0

    @property
    def lora(self) -> bool:
        return self.values["fport"] is not None

    @property
    def content(self) -> str:
        """Hexadecimal in bytes, or SenML as JSON."""
        payload = bytes(self.values["payload"])
        return payload.hex(" ").upper() if self.lora else payload.decode(errors="replace")

    @property
    def records(self) -> list[dict[str, Any]]:
        """The SenML records."""
        records: list[dict[str, Any]] = json.loads(self.content)
        return records

    @property
    def indented(self) -> str:
        return json.dumps(self.records, indent=2, ensure_ascii=False)

    @property
    def summary(self) -> str:
        """SenML in a line: names, values and units, without times and base name."""
        return ", ".join(
            " ".join(str(record[key]) for key in ("n", "v", "vs", "vb", "vd", "u") if key in record)
            for record in self.records
        )

    @property
    def size(self) -> int:
        return len(self.values["payload"])

    @property
    def pending(self) -> bool:
        return bool(self.values["state"] == State.PENDING)

    @property
    def final(self) -> bool:
        return self.values["state"] in FINAL

    @property
    def latest(self) -> Step | None:
        """The last thing that is known to have happened after the request."""
        happened = [step for step in self.steps[1:] if step.at]
        return happened[-1] if happened else None

    @property
    def steps(self) -> list[Step]:
        """From the request to the end, each a fact of its own; on air and acknowledged are never one."""
        values = self.values
        steps = [Step(_("Requested"), values["requested_at"], self._asked()), Step(_("Executing"), *self._begun())]
        if self.lora:
            on_air = (
                _("gateway %s") % values["gateway"] if values["gateway"] else "",
                _("window %s") % values["window"] if values["window"] else "",
                f"FCntDown {values['fcnt_down']}" if values["fcnt_down"] is not None else "",
            )
            steps += [
                Step(_("Accepted by the network"), values["accepted_at"]),
                Step(_("On air"), values["sent_at"], tuple(filter(None, on_air))),
                Step(
                    _("Acknowledged"),
                    values["acknowledged_at"],
                    () if values["confirmed"] else (_("not asked for: unconfirmed"),),
                ),
            ]
        else:
            steps.append(Step(_("Handed over"), values["sent_at"]))
        if values["state"] in FINAL:
            by = values["cancelled_by__email"]
            notes = (_("by %s") % by,) if by else ()
            steps.append(Step(str(State(values["state"]).label), values["finished_at"], notes))
        return steps

    def _asked(self) -> tuple[str, ...]:
        values = self.values
        who = values["requested_by__email"]
        notes = [_("by %s") % who if who else _("by the portal"), str(SOURCES[Source(values["source"])])]
        if values["again"]:
            notes.append(_("repeats no. %d") % values["again"])
        return tuple(notes)

    def _begun(self) -> tuple[datetime | None, tuple[str, ...]]:
        attempts = self.values["attempts"]
        tried = (ngettext("tried %d time", "tried %d times", attempts) % attempts,) if attempts > 1 else ()
        return self.values["executing_at"], tried

    @property
    def words(self) -> str:
        """What the status means here, as a sentence."""
        match self.values["state"]:
            case State.FAILED:
                return causes.words(self.values["cause"], self.values["reason"])
            case State.EXECUTING:
                return self._executing()
            case State.PENDING:
                return self._pending()
            case State.DELIVERED if self.values["acknowledged_at"]:
                return _("The device acknowledged it.")
            case State.DELIVERED if self.lora:
                return _("Sent; nobody acknowledged it.")
            case State.DELIVERED:
                return _("Handed over in an answer; the device came back afterwards.")
        return ""

    @property
    def code(self) -> str:
        return causes.code(self.values["cause"])

    @property
    def network_words(self) -> str:
        """The network's own words, where the sentence is not they."""
        return "" if self.values["reason"] in {"", self.words} or not self.code else str(self.values["reason"])

    def _pending(self) -> str:
        if self.queue.held:
            return self.queue.held
        if self.values["head"] or self.queue.head is None:
            return _("Is being taken up.") if self.lora else _("Waits for the device's next message.")
        if self.ahead > COUNTED:
            return _("Waits for no. %(head)d and more than %(count)d others.") % {
                "head": self.queue.head,
                "count": COUNTED,
            }
        if self.ahead > 1:
            return ngettext(
                "Waits for no. %(head)d and %(count)d other.", "Waits for no. %(head)d and %(count)d others.",
                self.ahead - 1,
            ) % {"head": self.queue.head, "count": self.ahead - 1}  # fmt: skip
        return _("Waits for no. %d.") % self.queue.head

    def _executing(self) -> str:
        if self.values["cause"] == "network":
            reason = str(self.values["reason"])
            return _("The network cannot be reached (%s). The portal keeps trying.") % reason
        if self.lora:
            if self.values["sent_at"]:
                return _("Sent; waiting for the device to acknowledge it.")
            return _("Goes out after the device's next message.") if self.values["accepted_at"] else _("Being sent.")
        if self.values["sent_at"]:
            return _("Handed over; waiting for the device to come back.")
        return _("Handed over in the answer to the device's next message.")


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the table, newest first. ``before``: where it starts, None at the top; ``older``: where the next
    one starts, None at the end; ``held``: why the pending ones wait, all of them."""

    rows: list[Row]
    before: int | None
    older: int | None
    queue: Queue

    @property
    def waiting(self) -> bool:
        return any(row.pending for row in self.rows)


def page_of(device: Device, before: int | None) -> Found:
    """The instructions with numbers below ``before``, or the newest ones."""
    rows = Downlink.objects.filter(device=device)
    if before is not None:
        rows = rows.filter(number__lt=before)
    found = list(rows.order_by("-number").values(*COLUMNS)[: PAGE + 1])
    older = found[PAGE - 1]["number"] if len(found) > PAGE else None
    shown = found[:PAGE]
    queue = _queue(device, shown)
    return Found(_placed(shown, queue), before, older, queue)


def one(device: Device, number: int) -> Row | None:
    found = list(Downlink.objects.filter(device=device, number=number).values(*COLUMNS))
    return _placed(found, _queue(device, found))[0] if found else None


def count_pending(device: Device) -> int:
    """How many are pending; COUNTED + 1 where there are more than that."""
    return len(_pending_of(device).values_list("number")[: COUNTED + 1])


def frames_of(device: Device, row: Row) -> list[tuple[Frame, Cursor]]:
    """The LoRa frames that carried the instruction, and their places in the data history, oldest first. They are
    looked for between its request and a day after its end, within what is kept."""
    values, now = row.values, timezone.now()
    until = (values["finished_at"] or now) + timedelta(days=1)
    rows = Frame.objects.filter(
        device_id=device.pk,
        received_at__range=(max(values["requested_at"] - timedelta(minutes=5), oldest_kept(now)), until),
        correlation_id=values["correlation_id"],
    )
    return [(frame, Cursor(frame.received_at, frame.seq)) for frame in rows.order_by("received_at", "seq")[:FRAMES]]


def _pending_of(device: Device) -> QuerySet[Downlink]:
    return Downlink.objects.filter(device=device, state=State.PENDING)


def _queue(device: Device, found: list[dict[str, Any]]) -> Queue:
    """Two queries where any of the rows is pending, by index."""
    pending = [values["number"] for values in found if values["state"] == State.PENDING]
    held = execution.hold_reason(device)
    if not pending:
        return Queue(held)
    head = head_of(device.pk).values_list("number", "state").first()
    earlier = len(_pending_of(device).filter(number__lt=min(pending)).values_list("number")[: COUNTED + 1])
    executing = head is not None and head[1] == State.EXECUTING
    return Queue(held, head[0] if head else None, earlier + executing)


def _placed(found: list[dict[str, Any]], queue: Queue) -> list[Row]:
    """The rows, newest first, each pending one with the number of those before it."""
    rows, ahead = [], queue.before
    for values in reversed(found):
        rows.append(Row(values, queue, ahead))
        ahead += values["state"] == State.PENDING
    return rows[::-1]


def carried(device: Device, correlation_id: UUID) -> Instruction | None:
    """The instruction that a frame carried, in words, and its own page."""
    rows = Downlink.objects.filter(correlation_id=correlation_id, device=device).order_by("device_id")
    row = rows.values("number", "label").first()
    if row is None:
        return None
    number = row["number"]
    name = _("Instruction %(number)d") % {"number": number}
    return Instruction(
        f"{name}: {row['label']}" if row["label"] else name,
        reverse("downlinks:instruction", kwargs={"device_id": device.pk, "number": number}),
    )


def parse_number(text: str) -> int | None:
    """An instruction's number out of an address or a form; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
