"""The LoRa data history in a browser (L3, L5, L7): live rows, pause, search, load more, coming back; both widths.

The device is one that the wizard adds: the simulated network has it send every few seconds.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Portal, Visit, sign_in
from tests.browser.test_story import add_device, finish

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"
# Of the demo, with messages of some days.
BUSY = "House 1 – north bed"
# Rows of a page; what arrives while it stands there comes on top of them.
PAGE = 50
WIDTHS = pytest.mark.parametrize("width", [390, 1440])


@pytest.fixture(scope="module")
def sending(browser: Browser, portal: Portal) -> str:
    """The address of the history of a device that sends every few seconds."""
    context = browser.new_context(base_url=portal.url, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(20_000)
    sign_in(page, OPERATOR)
    add_device(page, "Own LoRa device (programmable)", "History LoRa")
    page.get_by_role("button", name="Generate and register").click()
    address = finish(page, "History LoRa")
    context.close()
    return f"{address}lora/history/"


def rows(page: Page) -> Locator:
    return page.locator("#frames-rows > tr[id^='f-']")


def ids(page: Page) -> list[str]:
    found: list[str] = rows(page).evaluate_all("rows => rows.map(row => row.id)")
    return found


def in_order(found: list[str]) -> bool:
    places = [tuple(int(part) for part in one.removeprefix("f-").split("-", 1)) for one in found]
    return len(set(places)) == len(places) and places == sorted(places, reverse=True)


def busy(page: Page) -> str:
    page.goto("/devices/")
    page.get_by_role("link", name=BUSY).first.click()
    page.wait_for_url(re.compile(r"/devices/\d+/"))
    match = re.search(r"/devices/\d+/", page.url)
    assert match
    return f"{match[0]}lora/history/"


@WIDTHS
def test_row_arrives_waits_while_paused_and_comes_after(visit: Visit, sending: str, width: int) -> None:
    page = visit(VIEWER, width=width)
    page.goto(sending)
    expect(rows(page).first).to_be_visible()
    newest = ids(page)[0]
    expect(rows(page).first).not_to_have_id(newest)

    # What is opened stays open, and what comes is put above it.
    rows(page).last.get_by_role("link").first.click()
    opened = page.locator("tr.detail")
    expect(opened).to_be_visible()

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    held = ids(page)
    expect(page.locator("#frames-live")).to_contain_text(re.compile(r"\d+ new"))
    assert ids(page) == held
    page.get_by_role("button", name="Show them and go on").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(rows(page).first).not_to_have_id(held[0])
    found = ids(page)
    assert set(held) < set(found) and in_order(found)
    expect(opened).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@WIDTHS
def test_search_by_the_filters_and_back(visit: Visit, width: int) -> None:
    page = visit(VIEWER, width=width)
    page.goto(busy(page))
    expect(rows(page).nth(PAGE - 1)).to_be_visible()
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Direction", exact=True).select_option(label="Downlink")
    page.get_by_label("With MAC commands").check()
    page.locator("#frames-filter").get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile(r"\?direction=down&mac=1$"))
    expect(page.get_by_role("group", name="Filters").get_by_text("With MAC commands")).to_be_visible()
    # In one look: rows may come meanwhile.
    texts = rows(page).all_text_contents()
    assert texts and all("Downlink" in text and "MAC" in text for text in texts)
    expect(page.get_by_label("With MAC commands")).to_be_checked()  # the panel stays open

    page.get_by_label("FPort").fill("x")
    page.locator("#frames-filter").get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not a whole number from 0 to 255.")
    page.get_by_label("FPort").fill("")
    page.locator("#frames-filter").get_by_role("button", name="Show").click()
    expect(rows(page).first).to_contain_text("Downlink")
    page.get_by_role("group", name="Filters").get_by_role("link", name=re.compile("With MAC commands")).click()
    page.wait_for_url(re.compile(r"\?direction=down$"))
    page.get_by_role("link", name="Joins").click()
    expect(rows(page).filter(has_text="Uplink").first).to_contain_text("Join request")
    page.go_back()
    expect(page.get_by_role("group", name="Filters")).to_contain_text("Direction Downlink")
    page.wait_for_load_state()
    expect(rows(page).first).to_contain_text("Downlink")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@WIDTHS
def test_load_more_and_coming_back_to_the_same_place(visit: Visit, width: int) -> None:
    page = visit(VIEWER, width=width)
    page.goto(busy(page))
    for loaded in (2, 3):
        page.get_by_role("link", name="Load more").click()
        # At least: the device may send meanwhile, which puts a row above them.
        expect(rows(page).nth(loaded * PAGE - 1)).to_be_visible()
    held = ids(page)
    assert in_order(held)
    place = page.locator(f"[id='{held[140]}']")
    place.scroll_into_view_if_needed()
    page.goto(f"{page.url.split('lora/')[0]}device/")
    page.go_back()
    assert set(held) <= set(ids(page))
    expect(place).to_be_in_viewport()
    page.reload()
    assert set(held) <= set(ids(page))


def test_signal_and_signs_are_read_out_and_shown_on_focus(visit: Visit) -> None:
    page = visit(VIEWER)
    page.goto(busy(page))
    uplink = rows(page).filter(has_text="Uplink").first
    bars = uplink.locator(".tip", has=page.locator(".signal-bars"))
    expect(bars.get_by_role("img", name=re.compile("excellent|good|fair|weak"))).to_be_visible()
    bars.focus()
    expect(bars.get_by_role("tooltip")).to_contain_text(re.compile(r"\w+: ESP -\d+ dBm, RSSI -\d+ dBm"))
    page.get_by_text("What the signs mean").click()
    expect(page.get_by_text("The message carries MAC commands")).to_be_visible()


def test_history_without_javascript(visit: Visit) -> None:
    page = visit(VIEWER, javascript=False)
    page.goto(busy(page))
    expect(page.locator("#frames-pause")).to_be_hidden()
    first = ids_without_script(page)
    page.get_by_role("link", name="Load more").click()
    second = ids_without_script(page)
    assert len(first) == len(second) == 50 and not set(first) & set(second)
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Message", exact=True).select_option(label="Join request")
    page.locator("#frames-filter").get_by_role("button", name="Show").click()
    expect(page.locator("#frames-rows")).to_contain_text("Join request")


def ids_without_script(page: Page) -> list[str]:
    return re.findall(r'<tr id="(f-[\d-]+)"', page.content())


@WIDTHS
def test_messages_of_a_range_as_a_file(visit: Visit, width: int) -> None:
    page = visit(VIEWER, width=width)
    page.goto(f"{busy(page)}?direction=up")
    page.get_by_role("link", name="Export").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    with page.expect_download() as taken:
        page.get_by_role("button", name="CSV").click()
    text = taken.value.path().read_text("utf-8-sig")
    assert taken.value.suggested_filename.endswith(".csv")
    assert "uplink" in text and "downlink" not in text
