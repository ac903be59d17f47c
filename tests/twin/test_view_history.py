"""The page of a value's history (W8), its points and file; sparklines and what is observed on the tab (W5, W8)."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from codec.measurements import Measurement
from devices.models import Device
from tests import factories
from tests.cast import Cast
from twin import charts, sparkline
from twin.services import update_reported

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
MINUTE = timedelta(minutes=1)
HTMX = {"HX-Request": "true"}
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.internet_device(cast.project, in_flow=factories.flow(cast.project))


@scopes_disabled()
def report(
    device: Device,
    name: str,
    *values: Any,
    unit: str | None = None,
    last: datetime | None = None,
    step: timedelta = MINUTE,
) -> None:
    """The values, one each ``step``, the last of them at ``last`` (a minute ago)."""
    last = last or NOW - MINUTE
    measured = [
        Measurement(name=name, value=value, unit=unit, time=(last - step * (len(values) - 1 - index)).timestamp())
        for index, value in enumerate(values)
    ]
    update_reported({device.pk: measured}, NOW)


def url(device: Device, part: str = "", **query: str) -> str:
    return f"/devices/{device.pk}/twin/history/{part}?{urlencode(query)}"


def shown(cast: Cast, device: Device, **query: str) -> str:
    response = cast.client(cast.viewer).get(url(device, **query))
    assert response.status_code == 200
    return response.content.decode()


def points(cast: Cast, device: Device, **query: str) -> dict[str, Any]:
    response = cast.client(cast.viewer).get(url(device, "data/", **query))
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    return dict(response.json())


def rows(cast: Cast, device: Device, **query: str) -> list[list[str]]:
    response = cast.client(cast.viewer).get(url(device, "csv/", **query))
    assert response.status_code == 200
    return list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"), newline="")))


# --- the page ---


def test_page_names_value_unit_zone_and_figures(cast: Cast, device: Device) -> None:
    report(device, "temperature", 18.25, 22.0, 20.0, unit="Cel")
    page = shown(cast, device, name="temperature")
    assert '<h2 id="history-head">Temperature</h2><span class="unit">°C</span>' in page
    for label, text in (("Lowest", "18.25 °C"), ("Average", "20.083 °C"), ("Highest", "22 °C"), ("Values", "3")):
        assert f'<dt>{label}</dt><dd><span class="value">{text}</span>' in page
    assert "Times in Europe/Amsterdam" in page
    assert f'data-chart="{url(device, "data/", name="temperature", range="day").replace("&", "&amp;")}"' in page
    assert '<td class="right num">18.25</td>' in page  # the table that stands there without JavaScript
    assert 'hx-trigger="sse:twin"' in page


@pytest.mark.parametrize("part", ["", "figures/", "data/", "csv/"])
def test_strangers_and_unknown_values_are_not_found(cast: Cast, device: Device, part: str) -> None:
    report(device, "temperature", 1.0)
    other = factories.device(cast.project)
    assert cast.client(cast.stranger).get(url(device, part, name="temperature")).status_code == 404
    viewer = cast.client(cast.viewer)
    # Whether another device has such a value makes no difference.
    for address in (
        url(device, part, name="else"),
        url(device, part),
        url(other, part, name="temperature"),
        url(device, part, name="\0"),
    ):
        assert viewer.get(address).status_code == 404


@pytest.mark.parametrize("part", ["", "figures/", "data/", "csv/"])
def test_only_read(cast: Cast, device: Device, part: str) -> None:
    report(device, "temperature", 1.0)
    assert cast.client(cast.operator).post(url(device, part, name="temperature")).status_code == 405
    page = shown(cast, device, name="temperature")
    assert '<form method="post"' not in page.split('id="main"')[1]


@pytest.mark.parametrize("name", ["a/b c?&#%", "naïve “ß”", "<b>", "0", "a__b", "..", "+"])
def test_names_hold_any_characters(cast: Cast, device: Device, name: str) -> None:
    report(device, name, 1.0, 2.0)
    tab = cast.client(cast.viewer).get(f"/devices/{device.pk}/twin/").content.decode()
    address = tab.split('<a class="value-link" href="')[1].split('"')[0]
    page = cast.client(cast.viewer).get(address).content.decode()
    assert '<span class="value">1.5</span>' in page
    assert "<b>" not in page.split('id="history"')[1]
    assert points(cast, device, name=name)["average"] == [1.0, 2.0]


def test_many_values_are_a_table_of_spans(cast: Cast, device: Device) -> None:
    report(device, "t", *[float(index % 7) for index in range(300)], step=4 * MINUTE)
    page = shown(cast, device, name="t")
    assert ">From</th>" in page and ">Average</th>" in page
    assert page.count("<tr>") - 1 <= charts.LINES + 1


def test_states_are_changes_with_how_long_they_lasted(cast: Cast, device: Device) -> None:
    report(device, "open", False, False, True, False, last=NOW - 10 * MINUTE, step=10 * MINUTE)
    page = shown(cast, device, name="open", range="hour")
    assert ">Lasted</th>" in page
    assert page.count("<td>false</td>") == 2 and page.count("<td>true</td>") == 1
    assert '<dt>Changes</dt><dd><span class="value">2</span>' in page
    assert '<dt>Last</dt><dd><span class="value">false</span>' in page


def test_range_without_values_offers_a_longer_one(cast: Cast, device: Device) -> None:
    report(device, "t", 1.0, last=NOW - timedelta(days=3))
    page = shown(cast, device, name="t", range="hour")
    assert "No values in this range" in page
    assert f'href="{url(device, name="t", range="all").replace("&", "&amp;")}"' in page
    assert "data-chart=" not in page
    assert "No values in this range" not in shown(cast, device, name="t", range="week")


@pytest.mark.parametrize(("word", "days"), [("hour", 1), ("day", 1), ("week", 7), ("month", 31), ("all", 93)])
def test_each_range_shows_what_is_in_it(cast: Cast, device: Device, word: str, days: int) -> None:
    for day in (0, 6, 30, 92):
        report(device, "t", float(day), last=NOW - timedelta(days=day) - MINUTE)
    found = points(cast, device, name="t", range=word)
    assert sorted(found["average"]) == [float(day) for day in (0, 6, 30, 92) if day < days]
    assert f'aria-current="true">{charts.RANGES[word][1]}<' in shown(cast, device, name="t", range=word)


def test_own_range_is_in_the_persons_zone(cast: Cast, device: Device) -> None:
    report(device, "t", 1.0, 2.0, 3.0, last=NOW - 60 * MINUTE, step=10 * MINUTE)
    local = (NOW - 70 * MINUTE).astimezone(AMSTERDAM)
    since, until = (f"{moment:%Y-%m-%dT%H:%M}" for moment in (local, local + 5 * MINUTE))
    assert points(cast, device, name="t", **{"from": since, "to": until})["average"] == [2.0]
    page = shown(cast, device, name="t", **{"from": since, "to": until})
    assert f'name="from" value="{since}"' in page
    # What is over does not change.
    assert "sse:twin" not in page.split('id="history"')[1]
    assert "sse:twin" in shown(cast, device, name="t", **{"from": since})


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("yesterday", "", "This is not a date and time"),
        ("", "0000-00-00T00:00", "This is not a date and time"),
        ("0001-01-01T00:00", "", "This is not a date and time"),
        ("1900-01-01T00:00", "", ""),
        ("", "9999-12-31T23:59", ""),
        ("2026-02-02T00:00", "2026-02-01T00:00", "The range ends before it begins."),
    ],
)
def test_range_that_makes_no_sense_is_told(cast: Cast, device: Device, since: str, until: str, words: str) -> None:
    report(device, "t", 1.0)
    query = {"name": "t", "from": since, "to": until}
    client = cast.client(cast.viewer)
    page, told, file = (client.get(url(device, part, **query)) for part in ("", "data/", "csv/"))
    assert page.status_code == (422 if words else 200)
    assert told.status_code == (400 if words else 200)
    assert file.status_code == (302 if words else 200)
    assert words in page.content.decode()


def test_htmx_gets_what_depends_on_the_range(cast: Cast, device: Device) -> None:
    report(device, "t", 1.0)
    client = cast.client(cast.viewer)
    part = client.get(url(device, name="t", range="week"), headers=HTMX)
    assert part.content.decode().strip().startswith('<section class="panel" id="history"')
    assert part["Vary"].count("HX-Request")
    figures = client.get(url(device, "figures/", name="t"), headers=HTMX).content.decode()
    assert figures.strip().startswith('<div id="history-figures"') and "data-chart" not in figures
    assert client.get(url(device, "figures/", name="t"))["Location"] == url(device, name="t", range="day")


def test_number_of_queries_does_not_grow(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    counts = []
    for amount in (100, 800):
        report(device, "t", *[float(index) for index in range(amount)])
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device, name="t")).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    with CaptureQueriesContext(connection) as queries:
        client.get(url(device, "data/", name="t"))
    # Session, person, Projects, device; twin; newest values, spans.
    assert len(queries) <= 7


# --- points and file ---


def test_points_of_many_numbers_are_spans_at_their_middle(cast: Cast, device: Device) -> None:
    report(device, "t", *[float(index % 10) for index in range(60)])
    found = points(cast, device, name="t", range="hour", points="20")
    assert (found["kind"], found["width"], found["zone"]) == ("numbers", 300, "Europe/Amsterdam")
    assert all((at - 150) % 300 == 0 for at in found["at"])
    assert found["low"][3] == 0.0 or found["low"][4] == 0.0
    assert set(map(len, (found["low"], found["high"], found["average"], found["text"]))) == {len(found["at"])}
    assert "Each point is 5 min" in found["resolution"]
    assert "on average" in found["text"][3]


@pytest.mark.parametrize(
    ("text", "number"), [("", 400), ("x", 400), ("-5", 400), ("1", 20), ("99999", 1000), ("²", 400)]
)
def test_chart_asks_for_as_many_points_as_it_has_room_for(text: str, number: int) -> None:
    assert charts.wanted_points(text) == number


def test_points_of_states_are_lanes(cast: Cast, device: Device) -> None:
    report(device, "mode", 2.0, 2.0, 1.0, unit="enum")
    found = points(cast, device, name="mode")
    assert (found["kind"], found["lanes"], found["lane"]) == ("lanes", ["1", "2"], [1, 0])
    report(device, "payload", *[f"{index:02d}" for index in range(30)])
    found = points(cast, device, name="payload")
    assert (found["kind"], found["lane"]) == ("too many", [])


def test_file_holds_every_value_in_utc(cast: Cast, device: Device) -> None:
    at = NOW - 2 * MINUTE
    report(device, "temperature", -21.5, 3.0, unit="Cel", last=at + timedelta(milliseconds=250))
    assert rows(cast, device, name="temperature") == [
        ["time (UTC)", "temperature (Cel)"],
        [f"{at - MINUTE:%Y-%m-%dT%H:%M:%S}.250Z", "-21.5"],
        [f"{at:%Y-%m-%dT%H:%M:%S}.250Z", "3.0"],
    ]
    response = cast.client(cast.viewer).get(url(device, "csv/", name="temperature"))
    assert response["Content-Disposition"] == f'attachment; filename="temperature-{timezone.localdate():%Y-%m-%d}.csv"'
    report(device, "text", 'a,"b"\r\nc', "=1+1", True)
    assert [row[1] for row in rows(cast, device, name="text")] == ["text", 'a,"b"\r\nc', "'=1+1", "true"]
    assert cast.client(cast.viewer).head(url(device, "csv/", name="text")).content == b""


# --- the last day, on the tab ---


def recent(cast: Cast, device: Device) -> str:
    return cast.client(cast.viewer).get(f"/devices/{device.pk}/twin/recent/", headers=HTMX).content.decode()


def test_numbers_have_sparklines_that_say_what_they_show(cast: Cast, device: Device) -> None:
    report(device, "temperature", 18.0, 22.5, unit="Cel", step=60 * MINUTE)
    report(device, "steady", 5.0, 5.0, step=60 * MINUTE)
    report(device, "mode", 1.0, 2.0, unit="enum")
    report(device, "old", 1.0, last=NOW - timedelta(days=2))
    part = recent(cast, device)
    assert part.count("<svg") == 2
    assert 'role="img" aria-label="Last 24 hours: about 18 to 22.5 °C"' in part
    assert 'aria-label="Last 24 hours: 5 all the time"' in part
    assert "style=" not in part
    tab = cast.client(cast.viewer).get(f"/devices/{device.pk}/twin/").content.decode()
    for key in [piece.split('"')[0] for piece in part.split('<span class="spark" id="')[1:]]:
        assert f'<span class="spark" id="{key}" hx-preserve="true"></span>' in tab
    assert tab.count('class="spark"') == 3


def test_last_day_is_for_people_of_the_project_and_only_read(cast: Cast, device: Device) -> None:
    address = f"/devices/{device.pk}/twin/recent/"
    assert cast.client(cast.stranger).get(address).status_code == 404
    assert cast.client(cast.operator).post(address).status_code == 405
    assert cast.client(cast.viewer).get(address)["Location"] == f"/devices/{device.pk}/twin/"


def test_last_day_of_a_device_that_said_nothing(cast: Cast, device: Device) -> None:
    assert recent(cast, device).strip() == '<div id="twin-observed-more" hx-swap-oob="true"></div>'


def test_one_query_for_all_sparklines(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    counts = []
    for amount in (1, 30):
        for index in range(amount):
            report(device, f"v{index}", 1.0, 2.0)
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/devices/{device.pk}/twin/recent/", headers=HTMX)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 7


def test_last_position_is_told_with_its_moment(cast: Cast, device: Device) -> None:
    report(device, "latitude", 51.924216, unit="lat")
    assert "Last position" not in recent(cast, device)
    report(device, "lon2", 4.5, unit="lon", last=NOW - 2 * MINUTE)
    assert "Last position" not in recent(cast, device)
    report(device, "lon1", 4.481776, unit="lon")
    assert '<dt>Last position</dt><dd><span class="value">51.924216, 4.481776</span>' in recent(cast, device)


@scopes_disabled()
def message(device: Device, at: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devices_senmlmessage (device_id, received_at, seq, digest, body) VALUES (%s, %s, 1, '', '')",
            [device.pk, at],
        )


def test_typical_interval_is_the_middle_one_of_the_last_day(cast: Cast, device: Device) -> None:
    for minutes in (1, 11, 21, 200):
        assert "Typical interval" not in recent(cast, device) or minutes == 200
        message(device, NOW - minutes * MINUTE)
    message(device, NOW - timedelta(days=1, minutes=5))
    assert '<dt>Typical interval</dt><dd><span class="value">10 min</span></dd>' in recent(cast, device)


def test_sparkline_places_numbers_by_time_and_size() -> None:
    since = NOW - timedelta(hours=24)
    numbers = [(since, 0.0), (since + timedelta(hours=12), 10.0), (NOW, 5.0)]
    drawing = sparkline.draw(numbers, since, timedelta(hours=24), "<words>")
    assert 'points="2.5,17.5 48,2.5 93.5,10"' in drawing and 'cx="93.5" cy="10"' in drawing
    assert "&lt;words&gt;" in drawing
    assert sparkline.draw([], since, timedelta(hours=24), "") == ""
    assert 'points="93.5,10"' in sparkline.draw([(NOW, 3.0)], since, timedelta(hours=24), "")
    widest = sparkline.draw([(since, -1.7e308), (NOW, 1.7e308)], since, timedelta(hours=24), "")
    assert 'points="2.5,17.5 93.5,2.5"' in widest
