"""From accepted messages to frames, twin, states and instructions: one batch, few statements, repeatable.

A batch that is processed twice changes nothing the second time: frames and messages meet their own keys, and only
what is new goes on to decoding.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject
from django.utils import timezone

from codec import decoders
from codec.measurements import Measurement
from common.arrays import array
from devices import codecs, live
from devices.models import CodecProblem, Device, FlowLink, Health, Processing
from downlinks import reports
from flows import deliveries
from flows.deliveries import Outgoing
from lora import events as lora_events
from lora import frames, health
from lora.diagnosis import Seen
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

from . import reading
from .payloads import CodecRuns, Held
from .reading import AHEAD, Batch, Entry, Pack

logger = logging.getLogger(__name__)
UNKNOWN_DEVICE = "The DevEUI is not known here."


# device id → when its messages came
Heard = dict[int, list[datetime]]


@dataclass(slots=True)
class Known:
    """What the pipeline needs of a device: whether its data is processed, and how it is read: a list of decoders,
    preferred first, for each different choice of its Flows; ``codec`` where one of them is that of its type.
    ``problem``: what is held of its codec's trouble."""

    device_id: int
    project_id: int
    processed: bool
    decoders: list[list[str]] = field(default_factory=list)
    codec: codecs.InUse | None = None
    problem: Held | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How many entries were processed; by entry id why others were not, and the DevEUI of those of no device."""

    processed: int
    rejected: dict[str, str]
    unknown: dict[str, str]


def process(entries: Sequence[Entry], *, now: datetime | None = None) -> Result:
    """Process a batch in one transaction; live notifications follow its commit."""
    now = now or timezone.now()
    batch = reading.read(entries)
    changes: dict[int, set[str]] = defaultdict(set)
    runs = CodecRuns()
    with transaction.atomic():
        ids = _ids_by_eui({event.dev_eui for _entry, event in batch.lora})
        _hold_new({*ids.values(), *(pack.device_id for pack in batch.packs)})
        known = _devices({*ids.values(), *(pack.device_id for pack in batch.packs)})
        told: list[tuple[Known, Event]] = []
        for entry, event in batch.lora:
            device = known.get(ids.get(event.dev_eui, -1))
            if device is None:
                batch.unknown[entry] = event.dev_eui
            else:
                told.append((device, event))
        heard: Heard = defaultdict(list)
        outgoing: list[Outgoing] = []
        verdicts = _lora(told, outgoing, heard, changes, runs, now)
        _senml(batch, known, outgoing, heard, changes)
        measured: dict[int, list[Measurement]] = defaultdict(list)
        for message in outgoing:
            measured[message.device_id] += message.measurements
        # Twins before states: whoever sets desired values takes the rows in the same order.
        for device_id in twin.update_reported(measured, now):
            changes[device_id].add("twin")
        _states(known, heard, verdicts)
        deliveries.enqueue(outgoing, now)
        runs.write({pk: device.problem for pk, device in known.items() if device.problem is not None})
    runs.count_kills(now)
    _instructions(told, changes, now)
    if changes:
        live.publish(changes.items())
    return Result(len(entries) - len(batch.rejected) - len(batch.unknown), batch.rejected, batch.unknown)


# --- devices ---

# Devices whose twin this batch may be the first to write (a state is made with its device). Its foreign key takes the
# device's lock only at the end; whoever removes a device takes that lock first. Taken here, the order is one: device,
# twin, state. Rows that are there already ask for no lock, so that a fleet that is heard writes nothing here.
HOLD_NEW = """
WITH new AS MATERIALIZED (
    SELECT asked.id FROM unnest(%s::bigint[]) AS asked (id)
    WHERE NOT EXISTS (SELECT FROM twin_twin AS twin WHERE twin.device_id = asked.id)
)
SELECT device.id FROM devices_device AS device WHERE device.id = ANY(ARRAY(SELECT id FROM new))
ORDER BY device.id FOR KEY SHARE OF device
"""


def _hold_new(device_ids: set[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(HOLD_NEW, [array(sorted(device_ids))])


def _ids_by_eui(dev_euis: set[str]) -> dict[str, int]:
    if not dev_euis:
        return {}
    return dict(LoraIdentity.objects.filter(dev_eui__in=dev_euis).values_list("dev_eui", "device_id"))


def _devices(device_ids: set[int]) -> dict[int, Known]:
    """Three queries, however many devices: the devices, the codecs of their types where they have some (and their
    texts when they are new here), and the decoders of the enabled Flows they are in."""
    if not device_ids:
        return {}
    known, types = {}, {}
    problem = CodecProblem.objects.filter(device_id=OuterRef("pk")).values(
        told=JSONObject(version="version_id", error="error", text="text")
    )
    rows = Device.objects.filter(pk__any_of=device_ids).values_list(
        "pk", "project_id", "processing_status", "type_id", "type__codec_id", "type__decoders", Subquery(problem)
    )
    for pk, project_id, status, type_id, codec_id, type_decoders, held in rows:
        known[pk] = Known(pk, project_id, False)
        if held:
            known[pk].problem = held["version"], held["error"], held["text"]
        types[pk] = (status, type_id if codec_id else None, type_decoders)
    in_use = codecs.in_use({type_id for _status, type_id, _decoders in types.values() if type_id is not None})
    links = FlowLink.objects.filter(device__any_of=known, flow__enabled=True).values_list("device_id", "flow__decoder")
    for device_id, decoder in links:
        status, type_id, type_decoders = types[device_id]
        codec = in_use.get(type_id) if type_id is not None else None
        chosen = [decoder] if decoder else [decoders.CODEC, *type_decoders]
        # A decoder that is not there costs the values, never the frame.
        slugs = [slug for slug in chosen if slug in decoders.DECODERS or (slug == decoders.CODEC and codec)]
        if status == Processing.ACTIVE:
            device = known[device_id]
            device.processed, device.codec = True, codec
            if slugs not in device.decoders:
                device.decoders.append(slugs)
    return known


# --- LoRa ---


def _lora(
    told: list[tuple[Known, Event]],
    outgoing: list[Outgoing],
    heard: Heard,
    changes: dict[int, set[str]],
    runs: CodecRuns,
    now: datetime,
) -> dict[int, health.Verdict]:
    """Frames, positions, and in ``outgoing`` the messages with their values; the verdicts on the devices."""
    radio = [(device.device_id, event) for device, event in told if isinstance(event, RadioEvent)]
    new = frames.store(radio)
    # After the frames of the batch, whose places they may be.
    located = [(device, event) for device, event in told if isinstance(event, Located)]
    places = frames.locate([(device.device_id, event) for device, event in located])
    for (device, located_event), place in zip(located, places, strict=True):
        if place is frames.Place.NEW:
            changes[device.device_id].add("frames")
        # Networks tell the same place again with later messages: it is measured once.
        if place is not frames.Place.HELD and device.processed:
            found = _geolocation(located_event.location, located_event.at)
            outgoing.append(_outgoing(device, located_event, f"place {located_event.fcnt}", found))
    unreadable: dict[frames.Key, str] = {}
    seen: dict[int, list[Seen]] = defaultdict(list)
    for device, event in told:
        if isinstance(event, RadioEvent):
            key = frames.key_of(device.device_id, event)
            if key not in new:
                continue
            new.discard(key)
            changes[device.device_id].add("frames")
            seen[device.device_id].append(health.seen(key, event))
            if isinstance(event, Uplink | JoinRequest):
                heard[device.device_id].append(key.received_at)
            if isinstance(event, Uplink) and device.processed:
                found, error = _decode(device, event, runs, now)
                outgoing.append(_outgoing(device, event, f"frame {key.seq}", found))
                if error:
                    unreadable[key] = error
    frames.mark_unreadable(unreadable)
    return health.take(seen)


def _outgoing(device: Known, event: Event, key: str, found: list[Measurement]) -> Outgoing:
    return Outgoing(device.device_id, event.at, key, f"urn:dev:DEVEUI:{event.dev_eui}:", found)


def _decode(device: Known, event: Uplink, runs: CodecRuns, now: datetime) -> tuple[list[Measurement], str]:
    """What the message says, and what the type's codec said where it could not read it."""
    found: list[Measurement] = []
    error = ""
    if event.fport:
        best = event.receptions[0] if event.receptions else None
        message = decoders.LoraMessage(
            payload=event.payload,
            fport=event.fport,
            at=event.at.timestamp(),
            fcnt=event.fcnt,
            rssi=best.rssi if best else None,
            snr=best.snr if best else None,
            esp=frames.esp_of(best) if best else None,
            gateway_count=event.gateway_count,
            spreading_factor=event.spreading_factor,
            channel=event.channel,
            adr=event.adr,
        )
        choices = device.decoders
        try:
            choices, values, error = _by_codec(device, event, event.fport, runs, now)
            found += values
        except Exception:
            logger.exception("device %s: no codec can be run for %s", device.device_id, event.payload.hex())
        for slugs in choices:
            try:
                found += decoders.decode([slug for slug in slugs if slug != decoders.CODEC], message).measurements
            except Exception:
                # A mistake in a decoder must not cost the frame.
                logger.exception("device %s: %s cannot read %s", device.device_id, slugs, event.payload.hex())
    if event.location is not None:
        found += _geolocation(event.location, event.at)
    return found, error


