"""The story of the portal in a browser, on the real stack: add three devices, see their data, send an instruction.

D5, D8, L1, L3, M1, I1, F2, W2, S2, S3; PostgreSQL, Redis, Celery and the simulated LoRaWAN network are real.
"""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from playwright.sync_api import Page, expect

from m2m.numbers import with_check_digit
from tests.browser.conftest import Portal, Visit

pytestmark = pytest.mark.browser
OPERATOR, VIEWER = "operator@example.com", "viewer@example.com"
PROJECT = "Westland Greenhouses"
IMEI = with_check_digit("49015420323751")


def add_device(page: Page, kind: str, name: str) -> None:
    """The wizard's first step."""
    page.goto("/devices/")
    page.get_by_role("link", name="Add device").first.click()
    page.get_by_label("Project").select_option(label=PROJECT)
    page.get_by_label("Device type").select_option(label=kind)
    page.get_by_label("Name", exact=False).first.fill(name)
    page.get_by_role("button", name="Add device").click()


def finish(page: Page, name: str) -> str:
    """Leave the wizard and wait until the network has answered; gives the device's address."""
    page.get_by_role("link", name="Finish", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    connectivity = page.get_by_role("region", name=re.compile("^(LoRa|M2M|Internet)$"))
    expect(connectivity.get_by_text("Active").first).to_be_visible()
    match = re.search(r"/devices/\d+/", page.url)
    assert match
    return match[0]


def link_to_flow(page: Page, device: str, flow: str) -> None:
    page.goto(f"{device}flows/link/")
    page.locator("select[name=flow]").select_option(label=flow)
    page.get_by_role("button", name="Link", exact=True).click()
    expect(page.get_by_role("main").get_by_role("link", name=flow).first).to_be_visible()


def secret(page: Page, label: str) -> str:
    text = page.locator(f".secret dt:has-text('{label}') + dd").inner_text()
    return "".join(text.split())


def token(body: bytes, shared_secret: str) -> str:
    return hashlib.sha256(body + shared_secret.encode()).hexdigest()


def test_lora_device_from_the_wizard_to_a_delivered_instruction(visit: Visit) -> None:
    page = visit(OPERATOR)
    add_device(page, "Own LoRa device (programmable)", "Story LoRa")
    page.get_by_role("button", name="Generate and register").click()
    dev_eui, app_key = secret(page, "DevEUI"), secret(page, "AppKey")
    assert re.fullmatch(r"[0-9A-F]{16}", dev_eui)
    assert re.fullmatch(r"[0-9A-F]{32}", app_key)
    device = finish(page, "Story LoRa")
    assert app_key not in page.content()
    link_to_flow(page, device, "Climate")

    page.goto(f"{device}lora/history/")
    frames = page.locator("#frames-rows")
    for kind in ("Join request", "Join accept", "Uplink", "Downlink"):
        expect(frames.get_by_text(kind).first).to_be_visible()

    page.goto(f"{device}twin/")
    expect(page.get_by_text("Temperature").first).to_be_visible()
    expect(page.get_by_text("°C").first).to_be_visible()

    page.goto(f"{device}send/")
    page.get_by_label("FPort").fill("10")
    page.get_by_label("Payload").fill("0x00 01")
    page.get_by_label(re.compile("acknowledge|confirm", re.IGNORECASE)).check()
    page.get_by_role("button", name=re.compile("^Send")).click()
    table = page.locator("#downlink-table")
    expect(table.get_by_text(re.compile("Pending|Executing")).first).to_be_visible()
    expect(table.get_by_text("Delivered").first).to_be_visible()
    expect(table.get_by_text("00 01").first).to_be_visible()


def test_m2m_device_sends_and_its_values_appear(visit: Visit, portal: Portal) -> None:
    page = visit(OPERATOR)
    add_device(page, "Own M2M device", "Story M2M")
    page.get_by_label("IMEI").fill("356938035643800")
    page.get_by_label("SIM card", exact=False).first.select_option(index=1)
    page.get_by_role("button", name="Add network info").click()
    expect(page.get_by_text("The last digit does not fit")).to_be_visible()
    page.get_by_label("IMEI").fill(f"{IMEI[:2]}-{IMEI[2:8]}-{IMEI[8:14]}-{IMEI[14:]}")
    page.get_by_role("button", name="Add network info").click()
    shared_secret = secret(page, "Shared secret")
    device = finish(page, "Story M2M")
    link_to_flow(page, device, "Climate")
    page.goto(f"{device}twin/")
    body = json.dumps([{"bn": f"urn:dev:IMEI:{IMEI}:", "n": "temperature", "u": "Cel", "v": 4.25}]).encode()
    status, _answer = portal.post("/ingestion/m2m/senml/v1", body, {"Things-Message-Token": token(body, shared_secret)})
    assert status == 200
    expect(page.get_by_text("4.25").first).to_be_visible()
    status, _answer = portal.post("/ingestion/m2m/senml/v1", body, {"Things-Message-Token": token(body, "wrong")})
    assert status == 401


def test_internet_device_sends_and_its_values_appear(visit: Visit, portal: Portal) -> None:
    page = visit(OPERATOR)
    add_device(page, "Own Internet device", "Story Internet")
    dvn_uuid = page.get_by_label("DvnUUID").input_value()
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", dvn_uuid)
    page.get_by_role("button", name="Add network info").click()
    shared_secret = secret(page, "Shared secret")
    device = finish(page, "Story Internet")
    link_to_flow(page, device, "Climate")
    page.goto(f"{device}twin/")
    body = json.dumps([{"bn": f"urn:dev:DVNUUID:{dvn_uuid}:", "n": "humidity", "u": "%RH", "v": 47.5}]).encode()
    status, _answer = portal.post("/ingestion/ip/senml/v1", body, {"Things-Message-Token": token(body, shared_secret)})
    assert status == 200
    expect(page.get_by_text("47.5").first).to_be_visible()


def test_portal_in_use_is_found_searched_and_sorted(visit: Visit) -> None:
    page = visit(OPERATOR)
    expect(page.get_by_text("House 1 – north bed")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("trailer")
    expect(page.get_by_text("Trailer 0417")).to_be_visible()
    expect(page.get_by_text("House 1 – north bed")).to_be_hidden()
    assert "q=trailer" in page.url
    page.get_by_text("Trailer 0417").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Trailer 0417")


@pytest.mark.parametrize(
    ("name", "own"), [("House 1 – north bed", ("lora/", "lora/history/")), ("Reefer 20-114", ("m2m/",))]
)
def test_read_only_account_looks_and_finds_no_control(visit: Visit, name: str, own: tuple[str, ...]) -> None:
    page = visit(VIEWER)
    expect(page.get_by_text(name)).to_be_visible()
    assert page.get_by_role("link", name="Add device").count() == 0
    page.get_by_text(name).click()
    page.wait_for_url(re.compile(r"/devices/\d+/\w+"))
    device = re.search(r"/devices/\d+/", page.url)
    assert device
    for tab in ("device/", "flows/", "send/", "twin/", *own):
        page.goto(f"{device[0]}{tab}")
        forms = page.locator("main form[method=post]")
        assert forms.count() == 0, f"{tab} has a form for a read-only account"


TABS = ["device/", "flows/", "flows/link/", "send/", "twin/", "deactivate/", "connectivity/"]
DEVICES = {
    "House 1 – north bed": ["lora/", "lora/history/"],
    "Reefer 20-114": ["m2m/", "m2m/secret/", "m2m/sim/", "m2m/unlink/"],
    "Weather station": ["internet/", "internet/secret/"],
}


def addresses_to_look_at(page: Page) -> list[str]:
    """Every kind of page, and every tab of a device of each connectivity."""
    found = ["/devices/", "/devices/add/", "/devices/jobs/", "/flows/", "/flows/add/", "/sims/", "/account/profile/"]
    for name, tabs in DEVICES.items():
        page.goto(f"/devices/?q={name}")
        device = page.get_by_role("link", name=name).get_attribute("href")
        found += [f"{device}{tab}" for tab in [*TABS, *tabs]]
    return found


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_is_wider_than_the_screen_and_each_has_its_title(visit: Visit, width: int, dark: bool) -> None:
    page = visit(OPERATOR, width=width, dark=dark)
    titles: dict[str, str] = {}
    for path in addresses_to_look_at(page):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert titles.setdefault(page.title(), path) == path, f"two pages are called {page.title()}"
    support = visit("support@example.com", width=width, dark=dark)
    support.goto("/styleguide/")
    assert support.evaluate("document.documentElement.scrollWidth") <= width


def test_pages_can_be_read_and_used_without_javascript(visit: Visit) -> None:
    page = visit(OPERATOR, javascript=False)
    page.get_by_role("link", name="House 1 – north bed").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("House 1 – north bed")
    page.goto("/devices/add/")
    page.get_by_label("Project").select_option(label=PROJECT)
    page.get_by_label("Name", exact=False).first.fill("Without script")
    page.get_by_role("button", name="Add device").click()
    # Without script the types come with the answer; what was entered is still there.
    page.get_by_label("Device type").select_option(label="Own Internet device")
    expect(page.get_by_label("Name", exact=False).first).to_have_value("Without script")
    page.get_by_role("button", name="Add device").click()
    page.get_by_role("button", name="Add network info").click()
    expect(page.get_by_text("Shared secret").first).to_be_visible()
