"""The Device Twin tab in a browser, each numbered element of the source tried (W1-W7): docs/device-twin.md names them.

The device is an Internet device of the demo's type "Weather station" that the test plays, so nothing waits for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Portal, Visit, sign_in
from tests.browser.test_story import add_device, finish, link_to_flow, secret

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"
WIDTHS = pytest.mark.parametrize("width", [390, 1440])
AGO = re.compile(r"just now|\d+ (s|min|h|d) ago")
EXACT = re.compile(r"\d+ \w+ \d{4} \d\d:\d\d:\d\d")


@dataclass
class Station:
    """A device that the test plays: ``send`` is its message, and gives the instruction in the answer."""

    address: str
    portal: Portal
    uuid: str
    shared_secret: str

    @property
    def twin(self) -> str:
        return f"{self.address}twin/"

    def send(self, *records: dict[str, Any]) -> Any:
        pack = [{"bn": f"urn:dev:DVNUUID:{self.uuid}:", "bt": time.time(), **records[0]}, *records[1:]]
        body = json.dumps(pack).encode()
        token = hashlib.sha256(body + self.shared_secret.encode()).hexdigest()
        status, answer = self.portal.post("/ingestion/ip/senml/v1", body, {"Things-Message-Token": token})
        assert status == 200, answer
        return json.loads(answer) if answer else []

    def empty(self, page: Page) -> None:
        """Nothing is desired or noted of it: by the interface of programs, in the person's session."""
        token = next(one["value"] for one in page.context.cookies() if one["name"] == "csrftoken")
        response = page.request.patch(
            f"/api/v1{self.twin}".rstrip("/"),
            data=json.dumps({"desired": None, "metadata": None}),
            headers={"Content-Type": "application/merge-patch+json", "X-CSRFToken": token},
        )
        assert response.status == 200, response.text()


@pytest.fixture(scope="module")
def played(browser: Browser, portal: Portal) -> Station:
    """Added by the wizard and in a Flow."""
    context = browser.new_context(base_url=portal.url, locale="en-GB")
    page = context.new_page()
    sign_in(page, OPERATOR)
    add_device(page, "Weather station", "Played station")
    uuid = page.get_by_label("DvnUUID").input_value()
    page.get_by_role("button", name="Add network info").click()
    shared_secret = secret(page, "Shared secret")
    station = Station(finish(page, "Played station"), portal, uuid, shared_secret)
    link_to_flow(page, station.address, "Climate")
    context.close()
    return station


Open = Callable[..., Page]


@pytest.fixture
def open_tab(visit: Visit, played: Station) -> Open:
    """The tab of the device, which has reported four values and of which nothing is desired or noted."""

    def opened(person: str = OPERATOR, **options: Any) -> Page:
        page = visit(person, **options)
        if person == OPERATOR:
            played.empty(page)
        page.goto(played.twin)
        expect(page.locator("[sse-connect]")).to_have_attribute("data-stream", "on")
        played.send(
            {"n": "temperature", "u": "Cel", "v": 21.5},
            {"n": "firmwareVersion", "u": "string", "vs": "2.4.1"},
            {"n": "mode", "u": "enum", "vs": "always"},
            {"n": "level", "u": "/", "v": 0.5},
        )
        expect(part(page, "Reported")).to_contain_text("FirmwareVersion")
        return page

    return opened


