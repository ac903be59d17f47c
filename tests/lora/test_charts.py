"""The charts of a LoRa device (L8): what is read from the database, what is drawn, the page and its files."""

from __future__ import annotations

import csv
import io
import random
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from codec.lorawan import eu868
from common import plot
from devices.models import Device
from lora import buckets, chart_parts, chart_ranges, charts, observed
from lora.buckets import Bucket
from lora.models import FrameKind
from tests import factories
from tests.cast import Cast
from tests.lora_frames import DOWN, HTMX, frame, get

pytestmark = pytest.mark.django_db
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
JOIN: dict[str, Any] = {"kind": FrameKind.JOIN_REQUEST, "fcnt": None, "payload": b""}
ACCEPT: dict[str, Any] = {"kind": FrameKind.JOIN_ACCEPT, "fcnt": None, "payload": b"", "direction": DOWN}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project)


@pytest.fixture
def noon() -> datetime:
    """Yesterday's noon in UTC: a day that has ended, whatever the time is now."""
    return (datetime.now(UTC) - DAY).replace(hour=12, minute=0, second=0, microsecond=0)


def read(device: Device, noon: datetime, *, width: timedelta = HOUR) -> list[Bucket]:
    first = noon.replace(hour=0)
    return buckets.read(device.pk, [first + number * width for number in range(DAY // width)], first + DAY)


def counted(device: Device, noon: datetime, *counters: int | str) -> Bucket:
    """The day as one span, after uplinks with these counters, one a minute; "join" is a join that was answered,
    "request" one that was not."""
    for index, counter in enumerate(counters):
        at = noon + index * MINUTE
        if counter == "join":
            frame(device, at, 2 * index, **JOIN)
            frame(device, at + timedelta(seconds=5), 2 * index + 1, **ACCEPT)
        elif counter == "request":
            frame(device, at, 2 * index, **JOIN)
        else:
            frame(device, at, 2 * index, fcnt=counter)
    return read(device, noon, width=DAY)[0]


# --- loss ---


@pytest.mark.parametrize(
    ("counters", "messages", "lost", "restarts"),
    [
        ((5, 6, 7), 3, 0, 0),
        ((5, 8, 9), 3, 2, 0),
        ((5, 5, 5, 6), 2, 0, 0),  # repeats of one frame (NbTrans)
        ((5, 6, "join", 0, 1), 4, 0, 0),
        ((5, 6, "join", 3, 4), 4, 0, 0),  # a join begins at any count
        ((5, "join", 9, 11), 3, 1, 0),  # higher than before, and yet another session
        ((5, "join", "join", 0), 2, 0, 0),
        ((5, "join", 5), 2, 0, 0),  # no repeat: a new session
        ((5, "request", 0, 2), 3, 1, 0),  # the answer was not seen
        ((5, "request", 6, 8), 3, 1, 0),  # not answered: the session goes on
        (("join", 2), 1, 0, 0),
        ((65534, 65535, 0, 1), 4, 0, 0),  # a wrap of 16 bits
        ((65534, 2), 2, 3, 0),
        ((70000, 70001, 70003), 3, 1, 0),  # 32 bits go on
        ((70000, 3, 4), 3, 0, 1),
        ((500, 501, 0, 1), 4, 0, 1),  # a restart without a join
        ((500, 2), 2, 0, 1),
        ((5, 5 + 20000, 5 + 20001), 3, 0, 1),  # further than a network believes
    ],
)
def test_loss_is_what_the_counter_leaves_out(
    device: Device, noon: datetime, counters: tuple[int | str, ...], messages: int, lost: int, restarts: int
) -> None:
    found = counted(device, noon, *counters)
    assert (found.messages, found.lost, found.restarts) == (messages, lost, restarts)


def test_downlinks_and_other_devices_do_not_count(cast: Cast, device: Device, noon: datetime) -> None:
    frame(device, noon, 1, fcnt=1)
    frame(device, noon + MINUTE, 2, fcnt=900, direction=DOWN)
    frame(factories.lora_device(cast.project), noon + MINUTE, 3, fcnt=50)
    frame(device, noon + 2 * MINUTE, 4, fcnt=2)
    found = read(device, noon)
    assert [(bucket.messages, bucket.lost) for bucket in found] == [(2, 0)]


def test_loss_is_that_of_the_twin_tab(device: Device, noon: datetime) -> None:
    """Another reader of the same frames counts the same (lora.observed), with joins, wraps, restarts and repeats."""
    chance = random.Random(11)
    fcnt = 65400
    for number in range(300):
        at = noon + number * MINUTE
        kind = chance.random()
        if kind < 0.02:
            frame(device, at, 2 * number, **JOIN)
            frame(device, at + timedelta(seconds=5), 2 * number + 1, **ACCEPT)
            fcnt = 0
            continue
        fcnt = 0 if kind < 0.04 else fcnt + chance.choice([0, 1, 1, 1, 1, 2, 5])
        frame(device, at, 2 * number, fcnt=fcnt % 65536)
    told = observed.heard(observed.last_day(device.pk, noon + 12 * HOUR))
    found = read(device, noon)
    assert sum(bucket.lost for bucket in found) == told.lost > 0
    assert sum(bucket.messages for bucket in found) == told.messages


# --- what a span tells ---


def test_spans_as_a_model_in_python_says(device: Device, noon: datetime) -> None:
    chance = random.Random(8)
    sent = []
    at = noon - 6 * HOUR
    for number in range(150):
        at += timedelta(seconds=chance.randrange(20, 900))
        esp = round(chance.uniform(-130, -80), 1)
        factor = chance.choice([7, 7, 9, 12])
        frame(device, at, number, fcnt=number, esp=esp, rssi=esp + 2, snr=esp / 10, spreading_factor=factor)
        sent.append((at, esp, factor))
    found = read(device, noon, width=10 * MINUTE)
    model: dict[datetime, list[tuple[float, int, float | None]]] = {}
    before = None
    for moment, esp, factor in sent:
        silence = (moment - before).total_seconds() if before else None
        before = moment
        start = moment.replace(minute=moment.minute // 10 * 10, second=0)
        if start.date() == noon.date():
            model.setdefault(start, []).append((esp, factor, silence))
    assert [bucket.at for bucket in found] == sorted(model)
    for bucket in found:
        held = model[bucket.at]
        esps = [esp for esp, _factor, _silence in held]
        assert bucket.messages == len(held)
        assert bucket.esp is not None and (bucket.esp.low, bucket.esp.high) == (min(esps), max(esps))
        assert bucket.esp.average == pytest.approx(sum(esps) / len(esps))
        assert bucket.rssi is not None and bucket.rssi.low == pytest.approx(min(esps) + 2)
        factors = [factor for _esp, factor, _silence in held]
        assert bucket.factors == {factor: factors.count(factor) for factor in set(factors)}
        silences = [silence for _esp, _factor, silence in held if silence is not None]
        if silences:
            assert bucket.interval is not None
            assert (bucket.interval.low, bucket.interval.high) == (min(silences), max(silences))


@pytest.mark.parametrize("factor", [7, 8, 9, 10, 11, 12])
def test_airtime_in_the_database_is_that_of_the_codec(device: Device, noon: datetime, factor: int) -> None:
    """Exactly, of every length that there is: FPort or none, commands in FOpts or none."""
    expected = 0
    chance = random.Random(factor)
    lengths = [(size, chance.randrange(16), chance.random() < 0.9) for size in range(0, 243, 3)]
    for number, (payload, mac, with_port) in enumerate(lengths):
        values = {"payload": b"\x01" * payload, "mac": b"\x02" * mac, "fport": 1 if with_port else None}
        frame(device, noon, number, spreading_factor=factor, **values)
        seconds = eu868.airtime(eu868.data_rate(factor), 12 + with_port + payload + mac)
        expected += round(seconds * 1e6)
        assert abs(seconds * 1e6 - round(seconds * 1e6)) < 1e-6
    frame(device, noon, 1000, spreading_factor=factor, **JOIN)
    expected += round(eu868.airtime(eu868.data_rate(factor), 23) * 1e6)
    found = read(device, noon)[0]
    assert (found.airtime, found.sent) == (expected, len(lengths) + 1)


def test_airtime_at_250_khz_and_of_unknown_data_rate(device: Device, noon: datetime) -> None:
    frame(device, noon, 1, spreading_factor=7, fport=1, payload=b"\0" * 20, detail={"bandwidth_khz": 250})
    frame(device, noon, 2, spreading_factor=None, fport=1, payload=b"\0" * 20)
    found = read(device, noon)[0]
    assert (found.airtime, found.sent) == (round(eu868.airtime(6, 33) * 1e6), 1)


def test_bars_are_days_of_the_persons_calendar(device: Device, noon: datetime) -> None:
    kathmandu = ZoneInfo("Asia/Kathmandu")  # UTC+5:45, all year
    midnight = noon.astimezone(kathmandu).replace(hour=0, minute=0)
    for number, hours in enumerate((-1, 1, 23, 25)):
        frame(device, midnight.astimezone(UTC) + hours * HOUR, number, spreading_factor=7)
    with timezone.override(kathmandu):
        for word, expected in (("week", [1, 2, 1]), ("month", [1, 2, 1])):
            found = chart_parts.of(device.pk, chart_ranges.Asked.from_query({"range": word}, midnight + 40 * HOUR))
            assert [(bar.at.astimezone(kathmandu).hour, bar.sent) for bar in found.bars] == [(0, n) for n in expected]
        day = chart_ranges.Asked.from_query({"end": f"{midnight.date()}"}, midnight + 40 * HOUR)
        assert [bar.at.astimezone(kathmandu).hour for bar in chart_parts.of(device.pk, day).bars] == [1, 23]


@pytest.mark.parametrize(("end", "hours"), [("2026-10-25", 25), ("2026-03-29", 23), ("2026-06-01", 24)])
@pytest.mark.parametrize("word", list(chart_ranges.RANGES))
def test_no_span_goes_over_a_midnight(word: str, end: str, hours: int) -> None:
    with timezone.override("Europe/Amsterdam"):
        now = datetime.combine(date.fromisoformat(end) + 2 * DAY, time(12), UTC)
        one = chart_ranges.Asked.from_query({"range": word, "end": end}, now)
        starts = one.starts()
    local = [start.astimezone(AMSTERDAM) for start in starts]
    last = [start for start in local if start.date().isoformat() == end]
    assert last[0].hour == last[0].minute == 0
    assert (one.until.astimezone(UTC) - last[0].astimezone(UTC)) == hours * HOUR
    assert starts == sorted(set(starts)) and len(starts) <= 193


@pytest.mark.parametrize("word", list(chart_ranges.RANGES))
def test_only_the_devices_part_of_the_ranges_days_is_read(device: Device, noon: datetime, word: str) -> None:
    """The plan: the primary key with device and time on each partition, and no partition outside the range."""
    asked = chart_ranges.Asked.from_query({"range": word}, timezone.now())
    with CaptureQueriesContext(connection) as captured:
        chart_parts.of(device.pk, asked)
    assert len(captured.captured_queries) == 1
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {captured.captured_queries[0]['sql']}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    read = set(re.findall(r" on lora_frame_(\w+)", plan))
    days = {f"{asked.since.astimezone(UTC) + n * DAY:%Y%m%d}" for n in range(33) if asked.since + n * DAY < asked.until}
    days |= {f"{asked.until.astimezone(UTC):%Y%m%d}"}
    assert read <= days | {"default"}
    assert len(
        re.findall(r"Index Cond: \(\(device_id = \d+\) AND \(received_at >= .*AND \(received_at < ", plan)
    ) == len(re.findall(r" on lora_frame_", plan))


def test_number_of_spans_is_bounded(device: Device, noon: datetime) -> None:
    for number in range(400):
        frame(device, noon - 12 * HOUR + number * 3 * MINUTE, number)
    assert len(read(device, noon, width=chart_ranges.RANGES["day"].width)) <= 144


# --- the page ---


def address(device: Device, query: str = "", rest: str = "") -> str:
    return f"/devices/{device.pk}/lora/history/charts/{rest}{query}"


def yesterday(cast: Cast) -> str:
    return f"{(timezone.now().astimezone(ZoneInfo(cast.viewer.time_zone)) - DAY).date()}"


def fill(device: Device, cast: Cast) -> None:
    """Yesterday's morning by the viewer's clock: 40 messages, one lost, a gap of three hours, a join, a restart."""
    zone = ZoneInfo(cast.viewer.time_zone)
    begin = (timezone.now().astimezone(zone) - DAY).replace(hour=5, minute=0, second=0, microsecond=0).astimezone(UTC)
    frame(device, begin - 20 * MINUTE, 900, **JOIN)
    frame(device, begin - 19 * MINUTE, 901, **ACCEPT)
    for number in range(40):
        at = begin + number * 10 * MINUTE + (3 * HOUR if number >= 20 else timedelta(0))
        fcnt = number if number < 7 else number + 1 if number < 30 else number - 30
        frame(
            device, at, number, fcnt=fcnt, esp=-100.0 - number, rssi=-98.0 - number, snr=5.0, fport=1,
            spreading_factor=7 if number < 25 else 9,
        )  # fmt: skip


def test_page_draws_seven_charts_with_words_zone_and_links(cast: Cast, device: Device) -> None:
    fill(device, cast)
    page = get(cast, address(device, f"?range=day&end={yesterday(cast)}"))
    assert page.count('<svg class="drawing"') == 7
    for label in ("ESP", "RSSI", "SNR", "Spreading factor", "Messages lost", "Time between messages", "Airtime"):
        assert re.search(rf'role="img" aria-label="{label}\. [^"]+"', page), label
    assert "Times in Europe/Amsterdam" in page
    assert "40 messages; 1 join, 1 join request; 1 restart of the counter." in page
    assert "1 of 41 messages lost (2.4 %)." in page
    assert "Of the messages: SF7 62.5 %, SF9 37.5 %." in page
    assert "usual up to 5 %" in page and "fair use: 5 min on average" in page
    assert 'data-tone="ok"' in page and ": joined</title>" in page and "started again without a join</title>" in page
    assert f"range=day&end={yesterday(cast)}&table=esp#esp" in page
    assert "style=" not in page.split('id="charts"')[1].split("</section>")[0]
    history = get(cast, f"/devices/{device.pk}/lora/history/")
    assert f'href="{address(device)}"' in history


def test_gap_interrupts_the_line(cast: Cast, device: Device) -> None:
    fill(device, cast)
    page = get(cast, address(device, f"?range=day&end={yesterday(cast)}"))
    line = re.search(r'id="esp".*?class="line" d="([^"]+)"', page, re.DOTALL)
    assert line is not None and line[1].count("M") == 2


def test_only_what_ends_now_is_live(cast: Cast, device: Device) -> None:
    frame(device, timezone.now() - MINUTE, 1)
    assert 'hx-trigger="sse:frames' in get(cast, address(device))
    assert 'hx-trigger="sse:frames' not in get(cast, address(device, f"?end={yesterday(cast)}"))
    part = get(cast, address(device), part=True)
    assert part.strip().startswith('<section class="panel" id="charts"')


def test_table_holds_what_is_drawn(cast: Cast, device: Device) -> None:
    fill(device, cast)
    page = get(cast, address(device, f"?end={yesterday(cast)}&table=loss"))
    assert page.count("<table") == 1
    assert ">Lost, %</th>" in page and '<td class="right num">50.0</td>' in page
    assert "Without table" in page


@pytest.mark.parametrize("slug", list(charts.CHARTS))
def test_file_holds_what_is_drawn(cast: Cast, device: Device, slug: str) -> None:
    fill(device, cast)
    response = cast.client(cast.viewer).get(address(device, f"?end={yesterday(cast)}", f"{slug}.csv"))
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    text = response.content.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0][0] == "From" and len(rows) > 5
    first = datetime.fromisoformat(rows[1][0])
    assert first.utcoffset() == first.astimezone(AMSTERDAM).utcoffset()
    if slug == "loss":
        assert [row[1:] for row in rows if row[2] == "1"] == [["1", "1", "50.0"]]
    if slug == "airtime":
        size = 12 + 1 + 2
        assert float(rows[2][2]) == pytest.approx(6 * eu868.airtime(5, size), abs=1e-6)


@pytest.mark.parametrize("rest", ["", "esp.csv"])
def test_who_gets_in(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.stranger).get(address(device, rest=rest)).status_code == 404
    assert cast.client(cast.operator).post(address(device, rest=rest)).status_code == 405
    assert cast.client(cast.viewer).get(address(device, rest="else.csv")).status_code == 404


@pytest.mark.parametrize(
    "query", ["?range=else", "?end=x", "?end=9999-99-99", "?end=0001-01-01", "?table=x", "?end=9999-01-01"]
)
def test_anything_may_stand_in_the_address(cast: Cast, device: Device, query: str) -> None:
    frame(device, timezone.now() - MINUTE, 1)
    assert cast.client(cast.viewer).get(address(device, query)).status_code == 200


def test_days_without_messages_say_so(cast: Cast, device: Device) -> None:
    page = get(cast, address(device))
    assert "No messages on these days" in page and "?range=month" in page
    assert "Show the month" not in get(cast, address(device, "?range=month"))


def test_queries_are_as_many_for_2_and_60_messages(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    counts = []
    for messages in (2, 60):
        for number in range(messages):
            frame(device, timezone.now() - (number + messages) * MINUTE, number + 1000 * messages)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address(device, "?range=week"), headers=HTMX).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1]


# --- ranges ---

NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)


def asked(zone: str = "Europe/Amsterdam", **query: str) -> chart_ranges.Asked:
    with timezone.override(zone):
        return chart_ranges.Asked.from_query(query, NOW)


def test_ranges_are_whole_days_of_the_persons_zone() -> None:
    day, week, month = asked(), asked(range="week"), asked(range="month")
    assert day.since.isoformat() == "2026-11-25T00:00:00+01:00" and day.until == NOW and day.live
    assert week.since.isoformat() == "2026-11-19T00:00:00+01:00"
    assert month.since.isoformat() == "2026-10-26T00:00:00+01:00"
    assert day.until_drawn.isoformat() == "2026-11-26T00:00:00+01:00"
    earlier = asked(range="week", end="2026-11-10")
    assert not earlier.live and earlier.until.isoformat() == "2026-11-11T00:00:00+01:00"


def test_ranges_before_and_after() -> None:
    with timezone.override("Europe/Amsterdam"):
        assert asked(range="week").moved(-1, NOW) == "?range=week&end=2026-11-18"
        assert asked(range="week").moved(1, NOW) == ""
        assert asked(range="week", end="2026-11-18").moved(1, NOW) == "?range=week"
        # Of the day before the month, its afternoon is kept; nothing is before that.
        assert asked(range="month").moved(-1, NOW) == "?range=month&end=2026-10-25"
        assert asked(range="month", end="2026-10-25").moved(-1, NOW) == ""


def test_day_of_25_hours_is_drawn_whole() -> None:
    with timezone.override("Europe/Amsterdam"):
        one = chart_ranges.Asked.from_query({"range": "day", "end": "2026-10-25"}, datetime(2026, 11, 1, tzinfo=UTC))
        assert one.until.astimezone(UTC) - one.since.astimezone(UTC) == 25 * HOUR


# --- drawing ---


@pytest.mark.parametrize(
    ("low", "high", "first", "last"),
    [(-118, -92, -120, -90), (0, 0, -0.5, 0.5), (0, 1, 0, 1), (3.2, 3.3, 3.2, 3.3), (0, 12345, 0, 15000)],
)
def test_axis_is_round_and_around_both_ends(low: float, high: float, first: float, last: float) -> None:
    steps = plot.steps_of(low, high)
    assert (steps[0], steps[-1]) == pytest.approx((first, last))
    assert len(steps) <= plot.MOST_LINES + 2
    assert steps[0] <= low and steps[-1] >= high


def test_drawing_escapes_its_words_and_stays_within(noon: datetime) -> None:
    scale = plot.Scale(0, 10, [(0, "<b>"), (10, "&")])
    points = [plot.Point(noon, 5, 5, 99), plot.Point(noon + 5 * HOUR, 5, -99, 5)]
    mark = plot.Mark(noon, "ok", '"<script>')
    made = plot.draw(
        plot.Plot(
            "line", noon, noon + 6 * HOUR, scale, points, HOUR, 2 * HOUR, [(noon + HOUR, "<i>")], [(3, "<u>")], [mark]
        ),
        '"><x',
    )
    for tag in ("<b>", "<i>", "<u>", "<script>", "<x"):
        assert tag not in made
    numbers = [
        float(one) for path in re.findall(r'class="line" d="([^"]+)"', made) for one in re.findall(r"[\d.]+", path)
    ]
    assert all(0 <= number <= 1000 for number in numbers)
    assert made.count("h.01") == 2  # two dots


def test_many_marks_do_not_cover_what_is_drawn(noon: datetime) -> None:
    scale = plot.Scale(0, 10, [(0, "0"), (10, "10")])
    marks = [plot.Mark(noon + number * MINUTE, "bad", f"restart {number}") for number in range(plot.MOST_WORDED + 1)]
    few, many = (
        plot.draw(plot.Plot("line", noon, noon + DAY, scale, [], HOUR, HOUR, marks=held), "x")
        for held in (marks[:-1], marks)
    )
    assert few.count('class="mark"') == few.count("<title>restart") == plot.MOST_WORDED
    assert many.count('class="mark"') == 1 and "<title>" not in many
