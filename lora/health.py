"""The health of LoRa devices (L6): a summary per device that each batch of frames takes forward, the verdict that lists
show, and the same anew from a device's frames, with the messages that show it.

A page computes nothing of the list: health and the worst finding stand in ``DeviceState``. Silence comes without a
message, so a sweep looks after those whose time has come (:func:`sweep_silent`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Exists, OuterRef, QuerySet

from common.radio import VERY_WEAK_ESP, WEAK_ESP
from devices.models import Device, DeviceState, Health

from . import diagnosis as d
from . import diagnosis_rules as rules
from .diagnosis import Seen, Summary
from .diagnosis_rules import Finding, Severity, Step
from .events import DownlinkSent, JoinAccept, JoinRequest, RadioEvent, Uplink
from .frames import Key, esp_of, oldest_kept
from .history import AHEAD
from .models import LoraIdentity, Radio

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
# When a device would be silent is looked at in steps of this, so that its index is written so seldom only.
QUIET_STEP: Final = 6 * 3600 * d.SECOND
SWEEP: Final = 500
_OF: Final = {Severity.NOTE: Health.GOOD, Severity.ATTENTION: Health.ATTENTION, Severity.PROBLEM: Health.PROBLEM}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``finding``: the code of the worst finding; "" where nothing makes the device unwell. ``changed``: it is another
    than was told before."""

    health: Health
    finding: str = ""
    changed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A device's whole story. ``frames``: oldest first."""

    step: Step
    findings: list[Finding]
    verdict: Verdict
    totals: rules.Totals
    summary: Summary
    frames: Sequence[Seen]


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def moment(microseconds: int) -> datetime:
    return EPOCH + microseconds * MICROSECOND


def judge(summary: Summary, found: Sequence[Finding]) -> Verdict:
    worst = found[0] if found else None
    if worst is not None and worst.severity > Severity.NOTE:
        return Verdict(_OF[worst.severity], worst.code.value)
    return Verdict(Health.UNKNOWN if summary.top is None else Health.GOOD)


# --- as messages arrive ---


def seen(key: Key, event: RadioEvent) -> Seen:
    """The frame as the fold needs it; :data:`MONTH` says the same of a stored one."""
    at, seq = microseconds(key.received_at), key.seq
    if isinstance(event, JoinRequest | JoinAccept):
        return Seen(at, seq, d.UP | d.JOIN_REQUEST if isinstance(event, JoinRequest) else d.JOIN_ACCEPT, None)
    if isinstance(event, DownlinkSent):
        flags = (
            (event.confirmed and d.CONFIRMED) | (not event.delivered and d.FAILED) | (bool(event.fport) and d.CARRIES)
        )
        return Seen(at, seq, flags, event.fcnt, event.mac or None, event.cause[:20] or None)
    assert isinstance(event, Uplink)
    esp = esp_of(event.receptions[0]) if event.receptions else 0.0
    gateways, factor = event.gateway_count or len(event.receptions), event.spreading_factor or 0
    flags = (
        d.UP
        | (event.confirmed and d.CONFIRMED)
        | (event.ack and d.ACK)
        | (esp < WEAK_ESP and d.WEAK)
        | (esp < VERY_WEAK_ESP and d.VERY_WEAK)
        | (factor == d.SLOWEST_FACTOR and d.SLOWEST)
        | (factor >= d.SLOW_FACTOR and gateways == 1 and d.SINGLE)
        | (gateways >= d.LEAST_TO_LOCATE and d.LOCATABLE)
        | (event.location is not None and d.LOCATED)
    )
    return Seen(at, seq, flags, event.fcnt, event.mac or None)


HELD = """
SELECT device_id, state, health, finding FROM lora_radio WHERE device_id = ANY(%s::bigint[])
ORDER BY device_id FOR UPDATE
"""
# Of a device that had none: whoever comes second waits here for the first, and then finds its row.
BEGIN = """
INSERT INTO lora_radio (device_id, state, health, finding)
SELECT device_id, %s, %s, '' FROM unnest(%s::bigint[]) AS device_id
ON CONFLICT DO NOTHING RETURNING device_id
"""
KEEP = """
INSERT INTO lora_radio (device_id, state, health, finding, quiet_at)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::smallint[], %s::text[], %s::timestamptz[])
ON CONFLICT (device_id) DO UPDATE SET
    state = excluded.state, health = excluded.health, finding = excluded.finding, quiet_at = excluded.quiet_at
"""


_Held = tuple[str, int, str]


