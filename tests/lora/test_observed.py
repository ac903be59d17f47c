"""What is observed of a LoRa device (W5): lost messages from the gaps of FCntUp, through resets, wraps and joins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from devices import connectivity
from lora import frames, observed
from lora.events import JoinRequest, Uplink
from lora.observed import Told
from tests import factories
from tests.cast import Cast

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
JOIN = None


@pytest.mark.parametrize(
    ("counts", "messages", "lost"),
    [
        ((), 0, 0),
        ((7,), 1, 0),
        ((7, 8, 9), 3, 0),
        ((7, 9, 13), 3, 4),
        # Sent again with the same count.
        ((7, 7, 7, 8, 10, 10), 3, 1),
        # The 16 bits of the counter begin again.
        ((65534, 65535, 0, 1), 4, 0),
        ((65530, 3), 2, 8),
        # 32 bits do not.
        ((65535, 65536, 65538), 3, 1),
        # A device that began again, with and without a join that was heard; nobody knows what was lost between.
        ((100, 101, 0, 1), 4, 0),
        ((100, 0, 4), 3, 3),
        ((100, JOIN, 0, 1), 3, 0),
        ((3, JOIN, JOIN, 10, 11), 3, 0),
        ((70000, 5, 6), 3, 0),
        # More than the specification allows between two messages.
        ((10, 10 + 16384), 2, 16383),
        ((10, 10 + 16385), 2, 0),
    ],
)
def test_messages_and_losses(counts: tuple[int | None, ...], messages: int, lost: int) -> None:
    told = [Told(NOW + timedelta(minutes=index), count) for index, count in enumerate(counts)]
    found = observed.heard(told)
    assert (found.messages, found.lost) == (messages, lost)


def test_typical_interval_is_the_middle_one_between_different_messages() -> None:
    told = [
        Told(NOW + timedelta(minutes=minute), count) for minute, count in ((0, 1), (1, 1), (10, 2), (20, 3), (80, 4))
    ]
    assert observed.heard(told).interval == timedelta(minutes=10)
    assert observed.heard(told[:3]).interval is None


def uplink(minutes: int, fcnt: int) -> Uplink:
    at = NOW - timedelta(minutes=minutes)
    return Uplink(dev_eui="0" * 16, at=at, mic=f"{fcnt:08x}", fcnt=fcnt, fport=1, payload=b"\x01")


@pytest.mark.django_db
@pytest.mark.usefixtures("unscoped")
def test_frames_of_the_last_day_are_told_in_words(cast: Cast) -> None:
    device = factories.lora_device(cast.project)
    assert connectivity.of(device).observed(device) == []
    told = [uplink(25 * 60, 1), uplink(40, 50), uplink(30, 52), uplink(20, 0), uplink(10, 1)]
    frames.store([(device.pk, event) for event in told])
    join = JoinRequest(dev_eui="0" * 16, at=NOW - timedelta(minutes=25), mic="aa", app_eui="1" * 16, dev_nonce=1)
    frames.store([(device.pk, join)])
    assert connectivity.of(device).observed(device) == [
        ("Typical interval", timedelta(minutes=10)),
        ("Lost", "1 of 5 messages (20 %)"),
    ]
