"""The last messages of a device as it sent them, for the M2M and the Internet tab (M2, I2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from .models import Device, SenmlMessage

SHOWN = 20
# How far back is looked: the table is partitioned by day.
SINCE = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came, for reading: JSON indented, anything else as text or hexadecimal. ``key`` names it in
    the page; ``size`` in bytes."""

    key: str
    at: datetime
    records: int
    size: int
    body: str


def last(device: Device) -> list[Message]:
    """The newest first."""
    rows = SenmlMessage.objects.filter(device_id=device.pk, received_at__gte=timezone.now() - SINCE)
    rows = rows.order_by("-received_at", "-seq")[:SHOWN]
    return [
        Message(
            key=f"{row['received_at']:%Y%m%d%H%M%S%f}-{row['seq']}",
            at=row["received_at"],
            records=row["records"],
            size=len(row["body"]),
            body=readable(bytes(row["body"])),
        )
        for row in rows.values("received_at", "seq", "records", "body")
    ]


# The middle one of the times between the newest messages of the last day: by the primary key, and so many at most.
TYPICAL = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) FILTER (WHERE gap IS NOT NULL), count(gap)
FROM (
    SELECT received_at - lag(received_at) OVER (ORDER BY received_at) AS gap FROM (
        SELECT received_at FROM devices_senmlmessage
        WHERE device_id = %(device)s AND received_at >= %(since)s AND received_at <= %(now)s
        ORDER BY received_at DESC LIMIT 2000
    ) AS newest
) AS gaps
"""


def typical_interval(device_id: int, now: datetime) -> timedelta | None:
    """How often the device sends, in the last day; None before its third message."""
    with connection.cursor() as cursor:
        cursor.execute(TYPICAL, {"device": device_id, "since": now - timedelta(days=1), "now": now})
        interval, gaps = cursor.fetchone()
    return interval if gaps > 1 else None


def readable(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.hex(" ").upper()