def part(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def row(page: Page, label: str) -> Locator:
    return part(page, "Desired").locator("li").filter(has=page.get_by_text(label, exact=True))


def pop_up(page: Page, moment: Locator, tries: int = 3) -> str:
    """What the pop-up of a moment says; it comes on hover, and on keyboard focus. The page may put the part anew while
    it is looked at: then it is looked at again."""
    for _again in range(tries - 1):
        with contextlib.suppress(AssertionError, TypeError):
            return _pop_up(page, moment)
    return _pop_up(page, moment)


def _pop_up(page: Page, moment: Locator) -> str:
    body = moment.locator(".tip-body")
    moment.hover()
    expect(body).to_be_in_viewport()
    assert body.bounding_box()["height"] > 5
    page.mouse.move(0, 0)
    expect(body).to_have_css("clip-path", "inset(50%)")
    # A focus that comes by the keyboard.
    moment.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(moment).to_be_focused()
    expect(body).to_have_css("clip-path", "none")
    text = body.inner_text()
    page.keyboard.press("Escape")
    expect(body).to_have_css("clip-path", "inset(50%)")
    page.evaluate("document.activeElement.blur()")
    return text


def set_value(page: Page, label: str, fill: Callable[[Locator], object]) -> None:
    row(page, label).get_by_title("Change the desired value").click()
    field = page.locator("#desired-value")
    expect(field).to_be_focused()
    fill(field)
    part(page, "Desired").get_by_role("button", name="Save").click()


@WIDTHS
def test_reported_state(open_tab: Open, played: Station, width: int) -> None:
    """#1: groups Device and Other, hidden units, exact moments with how long ago."""
    page = open_tab(width=width)
    reported = part(page, "Reported")
    device, other = reported.get_by_role("table", name="Device"), reported.get_by_role("table", name="Other")
    expect(device).to_contain_text("FirmwareVersion")
    expect(device).to_contain_text("Mode")
    expect(other).to_contain_text("Temperature")
    expect(other).to_contain_text("°C")
    expect(other).not_to_contain_text("Firmware")
    for unit in ("enum", "string", "/"):
        assert reported.locator(".unit", has_text=re.compile(f"^{re.escape(unit)}$")).count() == 0
    moment = other.locator("tr", has_text="Temperature").locator(".moment")
    assert EXACT.search(moment.locator("time").inner_text())
    assert AGO.search(pop_up(page, moment))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"


@WIDTHS
def test_desired_state_is_edited_in_place_and_closes_its_loop(open_tab: Open, played: Station, width: int) -> None:
    """#2: free field with unit and range, errors beside it; blue while underway; in sync when the device reports it."""
    page = open_tab(width=width)
    interval = row(page, "Send interval")
    expect(interval).to_contain_text("Not set")
    set_value(page, "Send interval", lambda field: field.fill("2000"))
    expect(interval).to_contain_text("1440 at most.")
    expect(interval).to_contain_text("From 1 to 1440.")
    page.locator("#desired-value").fill("15")
    part(page, "Desired").get_by_role("button", name="Save").click()
    expect(interval).to_contain_text("15 min")
    expect(interval).to_contain_text("In the queue")
    expect(interval.locator(".underway .pulse")).to_be_visible()
    busy = page.evaluate("getComputedStyle(document.querySelector('.underway time')).color")
    assert busy == page.evaluate("getComputedStyle(document.querySelector('.underway .pulse')).color")
    told = pop_up(page, interval.locator(".moment").first)
    assert AGO.search(told) and "still underway" in told

    # The instruction goes out in the answer to the next message, and the page follows without the button.
    interval.get_by_text("How it goes").click()
    (record,) = played.send({"n": "temperature", "u": "Cel", "v": 22})
    assert (record["n"], record["u"], record["v"]) == ("interval", "min", 15)
    expect(interval).to_contain_text("On air")
    expect(interval.get_by_text("1 of 3")).to_be_visible()
    played.send({"n": "interval", "u": "min", "v": 15})
    expect(interval.locator(".state")).to_have_text("In sync")
    expect(interval.locator(".underway")).to_have_count(0)
    expect(interval.locator("details")).to_have_attribute("open", "")
    played.send({"n": "interval", "u": "min", "v": 30})
    expect(interval.locator(".state")).to_have_text("Differs")
    expect(interval).to_contain_text("The device reports 30 min")
    interval.get_by_role("button", name="Send again").click()
    expect(interval.locator(".state")).to_have_text("In the queue")
    interval.get_by_role("link", name=re.compile("on Send instruction")).click()
    expect(page.locator("#downlink-2")).to_contain_text("interval")


@WIDTHS
def test_choice_is_a_drop_down_and_a_text_a_free_field(open_tab: Open, played: Station, width: int) -> None:
    """#2, its own #1 and #2."""
    page = open_tab(width=width)
    set_value(page, "Mode", lambda field: field.select_option(label="Days only"))
    expect(row(page, "Mode")).to_contain_text("In the queue")
    expect(row(page, "Mode").get_by_title("Change the desired value")).to_have_text("Days only")
    set_value(page, "Text on the display", lambda field: field.fill("Hello"))
    expect(row(page, "Text on the display")).to_contain_text("Hello")
    row(page, "Mode").get_by_text("How it goes").click()
    row(page, "Mode").get_by_role("button", name="Remove").click()
    expect(row(page, "Mode")).to_contain_text("Not set")


def test_what_arrives_takes_no_field_from_under_the_fingers(open_tab: Open, played: Station) -> None:
    page = open_tab()
    expect(page.locator("[data-stream=on]")).to_have_count(1)
    row(page, "Send interval").get_by_title("Change the desired value").click()
    page.locator("#desired-value").fill("4")
    played.send({"n": "temperature", "u": "Cel", "v": 37.25})
    expect(part(page, "Reported")).to_contain_text("37.25")
    expect(page.locator("#desired-value")).to_be_focused()
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    expect(row(page, "Send interval")).to_contain_text("45 min")


@pytest.mark.parametrize("by", ["mouse", "space bar"])
def test_what_arrives_takes_no_control_from_under_the_finger(open_tab: Open, played: Station, by: str) -> None:
    """Between press and release the part stays as it is; then the click counts, and the part is read."""
    page = open_tab()
    expect(part(page, "Reported")).to_contain_text("21.5")
    page.evaluate("document.getElementById('twin-values').dataset.old = ''")
    control, old = page.get_by_role("link", name="Clear measurements"), page.locator("#twin-values[data-old]")
    if by == "mouse":
        control.hover()
        page.mouse.down()
    else:
        control.focus()
        page.keyboard.down(" ")
    with page.expect_response(re.compile(r"/twin/values/$")) as arrived:
        played.send({"n": "temperature", "u": "Cel", "v": 22.5})
    arrived.value.finished()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(old).to_have_count(1)
    if by == "mouse":
        page.mouse.up()
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    else:
        page.keyboard.up(" ")
    expect(old).to_have_count(0)
    expect(part(page, "Reported")).to_contain_text("22.5")


def test_second_of_two_people_is_told_sees_both_values_and_decides(open_tab: Open) -> None:
    mine, theirs = open_tab(), open_tab("administrator@example.com", width=390)
    for page in (mine, theirs):
        row(page, "Send interval").get_by_title("Change the desired value").click()
    theirs.locator("#desired-value").fill("20")
    part(theirs, "Desired").get_by_role("button", name="Save").click()
    expect(row(theirs, "Send interval")).to_contain_text("20 min")
    mine.locator("#desired-value").fill("30")
    part(mine, "Desired").get_by_role("button", name="Save").click()
    expect(part(mine, "Desired").get_by_role("alert")).to_contain_text("asked for “20” meanwhile")
    expect(mine.locator("#desired-value")).to_have_value("30")
    part(mine, "Desired").get_by_role("button", name="Save").click()
    expect(row(mine, "Send interval")).to_contain_text("30 min")


@WIDTHS
def test_observed_state(open_tab: Open, played: Station, width: int) -> None:
    """#3: the send interval, from the two last messages."""
    page = open_tab(width=width)
    played.send({"n": "temperature", "u": "Cel", "v": 20})
    expect(part(page, "Observed")).to_contain_text("between the last two messages")


@WIDTHS
def test_metadata(open_tab: Open, played: Station, width: int) -> None:
    """#4: added, edited by clicking the value, removed by the icon."""
    page = open_tab(width=width)
    metadata = part(page, "Metadata")
    metadata.get_by_label("Key").fill("room")
    metadata.get_by_label("Value").fill("12")
    metadata.get_by_role("button", name="Save").click()
    metadata.get_by_title("Edit the value").click()
    page.locator("#edit-value").fill("13")
    metadata.locator("#metadata-list").get_by_role("button", name="Save").click()
    expect(metadata.get_by_title("Edit the value")).to_have_text("13")
    metadata.get_by_role("button", name="Remove room").click()
    expect(metadata).to_contain_text("No properties yet")


@WIDTHS
def test_links_and_the_refresh_button(open_tab: Open, played: Station, width: int) -> None:
    """#5 documentation, #6 configuration, #7 refresh of the values without the page."""
    page = open_tab(width=width)
    reported = part(page, "Reported")
    reported.get_by_role("link", name="About the Device Twin").click()
    expect(page.get_by_role("heading", name="About the Device Twin")).to_be_in_viewport()
    reported.get_by_role("link", name=re.compile("^Configuration")).click()
    page.wait_for_url("**/flows/")
    page.go_back()
    page.wait_for_url(re.compile("/twin/"))
    page.evaluate("window.same = true")
    with (
        page.expect_response(re.compile(r"/twin/values/$")),
        page.expect_response(re.compile(r"/twin/desired/$")),
        page.expect_response(re.compile(r"/twin/metadata/$")),
    ):
        part(page, "Reported").get_by_role("link", name="Refresh the values").click()
    expect(part(page, "Reported")).to_contain_text("Temperature")
    assert page.evaluate("window.same"), "the page stayed"


@WIDTHS
def test_measurements_are_cleared_after_a_question(open_tab: Open, played: Station, width: int) -> None:
    """W7."""
    page = open_tab(width=width)
    page.get_by_role("link", name="Clear measurements").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"\d values"))
    expect(dialog).to_contain_text("FirmwareVersion")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#twin-clear")).to_be_focused()
    page.get_by_role("link", name="Clear measurements").click()
    dialog.get_by_role("button", name="Clear measurements").click()
    expect(dialog).to_have_count(0)
    expect(part(page, "Reported")).to_contain_text("Waiting for the first message")
    expect(page.get_by_text("values are cleared.")).to_be_visible()


