"""The fields of a ThingPark report, read strictly: text or number alike, absent or well formed.

Field names and their variants: reference, networks D.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lora.events import Location, Reception

_INTEGER = re.compile(r"-?[0-9]{1,18}(\.0{1,18})?\Z")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{0,18})?([eE][-+]?[0-9]{1,3})?\Z")

# NwGeolocAlgoUsed, from published reports: 0 goes with radii of 100 m, 1 with 5 km. Old reports have only the
# configured NwGeolocAlgo, where 2 means "either".
_METHODS = {0: "TDOA", 1: "RSSI"}


class PushError(Exception):
    """A push that is refused: HTTP ``status``, a short ``code`` for logs, a plain ``sentence``."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


def _wrong(name: str, what: str) -> PushError:
    return PushError(422, "bad-field", f"{name} must be {what}.")


class Fields:
    """One report, or one element of a list in it."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report = report

    def text(self, *names: str) -> str:
        """The first of ``names`` that is there, as text without outer spaces; "" where none is."""
        for name in names:
            value = self.report.get(name)
            if value is None:
                continue
            if isinstance(value, bool):
                value = int(value)
            if not isinstance(value, str | int | float):
                raise _wrong(name, "a text or a number")
            try:
                text = str(value).strip()
            except ValueError as error:  # a whole number of thousands of digits
                raise _wrong(name, "shorter") from error
            if "\x00" in text or not text.isprintable():
                raise _wrong(name, "printable text")
            if text:
                return text
        return ""

    def optional_integer(self, *names: str, low: int = 0, high: int) -> int | None:
        text = self.text(*names)
        if not text:
            return None
        if _INTEGER.match(text) is None or not low <= int(text.partition(".")[0]) <= high:
            raise _wrong(names[0], f"a whole number from {low} to {high}")
        return int(text.partition(".")[0])

    def integer(self, *names: str, low: int = 0, high: int, default: int | None = None) -> int:
        number = self.optional_integer(*names, low=low, high=high)
        if number is None and default is None:
            raise _wrong(names[0], f"a whole number from {low} to {high}")
        return number if number is not None else default or 0

    def number(self, name: str, *, low: float = -1e12, high: float = 1e12) -> float | None:
        text = self.text(name)
        if not text:
            return None
        number = float(text) if _NUMBER.match(text) else math.nan
        if not low <= number <= high:
            raise _wrong(name, f"a number from {low:g} to {high:g}")
        return number

    def flag(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in {"", "0", "1", "true", "false", "0.0", "1.0"}:
            raise _wrong(name, "0 or 1")
        return text in {"1", "true", "1.0"}

    def hexadecimal(self, name: str) -> bytes:
        text = self.text(name)
        if re.fullmatch(r"([0-9A-Fa-f]{2})*", text) is None:
            raise _wrong(name, "bytes in hexadecimal")
        return bytes.fromhex(text)

    def moment(self, name: str) -> datetime:
        """An aware moment, in UTC."""
        try:
            moment = datetime.fromisoformat(self.text(name))
            if moment.tzinfo is None:
                raise _wrong(name, "a moment with its offset")
            return moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise _wrong(name, "a moment in ISO 8601") from error

    def dev_eui(self) -> str:
        text = self.text("DevEUI")
        if re.fullmatch(r"[0-9A-Fa-f]{16}", text) is None:
            raise _wrong("DevEUI", "16 hexadecimal digits")
        return text.upper()

    def dev_addr(self) -> str:
        text = self.text("DevAddr")
        if text and re.fullmatch(r"[0-9A-Fa-f]{8}", text) is None:
            raise _wrong("DevAddr", "8 hexadecimal digits")
        return text.upper()

    def radio(self) -> dict[str, Any]:
        """The fields of a :class:`lora.events.RadioEvent`, as keyword arguments."""
        megahertz = self.number("Frequency", low=0, high=10_000)
        spreading_factor = self.optional_integer("SpFact", "Spfact", high=255)
        receptions = self.receptions()
        count = self.optional_integer("DevLrrCnt", high=100_000)
        return {
            "dev_eui": self.dev_eui(),
            "at": self.moment("Time"),
            # FSK frames carry another number here: no spreading factor.
            "spreading_factor": spreading_factor if spreading_factor in range(5, 13) else None,
            "frequency_hz": None if megahertz is None else round(megahertz * 1_000_000),
            "channel": self.text("Channel"),
            "mic": self.hexadecimal("mic_hex").hex(),
            "dev_addr": self.dev_addr(),
            "receptions": receptions,
            "gateway_count": len(receptions) if count is None else count,
        }

    def receptions(self) -> tuple[Reception, ...]:
        """Highest SNR first. A gateway listed without RSSI or SNR is left out; the report's own figures stand
        in where there is no list. Only the report's own gateway has a known place."""
        entries = [Fields(entry) for entry in self._gateways()]
        found = [reception for entry in entries if (reception := entry.reception()) is not None]
        if not found:
            found = [reception for reception in [self.reception()] if reception is not None]
        best = self.text("Lrrid")
        latitude = self.number("LrrLAT", low=-90, high=90)
        longitude = self.number("LrrLON", low=-180, high=180)
        if latitude and longitude:
            found = [
                Reception(
                    gateway=one.gateway,
                    rssi=one.rssi,
                    snr=one.snr,
                    esp=one.esp,
                    latitude=latitude if one.gateway == best else None,
                    longitude=longitude if one.gateway == best else None,
                )
                for one in found
            ]
        return tuple(sorted(found, key=lambda one: -one.snr))

    def reception(self) -> Reception | None:
        rssi, snr = self.number("LrrRSSI", low=-500, high=500), self.number("LrrSNR", low=-500, high=500)
        if rssi is None or snr is None:
            return None
        esp = self.number("LrrESP", low=-1000, high=500)
        return Reception(gateway=self.text("Lrrid"), rssi=rssi, snr=snr, esp=esp)

    def _gateways(self) -> list[dict[str, Any]]:
        """``Lrrs.Lrr``: a list, or one object where an XML form was turned into JSON."""
        outer = self.report.get("Lrrs") or {}
        if not isinstance(outer, dict):
            raise _wrong("Lrrs", "an object")
        inner = outer.get("Lrr") or []
        entries = [inner] if isinstance(inner, dict) else inner
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _wrong("Lrr", "an object or a list of objects")
        return entries

    def location(self) -> Location | None:
        """The position that the network solved; None where the report has no coordinates."""
        latitude = self.number("DevLAT", low=-90, high=90)
        longitude = self.number("DevLON", low=-180, high=180)
        if latitude is None or longitude is None:
            return None
        method = self.optional_integer("NwGeolocAlgoUsed", "NwGeolocAlgo", high=255)
        return Location(
            latitude=latitude,
            longitude=longitude,
            radius=self.number("DevLocRadius", low=0) or 0.0,
            method="" if method is None else _METHODS.get(method, ""),
            solved_at=self.moment("DevLocTime") if self.text("DevLocTime") else None,
        )
