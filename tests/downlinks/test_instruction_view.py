"""One instruction and its way, why it waits or failed; cancelling one and all, sending again (S3)."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from devices.models import Category, Connection, Device, DeviceType
from devices.services import deactivate
from downlinks import causes, execution, reading, reports
from downlinks.models import Cause, Downlink, Source
from lora.events import DownlinkSent
from lora.frames import store
from lora.networks import thingpark
from lora.search import Cursor
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, again, ask, ask_senml, at, states
from tests.downlinks.test_send_view import HTMX, facts, get, post, row_of, text_of, url

pytestmark = pytest.mark.django_db


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def instruction(page: str) -> str:
    return page[page.index('id="instruction"') : page.index("</section>", page.index('id="instruction"'))]


# --- one instruction ---


def test_instruction_has_an_address_with_all_that_is_known(
    cast: Cast, device: Device, network: RecordedNetwork
) -> None:
    now = timezone.now()
    asked = ask(device, b"\x0a\xff", confirmed=True, actor=cast.operator, now=now, valid_until=now + timedelta(days=1))
    with scopes_disabled():
        execution.run(device.pk, now=now + timedelta(seconds=1))
        on_air = now + timedelta(seconds=2)
        reports.on_sent(device.pk, str(asked.correlation_id), on_air)
        Downlink.objects.update(gateway="FF0102", window="RX2", fcnt_down=97)
        sent = DownlinkSent(dev_eui=device.identifier, at=on_air, fcnt=97, correlation_id=str(asked.correlation_id))
        (key,) = store([(device.pk, sent)])
    address = url(device, "1/")
    assert f'href="{address}"' in row_of(get(cast, url(device)), 1)
    page = instruction(get(cast, address, person="viewer"))
    assert facts(page) == [
        "Requested",
        "Executing",
        "Accepted by the network",
        "On air",
        "Valid until",
        "Fails at the latest",
    ]
    said = words(page)
    for each in (
        "Instruction no. 1",
        "by operator@example.com in the portal",
        "gateway FF0102 window RX2 FCntDown 97",
        "Acknowledged –",
        "0A FF",
        "waiting for the device to acknowledge",
    ):
        assert each in said
    assert f'data-copy="http://testserver{address}"' in page
    place = Cursor(key.received_at, key.seq)
    assert f'href="/devices/{device.pk}/lora/history/{place}/"' in page
    assert cast.client(cast.viewer).get(f"/devices/{device.pk}/lora/history/{place}/").status_code == 200


def test_frames_of_other_instructions_are_not_its_own(cast: Cast, device: Device) -> None:
    now = timezone.now()
    ask(device, now=now)
    other = DownlinkSent(dev_eui=device.identifier, at=now, fcnt=1, correlation_id=str(uuid4()))
    with scopes_disabled():
        store([(device.pk, other)])
    assert "lora/history/" not in instruction(get(cast, url(device, "1/")))


def test_part_is_read_again_alone(cast: Cast, device: Device) -> None:
    ask(device)
    part = get(cast, url(device, "1/"), part=True)
    assert part.lstrip().startswith("<section")
    assert f'hx-get="{url(device, "1/")}" hx-trigger="sse:downlinks' in part


@pytest.mark.parametrize("rest", ["2/", "2/again/", "cancel/?number=2", "cancel/?number=x", "99999999999/"])
def test_instruction_that_is_not_there(cast: Cast, device: Device, fetching: Device, rest: str) -> None:
    ask(device)
    ask_senml(fetching), ask_senml(fetching)
    assert cast.client(cast.operator).get(url(device, rest)).status_code == 404
    assert cast.client(cast.stranger).get(url(device, "1/")).status_code == 404


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Source.PAGE, "in the portal"),
        (Source.API, "through the API"),
        (Source.BULK, "to many devices at once"),
        (Source.DESIRED, "for a desired state"),
    ],
)
def test_request_says_where_it_came_from(cast: Cast, device: Device, source: Source, says: str) -> None:
    ask(device, source=source)
    assert f"by the portal {says}" in words(row_of(get(cast, url(device)), 1))


# --- why it waits ---


def waits(cast: Cast, device: Device) -> dict[int, str]:
    page = get(cast, url(device))
    return {int(number): words(row_of(page, int(number))) for number in re.findall(r'<tr id="downlink-(\d+)">', page)}


def test_pending_says_for_which_it_waits(cast: Cast, device: Device, network: RecordedNetwork) -> None:
    for _each in range(5):
        ask(device)
    services_cancel(cast, device, 3)
    said = waits(cast, device)
    assert "Is being taken up." in said[1]
    assert "Waits for no. 1." in said[2]
    assert "Waits for no. 1 and 1 other." in said[4]
    assert "Waits for no. 1 and 2 others." in said[5]
    with scopes_disabled():
        execution.run(device.pk, now=at(1))
    said = waits(cast, device)
    assert "Goes out after the device's next message." in said[1]
    assert "Waits for no. 1." in said[2]
    assert "Waits for no. 1 and 2 others." in said[5]


def services_cancel(cast: Cast, device: Device, number: int) -> None:
    assert post(cast, url(device, "cancel/"), number=number).status_code == 302


def test_places_go_on_over_the_pages(cast: Cast, device: Device) -> None:
    for _each in range(25):
        ask(device)
    newest = get(cast, url(device))
    assert "Waits for no. 1 and 23 others." in words(row_of(newest, 25))
    assert "Waits for no. 1 and 4 others." in words(row_of(newest, 6))
    assert "Waits for no. 1 and 3 others." in words(row_of(get(cast, url(device, "?before=6")), 5))


def test_a_long_queue_is_not_counted_to_its_end(cast: Cast, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COUNTED", 3)
    for _each in range(6):
        ask(device)
    assert "Waits for no. 1 and more than 3 others." in words(instruction(get(cast, url(device, "6/"))))
    assert "More than 3 instructions are pending." in get(cast, url(device, "cancel-all/"))


def test_senml_waits_for_the_message_of_the_device(cast: Cast, fetching: Device) -> None:
    ask_senml(fetching)
    assert "Waits for the device's next message." in waits(cast, fetching)[1]


def test_held_queue_says_by_what(cast: Cast, device: Device) -> None:
    ask(device)
    with scopes_disabled():
        Device.objects.update(connection_status=Connection.FAILED)
    assert "The device is not active on its network" in waits(cast, device)[1]
    with scopes_disabled():
        deactivate(device=Device.objects.get(pk=device.pk), actor=None)
    assert "The device is deactivated: its instructions wait" in waits(cast, device)[1]


def test_page_costs_two_queries_more_for_what_is_pending(cast: Cast, device: Device) -> None:
    client, counts = cast.client(cast.operator), []
    for state in ("pending", "cancelled"):
        ask(device)
        Downlink.objects.update(state=state, head=False, due_at=None)
        with CaptureQueriesContext(connection) as queries:
            client.get(url(device, "table/"), headers=HTMX)
        counts.append(len(queries))
    assert counts[0] - counts[1] == 2


# --- why it failed ---


def failed(cast: Cast, device: Device, cause: str, reason: str = "") -> str:
    ask(device)
    with scopes_disabled():
        execution.run(device.pk, now=at(1))
        reports.on_failed(device.pk, "", at(2), cause=cause, reason=reason)
    return words(row_of(get(cast, url(device)), 1))


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        ("A3", "The gateway was busy with another message. Send it again. A3"),
        ("d0", "The gateway had used up the time that it may send (duty cycle). Send it again later. d0"),
        ("NO_ACK", "It was sent, and the device did not acknowledge it. NO_ACK"),
        ("EXPIRED", "It was not valid any more when it could have gone out. EXPIRED"),
        ("350", "Device in odd state 350"),
    ],
)
def test_code_is_told_in_words_and_named(
    cast: Cast, device: Device, network: RecordedNetwork, cause: str, says: str
) -> None:
    row = failed(cast, device, cause, "Device in odd state")
    assert says in row
    assert f"Network's code {cause}" in row
    assert "Device in odd state" in row, "the network's own words are kept beside it"


def test_every_code_that_a_network_gives_has_words() -> None:
    assert set(thingpark.CAUSES) <= set(causes.WORDS)
    assert {"TOO_LARGE", "NO_ACK", "NOT_REGISTERED"} <= set(causes.WORDS)
    for cause in Cause.values:
        assert causes.words(cause, "x") == str(Cause(cause).label)
        assert causes.code(cause) == ""
    assert causes.words("strange", "") == "strange"


# --- cancelling ---


@pytest.mark.parametrize("part", [False, True])
def test_cancel_asks_first_and_names_who_did_it(cast: Cast, device: Device, part: bool) -> None:
    ask(device, b"\x0a\xff")
    asked = get(cast, url(device, "cancel/?number=1"), part=part)
    assert ("data-open" in asked) == part
    assert "Cancel this instruction?" in asked
    assert "0A FF" in asked
    assert states(device) == ["pending"]
    services_cancel(cast, device, 1)
    assert "Cancelled" in (row := words(row_of(get(cast, url(device)), 1)))
    assert "by operator@example.com" in row


def test_cancel_of_what_executes_is_not_offered(cast: Cast, device: Device, network: RecordedNetwork) -> None:
    ask(device)
    with scopes_disabled():
        execution.run(device.pk, now=at(1))
    asked = get(cast, url(device, "cancel/?number=1"), part=True)
    assert "cannot be cancelled" in asked
    assert "Cancel the instruction" not in asked
    assert "Cancel all pending" not in get(cast, url(device))


@pytest.mark.parametrize("part", [False, True])
def test_cancel_all_says_how_many_and_leaves_what_executes(
    cast: Cast, device: Device, network: RecordedNetwork, part: bool
) -> None:
    for _each in range(4):
        ask(device)
    with scopes_disabled():
        execution.run(device.pk, now=at(1))
    assert f'href="{url(device, "cancel-all/")}"' in get(cast, url(device))
    assert "3 instructions are pending." in get(cast, url(device, "cancel-all/"), part=part)
    response = cast.client(cast.operator).post(url(device, "cancel-all/"), headers=HTMX if part else {}, follow=True)
    said = json.loads(response["HX-Trigger"])["toast"]["text"] if part else text_of(response)
    assert "3 instructions are cancelled." in said
    assert states(device) == ["executing", "cancelled", "cancelled", "cancelled"]
    response = cast.client(cast.operator).post(url(device, "cancel-all/"), follow=True)
    assert "no instruction is pending" in text_of(response)


# --- sending again ---


def ended(cast: Cast, device: Device, **values: Any) -> Downlink:
    made = ask(device, b"\x0a\xff", **values)
    services_cancel(cast, device, made.number)
    return again(made)


@pytest.mark.parametrize("part", [False, True])
def test_send_again_shows_the_bytes_and_makes_a_new_one(cast: Cast, device: Device, part: bool) -> None:
    first = ended(cast, device, confirmed=True)
    address = url(device, "1/again/")
    assert f'href="{address}"' in row_of(get(cast, url(device)), 1)
    asked = get(cast, address, part=part)
    assert "0A FF" in asked
    token = re.search(r'name="token" value="([0-9a-f-]{36})"', asked)
    assert token
    for _turn in range(2):
        response = post(cast, address, part=part, token=token[1])
    assert response.status_code == (200 if part else 302)
    row = Downlink.objects.get(number=2)
    assert (row.again, row.fport, bytes(row.payload), row.confirmed) == (1, 2, b"\x0a\xff", True)
    assert row.requested_by == cast.operator
    assert again(first).state == "cancelled"
    assert Downlink.objects.count() == 2, "sent twice is one"
    assert "repeats no. 1" in words(row_of(get(cast, url(device)), 2))


def test_send_again_waits_for_the_end(cast: Cast, device: Device) -> None:
    ask(device)
    assert "again/" not in row_of(get(cast, url(device)), 1)
    assert "not finished yet" in get(cast, url(device, "1/again/"))
    response = cast.client(cast.operator).post(url(device, "1/again/"), follow=True)
    assert "only a finished instruction" in text_of(response)
    assert Downlink.objects.count() == 1


@pytest.mark.parametrize("change", [{"encoders": []}, {"category": Category.MANAGED}])
def test_send_again_is_checked_like_a_request(cast: Cast, device: Device, change: dict[str, Any]) -> None:
    """T3: what was raw before a type became managed is not sent raw again."""
    ended(cast, device)
    DeviceType.objects.filter(pk=device.type_id).update(**change)
    assert "again/" not in row_of(get(cast, url(device)), 1)
    assert "takes no such instruction now" in get(cast, url(device, "1/again/"))
    response = post(cast, url(device, "1/again/"), part=True)
    assert json.loads(response["HX-Trigger"])["toast"]["tone"] == "warn"
    assert Downlink.objects.count() == 1


def test_send_again_while_deactivated_says_so(cast: Cast, device: Device) -> None:
    ended(cast, device)
    with scopes_disabled():
        deactivate(device=device, actor=None)
    response = cast.client(cast.operator).post(url(device, "1/again/"), follow=True)
    assert "The device is deactivated" in text_of(response)
    assert Downlink.objects.count() == 1


@pytest.mark.parametrize("rest", ["cancel/?number=1", "cancel-all/", "1/again/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_read_only_people_are_not_even_asked(cast: Cast, device: Device, rest: str, method: str) -> None:
    ask(device)
    assert getattr(cast.client(cast.viewer), method)(url(device, rest)).status_code == 403
    assert states(device) == ["pending"]


def test_read_only_people_see_the_instruction_without_controls(cast: Cast, device: Device) -> None:
    ended(cast, device)
    page = instruction(get(cast, url(device, "1/"), person="viewer"))
    assert "Send again" not in page


# --- what is offered ---


def test_states_are_explained(cast: Cast, device: Device) -> None:
    page = get(cast, url(device), person="viewer")
    assert "What the states mean" in page
    assert "Taken out of the queue before anything was sent." in page


def test_managed_devices_get_commands_and_never_raw(cast: Cast, network: RecordedNetwork) -> None:
    """T3, on the page; the service and bulk: test_services.py and test_bulk.py."""
    blink = {"name": "blink", "label": "Blink", "way": {"by": "bytes", "fport": 12, "template": "07"}}
    kind = factories.own_type(
        cast.project, commands=[blink], encoders=["raw-lora", "commands"], category=Category.MANAGED
    )
    device = factories.lora_device(cast.project, kind.slug, in_flow=factories.flow(cast.project))
    page = get(cast, url(device))
    assert 'name="command"' in page
    assert 'name="fport"' not in page
    for show in ({}, {"show": "1"}):
        sent = post(cast, url(device), encoder="raw-lora", fport="1", payload="01", **show)
        assert sent.status_code == 302
    assert not Downlink.objects.exists()
