"""LoRa frames in the database: stored in batches, each once; read by device and time, newest first (L3, L5)."""

from __future__ import annotations

import enum
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from django.conf import settings
from django.db import connection
from django.utils import timezone
from psycopg.types.json import Jsonb

from codec.lorawan import eu868

from .events import JoinAccept, JoinRequest, Located, Location, RadioEvent, Reception, Uplink
from .models import Direction, Frame, FrameKind

# Most that a smallint and an integer hold.
MOST_GATEWAYS, HIGHEST_FREQUENCY = 2**15 - 1, 2**31 - 1
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


def key_of(device_id: int, event: RadioEvent) -> Key:
    """The key follows from the frame itself, so that a frame that comes twice meets its own row."""
    fcnt = getattr(event, "fcnt", None)
    payload = getattr(event, "payload", b"")
    text = f"{type(event).__name__}:{fcnt}:{event.mic.lower()}:{payload.hex() if not event.mic else ''}"
    return Key(device_id, event.at, zlib.crc32(text.encode()) & 0x7FFFFFFF)


def esp_of(reception: Reception) -> float:
    """Estimated signal power in dBm, computed where the network does not tell it."""
    return reception.esp if reception.esp is not None else eu868.esp(reception.rssi, reception.snr)


def _row(key: Key, event: RadioEvent) -> tuple[Any, ...]:
    best = event.receptions[0] if event.receptions else None
    location = getattr(event, "location", None)
    frequency = event.frequency_hz
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
        frequency if frequency is not None and frequency <= HIGHEST_FREQUENCY else None,
        event.channel[:16],
        min(event.gateway_count or len(event.receptions), MOST_GATEWAYS),
        best.rssi if best else None,
        best.snr if best else None,
        esp_of(best) if best else None,
        *(getattr(event, flag, False) for flag in ("confirmed", "ack", "adr", "adr_ack_req", "fpending")),
        getattr(event, "delivered", True),
        getattr(event, "cause", "")[:20],
        _uuid(getattr(event, "correlation_id", "")),
        location.latitude if location else None,
        location.longitude if location else None,
        location.radius if location else None,
        getattr(event, "payload", b""),
        getattr(event, "mac", b""),
        Jsonb(_detail(event), dumps=orjson.dumps),
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
    if getattr(event, "class_b", False):
        detail["class_b"] = True
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
    return detail | (_location_detail(location) if location is not None else {})


def _location_detail(location: Location) -> dict[str, str]:
    solved = location.solved_at.isoformat() if location.solved_at else ""
    found = {"location_method": location.method, "location_solved": solved}
    return {name: value for name, value in found.items() if value}


def store(frames: Sequence[tuple[int, RadioEvent]]) -> set[Key]:
    """Keep the frames of the devices; gives the keys of those that were not there yet.

    One COPY into a stage and one INSERT, however many there are. Call it in a transaction.
    """
    rows: dict[Key, tuple[Any, ...]] = {}
    for device_id, event in frames:
        key = key_of(device_id, event)
        if key not in rows:
            rows[key] = _row(key, event)
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


MARK_UNREADABLE = """
UPDATE lora_frame AS frame
SET detail = frame.detail || jsonb_build_object('unreadable', told.error)
FROM unnest(%s::bigint[], %s::timestamptz[], %s::int[], %s::text[]) AS told (device_id, received_at, seq, error)
WHERE (frame.device_id, frame.received_at, frame.seq) = (told.device_id, told.received_at, told.seq)
"""
LONGEST_ERROR = 300


def mark_unreadable(errors: Mapping[Key, str]) -> None:
    """Write on frames what the codec said that could not read them, so that a search finds them (L5).

    In the transaction that stored them, in the order of the key."""
    if not errors:
        return
    rows = [(*key, error[:LONGEST_ERROR].replace("\0", "")) for key, error in sorted(errors.items())]
    with connection.cursor() as cursor:
        cursor.execute(MARK_UNREADABLE, [list(column) for column in zip(*rows, strict=True)])


