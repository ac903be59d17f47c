"""How the queue of a device is read by people: the rows of the status table, a page at a time (S3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from devices.models import Device
from lora.carried import Instruction

from .models import Cause, Downlink, State

PAGE: Final = 20
COLUMNS: Final = (
    "number", "state", "label", "fport", "payload", "confirmed", "requested_at", "requested_by__email", "source",
    "executing_at", "accepted_at", "sent_at", "acknowledged_at", "finished_at", "attempts", "cause", "reason",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction in the table. ``values``: the columns as they are stored."""

    values: dict[str, Any]

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
    def facts(self) -> list[tuple[str, datetime]]:
        """What is known to have happened, each a fact of its own."""
        labels = {
            "executing_at": _("Executing"),
            "accepted_at": _("Taken by the network") if self.lora else "",
            "sent_at": _("On air") if self.lora else _("Handed over"),
            "acknowledged_at": _("Acknowledged"),
            "finished_at": "" if self.values["state"] == State.DELIVERED else _("Ended"),
        }
        return [(label, self.values[key]) for key, label in labels.items() if label and self.values[key]]

    @property
    def words(self) -> str:
        """What the status means here, as a sentence."""
        state, reason = self.values["state"], self._reason()
        if state == State.FAILED:
            return reason
        if state == State.EXECUTING:
            return self._executing(reason)
        if state == State.DELIVERED and self.values["acknowledged_at"]:
            return _("The device acknowledged it.")
        if state == State.DELIVERED:
            return (
                _("Sent; nobody acknowledged it.")
                if self.lora
                else _("Handed over in an answer; the device came back afterwards.")
            )
        return ""

    def _executing(self, reason: str) -> str:
        if self.values["cause"] == "network":
            return _("The network cannot be reached (%s). The portal keeps trying.") % reason
        if self.lora:
            if self.values["sent_at"]:
                return _("Sent; waiting for the device to acknowledge it.")
            return _("Goes out after the device's next message.") if self.values["accepted_at"] else _("Being sent.")
        if self.values["sent_at"]:
            return _("Handed over; waiting for the device to come back.")
        return _("Handed over in the answer to the device's next message.")

    def _reason(self) -> str:
        cause = self.values["cause"]
        return str(Cause(cause).label) if cause in Cause.values else self.values["reason"] or cause


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the table, newest first. ``before``: where it starts, None at the top; ``older``: where the next
    one starts, None at the end."""

    rows: list[Row]
    before: int | None
    older: int | None


def page_of(device_id: int, before: int | None) -> Found:
    """The instructions with numbers below ``before``, or the newest ones."""
    rows = Downlink.objects.filter(device_id=device_id)
    if before is not None:
        rows = rows.filter(number__lt=before)
    found = [Row(values) for values in rows.order_by("-number").values(*COLUMNS)[: PAGE + 1]]
    older = found[PAGE - 1].values["number"] if len(found) > PAGE else None
    return Found(found[:PAGE], before, older)


def carried(device: Device, correlation_id: UUID) -> Instruction | None:
    """The instruction that a frame carried, and the page of the table on which it stands."""
    row = Downlink.objects.filter(correlation_id=correlation_id, device=device).values("number", "label").first()
    if row is None:
        return None
    number = row["number"]
    where = reverse("downlinks:send", kwargs={"device_id": device.pk})
    name = _("Instruction %(number)d") % {"number": number}
    return Instruction(
        f"{name}: {row['label']}" if row["label"] else name, f"{where}?before={number + 1}#downlink-{number}"
    )


def parse_number(text: str) -> int | None:
    """An instruction's number out of an address or a form; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
