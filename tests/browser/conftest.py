"""The running portal, as `things up` starts it on stores of its own, and a browser that fails on console errors."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
# Seconds between the messages of a device that the wizard adds: the story waits no longer than that.
SIMULATED_INTERVAL = "3"
PASSWORD = "things-demo"
OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "THINGS_KEYRING", "ALLOWED_HOSTS", "STATIC_ROOT")


class Portal:
    """A running portal: its address, and its processes' log files."""

    def __init__(self, port: int, home: Path) -> None:
        self.port, self.home = port, home
        self.url = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)) as link:
            link.request("GET", "/readyz")
            return link.getresponse().status == 200
        return False

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as link:
            link.request("POST", path, body, headers)
            response = link.getresponse()
            return response.status, response.read()


@pytest.fixture(scope="session")
def portal(chromium: str) -> Iterator[Portal]:
    """`things up` with the demo, from an empty home; one for the session (per xdist worker)."""
    home = ROOT / ".things" / f"browser-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | {
        "THINGS_HOME": str(home),
        "THINGS_SIMULATED_NETWORK": "1",
        "THINGS_SIMULATED_INTERVAL": SIMULATED_INTERVAL,
    }
    with (home / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "things_portal.cli", "up", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    running = Portal(port, home)
    try:
        started = lambda: up.poll() is not None or running.ready()  # noqa: E731
        wait_for(started, "the portal to start", seconds=120, log=home / "up.log")
        assert up.poll() is None, (home / "up.log").read_text()[-4000:]
    except AssertionError:
        up.kill()
        raise
    yield running
    up.send_signal(signal.SIGINT)
    assert up.wait(30) == 0, (home / "up.log").read_text()[-2000:]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Ends with its module: Playwright keeps an event loop running, in which tests that start one cannot run."""
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        yield (found := playwright.chromium.launch(executable_path=chromium, args=options))
        found.close()


Visit = Callable[..., Page]


def sign_in(page: Page, email: str) -> None:
    page.goto("/account/sign-in/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/devices/**")


def is_complaint(message: ConsoleMessage) -> bool:
    """An error on the console; but a form that comes back with something to correct (422) is as it should be."""
    return message.type == "error" and "422" not in message.text


@pytest.fixture
def visit(portal: Portal, browser: Browser) -> Iterator[Visit]:
    """``visit(email)`` gives a page signed in as that person; any console error fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(email: str = "", *, width: int = 1440, dark: bool = False, javascript: bool = True) -> Page:
        context = browser.new_context(
            base_url=portal.url,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            locale="en-GB",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: is_complaint(message) and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if email:
            sign_in(page, email)
        return page

    expect.set_options(timeout=30_000)
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
