"""Where a frame was sent from and who heard it: distances, and a picture of them that needs no map (L4).

Positions are WGS 84 in degrees, distances in metres on a sphere of the mean radius of the Earth (IUGG): wrong by 0.6 %
at most, far below the radius of a position that a LoRa network computes. The picture is drawn with north up; over its
size (tens of kilometres) a degree of longitude is taken as long as it is at the position.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

EARTH_RADIUS: Final = 6_371_008.8
WIDTH, HEIGHT, MARGIN = 480, 320, 48
# Metres across where there is nothing to measure by: one place without a radius.
NOTHING: Final = 500.0
# A circle that is drawn smaller disappears under the position's own dot: it gets a second picture.
LEAST_RADIUS: Final = 16.0


@dataclass(frozen=True, slots=True)
class Place:
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway with a known place. ``number`` is the one in the table of receptions, from 1."""

    number: int
    name: str
    place: Place
    metres: float


def distance(one: Place, other: Place) -> float:
    """Metres along the surface (haversine)."""
    first, second = math.radians(one.latitude), math.radians(other.latitude)
    turn = math.radians(other.longitude - one.longitude)
    half = math.sin((second - first) / 2) ** 2 + math.cos(first) * math.cos(second) * math.sin(turn / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(min(1.0, math.sqrt(half)))


def place_of(values: Mapping[str, Any]) -> Place | None:
    """The place in ``latitude`` and ``longitude``; None where one is missing or impossible."""
    found = [values.get(name) for name in ("latitude", "longitude")]
    latitude, longitude = (float(one) if isinstance(one, int | float) else math.nan for one in found)
    return Place(latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the picture, in its own units, with the number or letters beside it."""

    x: float
    y: float
    text: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, in units of a view box of ``width`` by ``height``. ``bar``: the length of the scale bar, which
    stands for ``bar_metres``."""

    position: Mark
    radius: float | None
    gateways: list[Mark]
    bar: float
    bar_metres: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def bar_text(self) -> str:
        return f"{self.bar_metres // 1000} km" if self.bar_metres >= 1000 else f"{self.bar_metres} m"


def pictures(position: Place, radius: float | None, gateways: Sequence[Gateway]) -> list[Picture]:
    """The picture of all, and one of the circle alone where it cannot be seen in the first."""
    whole = picture(position, radius, gateways)
    hidden = whole.radius is not None and whole.radius < LEAST_RADIUS
    return [whole, picture(position, radius, [])] if hidden else [whole]


def picture(position: Place, radius: float | None, gateways: Sequence[Gateway]) -> Picture:
    """The position with its circle, and the gateways around it, all in the picture."""
    reach = radius or 0.0
    points = [_metres(position, gateway.place) for gateway in gateways]
    east = [-reach, reach, *(x for x, _y in points)]
    north = [-reach, reach, *(y for _x, y in points)]
    across, up = max(east) - min(east), max(north) - min(north)
    if not (across or up):
        across = up = NOTHING
    scale = min((WIDTH - 2 * MARGIN) / max(across, 1.0), (HEIGHT - 2 * MARGIN) / max(up, 1.0))
    middle = (max(east) + min(east)) / 2, (max(north) + min(north)) / 2

    def at(x: float, y: float) -> tuple[float, float]:
        return round(WIDTH / 2 + (x - middle[0]) * scale, 1), round(HEIGHT / 2 - (y - middle[1]) * scale, 1)

    bar_metres = _round_length(WIDTH / 4 / scale)
    return Picture(
        position=Mark(*at(0, 0)),
        radius=round(reach * scale, 1) if radius else None,
        gateways=[
            Mark(*at(*point), text=str(gateway.number), title=gateway.name)
            for gateway, point in zip(gateways, points, strict=True)
        ],
        bar=round(bar_metres * scale, 1),
        bar_metres=bar_metres,
    )


def _metres(origin: Place, place: Place) -> tuple[float, float]:
    """East and north of ``origin``. Across the date line the shorter way counts."""
    turn = (place.longitude - origin.longitude + 180) % 360 - 180
    degree = math.radians(1) * EARTH_RADIUS
    return turn * degree * math.cos(math.radians(origin.latitude)), (place.latitude - origin.latitude) * degree


def _round_length(most: float) -> int:
    """The longest of 1, 2 and 5 times a power of ten that is not above ``most`` metres; at least one metre."""
    step: int = 10 ** max(0, math.floor(math.log10(max(most, 1.0))))
    return next(step * times for times in (5, 2, 1) if step * times <= max(most, 1.0))
