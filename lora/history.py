"""How LoRa frames are read by people: the rows of the data history (L3), its paging and search (L5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.models import Device

from . import frames
from .models import Direction, Frame, FrameKind

PAGE: Final = 50
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
LAST_SEQ: Final = 2**31 - 1
CURSOR: Final = re.compile(r"([0-9]{1,20})-(-?[0-9]{1,10})")

# The filter on kind: its word in the address, and its label.
KINDS: Final = {
    "": gettext_lazy("All"),
    "uplink": gettext_lazy("Uplinks"),
    "downlink": gettext_lazy("Downlinks"),
    "join": gettext_lazy("Joins"),
}

FILTERS: Final = {
    "uplink": Q(direction=Direction.UPLINK),
    "downlink": Q(direction=Direction.DOWNLINK),
    "join": Q(kind__in=[FrameKind.JOIN_REQUEST, FrameKind.JOIN_ACCEPT]),
}


def oldest(now: datetime) -> datetime:
    """The lower bound of every query over the frames: the retention (L3)."""
    return now - timedelta(days=settings.FRAME_RETENTION_DAYS)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A frame's place in the order: its moment and sequence number. As text: microseconds since 1970, "-", seq."""

    at: datetime
    seq: int

    def __str__(self) -> str:
        return f"{self.when}-{self.seq}"

    @property
    def when(self) -> int:
        return (self.at - EPOCH) // MICROSECOND

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None for anything that is no place: another shape, a moment or number that cannot be."""
        match = CURSOR.fullmatch(text)
        if match is None or abs(int(match[2])) > LAST_SEQ:
            return None
        try:
            return cls(EPOCH + int(match[1]) * MICROSECOND, int(match[2]))
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for. ``until``: up to this moment, as the person typed it in their own zone."""

    kind: str = ""
    until: datetime | None = None
    until_text: str = ""
    before: Cursor | None = None
    after: Cursor | None = None
    error: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Asked:
        kind = query.get("kind", "")
        until_text = query.get("until", "").strip()
        until, error = None, ""
        if until_text:
            try:
                until = datetime.fromisoformat(until_text)
                until = timezone.make_aware(until) if timezone.is_naive(until) else until
                until = until.astimezone(UTC)
            except (ValueError, OverflowError):
                until, error = None, _("This is not a date and time, such as 2026-02-28 14:30.")
        return cls(
            kind=kind if kind in KINDS else "",
            until=until,
            until_text=until_text,
            before=Cursor.parse(query.get("before", "")),
            after=Cursor.parse(query.get("after", "")),
            error=error,
        )

    @property
    def live(self) -> bool:
        """Whether new frames belong on this page."""
        return self.until is None and self.before is None and not self.error

    def query(self, **changes: str) -> str:
        """The address's query: the filters with the changes, without cursor."""
        values = {"kind": self.kind, "until": self.until_text} | changes
        kept = {key: value for key, value in values.items() if value}
        return f"?{urlencode(kept)}" if kept else "?"

    def without_cursor(self) -> Asked:
        return replace(self, before=None, after=None)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of frames, newest first. ``older``: the query of the next page, "" at the end. ``newest``: the cursor
    behind which new ones come."""

    rows: list[Row]
    older: str = ""
    newest: str = ""


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
        if not self.is_data:
            return str(FrameKind(self.frame.kind).label)
        return _("Confirmed") if self.frame.confirmed else _("Unconfirmed")

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
    """The page that was asked for; one row more is read to know whether there are older ones."""
    before = asked.before or (Cursor(asked.until, LAST_SEQ) if asked.until else None)
    rows = _read(device, asked.kind, since=oldest(now), before=before, limit=PAGE + 1)
    shown = rows[:PAGE]
    return Found(
        rows=shown,
        older=asked.query(before=shown[-1].key) if len(rows) > PAGE else "",
        newest=asked.query(after=_newest(shown, now)) if asked.live else "",
    )


def newer_than(device: Device, asked: Asked, after: Cursor, now: datetime) -> Found | None:
    """The frames behind ``after``; None where they are more than a page."""
    rows = _read(device, asked.kind, since=max(after.at, oldest(now)), limit=PAGE + 1)
    rows = [row for row in rows if (row.frame.received_at, row.frame.seq) > (after.at, after.seq)]
    if len(rows) > PAGE:
        return None
    return Found(rows=rows, newest=asked.query(after=_newest(rows, now) if rows else str(after)))


def kind_links(asked: Asked) -> list[tuple[str, str, bool]]:
    """The filter on kind as links: label, query, whether it is the present one."""
    return [(str(label), asked.query(kind=word), asked.kind == word) for word, label in KINDS.items()]


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


def _newest(rows: list[Row], now: datetime) -> str:
    return rows[0].key if rows else str(Cursor(now, 0))


def _read(
    device: Device, kind: str, *, since: datetime, before: Cursor | None = None, limit: int = PAGE + 1
) -> list[Row]:
    """One query over the frames of the device between ``since`` and ``before``, newest first."""
    place = (before.at, before.seq) if before else None
    if not kind:
        return [Row(frame) for frame in frames.page(device.pk, before=place, since=since, limit=limit)]
    rows = Frame.objects.filter(FILTERS[kind], device_id=device.pk, received_at__gte=since)
    if before:
        rows = rows.filter(Q(received_at__lt=before.at) | Q(received_at=before.at, seq__lt=before.seq))
        rows = rows.filter(received_at__lte=before.at)
    return [Row(frame) for frame in rows.order_by("-received_at", "-seq")[:limit]]
