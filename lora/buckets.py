"""What a device's frames tell by spans of time (L8): reduced in the database by one query, so that a chart never gets
more points than it draws. Bounded in time, on the primary key.

Loss is what the uplink counter leaves out, by the rule of :mod:`lora.observed`: a join begins at any count, the same
count again is a repeat of the same frame (NbTrans), a network tells 16 bits of the counter or all 32, and a count that
goes back, or ahead by more than a network believes, is a device that began again (LoRaWAN 1.0.x, section 4.3.1.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from .models import Direction, FrameKind
from .observed import COUNTS, LARGEST_STEP

FACTORS: Final = (7, 8, 9, 10, 11, 12)

# Bytes of a frame's PHYPayload: MHDR 1, FHDR 7, FPort 0 or 1, MIC 4, and what is in it; a join request has 23.
OCTETS: Final = f"""
CASE WHEN kind = {FrameKind.DATA.value}
    THEN 12 + (fport IS NOT NULL)::int + length(payload) + length(mac) ELSE 23 END
"""
# Microseconds on air of an uplink, exactly as codec.lorawan.eu868.airtime tells them, in whole numbers: a symbol takes
# 8 * 2^SF µs at 125 kHz, half of that at 250; 20.25 symbols before the 5 of each block.
AIRTIME: Final = f"""
(CASE WHEN detail ->> 'bandwidth_khz' = '250' THEN 1 ELSE 2 END) * (81 + 20 * greatest(
    (8 * ({OCTETS}) - 4 * spreading_factor + 43
        + 4 * (spreading_factor - 2 * (spreading_factor >= 11)::int)) / (4 * (spreading_factor - 2 *
        (spreading_factor >= 11)::int)), 0)) * (1 << spreading_factor)
"""
SPANS: Final = f"""
WITH kept AS (
    SELECT received_at, seq, kind, fcnt, rssi, snr, esp, spreading_factor,
        width_bucket(received_at, %(starts)s::timestamptz[]) AS span,
        CASE WHEN kind <> {FrameKind.JOIN_ACCEPT.value} THEN {AIRTIME} END AS airtime,
        count(*) FILTER (WHERE kind = {FrameKind.JOIN_ACCEPT.value}) OVER air AS accepted,
        count(*) FILTER (WHERE kind = {FrameKind.JOIN_REQUEST.value}) OVER air AS asked
    FROM lora_frame
    WHERE device_id = %(device)s AND received_at >= %(since)s AND received_at < %(until)s
        AND (direction = {Direction.UPLINK.value} OR kind = {FrameKind.JOIN_ACCEPT.value})
    WINDOW air AS (ORDER BY received_at, seq)
), placed AS (
    SELECT *, kind = {FrameKind.DATA.value} AS data,
        date_part('epoch', received_at - lag(received_at) OVER place) AS silence,
        lag(fcnt) OVER place AS before,
        accepted <> lag(accepted) OVER place OR (asked <> lag(asked) OVER place AND fcnt <= lag(fcnt) OVER place)
            AS begun
    FROM kept
    WINDOW place AS (PARTITION BY kind ORDER BY received_at, seq)
), told AS (
    SELECT *, coalesce(step = 0, false) AS repeated,
        coalesce(step NOT BETWEEN 0 AND {LARGEST_STEP}, false) AS restarted,
        CASE WHEN step BETWEEN 1 AND {LARGEST_STEP} THEN step - 1 ELSE 0 END::integer AS missing
    FROM (
        SELECT *, CASE WHEN data AND NOT begun
            THEN fcnt - before + CASE WHEN fcnt < before AND before < {COUNTS} THEN {COUNTS} ELSE 0 END END AS step
        FROM placed
    ) AS known
)
SELECT span,
    count(*) FILTER (WHERE data AND NOT repeated) AS messages,
    coalesce(sum(missing), 0) AS lost,
    count(*) FILTER (WHERE kind = {FrameKind.JOIN_REQUEST.value}) AS requests,
    count(*) FILTER (WHERE kind = {FrameKind.JOIN_ACCEPT.value}) AS joins,
    count(*) FILTER (WHERE restarted) AS restarts,
    min(esp), avg(esp), max(esp), min(rssi), avg(rssi), max(rssi), min(snr), avg(snr), max(snr),
    min(silence) FILTER (WHERE data), avg(silence) FILTER (WHERE data), max(silence) FILTER (WHERE data),
    {", ".join(f"count(*) FILTER (WHERE data AND spreading_factor = {factor})" for factor in FACTORS)},
    coalesce(sum(airtime), 0) AS airtime, count(airtime) AS sent
FROM told GROUP BY span ORDER BY span
"""


@dataclass(frozen=True, slots=True)
class Range3:
    """Lowest, average and highest of a span."""

    low: float
    average: float
    high: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """A span of time from ``at``. ``messages``: data uplinks, repeats left out; ``lost``: those that the counter says
    were sent and not heard; ``requests`` and ``joins``: of the join ceremony; ``restarts``: the counter began again
    without a join. ``interval``: seconds between messages. ``factors``: messages by spreading factor. ``airtime``:
    microseconds of ``sent`` frames."""

    at: datetime
    messages: int = 0
    lost: int = 0
    requests: int = 0
    joins: int = 0
    restarts: int = 0
    esp: Range3 | None = None
    rssi: Range3 | None = None
    snr: Range3 | None = None
    interval: Range3 | None = None
    factors: dict[int, int] = field(default_factory=dict)
    airtime: int = 0
    sent: int = 0

    @property
    def usual_factor(self) -> int | None:
        """The spreading factor of most messages; of equals the slower."""
        return max(self.factors, key=lambda factor: (self.factors[factor], factor), default=None)


def read(device_id: int, starts: Sequence[datetime], until: datetime) -> list[Bucket]:
    """The spans that begin at ``starts`` (ascending), the last of them until ``until``; those in which nothing was
    sent are left out."""
    # As one text: to adapt each moment of a list takes longer than all else here.
    array = "{" + ",".join(start.isoformat() for start in starts) + "}"
    asked: dict[str, Any] = {"device": device_id, "starts": array, "since": starts[0], "until": until}
    with connection.cursor() as cursor:
        cursor.execute(SPANS, asked)
        rows = cursor.fetchall()
    return [_bucket(starts[row[0] - 1], row[1:]) for row in rows]


def _bucket(at: datetime, row: tuple[Any, ...]) -> Bucket:
    messages, lost, requests, joins, restarts = row[:5]
    esp, rssi, snr, interval = (_range(row[index : index + 3]) for index in (5, 8, 11, 14))
    factors = {factor: count for factor, count in zip(FACTORS, row[17:23], strict=True) if count}
    airtime, sent = row[23:]
    return Bucket(at, messages, lost, requests, joins, restarts, esp, rssi, snr, interval, factors, airtime, sent)


def _range(values: tuple[float | None, ...]) -> Range3 | None:
    low, average, high = values
    return None if low is None or average is None or high is None else Range3(low, float(average), high)
