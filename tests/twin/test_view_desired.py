"""The desired values on the Device Twin tab (W3, W4): edited where they stand, their way in words, by one and two."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from codec.measurements import Measurement
from devices.models import Device
from tests import factories
from tests.cast import Cast
from tests.twin.controls import INTERVAL, LED, SETPOINT, give
from twin import loop
from twin.models import DesiredValue, Sync, Twin
from twin.services import set_desired, update_reported

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HTMX = {"HX-Request": "true"}
CHOICE = {
    "name": "light",
    "label": "Status light",
    "kind": "enum",
    "choices": [{"label": "Off", "value": 0, "bytes": "00"}, {"label": "Always <b>", "value": 2, "bytes": "02"}],
    "way": {"by": "bytes", "fport": 11},
}
TEXT = {"name": "text", "label": "Display", "kind": "text", "longest": 8, "way": {"by": "senml"}}


@pytest.fixture
def device(cast: Cast) -> Device:
    with scopes_disabled():
        made = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
        return give(made, INTERVAL, LED, CHOICE, TEXT)


@scopes_disabled()
def want(device: Device, value: Any, name: str = "interval", now: datetime = NOW) -> DesiredValue:
    return loop.request(device=device, name=name, value=value, seen=None, actor=None, now=now)


@scopes_disabled()
def put(device: Device, name: str = "interval", **fields: Any) -> None:
    """The way of a value where the network and the device have brought it."""
    assert DesiredValue.objects.filter(device=device, name=name).update(**fields) == 1


@scopes_disabled()
def report(device: Device, value: float, after: float) -> None:
    told = Measurement(name="interval", value=value, time=NOW.timestamp() + after, unit="min")
    update_reported({device.pk: [told]}, NOW)


@scopes_disabled()
def row(device: Device, name: str = "interval") -> DesiredValue | None:
    return DesiredValue.objects.filter(device=device, name=name).first()


def url(device: Device, rest: str = "") -> str:
    return f"/devices/{device.pk}/twin/{rest}"


def page(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def panel(cast: Cast, device: Device, person: Any = None, query: str = "") -> str:
    response = cast.client(person or cast.operator).get(url(device, query))
    assert response.status_code == 200
    return page(response).split('id="twin-desired"')[1].split("</section>")[0]


def item(text: str, label: str) -> str:
    return next(part for part in text.split("<li>")[1:] if f"<span>{label}</span>" in part)


def save(cast: Cast, device: Device, /, htmx: bool = False, **fields: Any) -> HttpResponse:
    client = cast.client(cast.operator)
    return client.post(url(device, "desired/"), {"seen": "0"} | fields, headers=HTMX if htmx else {})


# --- what is shown ---


def test_every_control_is_shown_also_before_anything_was_asked_or_reported(cast: Cast, device: Device) -> None:
    shown = panel(cast, device)
    assert re.findall(r'property-head"><span>([^<]+)</span>', shown) == ["Interval", "Light", "Status light", "Display"]
    assert shown.count("Not set") == 4


def test_value_has_its_unit_and_the_moment_it_was_last_asked_for(cast: Cast, device: Device) -> None:
    want(device, 15)
    shown = item(panel(cast, device), "Interval")
    assert '1 Mar 2026 <span class="clock">13:00:00</span>' in shown and "data-ago=" in shown
    assert ">15</a>" in shown and '<span class="unit">min</span>' in shown


def test_choice_is_shown_by_its_name(cast: Cast, device: Device) -> None:
    want(device, 2, "light")
    want(device, True, "led")
    shown = cast.client(cast.operator).get(url(device)).content.decode()
    assert "Always &lt;b&gt;</a>" in shown and "Always <b>" not in shown
    assert ">on</a>" in item(page(cast.client(cast.operator).get(url(device))), "Light")


@pytest.mark.parametrize("state", [Sync.REQUESTED, Sync.QUEUED, Sync.ON_AIR, Sync.ACKNOWLEDGED])
def test_value_underway_is_blue_with_a_dot_and_says_so(cast: Cast, device: Device, state: Sync) -> None:
    want(device, 15)
    put(device, state=state)
    shown = item(panel(cast, device), "Interval")
    assert '<span class="underway"><i class="pulse"' in shown
    assert "The change is still underway." in shown.split('role="tooltip"')[1].split("</span></span>")[0]
    assert 'data-tone="busy">' in shown and str(state.label) in shown


@pytest.mark.parametrize(
    ("state", "tone"), [(Sync.IN_SYNC, "ok"), (Sync.DIFFERS, "warn"), (Sync.FAILED, "bad")]
)  # fmt: skip
def test_value_that_has_arrived_or_not_is_not_blue(cast: Cast, device: Device, state: Sync, tone: str) -> None:
    want(device, 15)
    put(device, state=state, due_at=None)
    shown = item(panel(cast, device), "Interval")
    assert "underway" not in shown
    assert f'data-tone="{tone}">' in shown and f">{state.label}</span>" in shown


def test_way_is_told_with_its_moments_tries_and_instruction(cast: Cast, device: Device) -> None:
    want(device, 15)
    put(
        device,
        state=Sync.ACKNOWLEDGED,
        on_air_at=NOW + timedelta(seconds=5),
        acknowledged_at=NOW + timedelta(seconds=9),
        attempts=2,
    )
    shown = item(panel(cast, device), "Interval")
    told = shown.split("<details")[1].split("</details>")[0]
    assert re.findall(r"<dt>([^<]+)</dt>", told) == [
        *("Requested", "In the queue", "On air", "Acknowledged"),
        *("Tries", "Instruction"),
    ]
    assert "13:00:05" in told and "13:00:09" in told and "2 of 2" in told
    assert f'href="/devices/{device.pk}/send/?before=2#downlink-1"' in told
    assert 'id="downlink-1"' in page(cast.client(cast.viewer).get(f"/devices/{device.pk}/send/?before=2"))


def test_failure_says_why_and_is_sent_again(cast: Cast, device: Device) -> None:
    want(device, 15)
    put(device, state=Sync.FAILED, due_at=None, finished_at=NOW, cause="X", reason="The network says <no>.")
    shown = item(panel(cast, device), "Interval")
    assert '<div class="property-note" data-tone="bad">The network says <no>.</div>' in shown
    assert "Send again" in shown and "<dt>Failed</dt>" in shown


def test_value_that_differs_says_what_the_device_reports(cast: Cast, device: Device) -> None:
    want(device, 15)
    report(device, 15.2, 60)
    shown = item(panel(cast, device), "Interval")
    assert "In sync" in shown and "The device reports" not in shown, "by the control's own rule 15.2 is 15"
    report(device, 20, 120)
    shown = item(panel(cast, device), "Interval")
    assert "Differs" in shown and "The device reports 20" in shown and "Send again" in shown


def test_value_of_no_control_is_shown_and_can_be_removed(cast: Cast, device: Device) -> None:
    with scopes_disabled():
        set_desired([device.pk], {"by <api>": {"a": [1]}}, actor=None, now=NOW)
    shown = item(panel(cast, device), "by <api>")
    assert '{"a": [1]}' in shown and "Set by a program" in shown and "?desire=" not in shown
    response = cast.client(cast.operator).post(url(device, "desired/remove/"), {"name": "by <api>", "seen": "0"})
    assert response.status_code == 302
    assert Twin.objects.values_list("desired", flat=True).get(pk=device.pk) == {}


def test_type_without_controls_says_so(cast: Cast) -> None:
    assert "no desired-state controls" in panel(cast, factories.device(cast.project))


# --- changing ---


def test_value_opens_where_it_stands_and_nothing_that_arrives_takes_it_away(cast: Cast, device: Device) -> None:
    held = want(device, 15)
    client = cast.client(cast.operator)
    link = re.search(r'hx-get="([^"]*desired/\?edit=[^"]*)"', client.get(url(device)).content.decode())
    assert link is not None
    part = page(client.get(html.unescape(link[1]), headers=HTMX))
    assert part.strip().startswith('<div id="desired-rows"') and "sse:twin" not in part
    assert re.search(r'<input type="text" name="value" value="15"[^>]*inputmode="decimal"[^>]*autofocus', part)
    assert f'name="seen" value="{held.generation}"' in part
    assert "From 1 to 1440." in part and '<span class="unit">min</span>' in part
    closed = page(client.get(url(device, "desired/?closed=interval"), headers=HTMX))
    assert "sse:twin" in closed and re.findall(r"autofocus>(\w+)</a>", closed) == ["15"]


def test_choices_and_on_and_off_open_as_drop_downs(cast: Cast, device: Device) -> None:
    want(device, False, "led")
    client = cast.client(cast.operator)
    chosen = page(client.get(url(device, "desired/?edit=led"), headers=HTMX))
    assert re.findall(r'<option value="(\w*)"( selected)?>([^<]+)<', chosen) == [
        ("true", "", "on"),
        ("false", " selected", "off"),
    ]
    unset = page(client.get(url(device, "desired/?edit=light"), headers=HTMX))
    assert re.findall(r'<option value="(\w*)"', unset) == ["", "0", "2"]
    assert 'maxlength="8"' in page(client.get(url(device, "desired/?edit=text"), headers=HTMX))


def test_value_opens_without_htmx_on_the_tab(cast: Cast, device: Device) -> None:
    assert 'id="desired-value"' in panel(cast, device, query="?desire=interval")
    assert 'id="desired-value"' not in panel(cast, device, query="?desire=unknown")
    assert cast.client(cast.operator).get(url(device, "desired/"))["Location"] == f"{url(device)}#twin-desired"


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize(
    ("name", "sent", "value"), [("interval", " 2,5 ", 2.5), ("led", "true", True), ("light", "2", 2)]
)
def test_value_is_asked_for_and_becomes_an_instruction(
    cast: Cast, device: Device, htmx: bool, name: str, sent: str, value: Any
) -> None:
    client = cast.client(cast.operator)
    fields = {"name": name, "value": sent, "seen": "0"}
    response = client.post(url(device, "desired/"), fields, headers=HTMX if htmx else {})
    held = row(device, name)
    assert held is not None and (held.value, held.requested_by) == (value, cast.operator)
    with scopes_disabled():
        assert device.downlinks.get().number == held.downlink
    if htmx:
        assert response.status_code == 200
        assert page(response).strip().startswith('<section class="panel" id="twin-desired"')
        assert "In the queue" in page(response)
    else:
        assert response["Location"] == f"{url(device)}#twin-desired"
        assert "is requested." in page(client.get(url(device)))


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize(
    ("name", "sent", "error"),
    [
        ("interval", "0", "1 at least."),
        ("interval", "1441", "1440 at most."),
        ("interval", "often", "Write a number."),
        ("interval", "", "Write a number."),
        ("led", "", "Choose on or off."),
        ("light", "1", "Choose one of the values."),
        ("text", "more than 8", "A text of 8 characters at most."),
    ],
)
def test_value_that_cannot_be_is_shown_again_with_the_error_beside_it(
    cast: Cast, device: Device, htmx: bool, name: str, sent: str, error: str
) -> None:
    response = save(cast, device, htmx=htmx, name=name, value=sent)
    assert response.status_code == 422
    field = page(response).split('id="desired-value"')[1].split("</form>")[0]
    assert error in field and row(device, name) is None
    assert 'aria-invalid="true"' in page(response)


@pytest.mark.parametrize("htmx", [False, True])
def test_second_of_two_who_edit_is_told_and_sees_both_values(cast: Cast, device: Device, htmx: bool) -> None:
    seen = want(device, 10).generation
    want(device, 20)
    response = save(cast, device, htmx=htmx, name="interval", value="30", seen=seen)
    assert response.status_code == 422
    shown = page(response)
    assert "asked for “20” meanwhile" in shown and 'name="value" value="30"' in shown
    held = row(device)
    assert held is not None and held.value == 20
    again = re.search(r'name="seen" value="(\d+)"', shown.split('id="twin-desired"')[1])
    assert again is not None
    save(cast, device, htmx=htmx, name="interval", value="30", seen=again[1])
    held = row(device)
    assert held is not None and held.value == 30


def test_value_that_was_removed_meanwhile_is_asked_for_again_only_when_saved_once_more(
    cast: Cast, device: Device
) -> None:
    response = save(cast, device, name="interval", value="30", seen="7")
    assert response.status_code == 422 and "removed it meanwhile" in page(response)
    assert 'name="seen" value="0"' in page(response) and row(device) is None


def test_control_that_the_type_does_not_have_changes_nothing(cast: Cast, device: Device) -> None:
    response = save(cast, device, htmx=True, name="unknown", value="1")
    assert "no such control" in response["HX-Trigger"]
    assert not Twin.objects.filter(pk=device.pk).exclude(desired={}).exists()


@pytest.mark.parametrize("state", [Sync.FAILED, Sync.DIFFERS])
@pytest.mark.parametrize("htmx", [False, True])
def test_value_is_sent_again(cast: Cast, device: Device, state: Sync, htmx: bool) -> None:
    seen = want(device, 15).generation
    put(device, state=state, due_at=None, finished_at=NOW)
    response = cast.client(cast.operator).post(
        url(device, "desired/again/"), {"name": "interval", "seen": seen}, headers=HTMX if htmx else {}
    )
    assert response.status_code == (200 if htmx else 302)
    held = row(device)
    assert held is not None and (held.state, held.generation) == (Sync.QUEUED, seen + 1)


@pytest.mark.parametrize("path", ["again", "remove"])
def test_value_that_was_changed_meanwhile_is_left_alone(cast: Cast, device: Device, path: str) -> None:
    want(device, 15)
    response = cast.client(cast.operator).post(
        url(device, f"desired/{path}/"), {"name": "interval", "seen": "99"}, headers=HTMX
    )
    assert '"tone": "warn"' in response["HX-Trigger"] and "changed meanwhile" in response["HX-Trigger"]
    held = row(device)
    assert held is not None and held.state == Sync.QUEUED


def test_value_underway_is_not_sent_again(cast: Cast, device: Device) -> None:
    seen = want(device, 15).generation
    response = cast.client(cast.operator).post(
        url(device, "desired/again/"), {"name": "interval", "seen": seen}, headers=HTMX
    )
    assert "underway already" in response["HX-Trigger"]


@pytest.mark.parametrize("htmx", [False, True])
def test_value_is_removed(cast: Cast, device: Device, htmx: bool) -> None:
    seen = want(device, 15).generation
    response = cast.client(cast.operator).post(
        url(device, "desired/remove/"), {"name": "interval", "seen": seen}, headers=HTMX if htmx else {}
    )
    assert response.status_code == (200 if htmx else 302)
    assert row(device) is None
    assert "Not set" in item(panel(cast, device), "Interval")


# --- who ---


def test_read_only_account_sees_the_values_and_finds_no_control(cast: Cast, device: Device) -> None:
    want(device, 15)
    put(device, state=Sync.FAILED, due_at=None, reason="No.")
    shown = panel(cast, device, cast.viewer, "?desire=interval")
    assert ">15</span>" in shown and "<form" not in shown and "desire=" not in shown and "<button" not in shown
    client = cast.client(cast.viewer)
    for path in ("desired/", "desired/again/", "desired/remove/"):
        assert client.post(url(device, path), {"name": "interval", "value": "9"}).status_code == 403
        assert cast.client(cast.stranger).post(url(device, path), {"name": "interval"}).status_code == 404
    held = row(device)
    assert held is not None and held.value == 15


@pytest.mark.parametrize("path", ["desired/again/", "desired/remove/"])
def test_wrong_method_is_refused(cast: Cast, device: Device, path: str) -> None:
    assert cast.client(cast.operator).get(url(device, path)).status_code == 405


def test_refresh_button_refreshes_all_parts_and_what_arrives_only_the_values(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    by_hand = client.get(url(device, "values/"), headers=HTMX | {"HX-Trigger": "twin-refresh"})
    assert "twin-refresh" in by_hand["HX-Trigger"]
    assert "HX-Trigger" not in client.get(url(device, "values/"), headers=HTMX | {"HX-Trigger": "twin-values"})
    shown = page(client.get(url(device)))
    assert shown.count("twin-refresh from:body") == 2, "the desired values and the metadata hear it"


def test_number_of_queries_does_not_grow_with_the_controls(cast: Cast) -> None:
    client, counts = cast.client(cast.operator), []
    for amount in (1, 30):
        with scopes_disabled():
            made = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
            made = give(made, *({**SETPOINT, "name": f"c{index}", "label": f"C{index}"} for index in range(amount)))
        for index in range(amount):
            want(made, index, f"c{index}")
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(made)).status_code == 200
        counts.append(len(queries))
        with CaptureQueriesContext(connection) as part:
            client.get(url(made, "desired/"), headers=HTMX)
        assert len(part) <= 6
    assert counts[0] == counts[1] <= 10
