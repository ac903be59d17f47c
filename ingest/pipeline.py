"""From accepted messages to frames, twin, states and instructions: one batch, few statements, repeatable.

A batch that is processed twice changes nothing the second time: frames and messages meet their own keys, and only
what is new goes on to decoding.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.db import connection, transaction
from django.utils import timezone

from codec import decoders, senml
from codec.measurements import Measurement
from devices import live
from devices.models import Device, FlowLink, Processing
from downlinks import reports
from lora import events as lora_events
from lora import frames
from lora.events import (
    DownlinkAcknowledged,
    DownlinkFailed,
    DownlinkSent,
    Event,
    JoinRequest,
    Located,
    RadioEvent,
    Uplink,
)
from lora.models import LoraIdentity
from lora.networks import thingpark
from twin import services as twin

from . import stream

logger = logging.getLogger(__name__)
UNKNOWN_DEVICE = "The DevEUI is not known here."
# A pack with times of its own that comes again within this time is the same message.
SAME_MESSAGE = timedelta(hours=24)


class Unreadable(Exception):
    """This message cannot be processed; the text says why. It is kept among the rejected ones."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stream entry as read: its id, source, body and what acceptance knew."""

    id: str
    source: str
    body: bytes
    meta: dict[str, Any]

    @classmethod
    def read(cls, entry_id: bytes, values: dict[bytes, bytes]) -> Entry:
        return cls(entry_id.decode(), values[b"source"].decode(), values[b"body"], orjson.loads(values[b"meta"]))


@dataclass(slots=True)
class Known:
    """What the pipeline needs of a device: whether its data is processed, and how it is read."""

    device_id: int
    project_id: int
    processed: bool
    decoders: list[list[str]] = field(default_factory=list)


@dataclass(slots=True)
class Pack:
    entry: str
    device_id: int
    received_at: datetime
    body: bytes
    pack: senml.Pack


@dataclass(slots=True)
class Batch:
    """What the entries of a batch say, before anything is written."""

    lora: list[tuple[str, Event]] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """How many entries were processed, and why others were not, by entry id."""

    processed: int
    rejected: dict[str, str]


def process(entries: Sequence[Entry], *, now: datetime | None = None) -> Result:
    """Process a batch in one transaction; live notifications follow its commit."""
    now = now or timezone.now()
    batch = _read(entries)
    changes: dict[int, set[str]] = defaultdict(set)
    with transaction.atomic():
        known_by_eui = _devices_by_eui({event.dev_eui for _entry, event in batch.lora})
        known = {device.device_id: device for device in known_by_eui.values()}
        known |= _devices({pack.device_id for pack in batch.packs} - known.keys())
        told: list[tuple[Known, Event]] = []
        for entry, event in batch.lora:
            device = known_by_eui.get(event.dev_eui)
            if device is None:
                batch.rejected[entry] = UNKNOWN_DEVICE
            else:
                told.append((device, event))
        measured: dict[int, list[Measurement]] = defaultdict(list)
        heard: dict[int, list[datetime]] = defaultdict(list)
        _lora(told, measured, heard, changes, now)
        _senml(batch, known, measured, heard, changes)
        _states(known, heard)
        for device_id in twin.update_reported(measured, now):
            changes[device_id].add("twin")
    _instructions(told, changes, now)
    if changes:
        live.publish(changes.items())
    return Result(len(entries) - len(batch.rejected), batch.rejected)


# --- reading ---


def _read(entries: Iterable[Entry]) -> Batch:
    batch = Batch()
    for entry in entries:
        try:
            if entry.source == stream.SENML:
                batch.packs.append(_read_pack(entry))
            elif entry.source == stream.THINGPARK:
                document = thingpark.read(entry.body)
                batch.lora += [(entry.id, event) for event in thingpark.parse(document)]
            elif entry.source == stream.LORA_EVENTS:
                batch.lora.append((entry.id, lora_events.from_json(orjson.loads(entry.body))))
            else:
                raise Unreadable(f"unknown source {entry.source!r}")
        except (Unreadable, senml.SenmlError, thingpark.PushError, KeyError, TypeError, ValueError) as error:
            batch.rejected[entry.id] = f"{error}"[:500] or type(error).__name__
    return batch


