"""Codecs in one batch of messages: each gets a share of its time, what they say is kept once for each device.

A batch waits for its slowest codec. So a version that has used its share is not run any more in the batch, and one that
had to be killed too often is not either; the messages are kept, and their values are lost, as the device then says.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from devices import codecs
from devices.codecs import InUse, Reading, Told

# A codec takes a fraction of a millisecond for a message.
SECONDS: Final = 2.0

# What is held of a device already: version, error, text.
Held = tuple[int, bool, str]


@dataclass(slots=True)
class CodecRuns:
    """``seconds``: the share of one version."""

    seconds: float = SECONDS
    spent: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    kills: dict[int, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[int, Told] = field(default_factory=dict)

    def read(
        self, device_id: int, project_id: int, codec: InUse, payload: bytes, fport: int, at: datetime, now: datetime
    ) -> Reading:
        version = codec.version_id
        if len(self.kills[version]) >= codecs.KILLS:
            reading = codecs.read(InUse(version, None), payload, fport, at)
        elif self.spent[version] >= self.seconds:
            reading = Reading(error="The codec is too slow: its time for these messages was used up.", kind="late")
        else:
            began = time.monotonic()
            reading = codecs.read(codec, payload, fport, at)
            self.spent[version] += time.monotonic() - began
            if reading.kind == "killed":
                self.kills[version].append(now)
        self._tell(Told(device_id, project_id, version, bool(reading.error), reading.problem, at))
        return reading

    def not_needed(self, device_id: int, project_id: int, at: datetime) -> None:
        """A message that no codec has to read: what one said earlier holds no more."""
        self._tell(Told(device_id, project_id, 0, False, "", at))

    def write(self, held: Mapping[int, Held]) -> None:
        """Keep what is new; ``held``: by device what is there already."""
        codecs.write_problems(
            [
                told
                for device_id, told in self.newest.items()
                if (held.get(device_id) is not None if not told.text else held.get(device_id) != _held(told))
            ]
        )

    def count_kills(self, now: datetime) -> None:
        """After the batch has been written: whoever changes a codec at the same time need not wait for it."""
        for version_id in sorted(version_id for version_id, moments in self.kills.items() if moments):
            codecs.count_kills(version_id, self.kills[version_id], now)

    def _tell(self, told: Told) -> None:
        held = self.newest.get(told.device_id)
        if held is None or held.at <= told.at:
            self.newest[told.device_id] = told


def _held(told: Told) -> Held:
    return told.version_id, told.error, told.text
