"""T5 in a browser, on the real stack: make a device type with a command and a control, add a device of it, send the
command and see its bytes, with and without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
ADMINISTRATOR, OPERATOR, VIEWER = "administrator@example.com", "operator@example.com", "viewer@example.com"
PROJECT = "Westland Greenhouses"


def start(page: Page) -> None:
    page.goto("/types/")
    page.get_by_role("link", name="Make a device type").first.click()
    page.get_by_label("Project").select_option(label=PROJECT)
    page.get_by_label("LoRa", exact=True).check()
    page.get_by_role("button", name="Continue").click()


def command(page: Page) -> None:
    """Set the interval by fixed bytes, and see them."""
    page.get_by_role("button", name="Add a command").click()
    group = page.get_by_role("group", name="Command 1", exact=True)
    group.get_by_label("Name").fill("interval")
    group.get_by_label("Label").fill("Send interval")
    group.get_by_label("Values").fill("1; Every minute\n5; Every five minutes")
    group.get_by_label("How a value is sent").select_option(label="Fixed bytes")
    group.get_by_label("FPort").fill("10")
    group.get_by_label("Bytes", exact=False).last.fill("{value:u16}")
    group.get_by_role("button", name="Show what is sent").click()
    sent = page.get_by_role("group", name="Command 1", exact=True).locator(".sent-line")
    expect(sent).to_have_count(2)
    expect(sent.first).to_contain_text(re.compile(r"Every minute\s*FPort 10\s*00 01"))


def control(page: Page) -> None:
    page.get_by_role("button", name="Add a control").click()
    group = page.get_by_role("group", name="Control 1", exact=True)
    group.get_by_label("Name").fill("interval")
    group.get_by_label("Smallest").fill("1")
    group.get_by_label("Largest").fill("600")
    group.get_by_label("FPort").fill("10")
    group.get_by_label("Bytes", exact=False).last.fill("{value:u16}")
    group.get_by_label("Answered by").fill("interval")


def make_type(page: Page, name: str) -> None:
    start(page)
    page.get_by_label("Name").first.fill(name)
    page.get_by_label("Keys").select_option(label="The portal makes them")
    page.get_by_role("button", name="Add a measurement").click()
    measurement = page.get_by_role("group", name="Measurement 1", exact=True)
    measurement.get_by_label("Name").fill("temperature")
    measurement.get_by_label("Unit").fill("Cel")
    command(page)
    control(page)
    expect(page.get_by_role("group", name="Command 1", exact=True).get_by_label("Label")).to_have_value("Send interval")
    page.get_by_role("button", name="Save").last.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def add_device(page: Page, kind: str, name: str) -> str:
    """A device of the type, on the network and in a Flow; gives its address."""
    page.goto("/devices/add/")
    page.get_by_label("Project").select_option(label=PROJECT)
    page.get_by_label("Device type").select_option(label=kind)
    page.get_by_label("Name", exact=False).first.fill(name)
    page.get_by_role("button", name="Add device").click()
    page.get_by_role("button", name="Generate and register").click()
    page.get_by_role("link", name="Finish", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    match = re.search(r"/devices/\d+/", page.url)
    assert match
    page.goto(f"{match[0]}flows/link/")
    page.locator("select[name=flow]").select_option(label="Climate")
    page.get_by_role("button", name="Link", exact=True).click()
    return match[0]


def test_type_from_its_form_to_a_command_that_the_device_obeys(visit: Visit) -> None:
    page = visit(ADMINISTRATOR)
    make_type(page, "Soil probe")
    expect(page.get_by_text("Every five minutes")).to_be_visible()
    expect(page.get_by_text("temperature")).to_be_visible()
    device = add_device(page, "Soil probe", "Probe 1")

    page.goto(f"{device}send/")
    commands = page.get_by_role("region", name="Predefined commands")
    commands.get_by_label("Send interval").select_option(label="Every five minutes")
    bytes_told = commands.locator("#command-bytes")
    expect(bytes_told).to_contain_text("00 05")
    expect(bytes_told).to_contain_text("FPort 10")
    expect(page.locator("#downlink-1")).to_have_count(0)
    commands.get_by_role("button", name="Send", exact=True).click()
    line = page.locator("#downlink-1")
    expect(line).to_contain_text("Send interval: Every five minutes")
    expect(line).to_contain_text("00 05")
    expect(line.locator(".state-word").first).to_have_text("Delivered")

    page.goto(f"{device}device/")
    page.get_by_role("link", name="Soil probe").click()
    page.get_by_role("link", name="1 device").click()
    expect(page.get_by_role("main").get_by_role("link", name="Probe 1")).to_be_visible()

    watcher = visit(VIEWER)
    watcher.goto("/types/")
    watcher.get_by_role("link", name="Soil probe").click()
    expect(watcher.get_by_text("Every five minutes")).to_be_visible()
    expect(watcher.get_by_role("link", name="Edit")).to_have_count(0)


def test_type_and_command_without_javascript(visit: Visit) -> None:
    page = visit(ADMINISTRATOR, javascript=False)
    make_type(page, "Plain probe")
    page.get_by_role("link", name="Edit").click()
    page.get_by_role("button", name="Take away: Control 1").click()
    expect(page.get_by_role("group", name="Control 1", exact=True)).to_have_count(0)
    expect(page.get_by_label("Name").first).to_have_value("Plain probe")
    page.get_by_role("button", name="Save").last.click()
    expect(page.get_by_text("nothing can be desired of its devices")).to_be_visible()


def test_managed_device_of_the_demo_takes_its_commands_alone(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/?q=Pallet")
    page.get_by_role("link", name="Pallet tag 07").click()
    page.get_by_role("link", name="Send instruction").click()
    expect(page.get_by_label("Payload")).to_have_count(0)
    page.get_by_label("Alarm mode", exact=True).check()
    expect(page.locator("#command-bytes")).to_contain_text("FPort 11")
    expect(page.get_by_label("Value of Sending interval")).to_be_hidden()
    page.goto("/types/")
    expect(page.get_by_role("link", name="LocationTag II v2")).to_be_visible()
