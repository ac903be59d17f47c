"""The Send instruction tab (S1, S2, S3): forms, errors beside their fields, the status table, cancelling."""

from __future__ import annotations

import html
import json
import re
from uuid import uuid4

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from devices.models import Category, Connection, Device, DeviceType
from devices.services import deactivate
from downlinks import execution, handover, reports
from downlinks.models import Downlink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, again, ask, ask_senml, at

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def url(device: Device, rest: str = "") -> str:
    return f"/devices/{device.pk}/send/{rest}"


def text_of(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def get(cast: Cast, address: str, *, person: str = "operator", part: bool = False) -> str:
    response = cast.client(getattr(cast, person)).get(address, headers=HTMX if part else {})
    assert response.status_code == 200, response.status_code
    return text_of(response)


def post(cast: Cast, address: str, *, part: bool = False, person: str = "operator", **data: object) -> HttpResponse:
    return cast.client(getattr(cast, person)).post(address, data, headers=HTMX if part else {})


def form(**values: object) -> dict[str, object]:
    return {"encoder": "raw-lora", "fport": "10", "payload": "0x01 0A:ff", "token": str(uuid4())} | values


def row_of(page: str, number: int) -> str:
    found = re.search(rf'<tr id="downlink-{number}">.*?</tr>', page, re.DOTALL)
    assert found, f"no row {number}"
    return found[0]


# --- who gets in ---


@pytest.mark.parametrize(("rest", "method"), [("", "get"), ("", "post"), ("table/", "get"), ("cancel/", "post")])
def test_stranger_finds_nothing(cast: Cast, device: Device, rest: str, method: str) -> None:
    assert getattr(cast.client(cast.stranger), method)(url(device, rest)).status_code == 404


@pytest.mark.parametrize("rest", ["", "cancel/"])
def test_read_only_is_refused_when_it_forges(cast: Cast, device: Device, rest: str) -> None:
    with scopes_disabled():
        ask(device)
    assert post(cast, url(device, rest), person="viewer", number=1, **form()).status_code == 403
    assert Downlink.objects.get().state == "pending"


@pytest.mark.parametrize(
    ("rest", "method"),
    [
        ("", "put"),
        ("table/", "post"),
        ("cancel/", "put"),
        ("cancel-all/", "delete"),
        ("1/", "post"),
        ("1/again/", "put"),
        ("", "delete"),
    ],
)
def test_other_methods_are_refused(cast: Cast, device: Device, rest: str, method: str) -> None:
    assert getattr(cast.client(cast.operator), method)(url(device, rest)).status_code == 405


def test_read_only_sees_the_table_and_no_controls(cast: Cast, device: Device) -> None:
    ask(device, b"\x0a\xff", actor=cast.operator)
    page = get(cast, url(device), person="viewer")
    assert "0A FF" in row_of(page, 1)
    panel = page[page.index('id="send-tab"') :]
    assert "<form" not in panel
    assert ">Cancel<" not in re.sub(r"<svg.*?</svg>", "", panel)
    assert "cancel" not in row_of(page, 1)


# --- what is offered ---


def test_tab_has_the_form_of_the_encoder(cast: Cast, device: Device, fetching: Device) -> None:
    page = get(cast, url(device))
    assert 'name="fport"' in page
    assert 'min="1"' in page
    assert 'max="223"' in page
    assert "at the slowest data rate: 51 bytes fit." in page
    page = get(cast, url(fetching))
    assert 'name="fport"' not in page
    assert "<textarea" in page
    with scopes_disabled():
        assert f"adds the base name {fetching.internet.base_name}" in page


def test_without_flow_the_tab_says_so_and_leads_there(cast: Cast, network: RecordedNetwork) -> None:
    device = factories.lora_device(cast.project)
    page = get(cast, url(device))
    assert "In no Flow yet" in page
    assert "only send data to your device if it is linked to at least one Flow" in page
    assert f'href="/devices/{device.pk}/flows/">Go to Flows' in page
    assert 'name="fport"' not in page


@pytest.mark.parametrize("change", [{"encoders": []}, {"category": Category.MANAGED}])
def test_type_without_raw_encoder_has_no_downlink(cast: Cast, device: Device, change: dict[str, object]) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(**change)
    page = get(cast, url(device))
    assert "No downlink available" in page
    assert f'href="/types/{device.type_id}/">Look at the device type' in page
    assert cast.client(cast.operator).get(f"/types/{device.type_id}/").status_code == 200
    assert 'name="fport"' not in page
    response = post(cast, url(device), **form())
    assert response.status_code == 302
    assert not Downlink.objects.exists()


@pytest.mark.parametrize("waiting", [False, True])
def test_deactivated_says_that_the_queue_is_held(cast: Cast, device: Device, waiting: bool) -> None:
    if waiting:
        ask(device)
    with scopes_disabled():
        deactivate(device=device, actor=None)
    page = get(cast, url(device))
    assert ("Pending instructions wait in the queue" if waiting else "no instruction is accepted") in page
    assert 'name="fport"' not in page
    response = post(cast, url(device), **form())
    assert response.status_code == 422
    assert "The device is deactivated" in text_of(response)


def test_device_that_is_not_on_its_network_waits(cast: Cast, device: Device) -> None:
    ask(device)
    with scopes_disabled():
        Device.objects.update(connection_status=Connection.PENDING_CREATE)
    page = get(cast, url(device))
    assert "not active on its network" in page
    assert 'name="fport"' in page


# --- sending ---


@pytest.mark.parametrize("part", [False, True])
def test_send_puts_it_into_the_queue(cast: Cast, device: Device, part: bool) -> None:
    response = post(cast, url(device), part=part, **form(confirmed="on"))
    row = Downlink.objects.get()
    assert (row.fport, bytes(row.payload), row.confirmed, row.source) == (10, b"\x01\x0a\xff", True, "page")
    assert row.requested_by_id == cast.operator.pk
    if part:
        assert response.status_code == 200
        page = text_of(response)
        assert page.lstrip().startswith('<div class="stack" id="send-tab"')
        assert "01 0A FF" in row_of(page, 1)
        assert 'value="10"' not in page, "an empty form for the next one"
        assert json.loads(response["HX-Trigger"])["toast"]["tone"] == "ok"
    else:
        assert (response.status_code, response["Location"]) == (302, url(device))


def test_send_tells_without_htmx(cast: Cast, device: Device) -> None:
    response = cast.client(cast.operator).post(url(device), form(), follow=True)
    assert "The instruction is in the queue." in text_of(response)


def test_double_submit_makes_one(cast: Cast, device: Device) -> None:
    page = get(cast, url(device))
    token = re.search(r'name="token" value="([0-9a-f-]{36})"', page)
    assert token
    for _turn in range(2):
        assert post(cast, url(device), **form(token=token[1])).status_code == 302
    assert Downlink.objects.count() == 1
    other = re.search(r'name="token" value="([0-9a-f-]{36})"', get(cast, url(device)))
    assert other
    assert other[1] != token[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fport": "0"}, "greater than or equal to 1"),
        ({"fport": "224"}, "less than or equal to 223"),
        ({"fport": ""}, "This field is required"),
        ({"fport": "ten"}, "Enter a whole number"),
        ({"payload": "0x0G"}, "“G” is not a hexadecimal digit"),
        ({"payload": "123"}, "two digits"),
        ({"payload": ""}, "This field is required"),
        ({"payload": "00" * 52}, "The payload has 52 bytes; at the device's present data rate at most 51 fit."),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_errors_stand_beside_their_field_and_nothing_is_lost(
    cast: Cast, device: Device, change: dict[str, str], says: str, part: bool
) -> None:
    sent = form(confirmed="on", **change)
    response = post(cast, url(device), part=part, **sent)
    assert response.status_code == 422
    page = text_of(response)
    name = next(iter(change))
    field = re.search(rf'<div class="field">(?:(?!class="field").)*name="{name}".*?</div>\s*</div>', page, re.DOTALL)
    assert field, name
    assert says in field[0]
    for key in ("fport", "payload", "token"):
        assert not sent[key] or f'value="{sent[key]}"' in page
    assert re.search(r'name="confirmed"[^>]* checked', page)
    assert not Downlink.objects.exists()


def test_senml_gets_its_base_name(cast: Cast, fetching: Device) -> None:
    sent = '[{"n": "setpoint", "u": "Cel", "v": 21.5}]'
    response = post(cast, url(fetching), encoder="raw-senml", payload=sent)
    assert response.status_code == 302
    with scopes_disabled():
        name = fetching.internet.base_name
    record = {"bn": name, "n": "setpoint", "u": "Cel", "v": 21.5}
    assert json.loads(bytes(Downlink.objects.get().payload)) == [record]


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ('[{"n": "a", "v": 1]', "Line 1, column 19"),
        ('[{"n": "a"}]', "Line 1, record 1: The record has no value"),
        ("\n{}", "Line 2, column 1: A pack is a list of records"),
    ],
)
def test_wrong_senml_says_where(cast: Cast, fetching: Device, payload: str, says: str) -> None:
    response = post(cast, url(fetching), encoder="raw-senml", payload=payload)
    assert response.status_code == 422
    page = text_of(response)
    assert says in page
    assert payload in page


