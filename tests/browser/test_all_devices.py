"""All Devices in a browser (D1–D3, D11): pop-ups, rows that open, typing a search, filters as chips, columns, views."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"


def row(page: Page, name: str) -> str:
    """The selector of the row of a device."""
    return f"tr[data-href]:has(a:text-is('{name}'))"


def test_flows_pop_up_on_hover_and_on_focus(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?q=House+1+–+north")
    number = page.locator(row(page, "House 1 – north bed")).locator(".tip", has_text="1").last
    names = number.get_by_role("tooltip")
    number.hover()
    expect(names).to_have_css("clip-path", "none")
    expect(names).to_contain_text("Climate")
    page.mouse.move(0, 0)
    expect(names).not_to_have_css("clip-path", "none")
    number.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(names).to_have_css("clip-path", "none")
    page.keyboard.press("Escape")
    expect(names).not_to_have_css("clip-path", "none")


def test_row_opens_also_in_a_new_tab_and_lets_text_be_selected(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?q=House+1+–+north")
    cell = page.locator(row(page, "House 1 – north bed")).locator("td").nth(3)
    with page.context.expect_page() as opened:
        cell.click(modifiers=["Control"])
    expect(opened.value).to_have_url(re.compile(r"/devices/\d+/"))
    opened.value.close()
    # A selection that ends in the row is no click on it.
    identifier = page.locator("tr[data-href] .hex, tr[data-href] code, tr[data-href] td:nth-child(4)").first
    box = identifier.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert page.evaluate("String(getSelection())").strip()
    expect(page).to_have_url(re.compile(r"/devices/\?q="))
    page.evaluate("getSelection().removeAllRanges()")
    cell.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("House 1 – north bed")
    page.go_back()
    expect(page.locator("[data-search]")).to_have_value("House 1 – north")


def test_search_follows_the_typing_and_stands_in_the_address(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?sort=-name")
    page.keyboard.press("/")
    page.keyboard.type("00:59-ac 0000 01 10 04")
    expect(page.locator("tr[data-href]")).to_have_count(1)
    expect(page.locator("tr[data-href]")).to_contain_text("House 3 – nursery")
    expect(page).to_have_url(re.compile("q=.*sort=-name|sort=-name.*q="))
    page.reload()
    expect(page.locator("tr[data-href]")).to_have_count(1)


def test_filter_is_a_chip_that_is_taken_off_and_values_are_columns(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?where=reported:temperature%3E10&col=name&col=reported:temperature&sort=-reported:temperature")
    rows = page.locator("tr[data-href]")
    expect(rows.first).to_be_visible()
    shown = [float(text.split()[0]) for text in rows.locator("td:last-child").all_inner_texts()]
    assert len(shown) >= 4
    assert shown == sorted(shown, reverse=True)
    before = len(shown)
    page.get_by_role("link", name=re.compile("Temperature > 10")).click()
    expect(page).not_to_have_url(re.compile("where="))
    expect(rows.nth(before)).to_be_visible()


def test_view_is_kept_shared_and_used_by_a_read_only_account(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?q=House&col=name&col=last_message")
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("link", name=re.compile("Keep as a new view")).click()
    page.get_by_label("Name", exact=False).first.fill("Houses alone")
    if page.locator("select[name=project]").count():
        page.locator("select[name=project]").select_option(label="Westland Greenhouses")
    page.locator("input[name=shared]").first.check()
    page.get_by_role("button", name=re.compile("Keep|Save")).click()
    expect(page).to_have_url(re.compile(r"/devices/views/\d+/|view=\d+"))
    other = visit(VIEWER)
    other.goto("/devices/")
    other.get_by_text("Views", exact=True).click()
    other.get_by_role("link", name="Houses alone").click()
    expect(other.locator("tr[data-href]").first).to_contain_text("House")
    expect(other.get_by_role("columnheader")).to_have_count(2)
    expect(other.get_by_role("checkbox")).to_have_count(0)
    expect(other.get_by_role("link", name="Add device")).to_have_count(0)
