"""How LoRa frames are read by people: the rows of the data history (L3), page by page and as they arrive (L5, L7)."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

import orjson
from django.db import connection
from django.utils.translation import gettext as _

from common.templatetags.portal import SIGNAL
from devices.models import Device

from .models import Direction, Frame, FrameKind
from .search import EPOCH, LAST_SEQ, Asked, Cursor, oldest

PAGE: Final = 50
# Frames that one request looks at where a filter finds few: reading on is another request.
SCANNED: Final = 5_000
# Most pages are full within these days, and to plan a look at all days takes several times as long as the look.
NEAR: Final = timedelta(days=7)
# Rows that a list has when it is opened again where the person left it.
MOST_SHOWN: Final = 500
# A frame that arrives later than another that was on air after it is still put in its place.
LATE: Final = timedelta(minutes=2)
MOST_ARRIVED: Final = 200
# Later than any frame: the intake believes no clock that is more than a day ahead. With an upper bound the default
# partition is left out, so that the days are read one after the other and not all at once.
AHEAD: Final = timedelta(days=2)


def in_order(place: Cursor) -> tuple[datetime, int]:
    return place.at, place.seq


def signal_text(esp: float, rssi: float | None, snr: float | None) -> str:
    """The estimated signal power in words and dBm, with what it was computed from."""
    word = next(str(word) for bound, _bars, word in SIGNAL if esp >= bound)
    known = [f"RSSI {rssi:.0f} dBm" if rssi is not None else "", f"SNR {snr:.1f} dB" if snr is not None else ""]
    return ", ".join([f"{word.capitalize()}: ESP {esp:.0f} dBm", *filter(None, known)])


def kind_words(kind: int, *, confirmed: bool) -> str:
    """What a frame is, in words."""
    if kind != FrameKind.DATA:
        return str(FrameKind(kind).label)
    return _("Confirmed") if confirmed else _("Unconfirmed")


@dataclass(frozen=True, slots=True)
class Found:
    """A page of frames, newest first.

    ``end``: the place where reading stopped and goes on, None at the end of what is kept. ``given_up``: whether it
    stopped before the page was full. ``newest``: the place behind which new ones come. ``waiting``: how many came
    while the person had paused the list.
    """

    rows: list[Row]
    end: Cursor | None = None
    given_up: bool = False
    newest: Cursor | None = None
    waiting: int = 0

    @property
    def waiting_text(self) -> str:
        number = f"{PAGE}+" if self.waiting > PAGE else str(self.waiting)
        return _("%(number)s new") % {"number": number}


@dataclass(frozen=True, slots=True)
class Row:
    """A frame in the list."""

    frame: Frame

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.frame.received_at, self.frame.seq)

    @property
    def key(self) -> str:
        return str(self.cursor)

    @property
    def when(self) -> int:
        return self.cursor.when

    @property
    def direction(self) -> str:
        return "up" if self.frame.direction == Direction.UPLINK else "down"

    @property
    def uplink(self) -> bool:
        return self.frame.direction == Direction.UPLINK

    @property
    def is_data(self) -> bool:
        return self.frame.kind == FrameKind.DATA

    @property
    def words(self) -> str:
        return kind_words(self.frame.kind, confirmed=self.frame.confirmed)

    @property
    def title(self) -> str:
        direction = Direction(self.frame.direction).label
        return f"{direction}: {self.words}"

    @property
    def has_data(self) -> bool:
        return bool(self.frame.payload)

    @property
    def has_mac(self) -> bool:
        return bool(self.frame.mac)

    @property
    def unreadable(self) -> bool:
        """Whether the codec of the device type could not read it when it came."""
        return "unreadable" in self.frame.detail

    @property
    def located(self) -> bool:
        return self.frame.latitude is not None and self.frame.longitude is not None

    @property
    def counter_name(self) -> str:
        return "FCntUp" if self.uplink else "FCntDown"

    @property
    def heard(self) -> bool:
        """Whether a gateway's reception is known: of uplinks only."""
        return self.uplink and self.frame.rssi is not None

    @property
    def next_key(self) -> str:
        """The cursor of a page that starts with this frame."""
        return str(replace(self.cursor, seq=min(self.frame.seq + 1, LAST_SEQ)))

    @property
    def coordinates(self) -> str:
        return f"{self.frame.latitude:.6f}, {self.frame.longitude:.6f}" if self.located else ""

    @property
    def air(self) -> str:
        """Frequency in MHz as it is written, with the channel's name where the network gives one."""
        megahertz = f"{self.frame.frequency_hz / 1e6:.4f}".rstrip("0") if self.frame.frequency_hz else ""
        megahertz = f"{megahertz}0 MHz" if megahertz.endswith(".") else f"{megahertz} MHz" if megahertz else ""
        return " · ".join(part for part in (self.frame.channel, megahertz) if part)

    @property
    def payload_hex(self) -> str:
        return bytes(self.frame.payload).hex().upper()

    @property
    def mac_hex(self) -> str:
        return bytes(self.frame.mac).hex().upper()

    @property
    def flags(self) -> list[str]:
        """The flags of the frame header that are set (LoRaWAN 1.0.x, section 4.3.1.1)."""
        set_ = {
            "ACK": self.frame.ack,
            "FPending": self.frame.fpending,
            "ADR": self.frame.adr,
            "ADRACKReq": self.frame.adr_ack_req,
        }
        return [name for name, on in set_.items() if on]


