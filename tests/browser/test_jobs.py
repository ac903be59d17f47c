"""Many devices at once (D4), in the running portal: from the list over the question to the job and its report."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
OPERATOR = "operator@example.com"


def bar(page: Page, action: str) -> None:
    page.get_by_role("group", name="Actions for the chosen devices").get_by_role(
        "button", name=action, exact=True
    ).click()


def settled(page: Page, done: int) -> None:
    """The job's page tells by itself that it has ended."""
    page.wait_for_url(re.compile(r"/devices/jobs/\d+/$"))
    progress = page.get_by_role("region", name="Progress")
    expect(progress.get_by_text("Finished").first).to_be_visible()
    expect(progress.get_by_role("link", name=f"Done {done}")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()


def test_ticked_rows_are_deactivated_and_all_that_match_activated(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?q=House+2")
    for box in page.get_by_role("checkbox", name="Choose House 2").all():
        box.check()
    bar(page, "Deactivate")
    expect(page.get_by_text("2 chosen devices")).to_be_visible()
    page.get_by_role("button", name="Deactivate: 2 devices").click()
    settled(page, 2)
    expect(page.locator("#job-items").get_by_text("Done")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("link", name="Report (CSV)").click()
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert [line.split(",")[3] for line in lines] == ['"Outcome"', '"Done"', '"Done"']

    page.goto("/devices/?q=House&processing=deactivated&select=all")
    bar(page, "Activate")
    expect(page.get_by_text("all devices that match “House”")).to_be_visible()
    page.get_by_role("button", name="Activate: 2 devices").click()
    settled(page, 2)
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("row", name=re.compile("Activate Finished 2 of 2"))).to_be_visible()


def test_numbers_follow_the_fields(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?q=House&select=page")
    bar(page, "Link to a Flow")
    start = page.locator("#bulk-preview").get_by_role("button", name=re.compile("^Link to a Flow"))
    expect(start).to_be_disabled()
    page.get_by_label("New Flow").press_sequentially("Everything")
    page.get_by_label("Project").select_option(index=1)
    expect(start).to_be_enabled()
    expect(start).to_have_text(re.compile(r"Link to a Flow: \d+ devices?"))
    page.get_by_label("New Flow").fill("")
    expect(start).to_be_disabled()


def test_whole_way_without_script(visit: Visit) -> None:
    page = visit(OPERATOR, javascript=False)
    page.goto("/devices/?q=Trailer&select=all")
    bar(page, "Unlink from a Flow")
    flow = page.get_by_label("Flow")
    flow.select_option(index=1)
    page.get_by_role("button", name="Check").click()
    page.get_by_role("button", name=re.compile(r"Unlink from a Flow: \d+ devices?")).click()
    page.wait_for_url(re.compile(r"/devices/jobs/\d+/$"))
    expect(page.get_by_role("region", name="Progress")).to_be_visible()
    page.get_by_role("link", name="All").click()
    expect(page.locator("#job-items")).to_contain_text("Trailer")
