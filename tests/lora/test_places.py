"""Distances between positions, and the picture of them that needs no map (L4)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora.places import HEIGHT, WIDTH, Gateway, Place, distance, picture, pictures, place_of

LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)
PLACES = st.builds(Place, LATITUDES, LONGITUDES)
ROTTERDAM, UTRECHT = Place(51.9225, 4.47917), Place(52.0907, 5.1214)


def gateway(number: int, place: Place, origin: Place = ROTTERDAM) -> Gateway:
    return Gateway(number, f"GW{number}", place, distance(origin, place))


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        (Place(0, 0), Place(0, 1), 111_195),
        (Place(0, 0), Place(1, 0), 111_195),
        (Place(0, 0), Place(0, 180), 20_015_114),
        (Place(0, 179.5), Place(0, -179.5), 111_195),
        # Published: the great circle from Paris to New York, 5,837 km.
        (Place(48.8566, 2.3522), Place(40.7128, -74.0060), 5_837_240),
    ],
)
def test_distance(one: Place, other: Place, metres: float) -> None:
    assert distance(one, other) == pytest.approx(metres, rel=1e-5)


@given(PLACES, PLACES)
def test_distance_is_the_same_both_ways_and_at_most_half_the_earth(one: Place, other: Place) -> None:
    assert distance(one, other) == pytest.approx(distance(other, one), abs=1e-3)
    assert 0 <= distance(one, other) <= math.pi * 6_371_009
    assert distance(one, one) == 0


@pytest.mark.parametrize(
    "values",
    [{}, {"latitude": 51.0}, {"latitude": "51", "longitude": 4.0}, {"latitude": 91, "longitude": 4},
     {"latitude": 51.0, "longitude": None}, {"latitude": math.nan, "longitude": 4.0}],
)  # fmt: skip
def test_a_place_that_cannot_be_is_none(values: dict[str, object]) -> None:
    assert place_of(values) is None


def test_a_place_is_read() -> None:
    assert place_of({"latitude": 51, "longitude": 4.5}) == Place(51.0, 4.5)


def test_picture_is_to_scale_with_north_up() -> None:
    north, east = Place(51.9325, 4.47917), Place(51.9225, 4.49917)
    drawn = picture(ROTTERDAM, 200.0, [gateway(1, north), gateway(2, east)])
    metre = drawn.bar / drawn.bar_metres
    up, right = drawn.gateways
    assert (up.text, up.title) == ("1", "GW1")
    assert up.y < drawn.position.y and right.x > drawn.position.x
    assert up.x == drawn.position.x and right.y == drawn.position.y
    assert drawn.radius is not None
    assert drawn.radius / metre == pytest.approx(200, rel=0.02)
    for mark, place in ((up, north), (right, east)):
        away = math.hypot(mark.x - drawn.position.x, mark.y - drawn.position.y)
        assert away / metre == pytest.approx(distance(ROTTERDAM, place), rel=0.02)


def test_position_alone_is_in_the_middle() -> None:
    drawn = picture(ROTTERDAM, None, [])
    assert (drawn.position.x, drawn.position.y, drawn.radius) == (WIDTH / 2, HEIGHT / 2, None)
    assert drawn.bar_text == "200 m"


def test_a_small_radius_beside_a_far_gateway_gets_a_picture_of_its_own() -> None:
    whole, nearer = pictures(ROTTERDAM, 150.0, [gateway(1, UTRECHT)])
    assert (whole.bar_text, nearer.bar_text) == ("10 km", "100 m")
    assert whole.radius is not None and nearer.radius is not None
    assert (whole.radius < 2, nearer.radius > 100) == (True, True)
    assert nearer.gateways == []
    assert len(pictures(ROTTERDAM, 150.0, [gateway(1, Place(51.924, 4.48))])) == 1
    assert len(pictures(ROTTERDAM, None, [gateway(1, UTRECHT)])) == 1


@given(PLACES, st.none() | st.floats(0, 1e7), st.lists(PLACES, max_size=8))
def test_everything_is_in_the_picture(position: Place, radius: float | None, places: list[Place]) -> None:
    gateways = [gateway(number, place, position) for number, place in enumerate(places, start=1)]
    drawn = picture(position, radius, gateways)
    for mark in (drawn.position, *drawn.gateways):
        assert 0 <= mark.x <= WIDTH
        assert 0 <= mark.y <= HEIGHT
    assert 0 < drawn.bar <= WIDTH / 4 + 0.1 or drawn.bar_metres == 1
    if drawn.radius and radius:
        assert drawn.radius <= HEIGHT / 2