def _by_codec(
    device: Known, event: Uplink, fport: int, runs: CodecRuns, now: datetime
) -> tuple[list[list[str]], tuple[Measurement, ...], str]:
    """What is left to the decoders, what the type's codec read, once for all choices that begin with it, and its
    error."""
    others = [slugs for slugs in device.decoders if decoders.CODEC not in slugs]
    if device.codec is None or len(others) == len(device.decoders):
        runs.not_needed(device.device_id, device.project_id, event.at)
        return device.decoders, (), ""
    reading = runs.read(device.device_id, device.project_id, device.codec, event.payload, fport, event.at, now)
    return (device.decoders, (), reading.error) if reading.error else (others, reading.measurements, "")


def _geolocation(location: lora_events.Location, at: datetime) -> list[Measurement]:
    return decoders.geolocation(location, at.timestamp())


# --- M2M and Internet ---


def _senml(
    batch: Batch,
    known: dict[int, Known],
    outgoing: list[Outgoing],
    heard: Heard,
    changes: dict[int, set[str]],
) -> None:
    rows: dict[tuple[int, datetime, int], Pack] = {}
    timed: set[tuple[int, bytes]] = set()
    for pack in batch.packs:
        if pack.device_id not in known:
            batch.rejected[pack.entry] = "The device is not there any more."
            continue
        same = (pack.device_id, pack.body)
        if pack.pack.has_own_time and same in timed:
            continue
        timed.add(same)
        # The stream entry is the same when a batch is repeated, and another one for each message.
        seq = zlib.crc32(pack.entry.encode()) & 0x7FFFFFFF
        rows[pack.device_id, pack.received_at, seq] = pack
    for key in sorted(_keep_packs(rows)):
        pack = rows[key]
        changes[pack.device_id].add("messages")
        heard[pack.device_id].append(pack.received_at)
        if known[pack.device_id].processed:
            outgoing.append(
                Outgoing(pack.device_id, pack.received_at, pack.entry, pack.base_name, _believed_values(pack))
            )


