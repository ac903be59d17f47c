"""The last messages of a device as it sent them, for the M2M and the Internet tab (M2, I2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import ngettext

from codec import senml
from codec.measurements import Measurement

from .models import Device, SenmlMessage

SHOWN = 20
# How far back is looked: the table is partitioned by day.
SINCE = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came, for reading: JSON indented, anything else as text or hexadecimal. ``key`` names it in
    the page; ``size`` in bytes; ``values``: what it says, "" where it cannot be read."""

    key: str
    at: datetime
    records: int
    size: int
    body: str
    values: list[Value]


@dataclass(frozen=True, slots=True)
class Value:
    """A measurement of a message. ``at``: the moment that the message gives it."""

    name: str
    value: str
    unit: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, the newest first; ``older``: the key to go on with, "" where there are no more."""

    messages: list[Message]
    older: str


def page_of(device: Device, before: str = "") -> MessagePage:
    """The newest messages, or those before the message of that key; a key that is none counts as not there."""
    rows = SenmlMessage.objects.filter(device_id=device.pk, received_at__gte=timezone.now() - SINCE)
    at, seq = _place(before)
    if at is not None:
        # The first condition is what the index is read by.
        rows = rows.filter(received_at__lte=at).filter(Q(received_at__lt=at) | Q(seq__lt=seq))
    found: list[Any] = list(
        rows.order_by("-received_at", "-seq").values("received_at", "seq", "records", "body")[: SHOWN + 1]
    )
    messages = [_message(row) for row in found[:SHOWN]]
    return MessagePage(messages, messages[-1].key if len(found) > SHOWN else "")


def last(device: Device) -> list[Message]:
    """The newest first."""
    return page_of(device).messages


# Of each device by the primary key, no more than can be among the newest of all.
NEWEST = """
SELECT message.* FROM unnest(%(devices)s::bigint[], %(since)s::timestamptz[]) AS asked (device_id, since)
CROSS JOIN LATERAL (
    SELECT device_id, received_at, records, length(body) AS size FROM devices_senmlmessage AS held
    WHERE held.device_id = asked.device_id AND held.received_at >= asked.since AND held.received_at >= %(oldest)s
    ORDER BY received_at DESC, seq DESC LIMIT %(limit)s
) AS message
ORDER BY message.received_at DESC, message.device_id LIMIT %(limit)s
"""


def newest(devices: Sequence[tuple[int, datetime]], limit: int) -> list[tuple[int, datetime, int, int]]:
    """Device, moment, records and size of the newest messages of these devices together, of each since its moment."""
    if not devices:
        return []
    ids, since = [pk for pk, _since in devices], [moment for _pk, moment in devices]
    with connection.cursor() as cursor:
        cursor.execute(NEWEST, {"devices": ids, "since": since, "oldest": min(since), "limit": limit})
        return list(cursor.fetchall())


def in_words(records: int, size: int) -> str:
    text = ngettext("%(number)d record, %(size)s", "%(number)d records, %(size)s", records)
    return text % {"number": records, "size": filesizeformat(size)}


def _message(row: dict[str, Any]) -> Message:
    body = bytes(row["body"])
    return Message(
        key=f"{row['received_at']:%Y%m%d%H%M%S%f}-{row['seq']}",
        at=row["received_at"],
        records=row["records"],
        size=len(body),
        body=readable(body),
        values=_values(body, row["received_at"]),
    )


def _values(body: bytes, received_at: datetime) -> list[Value]:
    parse = senml.parse_json if body.lstrip()[:1] in {b"[", b"{"} else senml.parse_cbor
    try:
        pack = parse(body, received_at=received_at.timestamp())
    except senml.SenmlError:
        return []
    return [_value(measurement) for measurement in pack.measurements]


def _value(measurement: Measurement) -> Value:
    value = measurement.value
    text = json.dumps(value) if isinstance(value, bool) else value.hex().upper() if isinstance(value, bytes) else value
    try:
        at = datetime.fromtimestamp(measurement.time, UTC)
    except (OverflowError, OSError, ValueError):
        at = datetime.fromtimestamp(0, UTC)
    return Value(measurement.name, f"{text}", measurement.unit or "", at)


def _place(key: str) -> tuple[datetime | None, int]:
    moment, _dash, seq = key.partition("-")
    try:
        return datetime.strptime(moment, "%Y%m%d%H%M%S%f").replace(tzinfo=UTC), int(seq[:12])
    except ValueError:
        return None, 0


# --- what was refused at the door ---


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that named the device and was refused. ``body``: "" unless the device proved that it sent it."""

    at: datetime
    code: str
    reason: str
    size: int
    proved: bool
    body: str


def _none_refused(device_id: int) -> list[Refused]:
    return []


_refused: Callable[[int], list[Refused]] = _none_refused


def register_refused(reader: Callable[[int], list[Refused]]) -> None:
    """The ways in say what they refused, newest first; they stand above the devices."""
    global _refused
    _refused = reader


def refused(device: Device) -> list[Refused]:
    return _refused(device.pk)


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
