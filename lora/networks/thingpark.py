"""Actility ThingPark's push dialect (the operator's LoRa core): verify a report, make neutral events of it.

Source: reference, networks D.3 and D.4. Reports come as JSON (old servers write every value as text, new ones
numbers: both give equal events) or as XML. Pure functions, no database.

The token binds only some elements of the body, concatenated without separators: which is how the format is
given. Comparing DevEUI and FPort with the signed query closes most of that gap; the rest of the body (signal
figures, positions) is only as trustworthy as the way it came.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import quote, unquote

from django.utils.translation import gettext_noop

from lora.events import (
    DownlinkAcknowledged,
    DownlinkFailed,
    DownlinkSent,
    Event,
    JoinAccept,
    JoinRequest,
    Located,
    Uplink,
)
from lora.networks.thingpark_fields import Fields, PushError

__all__ = ["CAUSES", "PushError", "parse", "read", "sign_push", "verify_push"]

MAX_BYTES: Final = 262_144
MAX_XML_DEPTH: Final = 16

# Why a gateway or the network did not send in a window; C0 is a choice, not a fault.
CAUSES: Final[Mapping[str, str]] = {
    "00": gettext_noop("No failure."),
    "A0": gettext_noop("The radio of the gateway has stopped."),
    "A1": gettext_noop("The downlink radio of the gateway has stopped."),
    "A2": gettext_noop("The ping slot was not available."),
    "A3": gettext_noop("The radio of the gateway was busy."),
    "A4": gettext_noop("The channel was in use (listen before talk)."),
    "A5": gettext_noop("The radio board of the gateway reported an error."),
    "A6": gettext_noop("The packet forwarder of the gateway failed."),
    "B0": gettext_noop("The downlink reached the gateway too late."),
    "C0": gettext_noop("The network chose the second receive window."),
    "D0": gettext_noop("The duty cycle of the gateway was used up."),
    "DA": gettext_noop("The duty cycle of the network was used up."),
    "DB": gettext_noop("The transmission would exceed the permitted dwell time."),
    "DC": gettext_noop("No gateway with GPS time was available."),
    "DD": gettext_noop("No gateway was connected."),
    "DE": gettext_noop("The partner network refused the downlink."),
    "DF": gettext_noop("The NetID is wrong."),
    "E0": gettext_noop("The longest wait for class C (60 seconds) has passed."),
    "E1": gettext_noop("The downlink queue of the network is full."),
    "E2": gettext_noop("The downlink counter is not valid."),
    "E3": gettext_noop("The validity time of the downlink has passed."),
    "E4": gettext_noop("The downlink queue was emptied when the device joined again."),
}

_QUERY_ORDER: Final = ("LrnDevEui", "LrnFPort", "LrnInfos", "AS_ID", "Time")


def verify_push(
    raw_query: str,
    body: bytes,
    *,
    as_keys: Sequence[str],
    now: datetime,
    max_drift: timedelta | None = timedelta(minutes=15),
) -> dict[str, Any]:
    """The report in ``body``, proved to come from a holder of one of ``as_keys``; ready for :func:`parse`.

    ``raw_query`` is the query string as received, still percent-encoded and in any order. ``now`` is aware;
    ``max_drift`` is the largest distance between it and the signed ``Time``, None leaves that unchecked.
    Raises PushError: 400 for a body or query that cannot be read, 422 for an unknown report, 401 for a wrong
    token, and for a ``Time`` that is missing or too far off. Without any key nothing is accepted.
    """
    query = _query(raw_query)
    document = read(body)
    name, report = _report(document)
    given = query.get("Token", "").lower().encode(errors="replace")
    signed = _body_elements(name, report) + _query_text(query)
    matches = False
    for as_key in as_keys:
        # The key counts in lower case, yet one published sample was made with the key as typed.
        for key in (as_key.lower(), as_key):
            expected = _token(signed, key).encode()
            matches |= hmac.compare_digest(expected, given) and bool(key)
    if not matches or not _same_device(query, report):
        raise PushError(401, "bad-token", "The token does not belong to this message.")
    _check_time(query.get("Time", ""), now, max_drift)
    return document


def sign_push(
    document: Mapping[str, Any],
    *,
    as_key: str,
    time: datetime,
    as_id: str = "things-portal",
    infos: str = "TWA_1",
) -> str:
    """The query string with which a network pushes ``document``: what :func:`verify_push` accepts."""
    name, report = _report(document)
    query = {
        "LrnDevEui": _element(report, "DevEUI"),
        "LrnFPort": _element(report, "FPort") or "0",
        "LrnInfos": infos,
        "AS_ID": as_id,
        "Time": time.isoformat(timespec="milliseconds"),
    }
    token = _token(_body_elements(name, report) + _query_text(query), as_key.lower())
    return "&".join(f"{key}={quote(value, safe='')}" for key, value in (query | {"Token": token}).items())


def parse(document: Mapping[str, Any]) -> list[Event]:
    """The neutral events of one report, the frame itself first.

    Empty for a report that says nothing the portal keeps (reset, device status). Raises PushError with 422
    for an unknown report or a field of the wrong form.
    """
    name, report = _report(document)
    return _REPORTS[name](Fields(report))


def _query(raw: str) -> dict[str, str]:
    """The parameters, percent-decoded. A ``+`` stays a plus: ``Time`` carries one in its offset."""
    query: dict[str, str] = {}
    for pair in raw.split("&"):
        key, _, value = pair.partition("=")
        try:
            key, value = unquote(key, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise PushError(400, "bad-query", "The query is not valid percent-encoded UTF-8.") from error
        if key in query:
            raise PushError(400, "bad-query", "A query parameter stands twice.")
        query[key] = value
    return query


def _query_text(query: Mapping[str, str]) -> str:
    return "&".join(f"{key}={query[key]}" for key in _QUERY_ORDER if key in query)


def _token(signed: str, as_key: str) -> str:
    return hashlib.sha256((signed + as_key).encode(errors="replace")).hexdigest()


def _element(report: Mapping[str, Any], key: str) -> str:
    value = report.get(key)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _body_elements(name: str, report: Mapping[str, Any]) -> str:
    """What of the body goes into the token. For a rejected downlink no source says: as for a sent one."""
    customer, dev_eui = _element(report, "CustomerID"), _element(report, "DevEUI")
    fport = _element(report, "FPort") or "0"
    match name:
        case "DevEUI_uplink":
            return customer + dev_eui + fport + _element(report, "FCntUp") + _element(report, "payload_hex")
        case "DevEUI_downlink_Sent" | "DevEUI_downlink_Rejected":
            return customer + dev_eui + fport + _element(report, "FCntDn")
        case "DevEUI_location":
            return customer + dev_eui.lower()
    return customer + dev_eui


def _same_device(query: Mapping[str, str], report: Mapping[str, Any]) -> bool:
    dev_eui, fport = _element(report, "DevEUI"), _element(report, "FPort")
    return query.get("LrnDevEui", dev_eui).lower() == dev_eui.lower() and (
        not fport or query.get("LrnFPort", fport) == fport
    )


def _check_time(text: str, now: datetime, max_drift: timedelta | None) -> None:
    try:
        signed_at = datetime.fromisoformat(text)
    except ValueError as error:
        raise PushError(401, "bad-time", "The query has no valid Time.") from error
    if signed_at.tzinfo is None:
        raise PushError(401, "bad-time", "The Time in the query has no offset.")
    if max_drift is not None and abs(now - signed_at) > max_drift:
        raise PushError(401, "stale", "The message is too old, or a clock is wrong.")


def read(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BYTES:
        raise PushError(413, "too-large", "The message is too large.")
    try:
        # UTF-8 only, so that the search for declarations below cannot be passed by in another encoding.
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise PushError(400, "malformed", "The message is not UTF-8.") from error
    if text.startswith("<"):
        return _read_xml(text)
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PushError(400, "malformed", "The message is not valid JSON.") from error
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise PushError(422, "unknown-report", "The message holds no single report.")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _read_xml(text: str) -> dict[str, Any]:
    """``<DevEUI_uplink xmlns="…">…`` as the JSON form has it; elements that repeat become a list.

    Refuses declarations of a document type or of entities: the parser would expand them (billion laughs).
    """
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise PushError(400, "malformed", "The message declares a document type or entities.")
    try:
        root = ET.fromstring(text)  # noqa: S314 (no declarations can be in it, see above)
    except (ET.ParseError, ValueError) as error:
        raise PushError(400, "malformed", "The message is not valid XML.") from error
    return {_local(root): _element_value(root, 1)}


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _element_value(element: ET.Element, depth: int) -> object:
    if depth > MAX_XML_DEPTH:
        raise PushError(400, "malformed", "The XML is nested too deeply.")
    if not len(element):
        return (element.text or "").strip()
    values: dict[str, Any] = {}
    for child in element:
        key, value = _local(child), _element_value(child, depth + 1)
        if key not in values:
            values[key] = value
        elif isinstance(values[key], list):
            values[key].append(value)
        else:
            values[key] = [values[key], value]
    return values


def _report(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    known = [name for name in document if name in _REPORTS]
    if len(known) != 1:
        raise PushError(422, "unknown-report", "The message is not one report of a known kind.")
    report = document[known[0]]
    if not isinstance(report, dict):
        raise PushError(422, "bad-field", f"{known[0]} must be an object.")
    return known[0], report


def _uplink(fields: Fields) -> list[Event]:
    if fields.integer("MType", default=2, high=7) == 0 or fields.text("rawJoinRequest"):
        return [_join_request(fields)]
    fport = fields.optional_integer("FPort", high=255)
    payload, mac = fields.hexadecimal("payload_hex"), fields.hexadecimal("rawMacCommands")
    if fport == 0:
        # On port 0 the payload is MAC commands and nothing else (LoRaWAN 1.0.x, section 4.3.2).
        payload, mac = b"", mac or payload
    fcnt = fields.integer("FCntUp", high=2**32 - 1)
    solved_for = fields.optional_integer("DevUlFCntUpUsed", high=2**32 - 1)
    location = fields.location()
    own = solved_for is None or solved_for == fcnt
    uplink = Uplink(
        **fields.radio(),
        fcnt=fcnt,
        fport=fport,
        payload=payload,
        mac=mac,
        confirmed=fields.integer("MType", default=2, high=7) == 4 or fields.flag("AckRequested"),
        ack=fields.flag("ACKbit"),
        adr=fields.flag("ADRbit"),
        adr_ack_req=fields.flag("ADRAckReq") or fields.flag("ADRACKReq"),
        location=location if own else None,
    )
    events: list[Event] = [uplink]
    if uplink.ack:
        events.append(DownlinkAcknowledged(dev_eui=uplink.dev_eui, at=uplink.at))
    if location is not None and not own:
        events.append(Located(dev_eui=uplink.dev_eui, at=uplink.at, location=location, fcnt=solved_for))
    return events


def _join_request(fields: Fields) -> JoinRequest:
    """The DevEUI is the report's, which the token covers; the one in the frame is not compared with it.

    AppEUI and DevNonce stand in the frame, least significant byte first (LoRaWAN 1.0.x, section 6.2.4).
    """
    radio = fields.radio()
    frame = fields.hexadecimal("rawJoinRequest")
    if not frame:
        return JoinRequest(**radio)
    if len(frame) != 23 or frame[0] >> 5 != 0:
        raise PushError(422, "bad-field", "rawJoinRequest is not a join-request of 23 bytes.")
    return JoinRequest(
        **(radio | {"mic": radio["mic"] or frame[19:].hex()}),
        app_eui=frame[8:0:-1].hex().upper(),
        dev_nonce=int.from_bytes(frame[17:19], "little"),
    )


def _notification(fields: Fields) -> list[Event]:
    dev_eui, at = fields.dev_eui(), fields.moment("Time")
    if fields.text("Type").lower() != "join":
        return []
    return [JoinAccept(dev_eui=dev_eui, at=at, dev_addr=fields.dev_addr())]


def _downlink_sent(fields: Fields) -> list[Event]:
    delivered = fields.integer("DeliveryStatus", high=65535) == 1
    causes = [fields.text(f"DeliveryFailedCause{slot}").upper() or "00" for slot in (1, 2, 3)]
    slot = fields.integer("TransmissionSlot", default=0, high=255)
    window = {1: "RX1", 2: "RX2"}.get(slot, "")
    if delivered and slot == 0 and causes[0] != "00" and causes[1] == "00":
        # Sent although the first window was passed over, and nothing failed in the second.
        window = "RX2"
    failures = [cause for cause in reversed(causes) if cause not in {"00", "C0"}]
    sent = DownlinkSent(
        **(fields.radio() | {"receptions": (), "gateway_count": 0}),
        fcnt=fields.optional_integer("FCntDn", high=2**32 - 1),
        fport=fields.optional_integer("FPort", high=255),
        payload=fields.hexadecimal("payload_hex"),
        window=window,
        gateway=fields.text("Lrrid"),
        correlation_id=fields.text("CorrelationID"),
        delivered=delivered,
        cause="" if delivered else (failures or [""])[0],
    )
    return [sent]


def _downlink_rejected(fields: Fields) -> list[Event]:
    """The rejection cause is free text on some servers and a code of :data:`CAUSES` on others."""
    status, cause = fields.text("DeliveryStatus"), fields.text("DownlinkRejectionCause")
    reason = CAUSES.get(cause.upper()) or cause or "The network refused the downlink."
    return [
        DownlinkFailed(
            dev_eui=fields.dev_eui(),
            at=fields.moment("Time"),
            correlation_id=fields.text("CorrelationID"),
            cause=cause.upper() if cause.upper() in CAUSES else status,
            reason=reason,
        )
    ]


def _location(fields: Fields) -> list[Event]:
    location = fields.location()
    if location is None:
        raise PushError(422, "bad-field", "The location report has no coordinates.")
    return [
        Located(
            dev_eui=fields.dev_eui(),
            at=fields.moment("Time"),
            location=location,
            fcnt=fields.optional_integer("DevUlFCntUpUsed", high=2**32 - 1),
        )
    ]


_REPORTS: Final[Mapping[str, Callable[[Fields], list[Event]]]] = {
    "DevEUI_uplink": _uplink,
    "DevEUI_downlink_Sent": _downlink_sent,
    "DevEUI_downlink_Rejected": _downlink_rejected,
    "DevEUI_location": _location,
    "DevEUI_notification": _notification,
}
