"""A LoRa message in a browser (L4): at both widths, its position drawn without tiles, and on a map with them."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OURS, ROOT, Portal, Visit
from tests.processes import wait_for

pytestmark = pytest.mark.browser
OPERATOR = "operator@example.com"
# A tag of the demo that the simulated network finds the position of again and again.
TAG = "Pallet tag 07"


def png(red: int, green: int, blue: int) -> bytes:
    """256 by 256 pixels of one colour."""
    lines = (b"\0" + bytes((red, green, blue)) * 256) * 256

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 256, 256, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


TILE = png(205, 220, 235)


class Tiles:
    """A tile server of this test, and what it was asked for: path and Referer. ``broken``: it answers 503."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.broken = False
        tiles = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tiles.asked.append((self.path, self.headers.get("Referer")))
                body = b"" if tiles.broken else TILE
                self.send_response(503 if tiles.broken else 200)
                self.send_header("Content-Type", "image/png")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(scope="module")
def tiles() -> Iterator[Tiles]:
    found = Tiles()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def tiled(portal: Portal, tiles: Tiles) -> Iterator[Portal]:
    """One more web server of the same portal, whose settings name the tile server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | {
        "THINGS_HOME": str(portal.home),
        "THINGS_MAP_TILES": f"{tiles.address}/{{z}}/{{x}}/{{y}}.png",
        "THINGS_MAP_ATTRIBUTION": '© <a href="https://makers.example/">Tile makers</a>',
    }
    granian = ["-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]
    shown = subprocess.run(
        [sys.executable, "-m", "things_portal.cli", "env"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name, value in re.findall(r"^export (\w+)='?(.*?)'?$", shown.stdout, re.MULTILINE):
        environment[name] = value
    web = subprocess.Popen(
        [sys.executable, *granian, "things_portal.asgi:application"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    second = Portal(port, portal.home)
    wait_for(lambda: web.poll() is not None or second.ready(), "the second web server to start", seconds=60)
    assert web.poll() is None, "the second web server does not start"
    yield second
    web.terminate()
    web.wait(30)


def located(page: Page) -> str:
    """The address of the newest message with a position."""
    page.goto(f"/devices/?q={TAG}")
    device = page.get_by_role("link", name=TAG).get_attribute("href")
    page.goto(f"{device}lora/history/?located=1")
    row = page.locator("#frames tbody tr", has=page.get_by_label("Geolocation found")).first
    return row.locator("a.row-link").get_attribute("href") or ""


def region(page: Page) -> Locator:
    return page.get_by_role("region", name="Geolocation")


@pytest.mark.parametrize("width", [390, 1440])
def test_a_message_without_tiles_is_drawn(visit: Visit, width: int) -> None:
    page = visit(OPERATOR, width=width)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(located(page))
    for name in ("Signal", "Content", "Received by", "Geolocation"):
        expect(page.get_by_role("region", name=name)).to_be_visible()
    drawing = page.get_by_role("img", name=re.compile("north is up"))
    expect(drawing).to_be_visible()
    box = drawing.bounding_box()
    assert box and box["width"] > 280
    for shape in (".reach", ".here", ".gateway >> nth=0", ".bar", ".north"):
        expect(drawing.locator(shape)).to_be_visible()
    text = drawing.locator("text").first
    assert text.evaluate("text => text.getBoundingClientRect().height") > 9
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not [address for address in asked if "leaflet" in address or "map.js" in address]
    page.get_by_text("Everything that is kept of this message").click()
    expect(page.locator("details pre.code").filter(has_text='"received_at"')).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_messages_are_walked_through(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto(located(page))
    here = page.url
    page.get_by_role("link", name="Previous message").click()
    expect(page).not_to_have_url(here)
    page.get_by_role("link", name="Next message").click()
    expect(page).to_have_url(here)


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1440, False)])
def test_position_on_a_map(visit: Visit, tiled: Portal, tiles: Tiles, width: int, dark: bool) -> None:
    tiles.broken = False
    tiles.asked.clear()
    page = visit(OPERATOR, width=width, dark=dark)
    # The sign-in holds for both web servers: cookies know no ports.
    page.goto(f"{tiled.url}{located(page)}")
    place = region(page).locator(".map")
    expect(place.locator("img.leaflet-tile-loaded").first).to_be_visible()
    expect(region(page).locator(".pictures")).to_be_hidden()
    expect(place.locator("path.here")).to_be_visible()
    assert place.locator("path.reach").count() == 1
    rows = page.get_by_role("region", name="Received by").locator("tbody tr").count()
    assert place.locator(".map-gateway").count() == rows == place.locator("path.ray").count()
    # Leaflet's own style comes later than ours: the number stands in the middle all the same.
    expect(place.locator(".map-gateway").first).to_have_css("display", "grid")
    expect(place.get_by_role("link", name="Tile makers")).to_be_visible()
    # The makers of the tiles learn which portal asks, and not about which message.
    assert {referer for _path, referer in tiles.asked} == {f"{tiled.url}/"}
    place.locator(".map-gateway").first.hover()
    expect(place.get_by_role("tooltip")).to_have_text(re.compile(r"^[0-9A-F]{16}$"))
    zoom = max(int(path.split("/")[1]) for path, _referer in tiles.asked)
    place.get_by_role("button", name="Closer").click()
    nearer = lambda: any(path.startswith(f"/{zoom + 1}/") for path, _referer in tiles.asked)  # noqa: E731
    wait_for(nearer, "tiles from nearer")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_map_in_an_opened_row(visit: Visit, tiled: Portal, tiles: Tiles) -> None:
    tiles.broken = False
    page = visit(OPERATOR)
    address = located(page)
    before = re.sub(r"(\d+)-(-?\d+)/$", lambda found: f"?before={int(found[1]) + 1}-0", address)
    page.goto(f"{tiled.url}{before}")
    row = page.locator(f"a.row-link[href='{address}']")
    row.click()
    place = region(page).locator(".map")
    expect(place.locator("img.leaflet-tile-loaded").first).to_be_visible()
    row.click()
    expect(place).to_have_count(0)
    row.click()
    expect(place.locator("img.leaflet-tile-loaded").first).to_be_visible()


def test_drawing_stays_without_javascript_where_there_are_tiles(visit: Visit, tiled: Portal) -> None:
    address = located(visit(OPERATOR))
    page = visit(OPERATOR, javascript=False)
    page.goto(f"{tiled.url}{address}")
    expect(page.get_by_role("img", name=re.compile("north is up"))).to_be_visible()
    assert page.locator(".map").count() == 0


def test_drawing_comes_back_where_no_tile_comes(visit: Visit, tiled: Portal, tiles: Tiles) -> None:
    tiles.broken = True
    tiles.asked.clear()
    page = visit(OPERATOR)
    address = located(page)
    # A tile that is refused is an error on the console by the browser itself: this page is not listened to.
    quiet = page.context.new_page()
    quiet.goto(f"{tiled.url}{address}")
    expect(quiet.locator("[data-map]")).to_have_attribute("data-drawn", "failed")
    expect(quiet.get_by_role("img", name=re.compile("north is up"))).to_be_visible()
    assert quiet.locator(".map").count() == 0
    assert tiles.asked
