"""The LoRa data history as a file (L8): range, filters, columns, and how much is held and asked."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device
from lora import export
from lora.models import FrameKind
from lora.search import Asked
from tests.cast import Cast
from tests.lora_frames import DOWN, frame, url

INSTRUCTION = uuid.UUID(int=7)
FULL: dict[str, Any] = {
    "fcnt": 7, "fport": 10, "payload": bytes.fromhex("0167"), "spreading_factor": 12, "frequency_hz": 868_300_000,
    "channel": "=LC2", "rssi": -107.0, "snr": 3.0, "esp": -108.76, "gateway_count": 1, "ack": True, "adr": True,
    "latitude": 51.9225, "longitude": 4.47917, "radius": 118.4, "mac": bytes.fromhex("030706FF0A"),
    "detail": {"receptions": [{"gateway": "FF0109E8", "rssi": -107.0}], "mic": "deadbeef"},
}  # fmt: skip


def take(cast: Cast, device: Device, kind: str, query: str = "", who: Any = None) -> str:
    response = cast.client(who or cast.viewer).get(url(device, f"export/{kind}/?{query}"))
    assert response.status_code == 200
    assert f".{kind}" in response["Content-Disposition"]
    return b"".join(response.streaming_content).decode()  # type: ignore[arg-type]


def as_rows(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_csv_holds_all_columns(cast: Cast, device: Device, now: datetime) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"
    cast.viewer.save(update_fields=["time_zone"])
    frame(device, now, **FULL)
    [row] = as_rows(take(cast, device, "csv"))
    assert row == dict.fromkeys(export.NAMES, "") | {
        "received_at": now.astimezone(ZoneInfo("Asia/Kathmandu")).isoformat(timespec="milliseconds"),
        "direction": "uplink", "kind": "data", "confirmed": "false", "ack": "true", "adr": "true",
        "adr_ack_req": "false", "fpending": "false", "fcnt": "7", "fport": "10", "spreading_factor": "12",
        "frequency_hz": "868300000", "channel": "'=LC2", "gateway_count": "1", "rssi": "-107.0", "snr": "3.0",
        "esp": "-108.76", "latitude": "51.9225", "longitude": "4.47917", "radius": "118.4", "delivered": "true",
        "payload": "0167", "mac": "030706FF0A", "mac_commands": "LinkADRAns DevStatusAns", "mic": "deadbeef",
        "receptions": '[{"rssi":-107.0,"gateway":"FF0109E8"}]',
    }  # fmt: skip
    assert ".123+05:45" in row["received_at"]


def test_json_lines_hold_the_same_with_lists_as_lists(cast: Cast, device: Device, now: datetime) -> None:
    frame(device, now, **FULL)
    frame(
        device, now - timedelta(seconds=1), 2, direction=DOWN, kind=FrameKind.JOIN_ACCEPT, payload=b"",
        delivered=False, cause="late", correlation_id=INSTRUCTION, fcnt=None, detail={"window": "RX1"},
    )  # fmt: skip
    text = take(cast, device, "jsonl")
    up, down = map(json.loads, text.splitlines())
    assert tuple(up) == export.NAMES == tuple(down)
    assert up["received_at"].endswith(".123Z") and up["channel"] == "=LC2" and up["fcnt"] == 7
    assert up["mac_commands"] == ["LinkADRAns", "DevStatusAns"]
    assert up["receptions"] == [{"gateway": "FF0109E8", "rssi": -107.0}]
    assert (down["direction"], down["kind"], down["cause"]) == ("downlink", "join accept", "late")
    assert (down["delivered"], down["instruction"], down["window"]) == (False, str(INSTRUCTION), "RX1")
    assert down["fcnt"] is None and down["receptions"] == []


@pytest.mark.parametrize("start", list("=+-@\t\r＝"))
def test_no_text_of_a_device_or_network_runs_in_a_spreadsheet(
    cast: Cast, device: Device, now: datetime, start: str
) -> None:
    frame(device, now, channel=f"{start}1+1", detail={"window": f"{start}cmd|' /C calc'!A0"})
    [row] = as_rows(take(cast, device, "csv"))
    assert row["channel"].startswith("'") and row["window"].startswith("'")


def test_file_holds_the_range_in_the_persons_zone_and_the_filters(cast: Cast, device: Device, now: datetime) -> None:
    cast.viewer.time_zone = "Asia/Kathmandu"
    cast.viewer.save(update_fields=["time_zone"])
    at = (now - timedelta(days=2)).replace(second=0, microsecond=0)
    local = at + timedelta(hours=5, minutes=45)
    for seq, minutes in enumerate((-2, -1, 0, 1)):
        frame(device, at + timedelta(minutes=minutes), seq, mac=b"\x02" if seq != 1 else b"")
    span = f"from={local - timedelta(minutes=1):%Y-%m-%dT%H:%M}&to={local:%Y-%m-%dT%H:%M}"
    assert [row["fcnt"] for row in as_rows(take(cast, device, "csv", span))] == ["2", "1"]
    assert [row["fcnt"] for row in as_rows(take(cast, device, "csv", f"{span}&mac=1"))] == ["2"]
    assert len(as_rows(take(cast, device, "csv"))) == 4
    assert len(as_rows(take(cast, device, "csv", f"until={local:%Y-%m-%dT%H:%M}"))) == 3  # of the list's address


def test_range_ends_with_what_is_kept(cast: Cast, device: Device, now: datetime) -> None:
    frame(device, now - timedelta(days=31, minutes=5))
    inside = frame(device, now - timedelta(days=31) + timedelta(minutes=5), 2)
    assert len(take(cast, device, "jsonl", "from=2001-01-01").splitlines()) == 1
    assert inside


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("from=soon", "This is not a date and time"),
        ("to=soon", "This is not a date and time"),
        ("from=2026-02-02&to=2026-02-01", "The end lies before the beginning."),
        ("port=x", "This is not a whole number"),
    ],
)
@pytest.mark.parametrize("file", ["", "csv/"])
def test_range_that_cannot_be_says_why(cast: Cast, device: Device, query: str, sentence: str, file: str) -> None:
    response = cast.client(cast.viewer).get(url(device, f"export/{file}?{query}"))
    assert response.status_code == 422 and sentence in response.content.decode()


def test_page_offers_both_kinds_and_keeps_the_filters(cast: Cast, device: Device) -> None:
    typed = f"{timezone.now():%Y-%m-%dT%H:%M}"
    page = cast.client(cast.viewer).get(url(device, f"export/?kind=join&mac=1&until={typed}")).content.decode()
    for shown in (
        "export/csv/",
        "export/jsonl/",
        'name="kind" value="join"',
        'name="mac" value="1"',
        f'value="{typed}"',
    ):
        assert shown in page
    assert 'type="hidden" name="until"' not in page
    listed = cast.client(cast.viewer).get(url(device, "?kind=join")).content.decode()
    assert f'href="{url(device)}export/?kind=join"' in listed


@pytest.mark.parametrize("rest", ["export/", "export/csv/", "export/jsonl/"])
def test_people_who_only_look_may_export_and_strangers_find_nothing(cast: Cast, device: Device, rest: str) -> None:
    assert cast.client(cast.viewer).get(url(device, rest)).status_code == 200
    assert cast.client(cast.stranger).get(url(device, rest)).status_code == 404
    assert cast.client(cast.operator).post(url(device, rest)).status_code == 405


def test_unknown_kind_of_file_is_404(cast: Cast, device: Device) -> None:
    assert cast.client(cast.viewer).get(url(device, "export/exe/")).status_code == 404
    assert cast.client(cast.viewer).head(url(device, "export/csv/")).status_code == 200


def fill(device: Device, now: datetime, amount: int) -> None:
    """Every hundredth on FPort 2."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lora_frame (device_id, received_at, seq, direction, kind, fcnt, fport, payload, mac)"
            " SELECT %s, %s - n * interval '1 minute', n, 0, 2, n, CASE WHEN n %% 100 = 0 THEN 2 ELSE 1 END,"
            " '\\x0167', '\\x02' FROM generate_series(1, %s) AS n",
            [device.pk, now, amount],
        )


def written(device: Device, now: datetime, query: dict[str, str]) -> Iterator[bytes]:
    asked = Asked.from_query(query, now)
    taken = export.records(device.pk, asked, now - timedelta(days=31), now, now)
    return export.as_json_lines(export.HEADS, taken, ZoneInfo("UTC"))


def test_month_of_a_busy_device_is_read_in_sets(device: Device, now: datetime) -> None:
    """45,000 frames: sets of 1,000; with a filter 5,000 are looked at, and where that stopped is asked."""
    fill(device, now, 44_600)
    for query, lines, most in (({}, 44_600, 45), ({"port": "2"}, 446, 18)):
        with CaptureQueriesContext(connection) as queries:
            assert sum(chunk.count(b"\n") for chunk in written(device, now, query)) == lines
        assert len(queries) == most
        assert all("LIMIT" in each["sql"] for each in queries)


def test_file_takes_no_more_memory_for_more_messages(
    device: Device, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "STEP", 200)
    fill(device, now, 2_400)
    peaks = []
    for query in ({"up_to": "800"}, {}):
        tracemalloc.start(1)
        for _chunk in written(device, now, query):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2, peaks