def _hold(cursor: CursorWrapper, device_ids: list[int]) -> dict[int, _Held]:
    """The rows of these devices, locked until the transaction ends: state, health and finding of those that had one."""

    def held(wanted: list[int]) -> dict[int, _Held]:
        cursor.execute(HELD, [wanted])
        return {row[0]: row[1:] for row in cursor.fetchall()}

    found = held(device_ids)
    if missing := [device_id for device_id in device_ids if device_id not in found]:
        cursor.execute(BEGIN, [_plain(Summary()), Health.UNKNOWN.value, missing])
        begun = {row[0] for row in cursor.fetchall()}
        if elsewhere := [device_id for device_id in missing if device_id not in begun]:
            found |= held(elsewhere)
    return found


def take(frames: Mapping[int, list[Seen]]) -> dict[int, Verdict]:
    """Take the new frames of each device into its summary; their verdicts.

    Two statements, one row per device; one more for those heard of first. Call it in the transaction that stores the
    frames, after them.
    """
    if not frames:
        return {}
    verdicts, rows = {}, []
    with connection.cursor() as cursor:
        held = _hold(cursor, sorted(frames))
        for device_id in sorted(frames):
            known = held.get(device_id)
            summary = Summary.of(orjson.loads(known[0])) if known else Summary()
            d.fold(summary, sorted(frames[device_id]))
            # As of the newest frame: what is read late must not look silent.
            totals = rules.totals(summary)
            verdict = judge(summary, rules.findings(summary, summary.last_at, seen=totals))
            if known is None or known[1:] != (verdict.health, verdict.finding):
                verdict = replace(verdict, changed=True)
            verdicts[device_id] = verdict
            rows.append(_row(device_id, summary, verdict, _quiet_at(summary, totals)))
        cursor.execute(KEEP, [list(column) for column in zip(*rows, strict=True)])
    return verdicts


_Row = tuple[int, str, int, str, datetime | None]


def _plain(summary: Summary) -> str:
    return orjson.dumps(summary.plain()).decode()


def _row(device_id: int, summary: Summary, verdict: Verdict, quiet_at: datetime | None) -> _Row:
    return device_id, _plain(summary), verdict.health.value, verdict.finding, quiet_at