class Place(enum.Enum):
    """What came of a position: put on its frame; there already (or a later solution is); no frame for it."""

    NEW = enum.auto()
    HELD = enum.auto()
    NO_FRAME = enum.auto()


# Of several places for one frame the last solved counts. A later solution is never replaced by an earlier one.
LOCATE = """
WITH told AS (
    SELECT * FROM unnest(
        %s::int[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::interval[],
        %s::float8[], %s::float8[], %s::float8[], %s::jsonb[]
    ) AS told (number, device_id, fcnt, near, span, latitude, longitude, radius, detail)
), found AS (
    SELECT told.*, frame.received_at, frame.seq
    FROM told, LATERAL (
        SELECT received_at, seq FROM lora_frame
        WHERE device_id = told.device_id AND direction = 0 AND kind = 2
            AND received_at BETWEEN told.near - told.span AND told.near + told.span
            AND (told.fcnt IS NULL OR fcnt = told.fcnt)
        ORDER BY abs(extract(epoch FROM received_at - told.near)), received_at, seq
        LIMIT 1
    ) AS frame
), chosen AS (
    SELECT DISTINCT ON (device_id, received_at, seq) * FROM found
    ORDER BY device_id, received_at, seq, coalesce(detail ->> 'location_solved', '') DESC, number DESC
), changed AS (
    UPDATE lora_frame AS frame
    SET latitude = chosen.latitude, longitude = chosen.longitude, radius = chosen.radius,
        detail = frame.detail || chosen.detail
    FROM chosen
    WHERE (frame.device_id, frame.received_at, frame.seq) = (chosen.device_id, chosen.received_at, chosen.seq)
        AND (frame.latitude, frame.longitude, frame.radius)
            IS DISTINCT FROM (chosen.latitude, chosen.longitude, chosen.radius)
        AND coalesce(frame.detail ->> 'location_solved', '') <= coalesce(chosen.detail ->> 'location_solved', '')
    RETURNING chosen.number
)
SELECT number, number IN (SELECT number FROM changed) FROM found
"""


def locate(places: Sequence[tuple[int, Located]]) -> list[Place]:
    """Put positions that came by themselves on the uplinks that they were computed from, in one statement.

    The uplink with the FCnt that is nearest to the moment of the solution within a day; without FCnt the nearest
    uplink within an hour. What came of each, in the order given.
    """
    if not places:
        return []
    rows = [
        (
            number,
            device_id,
            event.fcnt,
            event.location.solved_at or event.at,
            timedelta(days=1) if event.fcnt is not None else timedelta(hours=1),
            event.location.latitude,
            event.location.longitude,
            event.location.radius,
            Jsonb(_location_detail(event.location), dumps=orjson.dumps),
        )
        for number, (device_id, event) in enumerate(places)
    ]
    with connection.cursor() as cursor:
        cursor.execute(LOCATE, [list(column) for column in zip(*rows, strict=True)])
        found = {number: Place.NEW if changed else Place.HELD for number, changed in cursor.fetchall()}
    return [found.get(number, Place.NO_FRAME) for number in range(len(places))]


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


def last_with_data(device_id: int, limit: int) -> list[Frame]:
    """The device's last uplinks with application data (FPort 0 carries MAC commands), newest first; within the
    retention, on the primary key."""
    rows = Frame.objects.filter(
        device_id=device_id,
        received_at__gte=oldest_kept(timezone.now()),
        direction=Direction.UPLINK,
        kind=FrameKind.DATA,
        fport__gt=0,
    )
    return list(rows.order_by("-received_at", "-seq")[:limit])


# Of each device by the primary key, no more than can be among the newest of all.
NEWEST = """
SELECT frame.* FROM unnest(%(devices)s::bigint[], %(since)s::timestamptz[]) AS asked (device_id, since)
CROSS JOIN LATERAL (
    SELECT device_id, received_at, kind, fport, payload FROM lora_frame AS held
    WHERE held.device_id = asked.device_id AND held.received_at >= asked.since AND held.received_at >= %(oldest)s
        AND held.direction = %(uplink)s
    ORDER BY received_at DESC, seq DESC LIMIT %(limit)s
) AS frame
ORDER BY frame.received_at DESC, frame.device_id LIMIT %(limit)s
"""


