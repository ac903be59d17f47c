"""How a LoRa device does (L6): the step of the join ceremony that it reached and its findings with their messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from common.htmx import page, wants_partial
from devices.access import device_view
from devices.models import Device
from devices.views import detail
from lora import diagnosis as d
from lora import diagnosis_rules as rules
from lora import diagnosis_words, evidence, health
from lora.diagnosis import Seen
from lora.diagnosis_rules import Finding, Step
from lora.models import LoraIdentity
from lora.networks import locates


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding as the page tells it. ``messages``: the newest that show it."""

    finding: Finding
    messages: list[Seen]

    @property
    def code(self) -> str:
        return self.finding.code.value

    @property
    def health(self) -> str:
        return {1: "note", 2: "attention", 3: "problem"}[self.finding.severity]

    @property
    def words(self) -> diagnosis_words.Words:
        return diagnosis_words.WORDS[self.finding.code]

    @property
    def seen(self) -> str:
        return diagnosis_words.seen(self.finding)

    @property
    def links(self) -> list[dict[str, Any]]:
        return [
            {"when": one.at, "seq": one.seq, "at": health.moment(one.at), "label": _label(one)} for one in self.messages
        ]


def _label(frame: Seen) -> str:
    if frame.flags & d.JOIN_REQUEST:
        return str(diagnosis_words.JOIN_REQUEST)
    if frame.flags & d.JOIN_ACCEPT:
        return str(diagnosis_words.JOIN_ACCEPT)
    name = "FCntUp" if frame.flags & d.UP else "FCntDown"
    return name if frame.fcnt is None else f"{name} {frame.fcnt}"


@device_view("GET")
def diagnosis(request: HttpRequest, device: Device) -> HttpResponse:
    """From the frames of the retention, worked out now: one scan of this device's."""
    identity = LoraIdentity.objects.select_related("network").defer("app_key").filter(device=device).first()
    found = health.diagnose(device.pk, timezone.now(), locates=identity is not None and locates(identity))
    shown = [Shown(one, evidence.of(one, found)) for one in found.findings]
    context = {"device": device, "diagnosis": _told(found.step, shown, found.totals, exact=True)}
    if not wants_partial(request):
        context |= detail.frame(device, request, active="lora-history")
    return page(request, "lora/diagnosis.html", context, partial="diagnosis")


def at_once(device: Device, now: datetime) -> dict[str, Any] | None:
    """What the summary says, without messages, for a page that is not to wait; None where there is none of a device
    that was heard."""
    summary = health.held(device.pk)
    if summary is None:
        if device.state.last_message_at is not None:
            return None
        summary = d.Summary()
    found = [Shown(one, []) for one in rules.findings(summary, health.microseconds(now))]
    return _told(rules.step(summary), found, rules.totals(summary), exact=False)


def _told(step: Step, found: list[Shown], totals: rules.Totals, *, exact: bool) -> dict[str, Any]:
    """``exact``: with the messages of the findings and all that there is to know; a page that has no such yet asks for
    it."""
    return {
        "steps": _steps(step),
        "number": step.value,
        "step": diagnosis_words.STEPS[step],
        "findings": found,
        "messages": totals.messages,
        "since": health.moment(totals.counts[d.FIRST_AT]) if totals.messages else None,
        "normal": step is Step.NORMAL,
        "exact": exact,
        "guide": diagnosis_words.GUIDE if exact else (),
    }


def _steps(reached: Step) -> list[tuple[str, str]]:
    """Each step with its state: done, now, or later."""
    return [
        (
            str(words.title),
            "done" if step < reached or step is reached is Step.NORMAL else "now" if step is reached else "later",
        )
        for step, words in diagnosis_words.STEPS.items()
    ]