def _quiet_at(summary: Summary, totals: rules.Totals) -> datetime | None:
    """When to look again if nothing comes: at an answer that is due, or at the silence."""
    if summary.asked and summary.asked < rules.LEAST_ASKED:
        return moment(summary.join_at + rules.ANSWER_TIME + d.SECOND)
    after = rules.silent_after(summary, totals)
    return moment(-(-after // QUIET_STEP) * QUIET_STEP) if after else None


def sweep_silent(now: datetime, limit: int = SWEEP) -> tuple[int, list[int]]:
    """Judge anew the devices whose time has come without a message, at most ``limit``, by index: how many they
    were, and those whose health changed. Those heard of last before the retention are not known any more."""
    rows, changed = [], []
    with transaction.atomic():
        due = list(
            Radio.objects.select_for_update(skip_locked=True).filter(quiet_at__lte=now).order_by("quiet_at")[:limit]
        )
        for radio in sorted(due, key=lambda one: one.device_id):
            summary = Summary.of(orjson.loads(radio.state))
            last = max(summary.up_at, summary.join_at, summary.last_at)
            ends = moment(last) + timedelta(days=settings.FRAME_RETENTION_DAYS, hours=1)
            if now >= ends:
                summary, again = Summary(), None
            elif (after := moment(rules.silent_after(summary))) >= now:
                again = after + timedelta(minutes=1)
            else:
                again = ends
            verdict = judge(summary, rules.findings(summary, microseconds(now)))
            if (radio.health, radio.finding) != (verdict.health, verdict.finding):
                changed.append((radio.device_id, verdict))
            rows.append(_row(radio.device_id, summary, verdict, again))
        if rows:
            with connection.cursor() as cursor:
                cursor.execute(KEEP, [list(column) for column in zip(*rows, strict=True)])
        for device_id, verdict in changed:
            DeviceState.objects.filter(pk=device_id).update(health=verdict.health, finding=verdict.finding)
    return len(rows), [device_id for device_id, _verdict in changed]


def held(device_id: int) -> Summary | None:
    """The device's summary as the last batch left it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM lora_radio WHERE device_id = %s", [device_id])
        found = cursor.fetchone()
    return Summary.of(orjson.loads(found[0])) if found else None


def remove(device_id: int) -> None:
    """Remove the summary of a device that is being deleted (D9)."""
    Radio.objects.filter(pk=device_id).delete()


# --- anew from the frames ---

# One narrow scan by the primary key. The flags are the bits of lora.diagnosis, in one number.
MONTH = """
SELECT (date_part('epoch', received_at) * 1000000)::bigint, seq,
    CASE kind WHEN 0 THEN %(join_request)s WHEN 1 THEN %(join_accept)s ELSE
        CASE WHEN direction = 0 THEN %(up)s
            + CASE WHEN ack THEN %(ack)s ELSE 0 END
            + CASE WHEN esp < %(weak_esp)s THEN %(weak)s ELSE 0 END
            + CASE WHEN esp < %(very_weak_esp)s THEN %(very_weak)s ELSE 0 END
            + CASE WHEN spreading_factor = %(slowest_factor)s THEN %(slowest)s ELSE 0 END
            + CASE WHEN gateway_count = 1 AND spreading_factor >= %(slow_factor)s THEN %(single)s ELSE 0 END
            + CASE WHEN gateway_count >= %(least)s THEN %(locatable)s ELSE 0 END
            + CASE WHEN latitude IS NOT NULL THEN %(located)s ELSE 0 END
        ELSE CASE WHEN delivered THEN 0 ELSE %(failed)s END
            + CASE WHEN fport > 0 THEN %(carries)s ELSE 0 END
        END + CASE WHEN confirmed THEN %(confirmed)s ELSE 0 END
    END,
    fcnt, nullif(mac, ''), nullif(cause, '')
FROM lora_frame
WHERE device_id = %(device_id)s AND received_at >= %(since)s AND received_at <= %(until)s
ORDER BY received_at, seq
"""
_BITS: Final = {
    "join_request": d.UP | d.JOIN_REQUEST,
    "join_accept": d.JOIN_ACCEPT,
    "up": d.UP,
    "ack": d.ACK,
    "weak": d.WEAK,
    "very_weak": d.VERY_WEAK,
    "slowest": d.SLOWEST,
    "single": d.SINGLE,
    "locatable": d.LOCATABLE,
    "located": d.LOCATED,
    "failed": d.FAILED,
    "carries": d.CARRIES,
    "confirmed": d.CONFIRMED,
    "weak_esp": WEAK_ESP,
    "very_weak_esp": VERY_WEAK_ESP,
    "slowest_factor": d.SLOWEST_FACTOR,
    "slow_factor": d.SLOW_FACTOR,
    "least": d.LEAST_TO_LOCATE,
}


def month(device_id: int, now: datetime, *, ahead: timedelta = timedelta(0)) -> Sequence[Seen]:
    """The device's frames of the retention, oldest first, as tuples in the shape of :class:`Seen`; also those that are
    ``ahead`` of now by the network's clock."""
    with connection.cursor() as cursor:
        cursor.execute(MONTH, _BITS | {"device_id": device_id, "since": oldest_kept(now), "until": now + ahead})
        rows: list[Any] = cursor.fetchall()
        return rows


def diagnose(device_id: int, now: datetime, *, locates: bool = False, ahead: timedelta = timedelta(0)) -> Diagnosis:
    """The device's findings from its frames, exactly; what the screens show beside the list."""
    frames = month(device_id, now, ahead=ahead)
    summary = d.fold(Summary(), frames)
    found = rules.findings(summary, microseconds(now), locates=locates)
    return Diagnosis(rules.step(summary), found, judge(summary, found), rules.totals(summary), summary, frames)


def to_recompute(*, after: int = 0, every: bool = False) -> QuerySet[LoraIdentity, int]:
    """The devices that were heard of and have no summary, or ``every`` one that was heard of; by number, behind
    ``after``."""
    heard = LoraIdentity.objects.filter(device_id__gt=after, device__state__last_message_at__isnull=False)
    if not every:
        heard = heard.exclude(Exists(Radio.objects.filter(pk=OuterRef("device_id"))))
    return heard.order_by("device_id").values_list("device_id", flat=True)


def recompute(device_ids: Iterable[int], now: datetime) -> None:
    """Make the summaries anew from the frames, a device a transaction, while messages arrive.

    A batch's frames are read here or taken into what is made here, never both: both hold the row. The device is held
    first, as by whoever deletes it; one that is gone is left out.
    """
    for device_id in device_ids:
        with transaction.atomic(), connection.cursor() as cursor:
            if not Device.objects.select_for_update(no_key=True).filter(pk=device_id).exists():
                continue
            _hold(cursor, [device_id])
            # All that was stored: what a batch took while this one waited is not taken again.
            made = diagnose(device_id, now, ahead=AHEAD)
            quiet_at = _quiet_at(made.summary, made.totals)
            cursor.execute(KEEP, [[value] for value in _row(device_id, made.summary, made.verdict, quiet_at)])
            DeviceState.objects.filter(pk=device_id).update(health=made.verdict.health, finding=made.verdict.finding)
