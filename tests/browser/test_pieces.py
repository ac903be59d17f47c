"""What only a browser shows of the pages' pieces: focus after dialogs, the live mark, fields that come and go."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
OPERATOR = "operator@example.com"
PROJECT = "Westland Greenhouses"


def open_device(page: Page, name: str, tab: str) -> None:
    page.goto(f"/devices/?q={name}")
    page.goto(f"{page.get_by_role('link', name=name).get_attribute('href')}{tab}")


@pytest.mark.parametrize(
    ("control", "dialog"), [("processing-control", "deactivate-dialog"), ("connection-control", "switch-dialog")]
)
def test_escape_closes_a_dialog_and_the_focus_goes_back(visit: Visit, control: str, dialog: str) -> None:
    page = visit(OPERATOR)
    open_device(page, "House 1 – north bed", "device/")
    opener, opened = page.locator(f"#{control}"), page.locator(f"#{dialog}")
    opener.press("Enter")
    expect(opened).to_be_visible()
    assert page.evaluate(f"document.activeElement.closest('#{dialog}') !== null")
    page.keyboard.press("Escape")
    expect(opened).to_be_hidden()
    expect(opener).to_be_focused()
    # The cards are read again while the dialog is open: the control is another element by then.
    opener.press("Enter")
    expect(opened).to_be_visible()
    page.evaluate("document.getElementById('device-cards').dataset.old = ''")
    page.evaluate("""htmx.ajax("GET", document.getElementById("device-cards").getAttribute("hx-get"),
        {target: "#device-cards", swap: "outerHTML"})""")
    expect(page.locator("#device-cards[data-old]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_live_mark_stays_true_when_its_part_is_swapped(visit: Visit) -> None:
    page = visit(OPERATOR)
    open_device(page, "House 1 – north bed", "twin/")
    stream = page.locator("[sse-connect]")
    expect(stream).to_have_attribute("data-stream", "on")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stream.evaluate("element => htmx.trigger(element, 'htmx:sseError', {})")
    expect(page.get_by_text("Not live", exact=True)).to_be_visible()
    page.evaluate("document.getElementById('twin-values').dataset.old = ''")
    page.get_by_role("link", name="Refresh the values").click()
    expect(page.locator("#twin-values[data-old]")).to_have_count(0)
    expect(page.get_by_text("Not live", exact=True)).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_hidden()


def test_types_cannot_be_chosen_while_those_of_another_project_come(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"/devices/add/\?.*project="), hold)
    with page.expect_request(re.compile("project=")):
        page.get_by_label("Project").select_option(label=PROJECT)
    expect(page.get_by_label("Device type")).to_be_disabled()
    held.pop().continue_()
    expect(page.get_by_label("Device type")).to_be_enabled()
    page.get_by_label("Device type").select_option(label="Own Internet device")


def test_choice_made_before_the_scripts_have_come_counts(visit: Visit) -> None:
    """A slow network: the page is there and its scripts are not."""
    page = visit(OPERATOR)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"/vendor/htmx\.min\..*js"), hold)
    with page.expect_request(re.compile("htmx")):
        page.goto("/devices/add/", wait_until="commit")
    page.get_by_label("Project").select_option(label=PROJECT)
    expect(page.get_by_label("Device type").locator("option")).to_have_count(1)
    assert page.evaluate("typeof htmx") == "undefined"
    held.pop().continue_()
    page.get_by_label("Device type").select_option(label="Own Internet device")


def test_iccid_is_asked_only_for_an_early_access_sim(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    page.get_by_label("Project").select_option(label=PROJECT)
    page.get_by_label("Device type").select_option(label="Own M2M device")
    page.get_by_label("Name", exact=False).first.fill("Early access")
    page.get_by_role("button", name="Add device").click()
    iccid = page.get_by_label("ICCID of the early access SIM")
    expect(iccid).to_be_hidden()
    page.locator("select[name=sim]").select_option(label="Add early access SIM")
    expect(iccid).to_be_visible()
    page.get_by_role("button", name="Add network info").click()
    expect(iccid).to_be_visible()
    page.locator("select[name=sim]").select_option(index=1)
    expect(iccid).to_be_hidden()


@pytest.mark.parametrize("javascript", [True, False])
def test_phone_sorts_with_a_menu(visit: Visit, javascript: bool) -> None:
    page = visit(OPERATOR, width=390, javascript=javascript)
    page.goto("/devices/")
    rows = page.locator("td.m-main a")
    names = rows.all_inner_texts()
    page.locator(".sort-menu summary").click()
    page.locator(".sort-menu").get_by_role("link", name="Name").click()
    expect(page).to_have_url(re.compile("sort=-name"))
    expect(rows.first).to_have_text(names[-1])
    assert rows.all_inner_texts() == names[::-1]


def test_sorting_by_keyboard_keeps_the_focus(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/")
    page.locator("#sort-by-type").press("Enter")
    expect(page).to_have_url(re.compile("sort=type"))
    expect(page.locator("th[aria-sort=ascending] a")).to_be_focused()
    expect(page.locator(".sort-menu")).to_be_hidden()


def test_property_is_edited_where_it_stands_and_keeps_the_focus(visit: Visit) -> None:
    page = visit(OPERATOR)
    open_device(page, "House 1 – north bed", "twin/")
    panel = page.locator("#twin-metadata")
    panel.get_by_label("Key").fill("room")
    panel.get_by_label("Value").fill("12")
    page.keyboard.press("Enter")
    expect(panel.get_by_label("Key")).to_be_focused()
    value, edited = panel.get_by_role("link", name="12"), panel.get_by_label("room", exact=True)
    value.press("Enter")
    expect(edited).to_be_focused()
    panel.get_by_role("link", name="Cancel").click()
    expect(value).to_be_focused()
    value.press("Enter")
    expect(edited).to_be_focused()
    edited.fill("13")
    page.keyboard.press("Enter")
    expect(panel.get_by_role("link", name="13")).to_be_focused()
    panel.get_by_role("button", name="Remove room").click()
    expect(panel.get_by_role("link", name="13")).to_have_count(0)
