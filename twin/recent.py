"""What the last day tells of a device, for the Device Twin tab: sparklines (W8), and what is observed (W5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from common.written import COORDINATES
from devices import connectivity
from devices.models import Device

from . import history, sparkline
from .charts import Named
from .reading import duration, reading, spark_id


@dataclass(frozen=True, slots=True)
class Spark:
    """The sparkline of a value; ``key``: the id of the element that it stands in."""

    key: str
    drawing: SafeString


@dataclass(frozen=True, slots=True)
class Line:
    """A line of what is observed; ``at``: its own moment, where it is not of the last day."""

    label: str
    text: str
    at: datetime | None = None


def of(device: Device, reported: Mapping[str, Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    """One query for the sparklines, and those of the connectivity."""
    named = {name: Named.of(name, entry) for name, entry in reported.items() if reading(name, entry).number}
    found = history.sparks(device.pk, list(named), now)
    return {
        "device": device,
        "sparks": [
            Spark(spark_id(name), sparkline.draw(numbers, now - history.SPARK_SPAN, history.SPARK_SPAN, label))
            for name, numbers in found.items()
            if (label := _said(named[name], [number for _at, number in numbers]))
        ],
        "observed": [*_observed(device), *_position(reported)],
    }


def _said(named: Named, numbers: list[float]) -> str:
    low, high = min(numbers), max(numbers)
    if low == high:
        return _("Last 24 hours: %(value)s all the time") % {"value": named.with_unit(low)}
    return _("Last 24 hours: about %(low)s to %(high)s") % {"low": named.text(low), "high": named.with_unit(high)}


def _observed(device: Device) -> list[Line]:
    return [
        Line(label, duration(value) if isinstance(value, timedelta) else value)
        for label, value in connectivity.of(device).observed(device)
    ]


def _position(reported: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """The newest latitude and longitude that were reported for one moment, whatever they are called."""
    read = [reading(name, entry) for name, entry in reported.items() if entry.get("u") in COORDINATES]
    latitudes = {one.at: one.text for one in read if reported[one.name]["u"] == "lat" and one.at and one.number}
    longitudes = {one.at: one.text for one in read if reported[one.name]["u"] == "lon" and one.at and one.number}
    newest = max(latitudes.keys() & longitudes.keys(), default=None)
    if newest is None:
        return []
    return [Line(_("Last position"), f"{latitudes[newest]}, {longitudes[newest]}", newest)]
