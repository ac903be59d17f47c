"""LoRa frames in the database: stored in batches, each once; read by device and time, newest first (L3, L5)."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.utils import timezone
from psycopg.types.json import Jsonb

from codec.lorawan import eu868
from devices.models import Device

from .events import JoinAccept, JoinRequest, Located, RadioEvent, Uplink
from .models import Direction, Frame, FrameKind

# A network whose clock is ahead by more than this is not believed: the moment of reception is taken.
AHEAD = timedelta(days=1)
COLUMNS = (
    *("device_id", "received_at", "seq", "direction", "kind", "fcnt", "fport", "spreading_factor", "frequency_hz"),
    *("channel", "gateway_count", "rssi", "snr", "esp", "confirmed", "ack", "adr", "adr_ack_req", "fpending"),
    *("delivered", "cause", "correlation_id", "latitude", "longitude", "radius", "payload", "mac", "detail"),
)


class Key(NamedTuple):
    """A frame's primary key."""

    device_id: int
    received_at: datetime
    seq: int


def key_of(device_id: int, event: RadioEvent, now: datetime) -> Key:
    """The key follows from the frame itself, so that a frame that comes twice meets its own row."""
    fcnt = getattr(event, "fcnt", None)
    payload = getattr(event, "payload", b"")
    text = f"{type(event).__name__}:{fcnt}:{event.mic.lower()}:{payload.hex() if not event.mic else ''}"
    at = event.at if event.at <= now + AHEAD else now
    return Key(device_id, at, zlib.crc32(text.encode()) & 0x7FFFFFFF)


def _row(key: Key, event: RadioEvent) -> tuple[Any, ...]:
    best = event.receptions[0] if event.receptions else None
    location = getattr(event, "location", None)
    esp = None
    if best is not None:
        esp = best.esp if best.esp is not None else eu868.esp(best.rssi, best.snr)
    direction = Direction.UPLINK if isinstance(event, Uplink | JoinRequest) else Direction.DOWNLINK
    kind = (
        FrameKind.JOIN_REQUEST
        if isinstance(event, JoinRequest)
        else FrameKind.JOIN_ACCEPT
        if isinstance(event, JoinAccept)
        else FrameKind.DATA
    )
    return (
        *key,
        direction,
        kind,
        getattr(event, "fcnt", None),
        getattr(event, "fport", None),
        event.spreading_factor,
        event.frequency_hz,
        event.channel[:16],
        event.gateway_count or len(event.receptions),
        best.rssi if best else None,
        best.snr if best else None,
        esp,
        *(getattr(event, flag, False) for flag in ("confirmed", "ack", "adr", "adr_ack_req", "fpending")),
        getattr(event, "delivered", True),
        getattr(event, "cause", "")[:20],
        _uuid(getattr(event, "correlation_id", "")),
        location.latitude if location else None,
        location.longitude if location else None,
        location.radius if location else None,
        getattr(event, "payload", b""),
        getattr(event, "mac", b""),
        Jsonb(_detail(event)),
    )


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _detail(event: RadioEvent) -> dict[str, Any]:
    """What only a single frame's page shows; empty values are left out."""
    names = ("mic", "dev_addr", "app_eui", "dev_nonce", "window", "gateway", "bandwidth_khz")
    detail = {name: value for name in names if (value := getattr(event, name, None)) not in {None, ""}}
    if event.receptions:
        detail["receptions"] = [
            {
                name: value
                for name in ("gateway", "rssi", "snr", "esp", "latitude", "longitude")
                if (value := getattr(reception, name)) is not None
            }
            for reception in event.receptions
        ]
    location = getattr(event, "location", None)
    if location is not None and location.method:
        detail["location_method"] = location.method
    return detail


def store(frames: Sequence[tuple[int, RadioEvent]], *, now: datetime | None = None) -> set[Key]:
    """Keep the frames of the devices; gives the keys of those that were not there yet.

    One COPY into a stage and one INSERT, however many there are. Call it in a transaction.
    """
    now = now or timezone.now()
    rows = {key: _row(key, event) for device_id, event in frames for key in [key_of(device_id, event, now)]}
    if not rows:
        return set()
    names = ", ".join(COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS lora_frame_stage (LIKE lora_frame INCLUDING DEFAULTS)"
            " ON COMMIT DELETE ROWS"
        )
        with cursor.copy(f"COPY lora_frame_stage ({names}) FROM STDIN") as copy:
            # In the order of the key: two writers cannot wait for each other.
            for key in sorted(rows):
                copy.write_row(rows[key])
        cursor.execute(
            f"INSERT INTO lora_frame ({names}) SELECT {names} FROM lora_frame_stage"
            " ORDER BY device_id, received_at, seq"
            " ON CONFLICT DO NOTHING RETURNING device_id, received_at, seq"
        )
        new = {Key(*row) for row in cursor.fetchall()}
        cursor.execute("DELETE FROM lora_frame_stage")
    return new


def locate(device_id: int, event: Located) -> bool:
    """Put a position that came by itself on the uplink it was computed from; True where one was found.

    The uplink with its FCnt nearest before the event within a day, or the newest uplink in the last hour.
    """
    since = event.at - (timedelta(days=1) if event.fcnt is not None else timedelta(hours=1))
    candidates = Frame.objects.filter(
        device_id=device_id, direction=Direction.UPLINK, kind=FrameKind.DATA, received_at__gte=since
    ).filter(received_at__lte=event.at + timedelta(minutes=5))
    if event.fcnt is not None:
        candidates = candidates.filter(fcnt=event.fcnt)
    found = candidates.order_by("-received_at", "-seq").values_list("received_at", "seq").first()
    if found is None:
        return False
    location = event.location
    Frame.objects.filter(device_id=device_id, received_at=found[0], seq=found[1]).update(
        latitude=location.latitude, longitude=location.longitude, radius=location.radius
    )
    return True


def oldest_kept(now: datetime) -> datetime:
    """The lower bound of every query over frames."""
    return now - timedelta(days=settings.FRAME_RETENTION_DAYS)


def page(
    device_id: int,
    *,
    before: tuple[datetime, int] | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[Frame]:
    """The device's frames, newest first, older than the key ``before``: one query on the primary key."""
    rows = Frame.objects.filter(device_id=device_id, received_at__gte=since or oldest_kept(timezone.now()))
    if before is not None:
        at, seq = before
        rows = rows.filter(received_at__lte=at).extra(where=["(received_at, seq) < (%s, %s)"], params=[at, seq])
    return list(rows.order_by("-received_at", "-seq")[:limit])


def one(device_id: int, received_at: datetime, seq: int) -> Frame | None:
    return Frame.objects.filter(device_id=device_id, received_at=received_at, seq=seq).first()


def largest_payload(device: Device) -> int:
    """Bytes of application payload that fit at the data rate of the last uplink; SF12's where nothing is known."""
    spreading_factor = (
        Frame.objects.filter(
            device_id=device.pk,
            direction=Direction.UPLINK,
            spreading_factor__isnull=False,
            received_at__gte=oldest_kept(timezone.now()),
        )
        .order_by("-received_at", "-seq")
        .values_list("spreading_factor", flat=True)
        .first()
    )
    rate = next((rate for rate in eu868.DATA_RATES if rate.spreading_factor == spreading_factor), eu868.DATA_RATES[0])
    return rate.max_payload