def page_of(device: Device, asked: Asked, now: datetime) -> Found:
    """The page that was asked for: from the newest, or from a place, or down to one."""
    if asked.faults:
        return Found([])
    newest = Cursor(now + AHEAD, LAST_SEQ)
    until = Cursor(asked.until, LAST_SEQ) if asked.until else newest
    start = min(asked.before or newest, until, newest, key=in_order)
    if asked.to:
        found = read(device.pk, asked, start, asked.to, MOST_SHOWN, now, scanned=SCANNED * 5)
        if found.end is None and _is_older(device.pk, asked.to, now):
            found = replace(found, end=asked.to)
    else:
        found = read(device.pk, asked, start, None, PAGE, now)
    return replace(found, newest=_newest(found.rows, now)) if asked.live else found


def newer_than(device: Device, asked: Asked, after: Cursor, now: datetime) -> Found | None:
    """What came behind ``after``, with what may have come late before it; None where it is more than a page.

    For a person who has paused the list only how many they are.
    """
    since = Cursor(max(after.at - (timedelta(0) if asked.paused else LATE), oldest(now)), -LAST_SEQ)
    found = read(device.pk, asked, Cursor(now + AHEAD, LAST_SEQ), since, MOST_ARRIVED, now)
    new = sum((row.frame.received_at, row.frame.seq) > (after.at, after.seq) for row in found.rows)
    if asked.paused:
        return Found([], newest=after, waiting=new if found.end is None else PAGE + 1)
    if new > PAGE or found.end is not None:
        return None
    return Found(found.rows, newest=_newest(found.rows, now))


SCAN = """
SELECT {shown} FROM (
    SELECT {columns} FROM lora_frame
    WHERE device_id = %(device)s AND received_at >= %(since)s AND received_at <= %(before)s
        AND (received_at, seq) < (%(before)s, %(before_seq)s) AND (received_at, seq) >= (%(since)s, %(since_seq)s)
        AND {among}
    ORDER BY received_at DESC, seq DESC
    LIMIT %(scanned)s
) AS scanned
WHERE {condition}
ORDER BY received_at DESC, seq DESC
LIMIT %(limit)s
"""
STOPPED = """
SELECT received_at, seq FROM lora_frame
WHERE device_id = %(device)s AND received_at >= %(since)s AND received_at <= %(before)s
    AND (received_at, seq) < (%(before)s, %(before_seq)s) AND (received_at, seq) >= (%(since)s, %(since_seq)s)
    AND {among}
ORDER BY received_at DESC, seq DESC
OFFSET %(scanned)s - 1 LIMIT 1
"""
COLUMNS: Final = [one.attname for one in Frame._meta.concrete_fields]
DETAIL: Final = COLUMNS.index("detail")
RECEIVED_AT: Final = COLUMNS.index("received_at")
# A number of microseconds is read several times as fast as a moment, of which every row has one.
MOMENT: Final = "(date_part('epoch', received_at) * 1000000)::bigint"
SHOWN: Final = [MOMENT if name == "received_at" else name for name in COLUMNS]
# A list reads frames by the fifty and changes none: a model object of each took as long as its row of the page.
Listed: Final = namedtuple("Listed", COLUMNS)  # type: ignore[misc]