def _believed_values(pack: Pack) -> list[Measurement]:
    """A value from the far future would be the newest for ever."""
    latest = (pack.received_at + AHEAD).timestamp()
    received = pack.received_at.timestamp()
    return [value if value.time <= latest else value._replace(time=received) for value in pack.pack.measurements]


# A pack with times of its own that comes again within a day is the same message. The days that can hold it are said as
# constants: the planner leaves out the others, and sees that the digest finds it among all of the device's messages.
SAME_WITHIN = timedelta(days=1)
KEEP_PACKS = """
INSERT INTO devices_senmlmessage (device_id, received_at, seq, records, digest, body)
SELECT device_id, received_at, seq, records, digest, body
FROM unnest(
    %(devices)s::bigint[], %(moments)s::timestamptz[], %(seqs)s::int[], %(records)s::int[], %(timed)s::boolean[],
    %(digests)s::bytea[], %(bodies)s::bytea[]
) AS new (device_id, received_at, seq, records, timed, digest, body)
WHERE NOT timed OR NOT EXISTS (
    SELECT FROM devices_senmlmessage AS held
    WHERE held.device_id = new.device_id AND held.digest = new.digest
        AND held.received_at BETWEEN %(first)s AND %(last)s
        AND abs(extract(epoch FROM held.received_at - new.received_at)) <= %(within)s
)
ON CONFLICT DO NOTHING
RETURNING device_id, received_at, seq
"""


