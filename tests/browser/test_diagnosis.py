"""How a LoRa device does, in a browser (L6): the findings come with their messages, and stay as a person left them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"
# Of the demo: its firmware asks an answer to each message; and one which does not hear that it may join, a problem.
CONFIRMS, UNHEARD, HEALTHY = "House 3 – nursery", "Cold store", "House 1 – north bed"
WIDTHS = pytest.mark.parametrize("width", [390, 1440])


def history(page: Page, name: str) -> str:
    page.goto(f"/devices/?q={name}")
    address = f"{page.get_by_role('link', name=name).first.get_attribute('href')}lora/history/"
    page.goto(address)
    return address


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="How the device does")


@WIDTHS
@pytest.mark.parametrize("dark", [False, True])
def test_finding_leads_to_the_messages_that_show_it(visit: Visit, width: int, dark: bool) -> None:
    page = visit(VIEWER, width=width, dark=dark)
    history(page, CONFIRMS)
    finding = panel(page).locator("#finding-confirmed")
    expect(finding).to_contain_text(re.compile(r"of \d+ messages were confirmed"))
    expect(finding).not_to_have_attribute("open", "")
    finding.locator("summary").click()
    expect(finding.get_by_text("At most one in ten may be confirmed")).to_be_visible()
    # They are worked out after the page has come.
    shows = finding.get_by_role("link", name=re.compile(r"^FCntUp \d+$"))
    expect(shows).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shows.first.click()
    expect(page.get_by_role("region", name="Content")).to_be_visible()
    expect(page.get_by_text("Confirmed", exact=True).first).to_be_visible()


def test_what_a_person_opened_or_closed_stays_so_when_it_is_read_again(visit: Visit) -> None:
    page = visit(OPERATOR)
    history(page, UNHEARD)
    worst = panel(page).locator("#finding-accept-unheard")
    expect(worst.get_by_role("link", name="Join request").first).to_be_visible()  # a problem comes open
    guide = panel(page).locator("#diagnosis-guide")
    worst.locator("summary").click()
    guide.locator("summary").click()
    page.evaluate("document.getElementById('diagnosis').dataset.old = ''")
    page.evaluate("htmx.trigger('#diagnosis', 'sse:frames')")
    expect(page.locator("#diagnosis:not([data-old])")).to_be_visible()
    expect(worst).not_to_have_attribute("open", "")
    expect(guide.get_by_role("heading", name="Normal operation")).to_be_visible()


@WIDTHS
def test_steps_are_told_in_order_and_where_the_device_is(visit: Visit, width: int) -> None:
    page = visit(VIEWER, width=width)
    history(page, HEALTHY)
    steps = panel(page).get_by_role("list", name="Steps of the join ceremony").get_by_role("listitem")
    expect(steps).to_have_text([
        re.compile(r"Join request \(done\)"), re.compile(r"Join accept \(done\)"),
        re.compile(r"First message \(done\)"), re.compile(r"Settings from the network \(done\)"),
        re.compile(r"Normal operation \(done\)"),
    ])  # fmt: skip
    expect(steps.last).to_have_attribute("aria-current", "step")
    expect(panel(page).get_by_text("No findings")).to_be_visible()
    panel(page).locator("#diagnosis-guide summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_javascript_the_messages_are_a_link_away(visit: Visit) -> None:
    page = visit(VIEWER, javascript=False)
    history(page, CONFIRMS)
    panel(page).get_by_role("link", name="With its messages").click()
    panel(page).locator("#finding-confirmed summary").click()
    expect(panel(page).get_by_role("link", name=re.compile(r"^FCntUp \d+$"))).to_have_count(5)
