"""The LoRa data history as a file (L8): the columns, and the frames of a range, read in sets while they are taken.

No transaction and no cursor is open while a slow reader takes the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson
from django.utils.translation import gettext_lazy

from codec.lorawan import mac
from devices.export.writers import CHUNK, Cell, Format, Head, csv_stream

from .history import AHEAD, Row, read
from .models import Direction, FrameKind
from .search import LAST_SEQ, Asked, Cursor

# Frames that are read together.
STEP: Final = 1_000

KINDS: Final = {FrameKind.JOIN_REQUEST: "join request", FrameKind.JOIN_ACCEPT: "join accept", FrameKind.DATA: "data"}
DIRECTIONS: Final = {Direction.UPLINK: "uplink", Direction.DOWNLINK: "downlink"}
# Columns of a frame that stand in the file as they are.
PLAIN: Final = (
    *("confirmed", "ack", "adr", "adr_ack_req", "fpending", "fcnt", "fport", "spreading_factor", "frequency_hz"),
    *("channel", "gateway_count", "rssi", "snr", "esp", "latitude", "longitude", "radius", "delivered", "cause"),
)
TOLD: Final = ("unreadable", "window", "gateway", "dev_addr", "app_eui", "dev_nonce", "mic", "bandwidth_khz")
TOLD_PLACE: Final = ("location_method", "location_solved")


def record(row: Row) -> dict[str, Any]:
    """All that is known of a frame, by name. Bytes are hexadecimal, ``received_at`` is aware, powers are in dBm."""
    frame = row.frame
    told = frame.detail
    return {
        "received_at": frame.received_at,
        "direction": DIRECTIONS[Direction(frame.direction)],
        "kind": KINDS[FrameKind(frame.kind)],
        **{name: getattr(frame, name) for name in PLAIN},
        "instruction": str(frame.correlation_id) if frame.correlation_id else None,
        "payload": row.payload_hex,
        "mac": row.mac_hex,
        "mac_commands": [
            command.name for command in mac.decode(bytes(frame.mac), mac.Direction(frame.direction)) if command.cid
        ],
        **{name: told.get(name) for name in (*TOLD, *TOLD_PLACE)},
        "receptions": told.get("receptions", []),
    }


NAMES: Final = (
    *("received_at", "direction", "kind", *PLAIN, "instruction", "payload", "mac", "mac_commands"),
    *(*TOLD, *TOLD_PLACE, "receptions"),
)
HEADS: Final = [Head(name, name) for name in NAMES]


def records(device_id: int, asked: Asked, since: datetime, until: datetime, now: datetime) -> Iterator[dict[str, Any]]:
    """The frames from ``since`` up to ``until`` that the filters let through, newest first; set by set, each on the
    primary key."""
    place: Cursor | None = Cursor(min(until, now + AHEAD), LAST_SEQ)
    oldest = Cursor(since, -LAST_SEQ)
    while place is not None:
        found = read(device_id, asked, place, oldest, STEP, now)
        yield from map(record, found.rows)
        place = found.end


def as_csv(heads: Iterable[Head], taken: Iterable[dict[str, Any]], zone: ZoneInfo) -> Iterator[bytes]:
    """Moments in ``zone`` with milliseconds and offset; lists as JSON, names of MAC commands parted by spaces."""

    def cells(one: Mapping[str, Any]) -> list[Cell]:
        flat = dict(one)
        flat["received_at"] = one["received_at"].astimezone(zone).isoformat(timespec="milliseconds")
        flat["mac_commands"] = " ".join(one["mac_commands"])
        flat["receptions"] = orjson.dumps(one["receptions"]).decode() if one["receptions"] else None
        return list(flat.values())

    return csv_stream(list(heads), map(cells, taken), zone)


def as_json_lines(_heads: Iterable[Head], taken: Iterable[dict[str, Any]], _zone: ZoneInfo) -> Iterator[bytes]:
    """An object a line; moments are RFC 3339 in UTC with milliseconds."""
    text = bytearray()
    for one in taken:
        moment = one["received_at"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text += orjson.dumps(one | {"received_at": moment}) + b"\n"
        if len(text) > CHUNK:
            yield bytes(text)
            text.clear()
    yield bytes(text)


FORMATS: Final = {
    each.slug: each
    for each in (
        Format(
            "csv",
            gettext_lazy("CSV"),
            gettext_lazy("For spreadsheets and other programs: separated by commas, UTF-8, times in your time zone."),
            "text/csv; charset=utf-8",
            as_csv,  # type: ignore[arg-type]
        ),
        Format(
            "jsonl",
            gettext_lazy("JSON lines"),
            gettext_lazy("For programmers: an object a line, times in UTC."),
            "application/x-ndjson",
            as_json_lines,  # type: ignore[arg-type]
        ),
    )
}
