"""The Send instruction tab in a browser (S1-S3): looked at while written, followed live, cancelled, sent again.

The LoRa device is simulated and sends every few seconds; the Internet device is one that the test plays, so nothing
waits for it.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Portal, Visit, sign_in
from tests.browser.test_story import add_device, finish, link_to_flow, secret
from tests.browser.test_twin import Station, played

__all__ = ["played"]

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"
WIDTHS = pytest.mark.parametrize("width", [390, 1440])


@pytest.fixture(scope="module")
def talking(browser: Browser, portal: Portal) -> str:
    """The Send instruction tab of a LoRa device that sends every few seconds, and has sent."""
    context = browser.new_context(base_url=portal.url, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(20_000)
    sign_in(page, OPERATOR)
    add_device(page, "Own LoRa device (programmable)", "Talking device")
    page.get_by_role("button", name="Generate and register").click()
    secret(page, "AppKey")
    device = finish(page, "Talking device")
    link_to_flow(page, device, "Climate")
    page.goto(f"{device}lora/history/")
    expect(page.locator("tr[id^='f-']").filter(has_text="Uplink").first).to_be_visible(timeout=30_000)
    context.close()
    return f"{device}send/"


def row(page: Page, number: int) -> Locator:
    return page.locator(f"#downlink-{number}")


def newest(page: Page) -> int:
    found = page.locator("tr[id^=downlink-]").first
    expect(found).to_be_visible()
    return int((found.get_attribute("id") or "").removeprefix("downlink-"))


def send(page: Page, value: float) -> int:
    """Ask for a SenML instruction; its number."""
    before = page.locator("tr[id^=downlink-]").count() and newest(page)
    page.get_by_role("textbox", name="SenML").fill(f'[{{"n": "setpoint", "u": "Cel", "v": {value}}}]')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(row(page, before + 1)).to_be_visible()
    return before + 1


@WIDTHS
def test_raw_lora_is_looked_at_while_it_is_written(visit: Visit, talking: str, width: int) -> None:
    page = visit(OPERATOR, width=width)
    page.goto(talking)
    look = page.locator("#lora-check")
    expect(look).to_contain_text(re.compile(r"SF\d+ at the last uplink of .*: \d+ bytes fit\.", re.DOTALL))
    expect(look).to_contain_text("a gateway has sent it")
    page.get_by_label("FPort").fill("10")
    page.get_by_label("Payload").press_sequentially("0x00 4")
    expect(look).to_contain_text("Character 6: Write each byte with two digits")
    page.get_by_label("Payload").press_sequentially("8:6G")
    expect(look.locator("mark")).to_have_text("G")
    expect(look).to_contain_text("Character 10: “G” is not a hexadecimal digit")
    page.get_by_label("Payload").press("Backspace")
    page.get_by_label("Payload").press_sequentially("9")
    expect(look).to_contain_text("3 bytes")
    expect(look).to_contain_text("00 48 69")
    expect(look).to_contain_text(".Hi")
    page.get_by_label(re.compile("acknowledge")).check()
    expect(look).to_contain_text("the device acknowledged it")
    page.get_by_label("Payload").fill("00" * 243)
    expect(look).to_contain_text("at most 242 fit in a LoRa message")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.get_by_label("Moment")).to_be_hidden()
    page.get_by_label("Valid until").select_option(label="A moment")
    expect(page.get_by_label("Moment")).to_be_visible()


@WIDTHS
def test_lora_instruction_is_followed_live_to_its_end(visit: Visit, talking: str, width: int) -> None:
    page, colleague = visit(OPERATOR, width=width), visit(VIEWER, width=width)
    page.goto(talking)
    before = newest(page) if page.locator("tr[id^=downlink-]").count() else 0
    # Not FPort 10: it would change how often the device sends.
    page.get_by_label("FPort").fill("20")
    page.get_by_label("Payload").fill("0001")
    page.get_by_role("button", name="Send", exact=True).click()
    mine = row(page, before + 1)
    expect(mine).to_contain_text(re.compile("Pending|Executing"))
    colleague.goto(f"{talking}{before + 1}/")
    mine.locator("details.property-more > summary").click()
    expect(mine).to_contain_text("Delivered")
    expect(mine.locator("dl")).to_be_visible()
    expect(mine).to_contain_text("Sent; nobody acknowledged it.")
    expect(mine.locator("dl")).to_contain_text(re.compile(r"gateway \w+\s+window RX\d\s+FCntDown \d+"))
    expect(colleague.locator("#instruction")).to_contain_text("Delivered")
    colleague.get_by_role("link", name="Its message in the LoRa data history").click()
    colleague.wait_for_url(re.compile(r"/lora/history/\d+--?\d+/"))
    expect(colleague.get_by_role("main")).to_contain_text(re.compile("00 ?01"))
    mine.get_by_role("link", name="Send again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("00 01")
    dialog.get_by_role("button", name="Send again").click()
    expect(dialog).to_have_count(0)
    expect(row(page, before + 2)).to_contain_text("00 01")
    page.locator(f"#downlink-steps-{before + 2} > summary").click()
    expect(row(page, before + 2)).to_contain_text(f"repeats no. {before + 1}")


@WIDTHS
def test_senml_is_looked_at_while_it_is_written(visit: Visit, played: Station, width: int) -> None:
    page = visit(OPERATOR, width=width)
    page.goto(f"{played.address}send/")
    look, text = page.locator("#senml-check"), page.get_by_role("textbox", name="SenML")
    text.fill('[{"n": "setpoint", "v": 21.5},\n {"n": "mode", "v": 1, "vs": "day"}')
    expect(look).to_contain_text("Line 2, column 36: This is not JSON")
    text.press("End")
    text.press_sequentially("]")
    expect(look).to_contain_text("Line 2, record 2, “vs”: A record must have one value, not v and vs.")
    text.fill('[{"n": "setpoint", "u": "celsius", "v": 21.5}]')
    expect(look).to_contain_text("The unit celsius is in no register.")
    expect(look.locator("pre")).to_contain_text(f'"bn": "urn:dev:DVNUUID:{played.uuid}:"')


@WIDTHS
def test_queue_is_cancelled_one_by_one_and_all_at_once(visit: Visit, played: Station, width: int) -> None:
    page = visit(OPERATOR, width=width)
    page.goto(f"{played.address}send/")
    played.send({"n": "level", "v": 1})
    first, second, third = send(page, 1), send(page, 2), send(page, 3)
    expect(row(page, third)).to_contain_text("Pending")
    expect(row(page, third)).to_contain_text(f"Waits for no. {first} and 1 other.")
    row(page, second).get_by_role("link", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text('"v": 2')
    dialog.get_by_role("button", name="Leave it").click()
    expect(dialog).to_have_count(0)
    row(page, second).get_by_role("link", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel the instruction").click()
    expect(row(page, second)).to_contain_text("Cancelled")
    expect(row(page, third)).to_contain_text(f"Waits for no. {first}.")
    page.get_by_role("link", name="Cancel all pending").click()
    expect(dialog).to_contain_text(re.compile(r"\d instructions? (is|are) pending"))
    dialog.get_by_role("button", name="Cancel all").click()
    expect(row(page, third)).to_contain_text("Cancelled")
    expect(page.get_by_role("link", name="Cancel all pending")).to_have_count(0)
    page.get_by_text("What the states mean").click()
    expect(page.get_by_text("Taken out of the queue before anything was sent.")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    played.send({"n": "level", "v": 2})
    played.send({"n": "level", "v": 3})


def test_all_of_it_works_without_javascript(visit: Visit, played: Station) -> None:
    page = visit(OPERATOR, javascript=False)
    page.goto(f"{played.address}send/")
    page.get_by_role("textbox", name="SenML").fill('[{"n": "setpoint", "v": 5}]')
    page.get_by_role("button", name="Show what is sent").click()
    expect(page.locator("#senml-check pre")).to_contain_text(played.uuid)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("The instruction is in the queue.")).to_be_visible()
    number = newest(page)
    page.goto(f"{played.address}send/cancel-all/")
    if page.get_by_role("button", name="Cancel all").count():
        page.get_by_role("button", name="Cancel all").click()
    else:
        played.send({"n": "level", "v": 4})
        played.send({"n": "level", "v": 5})
        page.goto(f"{played.address}send/")
    expect(row(page, number)).to_contain_text(re.compile("Cancelled|Delivered"))
    row(page, number).get_by_role("link", name="Send again").click()
    page.get_by_role("button", name="Send again").click()
    expect(row(page, number + 1)).to_contain_text("setpoint 5")