def _read_pack(entry: Entry) -> Pack:
    received = float(entry.meta["received_at"])
    parse = senml.parse_cbor if entry.meta.get("cbor") else senml.parse_json
    pack = parse(entry.body, received_at=received)
    return Pack(entry.id, int(entry.meta["device_id"]), datetime.fromtimestamp(received, UTC), entry.body, pack)


# --- devices ---


def _devices_by_eui(dev_euis: set[str]) -> dict[str, Known]:
    if not dev_euis:
        return {}
    pairs = dict(LoraIdentity.objects.filter(dev_eui__in=dev_euis).values_list("dev_eui", "device_id"))
    known = _devices(set(pairs.values()))
    return {dev_eui: known[device_id] for dev_eui, device_id in pairs.items() if device_id in known}


def _devices(device_ids: set[int]) -> dict[int, Known]:
    """Two queries, however many devices: the devices, and the decoders of the enabled Flows they are in."""
    if not device_ids:
        return {}
    known, types = {}, {}
    rows = Device.objects.filter(pk__in=device_ids).values_list(
        "pk", "project_id", "processing_status", "type__decoders"
    )
    for pk, project_id, status, type_decoders in rows:
        known[pk] = Known(pk, project_id, False)
        types[pk] = (status, type_decoders)
    links = FlowLink.objects.filter(device_id__in=known, flow__enabled=True).values_list("device_id", "flow__decoder")
    for device_id, decoder in links:
        status, type_decoders = types[device_id]
        slugs = [decoder] if decoder else list(type_decoders)
        if status == Processing.ACTIVE:
            known[device_id].processed = True
            if slugs not in known[device_id].decoders:
                known[device_id].decoders.append(slugs)
    return known


# --- LoRa ---


def _lora(
    told: list[tuple[Known, Event]],
    measured: dict[int, list[Measurement]],
    heard: dict[int, list[datetime]],
    changes: dict[int, set[str]],
    now: datetime,
) -> None:
    radio = [(device.device_id, event) for device, event in told if isinstance(event, RadioEvent)]
    new = frames.store(radio, now=now)
    for device, event in told:
        if isinstance(event, RadioEvent):
            key = frames.key_of(device.device_id, event, now)
            if key not in new:
                continue
            new.discard(key)
            changes[device.device_id].add("frames")
            if isinstance(event, Uplink | JoinRequest):
                heard[device.device_id].append(key.received_at)
            if isinstance(event, Uplink) and device.processed:
                measured[device.device_id] += _decode(device, event)
        elif isinstance(event, Located):
            if frames.locate(device.device_id, event):
                changes[device.device_id].add("frames")
            if device.processed:
                measured[device.device_id] += _geolocation(event.location, event.at)


def _decode(device: Known, event: Uplink) -> list[Measurement]:
    found: list[Measurement] = []
    if event.fport:
        best = event.receptions[0] if event.receptions else None
        message = decoders.LoraMessage(
            payload=event.payload,
            fport=event.fport,
            at=event.at.timestamp(),
            fcnt=event.fcnt,
            rssi=best.rssi if best else None,
            snr=best.snr if best else None,
            esp=best.esp if best else None,
            gateway_count=event.gateway_count,
            spreading_factor=event.spreading_factor,
            channel=event.channel,
            adr=event.adr,
        )
        for slugs in device.decoders:
            found += decoders.decode(slugs, message).measurements
    if event.location is not None:
        found += _geolocation(event.location, event.at)
    return found


def _geolocation(location: lora_events.Location, at: datetime) -> list[Measurement]:
    return decoders.geolocation(location, at.timestamp())


# --- M2M and Internet ---


