"""The EU868 region: data rates, channels, windows, airtime, link budget.

Source: LoRaWAN Regional Parameters 1.0.x (EU863-870); Semtech's formula for the time on air. Frequencies in Hz,
airtime in seconds, powers in dBm, SNR in dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class DataRate:
    """``max_payload`` is N without a repeater: application payload without FOpts, bytes.

    ``min_snr`` is the usual demodulation floor (Semtech): below it a frame is not heard. ``bit_rate``: bit/s as the
    regional parameters state it.
    """

    spreading_factor: int
    bandwidth_khz: int
    max_payload: int
    min_snr: float
    bit_rate: int

    def __str__(self) -> str:
        return f"SF{self.spreading_factor}/{self.bandwidth_khz} kHz"


DATA_RATES = (
    DataRate(12, 125, 51, -20.0, 250),
    DataRate(11, 125, 51, -17.5, 440),
    DataRate(10, 125, 51, -15.0, 980),
    DataRate(9, 125, 115, -12.5, 1760),
    DataRate(8, 125, 242, -10.0, 3125),
    DataRate(7, 125, 242, -7.5, 5470),
    DataRate(7, 250, 242, -7.5, 11000),
)
# DR7 is FSK, which has no spreading factor; DR8 and up are not of 1.0.x.
FSK_DATA_RATE, FSK_BIT_RATE = 7, 50_000
# ADR moves within these: DR6 (250 kHz) is not on the default channels.
MAX_DATA_RATE = 5

DEFAULT_CHANNELS = (868_100_000, 868_300_000, 868_500_000)
EXTRA_CHANNELS = (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)
RX2_FREQUENCY = 869_525_000
RX2_DATA_RATE = 0
RECEIVE_DELAY1, RECEIVE_DELAY2 = 1, 2
JOIN_ACCEPT_DELAY1, JOIN_ACCEPT_DELAY2 = 5, 6
ADR_ACK_LIMIT, ADR_ACK_DELAY = 64, 32
MAX_EIRP, RX2_MAX_EIRP = 16.0, 29.0
MAX_TX_POWER = 7
MAX_RX1_DR_OFFSET = 5


def data_rate(spreading_factor: int, bandwidth_khz: int = 125) -> int:
    """The data rate's number (DR0 is SF12/125 kHz). Raises ValueError for a pair that EU868 does not have."""
    for number, rate in enumerate(DATA_RATES):
        if rate.spreading_factor == spreading_factor and rate.bandwidth_khz == bandwidth_khz:
            return number
    raise ValueError(f"EU868 has no SF{spreading_factor} at {bandwidth_khz} kHz")


def rx1_data_rate(uplink: int, offset: int = 0) -> int:
    """The data rate of the first receive window: the uplink's, less RX1DROffset, DR0 at least."""
    return max(0, uplink - offset)


def eirp(tx_power: int) -> float:
    """EIRP of a TXPower index (0-7): 2 dB less with each step."""
    return MAX_EIRP - 2 * tx_power


@cache
def airtime(rate: int, size: int, *, crc: bool = True, coding_rate: int = 1) -> float:
    """Seconds on air of a PHYPayload of ``size`` bytes at DR ``rate``. Downlinks carry no CRC.

    Semtech, SX1276/77/78/79 datasheet, section 4.1.1.7: preamble of 8 symbols, explicit header, coding rate
    4/(4 + ``coding_rate``), which LoRaWAN fixes at 4/5; low data rate optimisation from 16 ms a symbol.
    """
    spreading = DATA_RATES[rate].spreading_factor
    symbol = (1 << spreading) / (DATA_RATES[rate].bandwidth_khz * 1000)
    slow = symbol >= 0.016
    bits = 8 * size - 4 * spreading + 28 + 16 * crc
    blocks = max(math.ceil(bits / (4 * (spreading - 2 * slow))), 0)
    return (12.25 + 8 + blocks * (coding_rate + 4)) * symbol


def esp(rssi: float, snr: float) -> float:
    """Estimated signal power: RSSI without the noise in it (Actility's definition), dBm."""
    return rssi - 10 * math.log10(1 + 10 ** (-snr / 10))


def link_margin(rate: int, snr: float) -> float:
    """How far above the demodulation floor a frame came, dB."""
    return snr - DATA_RATES[rate].min_snr


@cache
def sub_band(frequency_hz: int) -> tuple[str, float]:
    """Name and duty cycle (share of an hour) of the sub-band (EN 300 220-2, ERC 70-03 annex 1).

    Raises ValueError outside the sub-bands of EU868.
    """
    for low, high, name, share in _SUB_BANDS:
        if low <= frequency_hz < high:
            return name, share
    raise ValueError(f"{frequency_hz} Hz is not in EU868")


_SUB_BANDS = (
    (863_000_000, 865_000_000, "K", 0.001),
    (865_000_000, 868_000_000, "L", 0.01),
    (868_000_000, 868_600_000, "M", 0.01),
    (868_700_000, 869_200_000, "N", 0.001),
    (869_400_000, 869_650_000, "P", 0.1),
    (869_700_000, 870_000_000, "Q", 0.01),
)
