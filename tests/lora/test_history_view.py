"""The LoRa data history: its rows, paging, search, live rows (L3, L5, L7)."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from common.templatetags.portal import SIGNAL
from devices.models import Device
from devices.services import link_flow
from lora.history import LATE, MOST_SHOWN, NEAR, PAGE
from lora.models import FrameKind
from lora.search import Cursor
from tests import factories
from tests.cast import Cast
from tests.lora_frames import DOWN, HTMX, frame, get, keys, row_of, url

DATA = "data</span>"


# --- who gets in ---


@pytest.mark.parametrize("rest", ["", "newer/", "1-1/"])
def test_history_is_hidden_from_strangers(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.stranger).get(url(device, rest)).status_code == 404
    assert cast.client(cast.stranger).get(f"/devices/{device.pk}/lora/").status_code == 404


@pytest.mark.parametrize("rest", ["", "newer/", "1-1/"])
def test_history_refuses_other_methods(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.operator).post(url(device, rest)).status_code == 405


def test_history_shows_only_frames_of_its_device(cast: Cast, device: Device, now: datetime) -> None:
    other = factories.lora_device(cast.project)
    mine, theirs = frame(device, now, 1), frame(other, now, 2)
    assert keys(get(cast, url(device))) == [str(mine)]
    assert cast.client(cast.viewer).get(url(device, f"{theirs}/")).status_code == 404


# --- rows ---


def test_row_of_an_uplink_tells_all(cast: Cast, device: Device, now: datetime) -> None:
    at = frame(
        device, now, fcnt=4211, spreading_factor=9, rssi=-107.0, snr=3.0, esp=-108.8, gateway_count=4, mac=b"\x02",
        latitude=51.92, longitude=4.48, radius=120.0,
    )  # fmt: skip
    row = row_of(get(cast, url(device)), at)
    for text in (
        "Uplink",
        'data-tone="up"',
        "Unconfirmed",
        DATA,
        "MAC</span>",
        "Geolocation found",
        "</span> 4211<",
        "SF9",
    ):
        assert text in row
    for text in (">-107<", ">3<", "Good: ESP -109 dBm, RSSI -107 dBm, SNR 3.0 dB", 'data-bars="4"', ">4<", "FCntUp"):
        assert text in row
    assert "ACK</span>" not in row


def test_moments_have_milliseconds_in_the_persons_zone(cast: Cast, device: Device, now: datetime) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"  # UTC+5:45, all year
    cast.viewer.save(update_fields=["time_zone"])
    at = frame(device, now)
    local = now + timedelta(hours=5, minutes=45)
    assert f'<span class="clock">{local:%H:%M:%S}.123</span>' in row_of(get(cast, url(device)), at)


@pytest.mark.parametrize(
    ("values", "shown", "hidden"),
    [
        ({"kind": FrameKind.JOIN_REQUEST, "payload": b""}, ["Uplink", "Join request"], [DATA, "Unconfirmed"]),
        (
            {"kind": FrameKind.JOIN_ACCEPT, "direction": DOWN, "payload": b""},
            ["Downlink", "Join accept"],
            [DATA],
        ),
        ({"confirmed": True}, ["Confirmed"], ["Unconfirmed", "ACK</span>"]),
        (
            {"direction": DOWN, "ack": True, "payload": b""},
            ['data-tone="down"', "ACK</span>", "FCntDown"],
            [DATA],
        ),
        ({"direction": DOWN, "delivered": False}, ["not sent"], []),
        ({"payload": b"", "mac": b"\x06\xff\x0a"}, ["MAC</span>"], [DATA, "Geolocation"]),
    ],
)
def test_row_says_what_kind_of_message_it_is(
    cast: Cast, device: Device, values: dict[str, Any], shown: list[str], hidden: list[str]
) -> None:
    at = frame(device, timezone.now(), **values)
    row = row_of(get(cast, url(device)), at)
    assert [text for text in shown if text not in row] == []
    assert [text for text in hidden if text in row] == []


def test_signs_are_explained(cast: Cast, device: Device) -> None:
    frame(device, timezone.now())
    legend = get(cast, url(device)).split('id="frames-legend"')[1].split("</details>")[0]
    for said in (
        "From the device to the network.",
        "From the network to the device: settings of the radio (MAC commands), or data of your application",
        "that answer to a confirmed message",
        "Both signs stand where it carries both",
        "The network found out where this uplink was sent from",
        "estimated signal power (ESP)",
        "each direction has its own",
    ):
        assert said in legend
    assert [float(number) for number in re.findall(r"from (-\d+)", legend)] == [bound for bound, *_ in SIGNAL[:-1]]


# --- paging, search, filter ---


def test_history_is_newest_first_and_loads_older(cast: Cast, device: Device, now: datetime) -> None:
    # Three frames share each moment: the sequence number orders them and no page border loses one.
    made = [str(frame(device, now - timedelta(minutes=n // 3), seq=60 - n)) for n in range(120)]
    seen: list[str] = []
    address = url(device)
    for _page in range(3):
        page = get(cast, address)
        seen += keys(page)
        older = re.search(r'id="frames-older".*?href="([^"]+)"', page, re.DOTALL)
        address = older[1] if older else ""
    assert seen == made and address == ""


def test_older_rows_come_alone_for_htmx(cast: Cast, device: Device, now: datetime) -> None:
    for n in range(60):
        frame(device, now - timedelta(minutes=n), seq=n)
    page = get(cast, url(device))
    older = re.search(r'hx-get="([^"]+before=[^"]+)"', page)
    assert older
    part = get(cast, older[1], part=True)
    assert part.strip().startswith("<tr id=") and len(keys(part)) == 10
    assert "frames-live" not in part and "Load more" not in part and "<table" not in part


def test_search_to_a_moment_of_the_persons_clock(cast: Cast, device: Device) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"
    cast.viewer.save(update_fields=["time_zone"])
    noon = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
    early, exact, late = (frame(device, noon + timedelta(seconds=s), seq=n) for n, s in enumerate((-1, 0, 1)))
    typed = f"{noon + timedelta(hours=5, minutes=45):%Y-%m-%dT%H:%M}"
    page = get(cast, url(device, f"?until={typed}"))
    assert keys(page) == [str(exact), str(early)] and str(late) not in page
    assert f'value="{typed}"' in page and "Back to now" in page
    assert 'id="frames-ask"' not in page and 'id="frames-pause"' not in page


@pytest.mark.parametrize("typed", ["yesterday", "2026-13-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"])
def test_search_to_an_impossible_moment_is_no_error_of_ours(cast: Cast, device: Device, typed: str) -> None:
    status = cast.client(cast.viewer).get(url(device, f"?until={typed}")).status_code
    assert status == (422 if typed in {"yesterday", "2026-13-01T00:00", "0001-01-01T00:00"} else 200)


@pytest.mark.parametrize(
    "cursor", ["x", "1", "-1", "1-", "99999999999999999999-1", "1-99999999999", "²-1", "1-²", "1-2147483648", "1-1\n"]
)
def test_cursor_of_an_impossible_shape_is_no_cursor(cast: Cast, device: Device, cursor: str) -> None:
    assert cast.client(cast.viewer).get(url(device, f"?before={cursor}")).status_code == 200
    assert Cursor.parse(cursor) is None


def test_history_asks_the_same_number_of_queries_for_2_and_for_52(cast: Cast, device: Device, now: datetime) -> None:
    """One look fewer where the days that are near fill the page; six beside: the session, the person with their
    Projects, the device with its LoRa identity, its Flows, their destinations, how it does."""
    with scopes_disabled():
        flow = factories.flow(cast.project)
        factories.destination(flow)
        link_flow(device=device, flow=flow, actor=cast.operator)
    client = cast.client(cast.viewer)
    counts = []
    for amount in (2, 52):
        for n in range(amount):
            frame(device, now - timedelta(hours=amount, seconds=n), seq=n, mac=b"\x02")
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device)).status_code == 200
        over_frames = [query["sql"] for query in queries if "lora_frame" in query["sql"]]
        assert all("received_at >=" in query.partition("WHERE")[2] for query in over_frames)
        counts.append((len(queries) - len(over_frames), len(over_frames)))
    assert counts == [(6, 2), (6, 1)]


def test_moment_of_a_frame_is_read_to_the_microsecond(cast: Cast, device: Device, now: datetime) -> None:
    """It is read as a number, which has 15 digits: the address of each frame is the one that it was kept under."""
    chance = random.Random(6)
    kept = [now - timedelta(microseconds=chance.randrange(25 * 86_400 * 10**6)) for _ in range(40)]
    written = [frame(device, at, seq=n) for n, at in enumerate(sorted(kept, reverse=True))]
    assert keys(get(cast, url(device))) == [str(one) for one in written]


def test_a_page_whose_days_lie_apart_is_whole(cast: Cast, device: Device, now: datetime) -> None:
    """The near days give some of the page, days further back the rest; and a page that ends at their border goes on."""
    days = [
        *(now - timedelta(hours=n) for n in range(30)),
        *(now - NEAR - timedelta(hours=n) for n in range(30)),
    ]
    written = [str(frame(device, at, seq=n)) for n, at in enumerate(days)]
    first = get(cast, url(device))
    assert keys(first) == written[:PAGE]
    assert keys(get(cast, url(device, f"?before={written[PAGE - 1]}"))) == written[PAGE:]


def test_frames_past_the_retention_are_gone(cast: Cast, device: Device, now: datetime) -> None:
    old = frame(device, now - timedelta(days=settings.FRAME_RETENTION_DAYS, minutes=1))
    assert keys(get(cast, url(device))) == []
    assert cast.client(cast.viewer).get(url(device, f"{old}/")).status_code == 404


# --- coming back ---


def test_list_that_was_read_on_is_found_again_where_it_was(cast: Cast, device: Device, now: datetime) -> None:
    """The address follows "load more": back and reload show the same rows, and nothing doubles after them."""
    made = [str(frame(device, now - timedelta(minutes=n), seq=n)) for n in range(130)]
    client = cast.client(cast.viewer)
    page = get(cast, url(device, "?direction=up"))
    more = re.search(r'hx-get="([^"]+before=[^"]+)"', page)
    assert more
    response = client.get(
        more[1], headers=HTMX | {"HX-Current-URL": f"http://testserver{url(device, '?direction=up')}"}
    )
    address = response["HX-Replace-Url"]
    assert address == url(device, f"?direction=up&to={made[99]}")
    newest = str(frame(device, now + timedelta(seconds=1), seq=1))
    again = get(cast, address)
    assert keys(again) == [newest, *made[:100]]
    more = re.search(r'hx-get="([^"]+before=[^"]+)"', again)
    assert more and keys(get(cast, more[1], part=True)) == made[100:]
    assert "frames-older" not in get(cast, url(device, f"?to={made[-1]}"))


def test_place_that_is_far_below_shows_what_there_is_room_for(cast: Cast, device: Device, now: datetime) -> None:
    last = [frame(device, now - timedelta(minutes=n), seq=n) for n in range(MOST_SHOWN + 10)][-1]
    page = get(cast, url(device, f"?to={last}"))
    assert len(keys(page)) == MOST_SHOWN and "frames-older" in page


# --- live ---


def ask(page: str) -> tuple[str, str]:
    """The address that a page asks when something has come, and the place that it sends along."""
    asker = re.search(r'id="frames-ask"[^>]*hx-get="([^"]+)"[^>]*hx-trigger="sse:frames', page)
    after = re.search(r'name="after" value="([^"]+)"', page)
    assert asker and after
    return asker[1], after[1]


def newer(cast: Cast, page: str, **more: str) -> str:
    address, after = ask(page)
    return get(cast, f"{address}&{urlencode({'after': after} | more)}", part=True)


def test_newer_frames_come_and_the_place_moves_on(cast: Cast, device: Device, now: datetime) -> None:
    """L7."""
    old = frame(device, now - timedelta(seconds=90), 1)
    page = get(cast, url(device))
    assert ask(page)[1] == str(old)
    new = [frame(device, now - timedelta(minutes=1), 2), frame(device, now, 3)]
    part = newer(cast, page)
    # With those of the last two minutes, which may have come late: history.js leaves out what is there.
    assert keys(part) == [str(new[1]), str(new[0]), str(old)]
    assert part.strip().startswith('<span class="end cluster needs-js" id="frames-live">')
    assert '<tbody id="frames-arrived" hx-swap-oob="innerHTML">' in part
    assert f'name="after" value="{new[1]}"' in part


def test_frame_that_comes_late_is_brought_to_its_place(cast: Cast, device: Device, now: datetime) -> None:
    newest = frame(device, now, 5)
    page = get(cast, url(device))
    late = frame(device, now - timedelta(seconds=30), 4)
    part = newer(cast, page)
    assert keys(part) == [str(newest), str(late)] and f'name="after" value="{newest}"' in part


def test_newer_frames_follow_the_filter(cast: Cast, device: Device, now: datetime) -> None:
    frame(device, now - timedelta(hours=2), 1, kind=FrameKind.JOIN_REQUEST)
    page = get(cast, url(device, "?kind=join"))
    assert "kind=join" in ask(page)[0]
    frame(device, now - timedelta(minutes=1), 2)
    join = frame(device, now, 3, kind=FrameKind.JOIN_ACCEPT, direction=DOWN)
    assert keys(newer(cast, page)) == [str(join)]


def test_filter_that_shows_none_for_long_does_not_look_at_all_since(cast: Cast, device: Device, now: datetime) -> None:
    frame(device, now - timedelta(days=20), 1, kind=FrameKind.JOIN_REQUEST)
    _address, after = ask(get(cast, url(device, "?kind=join")))
    place = Cursor.parse(after)
    assert place is not None and place.at > now - LATE - timedelta(seconds=1)


def test_paused_list_counts_what_waits_and_shows_it_after(cast: Cast, device: Device, now: datetime) -> None:
    first = frame(device, now - timedelta(minutes=10), 1)
    page = get(cast, url(device))
    pause = re.search(r'hx-get="([^"]+paused=1[^"]*)"[^>]*>.*?Pause', page, re.DOTALL)
    assert pause
    paused = get(cast, pause[1], part=True)
    assert "Paused" in paused and 'name="paused" value="1"' in paused and "Go on" in paused
    _address, after = ask(page)
    new = [str(frame(device, now - timedelta(seconds=n), 2)) for n in range(3)]
    told = newer(cast, page, paused="1")
    assert keys(told) == [] and "3 new" in told and f'name="after" value="{after}"' in told
    go_on = re.search(r'id="frames-pause" hx-get="([^"]+)"', told)
    assert go_on and "paused" not in go_on[1]
    assert keys(get(cast, go_on[1], part=True))[:3] == new
    for n in range(60):
        frame(device, now - timedelta(seconds=n), 10)
    assert "50+ new" in newer(cast, page, paused="1")
    response = cast.client(cast.viewer).get(go_on[1], headers=HTMX)
    assert response["HX-Retarget"] == "#frames" and "paused" not in response.content.decode().partition("hx-get")[0]
    assert first


def test_first_message_shows_by_itself(cast: Cast, device: Device, now: datetime) -> None:
    page = get(cast, url(device))
    assert "empty=1" in ask(page)[0] and keys(newer(cast, page)) == []
    at = frame(device, now)
    address, after = ask(page)
    response = cast.client(cast.viewer).get(f"{address}&after={after}", headers=HTMX)
    assert response["HX-Retarget"] == "#frames" and str(at) in response.content.decode()


def test_more_new_frames_than_a_page_read_the_list_again(cast: Cast, device: Device, now: datetime) -> None:
    first = frame(device, now - timedelta(hours=3), 1)
    for n in range(51):
        frame(device, now - timedelta(minutes=n), n)
    response = cast.client(cast.viewer).get(url(device, f"newer/?after={first}"), headers=HTMX)
    assert response["HX-Retarget"] == "#frames" and len(keys(response.content.decode())) == 50


def test_newer_without_htmx_leads_to_the_history(cast: Cast, device: Device) -> None:
    assert cast.client(cast.viewer).get(url(device, "newer/?after=1-1"))["Location"] == url(device)


# --- nothing there ---


def test_empty_history_of_a_registered_device_tells_what_to_check(cast: Cast, device: Device) -> None:
    page = get(cast, url(device))
    for text in ("No messages seen yet", "DevEUI", "default LoRaWAN channels", "SF12", "window"):
        assert text in page
    for text in ("antenna", "coverage map", "must be Active"):
        assert text in page


def test_empty_history_of_an_unregistered_device_leads_to_registration(cast: Cast) -> None:
    loose = factories.device(cast.project, "own-lora")
    page = get(cast, url(loose))
    assert "Not registered on the LoRa network" in page and f'href="/devices/{loose.pk}/lora/"' in page


def test_search_that_finds_nothing_says_so(cast: Cast, device: Device) -> None:
    assert "No messages found" in get(cast, url(device, "?kind=join"))
