"""Check digits of IMEI (3GPP TS 23.003, section 6 and annex B) and ICCID (ITU-T E.118): the Luhn formula."""

from __future__ import annotations

import re


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit (ISO/IEC 7812-1, annex B) of those before it."""
    total = 0
    for index, character in enumerate(reversed(digits)):
        digit = int(character)
        if index % 2:
            digit *= 2
        total += digit // 10 + digit % 10
    return total % 10 == 0


def only_digits(text: str) -> str:
    """Without the separators that people type: spaces, dashes, dots, slashes."""
    return re.sub(r"[\s\-./]", "", text)


def imei_problem(imei: str) -> str:
    """ "length", "digits" or "check" for what is wrong; "" for a valid IMEI of 15 digits."""
    if not re.fullmatch(r"[0-9]*", imei):
        return "digits"
    if len(imei) != 15:
        return "length"
    return "" if luhn_valid(imei) else "check"


def iccid_problem(iccid: str) -> str:
    """ "length", "digits", "prefix" or "check"; "" for a valid ICCID (89, 19 or 20 digits with check digit)."""
    if not re.fullmatch(r"[0-9]*", iccid):
        return "digits"
    if len(iccid) not in {19, 20}:
        return "length"
    if not iccid.startswith("89"):
        return "prefix"
    return "" if luhn_valid(iccid) else "check"


def e164(text: str) -> str:
    """A phone number in E.164 (ITU-T), with its plus: at most 15 digits, the first not 0. "" where it is none."""
    bare = re.sub(r"[\s\-./()]", "", text)
    digits = bare[1:] if bare.startswith("+") else bare[2:] if bare.startswith("00") else bare
    return f"+{digits}" if re.fullmatch(r"[1-9][0-9]{6,14}", digits) else ""


def with_check_digit(digits: str) -> str:
    """The digits with their Luhn check digit behind them."""
    return next(digits + str(check) for check in range(10) if luhn_valid(digits + str(check)))
