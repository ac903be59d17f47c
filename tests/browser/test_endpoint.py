"""A test endpoint in a browser (F5): what is posted to it appears by itself, and what was opened stays open."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from codec import tokens
from tests.browser.conftest import Portal, Visit

pytestmark = pytest.mark.browser
BODIES = [b'[{"bn":"urn:dev:IMEI:490154203237518:","n":"temperature","v":%d}]' % value for value in (21, 22)]


@pytest.mark.parametrize("width", [390, 1440])
def test_what_arrives_appears_and_stays_open(visit: Visit, portal: Portal, width: int) -> None:
    page = visit("operator@example.com", width=width)
    page.goto("/destinations/add/?kind=test")
    page.get_by_label("Project").select_option(index=1)
    page.get_by_label("Name").fill(f"Workbench {width}")
    page.get_by_role("button", name="Add destination").click()
    address, secret = (page.locator(".secret .identifier code").nth(number).inner_text() for number in (0, 1))
    page.get_by_role("link", name="I have copied it").click()
    arrived = page.locator("#destination-arrived")
    expect(arrived).to_contain_text("Nothing here yet")

    def post(body: bytes, token: str) -> None:
        headers = {"Content-Type": "application/json", "Things-Message-Token": token}
        assert portal.post(urlsplit(address).path, body, headers)[0] == 204

    post(BODIES[0], tokens.message_token(BODIES[0], secret))
    first = arrived.locator("tr").filter(has_text="Fits")
    first.get_by_text("Look").click()
    expect(first.locator("pre")).to_have_text(BODIES[0].decode())
    post(BODIES[1], "0" * 64)
    expect(arrived.locator("tbody tr")).to_have_count(2)
    expect(arrived.locator("tr").filter(has_text="Does not fit")).to_have_count(1)
    expect(first.locator("pre")).to_be_visible()
    expect(first).to_contain_text(re.compile("Things-Message-Token", re.IGNORECASE))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
