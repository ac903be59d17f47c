"""What the entries of the stream say, before anything is looked up or written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from codec import senml
from lora import events as lora_events
from lora.events import Event
from lora.networks import thingpark

from . import stream

# A clock that is ahead by more than this is not believed: the moment of acceptance is taken. (The moment of
# processing would not do: a repeated batch has another one.)
AHEAD = timedelta(days=1)


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
        """Never raises: what is no message of ours has no source, and is rejected like one that cannot be read."""
        try:
            meta = orjson.loads(values[b"meta"])
            source, body = values[b"source"].decode(), values[b"body"]
        except (KeyError, ValueError):
            meta, source, body = {}, "", repr(values).encode()
        return cls(entry_id.decode(), source, body, meta if isinstance(meta, dict) else {})

    @property
    def day(self) -> str:
        """The UTC day it came into the stream."""
        return f"{datetime.fromtimestamp(int(self.id.partition('-')[0]) / 1000, UTC):%Y-%m-%d}"

    @property
    def received_at(self) -> datetime:
        """When it was accepted. Raises KeyError, TypeError or ValueError where acceptance did not say."""
        return datetime.fromtimestamp(float(self.meta["received_at"]), UTC)


@dataclass(slots=True)
class Pack:
    """``base_name``: that of the device, whatever its firmware writes."""

    entry: str
    device_id: int
    received_at: datetime
    body: bytes
    pack: senml.Pack
    base_name: str


@dataclass(slots=True)
class Batch:
    """What the entries of a batch say, before anything is written."""

    lora: list[tuple[str, Event]] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def read(entries: Iterable[Entry]) -> Batch:
    """What the entries say, in their order; of those that cannot be read, why (``rejected``)."""
    batch = Batch()
    for entry in entries:
        try:
            if entry.source == stream.SENML:
                batch.packs.append(_read_pack(entry))
            elif entry.source == stream.THINGPARK:
                told = thingpark.parse(thingpark.read(entry.body))
                batch.lora += [(entry.id, _believed(event, entry.received_at)) for event in told]
            elif entry.source == stream.LORA_EVENTS:
                event = lora_events.from_json(orjson.loads(entry.body))
                batch.lora.append((entry.id, _believed(event, entry.received_at)))
            else:
                raise Unreadable(f"unknown source {entry.source!r}")
        except (Unreadable, senml.SenmlError, thingpark.PushError, KeyError, TypeError, ValueError) as error:
            batch.rejected[entry.id] = f"{error}"[:500] or type(error).__name__
    return batch


def _believed(event: Event, received_at: datetime) -> Event:
    return event if event.at <= received_at + AHEAD else replace(event, at=received_at)


def _read_pack(entry: Entry) -> Pack:
    received_at = entry.received_at
    parse = senml.parse_cbor if entry.meta.get("cbor") else senml.parse_json
    pack = parse(entry.body, received_at=received_at.timestamp())
    base_name = str(entry.meta.get("base_name") or pack.base_name)
    return Pack(entry.id, int(entry.meta["device_id"]), received_at, entry.body, pack, base_name)
