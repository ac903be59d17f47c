"""The last messages of a device as it sent them, for the M2M and the Internet tab (M2, I2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

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


def readable(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.hex(" ").upper()