def _keep_packs(packs: dict[tuple[int, datetime, int], Pack]) -> list[tuple[int, datetime, int]]:
    """Keep the packs by their keys, in one statement; gives the keys of those that are new."""
    if not packs:
        return []
    devices, moments, seqs = zip(*(keys := sorted(packs)), strict=True)
    kept = [packs[key] for key in keys]
    values = {
        "devices": array(devices),
        "moments": array(moments),
        "seqs": array(seqs),
        "records": array([len(each.pack.measurements) for each in kept]),
        "timed": array([each.pack.has_own_time for each in kept]),
        "digests": [hashlib.sha256(each.body).digest() for each in kept],
        "bodies": [each.body for each in kept],
        "first": min(moments) - SAME_WITHIN,
        "last": max(moments) + SAME_WITHIN,
        "within": SAME_WITHIN.total_seconds(),
    }
    with connection.cursor() as cursor:
        cursor.execute(KEEP_PACKS, values)
        return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


# --- states and instructions ---

STATES = """
INSERT INTO devices_devicestate AS state
    (device_id, project_id, last_message_at, previous_message_at, messages, health, finding)
SELECT * FROM unnest(
    %s::bigint[], %s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::smallint[], %s::text[]
)
ON CONFLICT (device_id) DO UPDATE SET
    last_message_at = greatest(state.last_message_at, excluded.last_message_at),
    previous_message_at = CASE
        WHEN state.last_message_at IS NULL THEN excluded.previous_message_at
        WHEN excluded.previous_message_at IS NOT NULL AND excluded.last_message_at > state.last_message_at
            THEN greatest(excluded.previous_message_at, state.last_message_at)
        WHEN excluded.last_message_at > state.last_message_at THEN state.last_message_at
        ELSE greatest(state.previous_message_at, excluded.last_message_at)
    END,
    messages = state.messages + excluded.messages,
    health = excluded.health,
    finding = excluded.finding
"""
# What sends without a radio is well when it sends.
WELL = health.Verdict(Health.GOOD)


def _states(known: dict[int, Known], heard: Heard, verdicts: dict[int, health.Verdict]) -> None:
    """Last and previous message of the devices that were heard and how they do, and how those do whose health is
    another than before; one statement."""
    rows = []
    for device_id in sorted({*heard, *(pk for pk, verdict in verdicts.items() if verdict.changed)}):
        messages = sorted(heard.get(device_id, ()))
        last = messages[-1] if messages else None
        previous = messages[-2] if len(messages) > 1 else None
        verdict = verdicts.get(device_id, WELL)
        told = (len(messages), verdict.health.value, verdict.finding)
        rows.append((device_id, known[device_id].project_id, last, previous, *told))
    if rows:
        with connection.cursor() as cursor:
            *columns, findings = zip(*rows, strict=True)
            cursor.execute(STATES, [*map(array, columns), list(findings)])


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
                gateway=event.gateway,
                window=event.window,
                fcnt=event.fcnt,
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
