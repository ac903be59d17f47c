"""The virtual air: gateways at fixed places around Rotterdam and The Hague, path loss, fading, who hears whom.

RSSI, SNR and ESP follow from one signal, so that they fit each other: RSSI is signal and noise together, SNR
their ratio, ESP the signal alone. Reach is about 10 km at SF12. Powers in dBm, losses in dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from codec.lorawan import eu868
from lora.events import Location, Reception

# Thermal noise in 125 kHz (-174 dBm/Hz + 51 dB) and a receiver's noise figure of 6 dB.
NOISE = -117.0
# What a LoRa demodulator reports at most, however strong the signal.
SNR_CEILING = 13.0
SHADOWING, FADING = 4.0, 2.0
# Share of frames that collide with foreign ones, whatever their signal; a device with HEAVY_LOSS has the second.
COLLISIONS, HEAVY_LOSS = 0.02, 0.30
# The loss at which a frame at full power is just heard at SF12, and no more than one step of the margin better.
JUST_HEARD = 147.0
# Share of frames with enough gateways that the network finds a position for.
SOLVED = 0.3


@dataclass(frozen=True, slots=True)
class Gateway:
    eui: str
    latitude: float
    longitude: float


GATEWAYS = (
    Gateway("7076FF0056060101", 51.9225, 4.4792),
    Gateway("7076FF0056060102", 51.8836, 4.4880),
    Gateway("7076FF0056060103", 51.9190, 4.3930),
    Gateway("7076FF0056060104", 51.9510, 4.5520),
    Gateway("7076FF0056060105", 52.0116, 4.3571),
    Gateway("7076FF0056060106", 52.0705, 4.3007),
)


def path_loss(kilometres: float) -> float:
    """Log-distance model of a town with gateways on roofs, 868 MHz; the near field counts as 50 m."""
    return 120.0 + 30.0 * math.log10(max(kilometres, 0.05))


@lru_cache(maxsize=4096)
def losses(dev_eui: str, latitude: float, longitude: float) -> tuple[float, ...]:
    """Mean loss between this device and each gateway. What stands in between (shadowing) stays the same."""
    found = []
    for gateway, shadow in zip(GATEWAYS, _shadows(dev_eui), strict=True):
        north = (latitude - gateway.latitude) * 111.2
        east = (longitude - gateway.longitude) * 111.2 * math.cos(math.radians(gateway.latitude))
        found.append(path_loss(math.hypot(north, east)) + shadow)
    return tuple(found)


def far(loss: tuple[float, ...]) -> tuple[float, ...]:
    """The losses of a device so far away that only the nearest gateway hears it, and just so."""
    return tuple(JUST_HEARD if mean == min(loss) else math.inf for mean in loss)


@lru_cache(maxsize=8192)
def _shadows(dev_eui: str) -> tuple[float, ...]:
    rng = Random(f"shadow {dev_eui}")  # noqa: S311
    return tuple(rng.gauss(0, SHADOWING) for _ in GATEWAYS)


def receive(rng: Random, loss: tuple[float, ...], *, eirp: float, rate: int, lost: float) -> list[list[float]]:
    """Who hears an uplink: ``[gateway's index, RSSI, SNR, ESP]`` each, best SNR first; [] where nobody does.

    ``lost``: the share of frames that are lost whatever their signal.
    """
    if rng.random() < lost:
        return []
    floor = eu868.DATA_RATES[rate].min_snr
    heard = []
    for index, mean in enumerate(loss):
        if eirp - mean - NOISE < floor - 6 * FADING:
            continue
        signal = eirp - mean + rng.gauss(0, FADING)
        snr = signal - NOISE
        if snr < floor:
            continue
        rssi = round(signal + 10 * math.log10(1 + 10 ** (-snr / 10)), 1)
        snr = round(min(snr, SNR_CEILING + rng.random()), 1)
        heard.append([index, rssi, snr, round(eu868.esp(rssi, snr), 2)])
    heard.sort(key=lambda one: -one[2])
    return heard


def receptions(heard: list[list[float]]) -> tuple[Reception, ...]:
    found = []
    for index, rssi, snr, esp in heard:
        at = GATEWAYS[int(index)]
        found.append(
            Reception(gateway=at.eui, rssi=rssi, snr=snr, esp=esp, latitude=at.latitude, longitude=at.longitude)
        )
    return tuple(found)


def locate(rng: Random, heard: int, latitude: float, longitude: float) -> list[float] | None:
    """``[latitude, longitude, radius]`` that the network computes from the arrival times, or None."""
    if heard < 3 or rng.random() >= SOLVED:
        return None
    radius = rng.uniform(60, 250) * 3 / heard
    north, east = rng.gauss(0, radius / 2), rng.gauss(0, radius / 2)
    return [
        round(latitude + north / 111_200, 6),
        round(longitude + east / (111_200 * math.cos(math.radians(latitude))), 6),
        round(radius),
    ]


def location(solved: list[float] | None) -> Location | None:
    if solved is None:
        return None
    return Location(latitude=solved[0], longitude=solved[1], radius=solved[2], method="TDOA")


def device_hears(rng: Random, loss: float, *, eirp: float, rate: int, lost: float) -> float | None:
    """The SNR at which the device hears a gateway, or None where it does not: the path is the same both ways."""
    collided = rng.random() < lost
    snr = eirp - loss + rng.gauss(0, FADING) - NOISE
    if collided or snr < eu868.DATA_RATES[rate].min_snr:
        return None
    return min(snr, SNR_CEILING)
