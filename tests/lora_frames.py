"""Frames put straight into the table, and what the history's pages show of them."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime
from typing import Any

from django.db import connection

from devices.models import Device
from lora.models import Direction, FrameKind
from lora.search import Cursor
from tests.cast import Cast

HTMX = {"HX-Request": "true"}
UP, DOWN = Direction.UPLINK, Direction.DOWNLINK


def frame(device: Device, at: datetime, seq: int = 1, **values: Any) -> Cursor:
    """Put a frame into the table, an unconfirmed uplink with data unless said otherwise."""
    row: dict[str, Any] = {
        "device_id": device.pk, "received_at": at, "seq": seq, "direction": UP, "kind": FrameKind.DATA, "fcnt": seq,
        "payload": b"\x01\x67", "detail": {},
    } | values  # fmt: skip
    row["detail"] = json.dumps(row["detail"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO lora_frame ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values())
        )
    return Cursor(at, seq)


def url(device: Device, rest: str = "") -> str:
    return f"/devices/{device.pk}/lora/history/{rest}"


def get(cast: Cast, address: str, *, part: bool = False) -> str:
    response = cast.client(cast.viewer).get(address, headers=HTMX if part else {})
    assert response.status_code == 200, response.status_code
    return html.unescape(response.content.decode())


def row_of(page: str, cursor: Cursor) -> str:
    found = re.search(rf'<tr id="f-{cursor}">.*?</tr>', page, re.DOTALL)
    assert found, f"no row {cursor}"
    return found[0]


def keys(page: str) -> list[str]:
    return re.findall(r'<tr id="f-([\d-]+)">', page)