def read(
    device_id: int,
    asked: Asked,
    before: Cursor,
    since: Cursor | None,
    limit: int,
    now: datetime,
    *,
    scanned: int = SCANNED,
) -> Found:
    """At most ``limit`` frames older than ``before``, down to and with ``since``, of those that the filters let
    through; so many of the device's frames are looked at and no more (:data:`SCANNED`), on the primary key, or on the
    index of the rare ones where they are asked for.

    Where the near days do not fill the page, what is left comes from those behind them; where a search does not, a
    second look says where the first one stopped.
    """
    since = since or Cursor(oldest(now), -LAST_SEQ)
    condition, values = asked.conditions()
    values |= {"device": device_id, "scanned": max(scanned, limit + 1)}
    near = Cursor(min(before.at, now) - NEAR, -LAST_SEQ)
    rows: list[Row] = []
    if not condition and limit <= PAGE and near.at > since.at:
        rows = _look(asked, values, before, near, limit + 1)
        before = near
    if len(rows) <= limit:
        rows += _look(asked, values, before, since, limit + 1 - len(rows))
    if len(rows) > limit:
        return Found(rows[:limit], end=rows[limit - 1].cursor)
    stopped = _stopped(asked, values, before, since) if condition else None
    return Found(rows, end=stopped, given_up=stopped is not None)


def _look(asked: Asked, values: Mapping[str, Any], before: Cursor, since: Cursor, limit: int) -> list[Row]:
    condition = asked.conditions()[0]
    bounds = _bounds(before, since) | {"limit": limit}
    if not condition:
        bounds["scanned"] = limit
    statement = SCAN.format(
        shown=", ".join(SHOWN),
        columns=", ".join(COLUMNS),
        among=asked.among() or "true",
        condition=condition or "true",
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {**values, **bounds})
        return [_row(found) for found in cursor.fetchall()]


def _stopped(asked: Asked, values: Mapping[str, Any], before: Cursor, since: Cursor) -> Cursor | None:
    with connection.cursor() as cursor:
        cursor.execute(STOPPED.format(among=asked.among() or "true"), {**values, **_bounds(before, since)})
        found = cursor.fetchone()
    return Cursor(*found) if found else None


def _bounds(before: Cursor, since: Cursor) -> dict[str, Any]:
    return {"since": since.at, "since_seq": since.seq, "before": before.at, "before_seq": before.seq}


def _row(values: Sequence[Any]) -> Row:
    """Its frame has what a Frame has, and can do nothing of what a model can."""
    found = list(values)
    found[DETAIL] = orjson.loads(found[DETAIL])
    found[RECEIVED_AT] = EPOCH + timedelta(microseconds=found[RECEIVED_AT])
    return Row(cast("Frame", Listed._make(found)))


def _is_older(device_id: int, place: Cursor, now: datetime) -> bool:
    return bool(read(device_id, Asked(), place, None, 1, now).rows)


def _newest(rows: list[Row], now: datetime) -> Cursor:
    """Behind it come the new ones. Where a filter shows none for long, not the last one shown: all since would be
    looked at again with each that arrives."""
    recent = Cursor(now - LATE, -LAST_SEQ)
    return max(rows[0].cursor, recent, key=in_order) if rows else recent


@dataclass(frozen=True, slots=True)
class Joining:
    """Where the device is in the join ceremony, as the newest frames tell."""

    tone: str
    icon: str
    word: str
    at: datetime | None = None


def joining(newest: Iterable[Frame]) -> Joining:
    """``newest`` first. What the last frame that says something about the session says."""
    for frame in newest:
        if frame.kind == FrameKind.JOIN_REQUEST:
            return Joining("warn", "clock", _("Join request not answered"), frame.received_at)
        if frame.kind == FrameKind.JOIN_ACCEPT:
            return Joining("busy", "clock", _("Join accepted, no message since"), frame.received_at)
        if frame.direction == Direction.UPLINK:
            return Joining("ok", "circle-check", _("Joined"))
    return Joining("wait", "circle-dashed", _("No join request seen"))