@WIDTHS
def test_device_in_no_flow_is_led_to_one(visit: Visit, width: int) -> None:
    """What to do when no Flow is linked."""
    page = visit(OPERATOR, width=width)
    page.get_by_role("link", name="Roof vent 5").first.click()
    page.get_by_role("link", name="Device Twin", exact=True).click()
    expect(part(page, "Reported")).to_contain_text("This device is in no Flow.")
    page.get_by_role("link", name="Link it to a Flow").click()
    page.wait_for_url("**/flows/")


@WIDTHS
def test_read_only_account_sees_all_parts_and_finds_no_control(open_tab: Open, played: Station, width: int) -> None:
    set_by = open_tab()
    set_value(set_by, "Send interval", lambda field: field.fill("15"))
    expect(row(set_by, "Send interval")).to_contain_text("In the queue")
    page = open_tab(VIEWER, width=width)
    expect(row(page, "Send interval")).to_contain_text("15 min")
    for name in ("Reported", "Desired", "Observed", "Metadata"):
        region = part(page, name)
        expect(region).to_be_visible()
        assert region.locator("form, button, input, select, textarea").count() == 0, name
    assert page.get_by_title("Change the desired value").count() == 0
    assert page.get_by_role("link", name="Clear measurements").count() == 0


def test_tab_without_javascript(visit: Visit, open_tab: Open, played: Station) -> None:
    open_tab().close()
    page = visit(OPERATOR, javascript=False)
    page.goto(played.twin)
    row(page, "Send interval").get_by_title("Change the desired value").click()
    page.locator("#desired-value").fill("0")
    part(page, "Desired").get_by_role("button", name="Save").click()
    expect(row(page, "Send interval")).to_contain_text("1 at least.")
    page.locator("#desired-value").fill("25")
    part(page, "Desired").get_by_role("button", name="Save").click()
    expect(page.get_by_text("“Send interval” is requested.")).to_be_visible()
    expect(row(page, "Send interval")).to_contain_text("25 min")
    page.get_by_role("link", name="Clear measurements").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Clear the measurements?")
    page.get_by_role("button", name="Clear measurements").click()
    expect(page.get_by_text("values are cleared.")).to_be_visible()