def newest(
    devices: Sequence[tuple[int, datetime]], limit: int
) -> list[tuple[int, datetime, FrameKind, int | None, bytes]]:
    """Device, moment, kind, FPort and payload of the newest frames from these devices together, of each since its
    moment."""
    if not devices:
        return []
    ids, since = [pk for pk, _since in devices], [moment for _pk, moment in devices]
    values: dict[str, Any] = {
        "devices": ids,
        "since": since,
        "oldest": min(since),
        "uplink": Direction.UPLINK.value,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(NEWEST, values)
        return [(pk, at, FrameKind(kind), fport, bytes(payload)) for pk, at, kind, fport, payload in cursor.fetchall()]


def remove(device_id: int) -> None:
    """Remove all frames of a device that is being deleted (D9)."""
    Frame.objects.filter(device_id=device_id).delete()


def one(device_id: int, received_at: datetime, seq: int) -> Frame | None:
    return Frame.objects.filter(device_id=device_id, received_at=received_at, seq=seq).first()


def neighbours(
    device_id: int, received_at: datetime, seq: int, *, since: datetime
) -> tuple[tuple[datetime, int] | None, tuple[datetime, int] | None]:
    """The moments and numbers of the frames before and behind this one, None at an end: two looks at the primary
    key, of the partitions between ``since`` and now."""
    place = [received_at, seq]
    rows = Frame.objects.filter(device_id=device_id).values_list("received_at", "seq")
    older = rows.filter(received_at__gte=since, received_at__lte=received_at)
    older = older.extra(where=["(received_at, seq) < (%s, %s)"], params=place)
    newer = rows.filter(received_at__gte=received_at).extra(where=["(received_at, seq) > (%s, %s)"], params=place)
    return older.order_by("-received_at", "-seq").first(), newer.order_by("received_at", "seq").first()


# The newest uplink of each device, by the primary key: one look-up per device, however many frames it has.
LAST_UPLINKS = """
SELECT asked.device_id, last.spreading_factor, last.gateway
FROM unnest(%(devices)s::bigint[]) AS asked (device_id)
CROSS JOIN LATERAL (
    SELECT spreading_factor, detail #>> '{receptions,0,gateway}' AS gateway
    FROM lora_frame AS frame
    WHERE frame.device_id = asked.device_id AND direction = %(uplink)s AND spreading_factor IS NOT NULL
        AND received_at >= %(since)s
    ORDER BY received_at DESC, seq DESC
    LIMIT 1
) AS last
"""


def _last_uplinks(device_ids: Iterable[int], since: datetime) -> list[tuple[int, int, str | None]]:
    """(device, spreading factor, its best gateway) of those that sent something since."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"devices": list(device_ids), "uplink": Direction.UPLINK.value, "since": since}
        cursor.execute(LAST_UPLINKS, values)
        return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


def largest_payloads(device_ids: Iterable[int]) -> dict[int, int]:
    """Bytes of application payload that fit at the data rate of each device's last uplink; SF12's where nothing is
    known."""
    ids = list(device_ids)
    rooms = {rate.spreading_factor: rate.max_payload for rate in eu868.DATA_RATES}
    slowest = eu868.DATA_RATES[0].max_payload
    last = _last_uplinks(ids, oldest_kept(timezone.now()))
    known = {device_id: rooms.get(factor, slowest) for device_id, factor, _gateway in last}
    return {device_id: known.get(device_id, slowest) for device_id in ids}


def last_gateways(device_ids: Iterable[int], since: datetime) -> dict[int, str]:
    """The gateway that heard each device's last uplink best; devices that sent nothing since have none."""
    return {device_id: gateway for device_id, _factor, gateway in _last_uplinks(device_ids, since) if gateway}
