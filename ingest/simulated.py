"""M2M and Internet devices of the demo: each sends SenML over real HTTP with its token, and follows the instruction
that comes in the answer, as the firmware of a real one would.
"""

from __future__ import annotations

import http.client
import json
import logging
import math
import random
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.utils import timezone
from django_scopes import scopes_disabled

from codec import tokens
from devices.models import Device

from .models import SimulatedSender

logger = logging.getLogger(__name__)
TIMEOUT: Final = 10.0
AT_ONCE: Final = 50
# After an instruction the device tells soon how it is now.
SOON: Final = timedelta(seconds=2)
SHORTEST_S: Final = 5
RETRY_S: Final = 10
WAYS: Final = {"m2m": "/ingestion/m2m/senml/v1", "internet": "/ingestion/ip/senml/v1"}


def add(device: Device, *, base_name: str, secret: str, interval: timedelta, next_at: datetime | None = None) -> None:
    """Have this device simulated; it has the secret as it is now, and keeps it when the portal makes another."""
    sender = SimulatedSender(
        device=device,
        base_name=base_name,
        way=WAYS[device.type.connectivity],
        interval_seconds=int(interval.total_seconds()),
        next_at=next_at or timezone.now(),
    )
    sender.set_secret(secret)
    sender.save()


def step(address: str, now: datetime) -> int:
    """Have all that are due send once; how many had a 200. ``address``: of the portal, such as http://127.0.0.1:8000."""
    with scopes_disabled():
        due = list(SimulatedSender.objects.filter(next_at__lte=now).order_by("next_at")[:AT_ONCE])
        return sum(_send(sender, address, now) for sender in due)


def _send(sender: SimulatedSender, address: str, now: datetime) -> bool:
    # Before sending: a simulation that is killed here sends later, and not again and again.
    later = now + timedelta(seconds=max(sender.interval_seconds, SHORTEST_S))
    SimulatedSender.objects.filter(pk=sender.pk).update(next_at=later)
    body = json.dumps(message(sender, now), separators=(",", ":")).encode()
    try:
        status, answer = post(address, sender.way, body, sender.get_secret())
    except (OSError, http.client.HTTPException) as error:
        logger.warning("simulated device %s: %s", sender.base_name, error)
        # The portal is not there yet, or not any more: as devices do, it tries again before its next turn.
        again = now + timedelta(seconds=min(sender.interval_seconds, RETRY_S))
        SimulatedSender.objects.filter(pk=sender.pk).update(next_at=again)
        return False
    if status == 200 and answer:
        follow(sender, answer, now)
    return status == 200


def post(address: str, way: str, body: bytes, secret: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    link = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    with closing(link):
        headers = {"Things-Message-Token": tokens.message_token(body, secret), "Content-Type": "application/json"}
        link.request("POST", way, body, headers)
        response = link.getresponse()
        return response.status, response.read(65_536)


def message(sender: SimulatedSender, now: datetime) -> list[dict[str, Any]]:
    """What it measures at this moment, and what it was told, as it holds it."""
    chance = random.Random(f"{sender.base_name}{now:%Y%m%d%H%M%S}")  # noqa: S311 - weather, not secrets
    day = math.sin((now.hour * 60 + now.minute) / 1440 * 2 * math.pi - math.pi / 2)
    records: list[dict[str, Any]] = [
        {"bn": sender.base_name, "bt": round(now.timestamp(), 3), "n": "temperature", "u": "Cel"},
        {"n": "humidity", "u": "%RH", "v": round(65 - 10 * day + chance.uniform(-2, 2), 1)},
        {"n": "batteryLevel", "u": "%EL", "v": 88.0},
    ]
    records[0]["v"] = round(12 + 6 * day + chance.uniform(-0.5, 0.5), 1)
    records += [{"n": name, _key(value): value} for name, value in sorted(sender.state.items())]
    return records


def follow(sender: SimulatedSender, answer: bytes, now: datetime) -> None:
    """Take over the values of an instruction, in the portal's SenML, and report them in a message soon.

    ``interval`` is in minutes and changes how often it sends. What is no SenML is passed over.
    """
    try:
        records = json.loads(answer)
    except ValueError:
        records = None
    told = _values(records) if isinstance(records, list) else {}
    if not told:
        logger.warning("simulated device %s: an instruction that it does not understand", sender.base_name)
        return
    changes: dict[str, Any] = {"state": sender.state | told, "next_at": now + SOON}
    minutes = told.get("interval")
    if isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes > 0:
        changes["interval_seconds"] = min(max(int(minutes * 60), SHORTEST_S), 86_400)
    SimulatedSender.objects.filter(pk=sender.pk).update(**changes)


def _values(records: list[Any]) -> dict[str, bool | float | str]:
    """name → value of the records, as a small device reads them."""
    found: dict[str, bool | float | str] = {}
    for record in records:
        if not isinstance(record, Mapping):
            continue
        name = str(record.get("n", ""))
        value = next((record[key] for key in ("v", "vb", "vs") if key in record), None)
        if name and isinstance(value, bool | int | float | str):
            found[name[:50]] = value if not isinstance(value, str) else value[:100]
    return found


def _key(value: Any) -> str:
    return "vb" if isinstance(value, bool) else "vs" if isinstance(value, str) else "v"
