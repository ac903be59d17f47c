"""How a frame was on air: its data rate, its bandwidth, and how long it took (L4).

Source: LoRaWAN Regional Parameters 1.0.x, EU863-870; the formula of the airtime stands in :mod:`codec.lorawan.eu868`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from codec.lorawan import eu868

from .models import Direction, Frame, FrameKind

JOIN_REQUEST_BYTES: Final = 23
# Without and with a list of channels (CFList); which of them it was, networks do not tell.
JOIN_ACCEPT_BYTES: Final = (17, 33)
# MHDR, DevAddr, FCtrl, FCnt and MIC; FPort is one more.
DATA_OVERHEAD: Final = 12


@dataclass(frozen=True, slots=True)
class OnAir:
    """``rate``: the number of the data rate in EU868, None for a pair that EU868 does not have. ``assumed``: the
    network did not tell the bandwidth, so it is the usual one. ``milliseconds``: one airtime for each possible length.
    """

    spreading_factor: int
    bandwidth_khz: int
    assumed: bool
    rate: int | None
    milliseconds: tuple[float, ...] = ()

    @property
    def bit_rate(self) -> int | None:
        """bit/s."""
        return eu868.DATA_RATES[self.rate].bit_rate if self.rate is not None else None


def sizes(frame: Frame) -> tuple[int, ...]:
    """The bytes of PHYPayload that the frame had: one number, or for a join-accept the two that it can have."""
    if frame.kind == FrameKind.JOIN_REQUEST:
        return (JOIN_REQUEST_BYTES,)
    if frame.kind == FrameKind.JOIN_ACCEPT:
        return JOIN_ACCEPT_BYTES
    return (DATA_OVERHEAD + (frame.fport is not None) + len(frame.payload) + len(frame.mac),)


def of(frame: Frame) -> OnAir | None:
    """None where the network did not tell the spreading factor (FSK has none)."""
    if frame.spreading_factor is None:
        return None
    told = frame.detail.get("bandwidth_khz")
    bandwidth = told if isinstance(told, int) else 125
    try:
        rate = eu868.data_rate(frame.spreading_factor, bandwidth)
    except ValueError:
        return OnAir(frame.spreading_factor, bandwidth, assumed=told is None, rate=None)
    uplink = frame.direction == Direction.UPLINK
    took = tuple(eu868.airtime(rate, size, crc=uplink) * 1000 for size in sizes(frame))
    return OnAir(frame.spreading_factor, bandwidth, assumed=told is None, rate=rate, milliseconds=took)
