"""The charts of a LoRa device in a browser (L8): drawn at both widths and in both themes, walked through, live."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"
# Of the demo, with messages of some days.
BUSY = "House 1 – north bed"
COUNT = 7

# Whether each drawing stands within the page and can be read.
WITHIN = """width => [...document.querySelectorAll("#charts svg.drawing")].map(each => each.getBoundingClientRect())
    .every(box => box.left >= 0 && box.right <= width && box.height > 60)"""
# The colours of the lines and of what is filled.
INKS = """() => [...document.querySelectorAll("#charts svg path, #charts svg polyline, #charts svg rect")]
    .map(each => getComputedStyle(each).stroke + getComputedStyle(each).fill)"""


def charts(page: Page) -> Locator:
    page.goto(f"/devices/?q={BUSY}")
    page.goto(f"{page.get_by_role('link', name=BUSY).first.get_attribute('href')}lora/history/")
    page.get_by_role("link", name="Charts").click()
    return page.get_by_role("region", name="Charts")


@pytest.mark.parametrize("width", [390, 1440])
def test_charts_are_drawn_within_the_page_in_the_colours_of_the_theme(visit: Visit, width: int) -> None:
    inks = []
    for dark in (False, True):
        page = visit(VIEWER, width=width, dark=dark)
        found = charts(page)
        expect(found.get_by_role("figure")).to_have_count(COUNT)
        assert page.evaluate(WITHIN, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        inks.append(set(page.evaluate(INKS)))
    assert inks[0] and inks[1] and inks[0] != inks[1]


def test_ranges_are_walked_through_and_back_without_leaving_the_page(visit: Visit) -> None:
    page = visit(VIEWER)
    found = charts(page)
    page.evaluate("window.stayed = true")
    walked = [page.url]
    found.get_by_role("link", name="Month", exact=True).click()
    expect(page).to_have_url(re.compile("range=month"))
    expect(found.locator(".segments [aria-current]")).to_have_text("Month")
    walked.append(page.url)
    found.get_by_role("link", name="Day", exact=True).click()
    expect(page).to_have_url(re.compile("range=day"))
    walked.append(page.url)
    found.get_by_role("link", name="Before").click()
    expect(page).to_have_url(re.compile(r"end=\d{4}-\d\d-\d\d"))
    expect(found.get_by_role("link", name="After")).to_be_visible()
    assert page.evaluate("window.stayed")
    for address in reversed(walked):
        page.evaluate("history.back()")  # htmx may load the page anew at that, which page.go_back() takes for a failure
        expect(page).to_have_url(address)
        expect(found.get_by_role("figure")).to_have_count(COUNT)


def test_what_ends_now_is_drawn_again_as_messages_come(visit: Visit) -> None:
    page = visit(OPERATOR)
    found = charts(page)
    expect(page.locator("[sse-connect]")).to_have_attribute("data-stream", "on")
    page.evaluate("document.getElementById('charts').dataset.old = ''")
    page.evaluate("htmx.trigger('#charts', 'sse:frames')")
    expect(page.locator("#charts:not([data-old])")).to_be_visible()
    expect(found.get_by_role("figure")).to_have_count(COUNT)


def test_charts_without_javascript(visit: Visit) -> None:
    page = visit(VIEWER, javascript=False)
    found = charts(page)
    found.get_by_role("link", name="Month", exact=True).click()
    expect(page).to_have_url(re.compile("range=month"))
    found.get_by_role("link", name="As a table").first.click()
    expect(found.get_by_role("table")).to_be_visible()
    with page.expect_download() as taken:
        found.get_by_role("link", name=re.compile("^CSV")).first.click()
    assert taken.value.suggested_filename.endswith(".csv")