@pytest.mark.parametrize("encoder", ["", "raw-senml", "commands", "x"])
def test_form_of_another_connectivity_is_not_taken(cast: Cast, device: Device, encoder: str) -> None:
    response = post(cast, url(device), **form(encoder=encoder))
    assert response.status_code == 302
    assert not Downlink.objects.exists()


# --- the table ---


def facts(row: str) -> list[str]:
    """What the row says to have happened, with a time."""
    return re.findall(r'<dt>([^<]+)</dt><dd><span class="tip moment"', row)


def test_rows_say_status_and_facts_apart(cast: Cast, device: Device, network: RecordedNetwork) -> None:
    with scopes_disabled():
        confirmed, unconfirmed = ask(device, confirmed=True, actor=cast.operator), ask(device, now=at(1))
        execution.run(device.pk, now=at(10))
        assert "Goes out after" in row_of(get(cast, url(device)), 1)
        reports.on_sent(device.pk, str(confirmed.correlation_id), at(20))
        assert "waiting for the device to acknowledge" in row_of(get(cast, url(device)), 1)
        reports.on_acknowledged(device.pk, str(confirmed.correlation_id), at(30))
        execution.run(device.pk, now=at(40))
        reports.on_sent(device.pk, str(unconfirmed.correlation_id), at(50))
    page = get(cast, url(device))
    first, second = row_of(page, 1), row_of(page, 2)
    for said in ("Delivered", "The device acknowledged it.", ">confirmed<", "FPort 2", "operator@example.com"):
        assert said in first
    assert facts(first) == [
        "Requested",
        "Executing",
        "Accepted by the network",
        "On air",
        "Acknowledged",
        "Delivered",
    ]
    assert "Sent; nobody acknowledged it." in second
    assert ">confirmed<" not in second
    assert "the portal" in second
    assert facts(second) == ["Requested", "Executing", "Accepted by the network", "On air", "Delivered"]
    assert "not asked for: unconfirmed" in second
    assert page.index('id="downlink-2"') < page.index('id="downlink-1"'), "newest first"


