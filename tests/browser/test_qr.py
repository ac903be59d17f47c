"""QR codes in a browser: a photo, the camera (a made-up one), and what is said where there is no code or no camera.

The pictures are in tests/lora: tr005.png holds LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:SYYWWNNNNNN with its
checksum, other_qr.png a web address. Both are 8-bit grey, off centre.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, Visit

pytestmark = pytest.mark.browser
OPERATOR = "operator@example.com"
PICTURES = ROOT / "tests" / "lora"


def test_photo_fills_both_steps(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    page.get_by_label("Name").fill("Scanned")
    page.locator("[data-qr-photo] input").set_input_files(PICTURES / "tr005.png")
    expect(page.get_by_text("The QR code is read.")).to_be_visible()
    expect(page.get_by_label("Barcode")).to_have_value("YYWWNNNNNN")
    expect(page.get_by_label("Name")).to_have_value("Scanned")
    page.get_by_label("Project").select_option(label="Westland Greenhouses")
    page.get_by_label("Device type").select_option(label="Own LoRa device (preset connectivity)")
    # Enter is the form's own button, not that of the code.
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_label("DevEUI")).to_have_value("AABBCCDDEEFF0011")
    expect(page.get_by_label("AppEUI")).to_have_value("1122334455667788")
    expect(page.get_by_label("AppKey")).to_have_value("")


def test_photo_without_such_a_code_is_told(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    photo, says = page.locator("[data-qr-photo] input"), page.locator(".scan > [data-qr-says]")
    photo.set_input_files(PICTURES / "other_qr.png")
    expect(says).to_contain_text("not that of a LoRaWAN device")
    photo.set_input_files(ROOT / "docs" / "images" / next((ROOT / "docs" / "images").glob("*.png")).name)
    expect(says).to_contain_text("no QR code to be found")
    photo.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(says).to_contain_text("cannot open this file")


def test_camera_that_is_refused_is_told(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    page.evaluate("""() => {
        const refuse = () => Promise.reject(new DOMException("no", "NotAllowedError"));
        navigator.mediaDevices.getUserMedia = refuse;
    }""")
    page.get_by_role("button", name="Scan with the camera").click()
    expect(page.locator(".scan > [data-qr-says]")).to_contain_text("may not use the camera")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_camera_stops_when_its_dialog_closes(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    see(page, "")
    page.get_by_role("button", name="Scan with the camera").click()
    expect(page.get_by_role("dialog", name="Scan QR code")).to_be_visible()
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    # The browser tells of the closing in a task of its own, after the dialog is gone.
    page.wait_for_function("window.seen.getTracks().every(track => track.readyState === 'ended')")


def test_camera_that_sees_the_code_fills_the_step(visit: Visit) -> None:
    page = visit(OPERATOR)
    page.goto("/devices/add/")
    see(page, grey(PICTURES / "tr005.png"))
    page.get_by_role("button", name="Scan with the camera").click()
    expect(page.get_by_text("The QR code is read.")).to_be_visible()
    expect(page.get_by_label("Barcode")).to_have_value("YYWWNNNNNN")


def test_text_fills_the_step_without_javascript(visit: Visit) -> None:
    page = visit(OPERATOR, javascript=False)
    page.goto("/devices/add/")
    expect(page.get_by_role("button", name="Scan with the camera")).to_be_hidden()
    page.get_by_label("QR code text").fill("LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:SYYWWNNNNNN")
    page.get_by_role("button", name="Use this text").click()
    expect(page.get_by_label("Barcode")).to_have_value("YYWWNNNNNN")


def grey(picture: Path) -> str:
    """The picture as rows of hex, for a canvas: width, colon, two digits per dot."""
    data, at, packed, width = picture.read_bytes(), 8, b"", 0
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if name == b"IHDR":
            width = struct.unpack(">I", body[:4])[0]
        if name == b"IDAT":
            packed += body
        at += length + 12
    dots = zlib.decompress(packed)
    rows = [dots[row + 1 : row + 1 + width] for row in range(0, len(dots), width + 1)]
    return f"{width}:{b''.join(rows).hex()}"


def see(page: Page, dots: str) -> None:
    """Give the page a camera: a canvas that shows ``dots`` (see grey), or nothing."""
    page.evaluate(
        """dots => {
            const canvas = document.createElement("canvas");
            const context = canvas.getContext("2d");
            const [width, hex] = dots ? dots.split(":") : ["300", ""];
            canvas.width = Number(width);
            canvas.height = hex ? hex.length / 2 / canvas.width : 200;
            const image = context.createImageData(canvas.width, canvas.height);
            for (let dot = 0; dot < canvas.width * canvas.height; dot++) {
                const value = hex ? parseInt(hex.slice(dot * 2, dot * 2 + 2), 16) : 128;
                image.data.set([value, value, value, 255], dot * 4);
            }
            const draw = () => { context.putImageData(image, 0, 0); requestAnimationFrame(draw); };
            draw();
            window.seen = canvas.captureStream(10);
            navigator.mediaDevices.getUserMedia = async () => window.seen;
        }""",
        dots,
    )
