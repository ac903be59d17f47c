"""A codec in the running portal (T5), the whole way: written, an error with its line, tried out on bytes and on real
messages, kept as a test case, put to use and gone back from; on a desk and on a phone, with and without script."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
ADMINISTRATOR, VIEWER = "administrator@example.com", "viewer@example.com"
PROJECT = "Westland Greenhouses"
SOURCE = """\
function decodeUplink(input) {
  console.log(input.bytes.length);
  return { data: { level: input.bytes[0] * 2 } };
}
"""


def add_codec(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Types").click()
    page.get_by_role("link", name="Codecs", exact=True).click()
    page.get_by_role("link", name="Add codec").first.click()
    page.get_by_label("Project").select_option(label=PROJECT)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add codec").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Not in use")


def try_out(page: Page) -> None:
    page.locator("#try-out").click()


@pytest.mark.parametrize("width", [1440, 390])
def test_codec_from_writing_to_use_and_back(visit: Visit, width: int) -> None:
    page = visit(ADMINISTRATOR, width=width)
    add_codec(page, f"Level {width}")
    source = page.get_by_role("textbox", name="Source")
    source.fill(SOURCE.replace("* 2 } }", "* 2 } "))
    page.get_by_label("Bytes").fill("0x05 06")
    try_out(page)
    problem = page.locator("#codec-keep").get_by_role("alert")
    expect(problem).to_be_visible()
    problem.get_by_role("link", name=re.compile(r"Line [34]")).click()
    expect(source).to_be_focused()
    assert source.evaluate("area => area.value.slice(0, area.selectionStart).split('\\n').length") in {3, 4}
    expect(page.locator(".source-lines .here")).to_have_count(1)

    source.fill(SOURCE)
    try_out(page)
    result = page.locator(".codec-result")
    expect(result.get_by_role("row", name="level 10")).to_be_visible()
    expect(result).to_contain_text("Took")
    # What was printed.
    expect(result.locator("pre").last).to_have_text(re.compile(r"2\s*"))
    page.locator("#keep-case").click()
    cases = page.locator("#codec-cases")
    expect(cases).to_contain_text("All pass")
    expect(page.locator("#toasts")).to_contain_text("The test case 05 06 on FPort 1 is kept.")

    page.get_by_label("With the last ten real messages of").fill("House 1 – north bed")
    page.locator("#try-messages").click()
    table = page.locator("#codec-messages table")
    expect(table.get_by_role("columnheader", name="level")).to_be_visible()
    expect(result.get_by_role("row", name="level 10")).to_be_visible()
    octets = table.get_by_role("button").first
    octets.click()
    expect(page.get_by_label("Bytes")).not_to_have_value("0x05 06")
    expect(source).to_have_value(SOURCE)

    page.get_by_label("What changed").fill("Twice")
    page.locator("#keep-version").click()
    expect(page.locator("#codec-versions")).to_contain_text("Twice")
    page.locator("#use-newest").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 2 in use")

    source.fill(SOURCE.replace("* 2", "* 3"))
    page.locator("#keep-version").click()
    page.locator("#use-newest").click()
    expect(page.locator("#codec-keep").get_by_role("alert")).to_contain_text("1 of 1 test cases does not pass")
    cases.get_by_text("Expected (−) and what came (+)").click()
    expect(cases.locator("tr.new")).to_contain_text('"level": 15')
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 2 in use")
    cases.get_by_role("link", name="05 06 on FPort 1").click()
    page.get_by_label("Expected").fill('{"data": {"level": 15}}')
    page.get_by_role("button", name="Keep test case").click()
    page.locator("#use-newest").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 3 in use")
    cases.get_by_role("link", name="05 06 on FPort 1").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Go back to it").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 2 in use")
    page.get_by_role("link", name="Difference").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("From version 2 to 3")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_keyboard_is_not_caught_in_the_text(visit: Visit) -> None:
    page = visit(ADMINISTRATOR)
    add_codec(page, "Keys")
    source = page.get_by_role("textbox", name="Source")
    source.fill("a\nb")
    source.press("Control+Home")
    source.press("Tab")
    expect(source).to_have_value("  a\nb")
    source.press("Control+a")
    source.press("Tab")
    expect(source).to_have_value("    a\n  b")
    source.press("Shift+Tab")
    expect(source).to_have_value("  a\nb")
    expect(page.locator(".source-lines")).to_have_text(re.compile(r"1\s2\s*"))
    source.press("Escape")
    source.press("Tab")
    expect(source).not_to_be_focused()
    expect(source).to_have_value("  a\nb")
    # Enter in a field tries out; it keeps nothing.
    page.get_by_label("Bytes").fill("05")
    page.get_by_label("Bytes").press("Enter")
    expect(page.locator(".codec-result")).to_be_visible()
    expect(page.locator("#codec-versions .tab-count")).to_have_text("1")


def test_two_people_at_once(visit: Visit) -> None:
    page = visit(ADMINISTRATOR)
    add_codec(page, "Shared")
    other = visit(ADMINISTRATOR)
    other.goto(page.url)
    other.get_by_role("textbox", name="Source").fill(SOURCE)
    other.locator("#keep-version").dblclick()
    expect(other.locator("#codec-versions .tab-count")).to_have_text("2")
    mine = SOURCE.replace("* 2", "* 4")
    page.get_by_role("textbox", name="Source").fill(mine)
    page.locator("#keep-version").click()
    told = page.locator("#codec-keep").get_by_role("alert")
    expect(told).to_contain_text("while you were writing")
    expect(told.locator("tr.gone")).to_contain_text("* 2")
    expect(told.locator("tr.new")).to_contain_text("* 4")
    expect(page.get_by_role("textbox", name="Source")).to_have_value(mine)
    page.locator("#keep-version").click()
    expect(page.locator("#codec-versions .tab-count")).to_have_text("3")


def test_whole_way_without_script(visit: Visit) -> None:
    page = visit(ADMINISTRATOR, javascript=False)
    add_codec(page, "Plain")
    source = page.locator("#source")
    source.fill(SOURCE.replace("* 2 } }", "* 2 } "))
    page.get_by_label("Bytes").fill("05")
    try_out(page)
    expect(page.locator(".source-excerpt .here").first).to_be_visible()
    source.fill(SOURCE)
    try_out(page)
    expect(page.locator(".codec-result")).to_contain_text("level")
    page.locator("#keep-case").click()
    expect(page.get_by_text("The test case 05 on FPort 1 is kept.")).to_be_visible()
    expect(source).to_have_value(SOURCE)
    page.locator("#keep-version").click()
    expect(page.get_by_text("Version 2 is kept.")).to_be_visible()
    page.locator("#use-newest").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 2 in use")

    viewer = visit(VIEWER)
    viewer.goto(page.url)
    expect(viewer.get_by_role("heading", level=1)).to_contain_text("Version 2 in use")
    assert viewer.locator("main").get_by_role("button").count() == 0
