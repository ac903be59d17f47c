"""The chart of a value's history in a browser (W8): drawn, live, walked through by keyboard, in both themes."""

from __future__ import annotations

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Portal, Visit
from tests.browser.test_story import add_device, finish, link_to_flow, secret, token

pytestmark = pytest.mark.browser
OPERATOR = "operator@example.com"

# Whether a pixel of the colour that the element has with this data-ink stands on the chart's canvas.
PAINTED = """ink => {
    const chart = document.getElementById("history-chart"), canvas = chart.querySelector("canvas");
    if (!canvas) return false;
    const probe = document.createElement("i");
    probe.dataset.ink = ink;
    chart.append(probe);
    const wanted = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number);
    probe.remove();
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] === 255 && wanted.every((part, index) => Math.abs(part - data[at + index]) < 2)) return true;
    }
    return false;
}"""


def open_twin(page: Page, name: str) -> None:
    page.goto(f"/devices/?q={name}")
    page.goto(f"{page.get_by_role('link', name=name).get_attribute('href')}twin/")


@pytest.mark.parametrize("dark", [False, True])
def test_chart_is_drawn_in_the_colours_of_the_theme(visit: Visit, dark: bool) -> None:
    page = visit(OPERATOR, dark=dark)
    open_twin(page, "House 1 – north bed")
    expect(page.get_by_role("img", name=re.compile("Last 24 hours: about .* °C"))).to_be_visible()
    expect(page.get_by_text("Typical interval")).to_be_visible()
    # Read again, the values keep their sparklines, which come a moment later.
    page.evaluate("document.getElementById('twin-values').dataset.old = ''")
    page.get_by_role("link", name="Refresh the values").click()
    expect(page.locator("#twin-values[data-old]")).to_have_count(0)
    assert page.locator("svg.sparkline").count() == 5
    page.get_by_role("link", name="Temperature").click()
    chart = page.locator("#history-chart")
    expect(chart.locator("canvas")).to_be_visible()
    assert page.evaluate(PAINTED, "line")
    page.get_by_role("link", name="Week", exact=True).click()
    expect(page).to_have_url(re.compile("range=week"))
    expect(page.locator(".segments [aria-current]")).to_have_text("Week")
    expect(chart.locator("canvas")).to_be_visible()
    # The other theme, chosen on the page: the chart is drawn again in its colours.
    page.locator("summary", has_text="Olga Operator").click()
    page.get_by_role("button", name="Light" if dark else "Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light" if dark else "dark")
    page.wait_for_function(PAINTED, arg="line")


def test_arrow_keys_say_each_value(visit: Visit) -> None:
    page = visit(OPERATOR)
    open_twin(page, "House 1 – north bed")
    page.get_by_role("link", name="Temperature").click()
    chart, says = page.locator("#history-chart"), page.locator("#history-says")
    expect(chart.locator("canvas")).to_be_visible()
    chart.focus()
    page.keyboard.press("End")
    expect(says).to_have_text(re.compile(r"\d{4}, \d\d:\d\d:\d\d: [\d.]+ °C"))
    last = says.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(says).not_to_have_text(last)
    page.keyboard.press("ArrowRight")
    expect(says).to_have_text(last)
    page.keyboard.press("Escape")
    expect(says).to_be_empty()


def test_new_value_comes_into_the_chart_and_the_table_by_itself(visit: Visit, portal: Portal) -> None:
    page = visit(OPERATOR)
    add_device(page, "Own Internet device", "Chart of states")
    base = page.get_by_label("DvnUUID").input_value()
    page.get_by_role("button", name="Add network info").click()
    shared_secret = secret(page, "Shared secret")
    address = finish(page, "Chart of states")
    link_to_flow(page, address, "Climate")

    def send(state: bool) -> None:
        body = json.dumps([{"bn": f"urn:dev:DVNUUID:{base}:", "bt": time.time(), "n": "open", "vb": state}]).encode()
        headers = {"Things-Message-Token": token(body, shared_secret)}
        assert portal.post("/ingestion/ip/senml/v1", body, headers)[0] // 100 == 2

    send(False)
    page.goto(f"{address}twin/")
    page.get_by_role("link", name="Open", exact=True).click()
    table = page.locator("#history-figures tbody tr")
    expect(table).to_have_count(1)
    expect(page.locator("[sse-connect]")).to_have_attribute("data-stream", "on")
    expect(page.locator("#history-chart canvas")).to_be_visible()
    with page.expect_response(re.compile("history/data/")) as answer:
        send(True)
    assert answer.value.json()["lanes"] == ["false", "true"]
    expect(table).to_have_count(2)


def test_without_javascript_the_table_stands_there(visit: Visit) -> None:
    page = visit(OPERATOR, javascript=False)
    open_twin(page, "House 1 – north bed")
    page.get_by_role("link", name="Temperature").click()
    expect(page.locator("#history-chart")).to_be_hidden()
    expect(page.get_by_role("columnheader", name="Average")).to_be_visible()
    page.get_by_role("link", name="Hour", exact=True).click()
    expect(page).to_have_url(re.compile("range=hour"))
