"""How long a frame was on air, and at what data rate (L4)."""

from __future__ import annotations

from typing import Any

import pytest

from lora import on_air
from lora.models import Direction, Frame, FrameKind

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK


def sent(**values: Any) -> on_air.OnAir | None:
    row: dict[str, Any] = {"direction": UP, "kind": FrameKind.DATA, "spreading_factor": 9}
    return on_air.of(Frame(**row | {"detail": {"bandwidth_khz": 125}} | values))


# The published assertion of crate lora-modulation: SF9, 12 bytes, 144.384 ms; the others are the table of reference 3.
@pytest.mark.parametrize(
    ("values", "milliseconds"),
    [
        ({}, (144.384,)),
        ({"fport": 1, "payload": bytes(51), "spreading_factor": 12}, (2793.472,)),
        ({"fport": 0, "mac": bytes(51), "spreading_factor": 12}, (2793.472,)),
        ({"fport": 1, "payload": bytes(50), "mac": b"\x02", "spreading_factor": 12}, (2793.472,)),
        ({"kind": FrameKind.JOIN_REQUEST, "spreading_factor": 7}, (61.696,)),
        ({"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN, "spreading_factor": 12}, (1155.072, 1810.432)),
    ],
)
def test_airtime_follows_from_what_was_sent(values: dict[str, Any], milliseconds: tuple[float, ...]) -> None:
    found = sent(**values)
    assert found is not None
    assert found.milliseconds == pytest.approx(milliseconds, abs=1e-6)


def test_downlinks_have_no_crc() -> None:
    up, down = (sent(direction=way, fport=1, payload=bytes(5)) for way in (UP, DOWN))
    assert up is not None and down is not None
    assert down.milliseconds < up.milliseconds


def test_data_rate_and_bandwidth() -> None:
    fast = sent(spreading_factor=7, detail={"bandwidth_khz": 250})
    assert fast is not None
    assert (fast.rate, fast.bit_rate, fast.assumed) == (6, 11000, False)
    quiet = sent(detail={})
    assert quiet is not None
    assert (quiet.rate, quiet.bandwidth_khz, quiet.assumed) == (3, 125, True)


def test_what_eu868_does_not_have_has_no_airtime() -> None:
    found = sent(detail={"bandwidth_khz": 500})
    assert found is not None
    assert (found.rate, found.bit_rate, found.milliseconds) == (None, None, ())
    assert sent(spreading_factor=None) is None