def test_rows_say_why_it_failed(cast: Cast, device: Device, network: RecordedNetwork) -> None:
    with scopes_disabled():
        first = ask(device, confirmed=True)
        ask(device)
        execution.run(device.pk, now=at(0))
        reports.on_sent(device.pk, str(first.correlation_id), at(1))
        execution.sweep(at(90_000))
        execution.run(device.pk, now=at(90_000))
        reports.on_failed(device.pk, "", at(90_001), cause="E1", reason="<b>Full</b>")
    response = cast.client(cast.operator).get(url(device))
    assert b"<b>Full" not in response.content
    page = text_of(response)
    assert "the device did not acknowledge it in time" in row_of(page, 1)
    assert "<b>Full</b>" in row_of(page, 2)


def test_rows_of_senml(cast: Cast, fetching: Device) -> None:
    with scopes_disabled():
        ask_senml(fetching, 21.5)
        assert "Pending" in row_of(get(cast, url(fetching)), 1)
        handover.hand_over(fetching.pk, at(5))
        assert facts(row_of(get(cast, url(fetching)), 1)) == [
            "Requested",
            "Executing",
            "Handed over",
            "Fails at the latest",
        ]
        handover.device_answered(fetching.pk, at(9))
    row = row_of(get(cast, url(fetching)), 1)
    assert "<summary>setpoint 21.5</summary>" in row
    assert '"v": 21.5' in row
    assert "the device came back afterwards" in row
    assert "FPort" not in row