def _senml(
    batch: Batch,
    known: dict[int, Known],
    measured: dict[int, list[Measurement]],
    heard: dict[int, list[datetime]],
    changes: dict[int, set[str]],
) -> None:
    rows = {}
    for pack in batch.packs:
        if pack.device_id not in known:
            batch.rejected[pack.entry] = "The device is not there any more."
            continue
        digest = hashlib.sha256(pack.body).digest()
        # The stream entry numbers messages of one millisecond, and is the same when a batch is repeated.
        seq = int(pack.entry.rpartition("-")[2] or 0) & 0x7FFFFFFF
        rows[pack.entry] = (pack, seq, digest)
    for pack, seq, digest in rows.values():
        if not _keep_pack(pack, seq, digest):
            continue
        changes[pack.device_id].add("messages")
        heard[pack.device_id].append(pack.received_at)
        if known[pack.device_id].processed:
            measured[pack.device_id] += pack.pack.measurements


KEEP_PACK = """
INSERT INTO devices_senmlmessage (device_id, received_at, seq, records, digest, body)
SELECT %(device)s, %(at)s, %(seq)s, %(records)s, %(digest)s, %(body)s
WHERE NOT %(timed)s OR NOT EXISTS (
    SELECT FROM devices_senmlmessage
    WHERE device_id = %(device)s AND received_at BETWEEN %(since)s AND %(at)s AND digest = %(digest)s
)
ON CONFLICT DO NOTHING
"""


def _keep_pack(pack: Pack, seq: int, digest: bytes) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            KEEP_PACK,
            {
                "device": pack.device_id,
                "at": pack.received_at,
                "since": pack.received_at - SAME_MESSAGE,
                "seq": seq,
                "records": len(pack.pack.measurements),
                "digest": digest,
                "body": pack.body,
                "timed": pack.pack.has_own_time,
            },
        )
        return bool(cursor.rowcount == 1)


# --- states and instructions ---

STATES = """
INSERT INTO devices_devicestate AS state (device_id, project_id, last_message_at, previous_message_at, messages)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::bigint[])
ON CONFLICT (device_id) DO UPDATE SET
    last_message_at = greatest(state.last_message_at, excluded.last_message_at),
    previous_message_at = CASE
        WHEN state.last_message_at IS NULL THEN excluded.previous_message_at
        WHEN excluded.previous_message_at IS NOT NULL AND excluded.last_message_at > state.last_message_at
            THEN greatest(excluded.previous_message_at, state.last_message_at)
        WHEN excluded.last_message_at > state.last_message_at THEN state.last_message_at
        ELSE greatest(state.previous_message_at, excluded.last_message_at)
    END,
    messages = state.messages + excluded.messages
"""


def _states(known: dict[int, Known], heard: dict[int, list[datetime]]) -> None:
    """Last and previous message of the devices, one statement."""
    if not heard:
        return
    rows = []
    for device_id in sorted(heard):
        moments = sorted(heard[device_id])
        previous = moments[-2] if len(moments) > 1 else None
        rows.append((device_id, known[device_id].project_id, moments[-1], previous, len(moments)))
    with connection.cursor() as cursor:
        cursor.execute(STATES, [list(column) for column in zip(*rows, strict=True)])


def _instructions(told: list[tuple[Known, Event]], changes: dict[int, set[str]], now: datetime) -> None:
    """What the network says of instructions; idempotent, so that a repeated batch may say it again."""
    for device, event in sorted(told, key=lambda pair: pair[0].device_id):
        if isinstance(event, DownlinkSent) and event.correlation_id:
            words = thingpark.CAUSES.get(event.cause, "") if not event.delivered else ""
            changed = reports.on_sent(
                device.device_id,
                event.correlation_id,
                event.at,
                delivered=event.delivered,
                cause=event.cause,
                reason=words,
                now=now,
            )
        elif isinstance(event, DownlinkAcknowledged):
            changed = reports.on_acknowledged(device.device_id, event.correlation_id, event.at, now=now)
        elif isinstance(event, DownlinkFailed):
            changed = reports.on_failed(
                device.device_id, event.correlation_id, event.at, cause=event.cause, reason=event.reason, now=now
            )
        else:
            continue
        if changed:
            changes[device.device_id].add("downlinks")
