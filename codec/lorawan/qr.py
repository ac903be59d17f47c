"""The text of a device's QR code, as the LoRa Alliance lays it out.

Source: TR005 LoRaWAN Device Identification QR Codes (schema D0): LW:D0:<JoinEUI>:<DevEUI>:<ProfileID>, then any of
O (owner token), S (serial number), P (maker's own) and C (checksum), each behind a colon. EUIs are written most
significant byte first. The code holds no key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 1000
_HEX: Final = re.compile(r"[0-9A-Fa-f]*\Z")
_START: Final = re.compile(r"LW(:|%3A)", re.IGNORECASE)


def gettext_noop(text: str) -> str:
    """Marks a sentence for translation; codecs know no framework, so that whoever shows it translates it."""
    return text


class Problem(Enum):
    """What is wrong with a text, as the sentence that people read."""

    NOT_A_DEVICE = gettext_noop("This is not the QR code of a LoRaWAN device: its text begins with LW:D0.")
    SCHEMA = gettext_noop("This QR code has a layout that the portal does not know: only LW:D0 is read.")
    SHORT = gettext_noop("The code is not complete: AppEUI, DevEUI and profile belong behind LW:D0.")
    LONG = gettext_noop("This text is too long for the QR code of a LoRaWAN device.")
    JOIN_EUI = gettext_noop("The AppEUI (JoinEUI) in the code does not have 16 hexadecimal digits.")
    DEV_EUI = gettext_noop("The DevEUI in the code does not have 16 hexadecimal digits.")
    PROFILE = gettext_noop("The profile in the code does not have 8 hexadecimal digits.")
    TWICE = gettext_noop("The code says the same thing twice.")
    CHECKSUM = gettext_noop("The checksum does not match: a character of the code is wrong. Read it again.")


class QrError(ValueError):
    """The text is not a TR005 code; ``problem`` says what is wrong with it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a code says. EUIs and profile: hex, upper case; "" where the code is silent."""

    join_eui: str
    dev_eui: str
    vendor_id: str
    vendor_profile_id: str
    serial: str = ""
    proprietary: tuple[str, ...] = ()
    # It proves who owns the device: never shown, kept or logged.
    owner_token: str = field(default="", repr=False)


def parse(text: str) -> DeviceCode:
    """The text of a QR code; case does not matter, nor does percent encoding. Raises QrError."""
    text = text.strip()
    if len(text) > LONGEST:
        raise QrError(Problem.LONG)
    start = _START.match(text)
    if start is None:
        raise QrError(Problem.NOT_A_DEVICE)
    if start[1] != ":":
        text = unquote(text)
    parts = text.split(":")
    if parts[1].upper() != "D0":
        raise QrError(Problem.SCHEMA)
    if len(parts) < 5:
        raise QrError(Problem.SHORT)
    join_eui = _hex(parts[2], 16, Problem.JOIN_EUI)
    dev_eui = _hex(parts[3], 16, Problem.DEV_EUI)
    profile = _hex(parts[4], 8, Problem.PROFILE)
    extensions = _extensions(parts)
    return DeviceCode(
        join_eui=join_eui,
        dev_eui=dev_eui,
        vendor_id=profile[:4],
        vendor_profile_id=profile[4:],
        serial="".join(extensions.get("S", ())),
        proprietary=tuple(extensions.get("P", ())),
        owner_token="".join(extensions.get("O", ())),
    )


def _hex(part: str, digits: int, problem: Problem) -> str:
    if len(part) != digits or not _HEX.match(part):
        raise QrError(problem)
    return part.upper()


def _extensions(parts: list[str]) -> dict[str, list[str]]:
    """Letter → values, in any order; letters of later editions are kept and not read. Checks C where it stands."""
    found: dict[str, list[str]] = {}
    for index, part in enumerate(parts[5:], start=5):
        letter, value = part[:1].upper(), part[1:]
        if not value:
            continue
        if letter == "C":
            _check(":".join(parts[:index]), value)
        if letter in "OSC" and letter in found:
            raise QrError(Problem.TWICE)
        found.setdefault(letter, []).append(unquote(value))
    return found


def _check(covered: str, value: str) -> None:
    """Makers print upper case; a code typed in lower case has the checksum of what is printed."""
    if len(value) != 4 or not _HEX.match(value):
        raise QrError(Problem.CHECKSUM)
    given = int(value, 16)
    if given not in {checksum(covered), checksum(covered.upper())}:
        raise QrError(Problem.CHECKSUM)


def checksum(covered: str) -> int:
    """CRC-16 with the reflected polynomial 0x8005, from 0xFFFF (the one of Modbus), over all before ":C".

    Established from the specification's full example and from a maker's label, which both come out right.
    """
    crc = 0xFFFF
    for octet in covered.encode(errors="replace"):
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return crc