def test_table_part_is_for_htmx(cast: Cast, device: Device) -> None:
    ask(device)
    part = get(cast, url(device, "table/"), part=True)
    assert part.lstrip().startswith("<section")
    assert 'id="downlink-table"' in part
    assert 'hx-trigger="sse:downlinks' in part
    response = cast.client(cast.operator).get(url(device, "table/"))
    assert (response.status_code, response["Location"]) == (302, url(device))


def test_pages_are_cut_by_number_and_stay_where_they_are(cast: Cast, device: Device) -> None:
    for _each in range(45):
        ask(device)
    numbers = []
    address = url(device)
    for _page in range(3):
        page = get(cast, address)
        numbers.append([int(number) for number in re.findall(r'<tr id="downlink-(\d+)">', page)])
        older = re.search(r'rel="next" href="([^"]+)"', page)
        address = older[1] if older else ""
    assert numbers == [list(range(45, 25, -1)), list(range(25, 5, -1)), list(range(5, 0, -1))]
    assert address == ""
    part = get(cast, url(device, "table/?before=26"), part=True)
    assert f'hx-get="{url(device, "table/?before=26")}"' in part, "what is read again is the same page"
    assert "Newest" in part


@pytest.mark.parametrize("before", ["", "x", "-1", "٣", "99999999999999999999"])
def test_cursor_that_makes_no_sense_is_the_first_page(cast: Cast, device: Device, before: str) -> None:
    ask(device)
    assert row_of(get(cast, url(device, f"table/?before={before}"), part=True), 1)


def test_table_costs_the_same_for_two_and_for_twenty_rows(cast: Cast, device: Device) -> None:
    client, counts = cast.client(cast.operator), []
    for number in (2, 18):
        for _each in range(number):
            ask(device, actor=cast.operator)
        with CaptureQueriesContext(connection) as queries:
            response = client.get(url(device, "table/"), headers=HTMX)
        counts.append(len(queries))
    assert response.content.count(b"<tr id=") == 20
    assert counts[0] == counts[1] <= 7


def test_table_shows_only_its_device(cast: Cast, device: Device, fetching: Device) -> None:
    ask(device)
    assert "No instruction yet" in get(cast, url(fetching))


# --- cancelling ---


@pytest.mark.parametrize("part", [False, True])
def test_cancel_takes_it_out(cast: Cast, device: Device, part: bool) -> None:
    downlink = ask(device)
    assert f'href="{url(device, "cancel/?number=1")}"' in row_of(get(cast, url(device)), 1)
    response = post(cast, url(device, "cancel/"), part=part, number=1)
    assert again(downlink).state == "cancelled"
    if part:
        page = text_of(response)
        assert "Cancelled" in row_of(page, 1)
        assert "cancel/" not in page
        assert '<div id="send-dialog" hx-swap-oob="true"></div>' in page, "the question is closed"
        assert json.loads(response["HX-Trigger"])["toast"]["tone"] == "ok"
    else:
        assert response["Location"] == url(device)


@pytest.mark.parametrize("number", ["1", "7", "", "x", "1e1", "99999999999999999999"])
@pytest.mark.parametrize("part", [False, True])
def test_cancel_of_what_is_not_pending_says_so(
    cast: Cast, device: Device, network: RecordedNetwork, number: str, part: bool
) -> None:
    downlink = ask(device)
    execution.run(device.pk, now=at(1))
    client = cast.client(cast.operator)
    response = client.post(url(device, "cancel/"), {"number": number}, headers=HTMX if part else {}, follow=True)
    assert again(downlink).state == "executing"
    said = response["HX-Trigger"] if part else text_of(response)
    assert "Nothing was cancelled" in said


def test_cancel_reaches_only_the_device_of_the_address(cast: Cast, device: Device, fetching: Device) -> None:
    downlink = ask(device)
    post(cast, url(fetching, "cancel/"), number=1)
    assert again(downlink).state == "pending"
