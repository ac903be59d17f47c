"""Cisco IoT Control Center over its REST interface, version 1, where a SIM card is called a device.

Source: developer.cisco.com/docs/control-center (Get Device Details, Edit Device Details, Send SMS, Authentication).
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from devices.errors import NetworkRefused, NetworkUnavailable

from . import Carrier, Details

if TYPE_CHECKING:
    from m2m.models import SimCard

# A change asks three times at most, all within the lease of the work (30 s).
TIMEOUT: Final = 8.0
MAX_ANSWER: Final = 64 * 1024
RATE_LIMIT: Final = "40000029"
# SIM Status Values of the interface → ours. A card that is retired, purged or replaced cannot connect any more.
STATUSES: Final = {
    "ACTIVATED": "active",
    "DEACTIVATED": "deactivated",
    "RETIRED": "deactivated",
    "PURGED": "deactivated",
    "REPLACED": "deactivated",
    "INVENTORY": "inventory",
    "ACTIVATION_READY": "inventory",
    "TEST_READY": "inventory",
    "TRIAL": "inventory",
}


class ControlCenter(Carrier):
    """``base_url``: https and the host, and what stands before ``/rws/api/v1``. Redirects are not followed."""

    def __init__(self, base_url: str, username: str, api_key: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "https" or not parts.hostname:
            raise NetworkUnavailable(_("The address of the carrier is not set up."))
        self._host, self._port = parts.hostname, parts.port or 443
        self._prefix = f"{parts.path.rstrip('/')}/rws/api/v1"
        # Basic authentication with the API key in the place of the password.
        self._authorization = "Basic " + base64.b64encode(f"{username}:{api_key}".encode()).decode()

    def details(self, card: SimCard) -> Details:
        found = self._ask("GET", f"/devices/{card.iccid}")
        word = str(found.get("status") or "")
        if word not in STATUSES:
            raise NetworkUnavailable(_("The carrier gave a status that is not known here."))
        return Details(
            status=STATUSES[word],
            word=word,
            rate_plan=str(found.get("ratePlan") or "")[:100],
            msisdn=_e164(found.get("msisdn")),
            activated_at=_moment(found.get("dateActivated")),
        )

    def set_active(self, card: SimCard, *, active: bool) -> Details:
        wanted = "ACTIVATED" if active else "DEACTIVATED"
        found = self.details(card)
        if found.word == wanted or (not active and found.status != "active"):
            return found
        self._ask("PUT", f"/devices/{card.iccid}", {"status": wanted})
        found = self.details(card)
        if found.word != wanted:
            # Accepted (202), and not done yet: asked again later.
            raise NetworkUnavailable(_("The carrier has not changed the SIM card yet."))
        return found

    def send_sms(self, card: SimCard, text: str) -> str:
        answer = self._ask("POST", f"/devices/{card.iccid}/smsMessages", {"messageText": text})
        return str(answer.get("smsMsgId") or "")[:40]

    def _ask(self, method: str, path: str, content: dict[str, str] | None = None) -> dict[str, Any]:
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        body = None
        if content is not None:
            body = json.dumps(content).encode()
            headers["Content-Type"] = "application/json"
        # The default context verifies the certificate and the host's name.
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT, context=context)
        try:
            with closing(connection):
                connection.request(method, self._prefix + path, body=body, headers=headers)
                response = connection.getresponse()
                status, answer = response.status, response.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            # Neither address nor key stands in it.
            raise NetworkUnavailable(_("The carrier does not answer.")) from error
        return self._read(status, answer)

    @staticmethod
    def _read(status: int, answer: bytes) -> dict[str, Any]:
        try:
            document = json.loads(answer) if answer.strip() else {}
        except ValueError:
            document = None
        told = document if isinstance(document, dict) else {}
        words = str(told.get("errorMessage") or "")[:200]
        if status in {200, 201, 202} and isinstance(document, dict):
            return document
        if str(told.get("errorCode") or "") == RATE_LIMIT or status == 429:
            raise NetworkUnavailable(_("The carrier has been asked too often."))
        if status in {401, 403}:
            raise NetworkUnavailable(_("The carrier refuses the portal's user name or API key."))
        if status == 404:
            raise NetworkRefused(_("The carrier does not know this ICCID."))
        if 400 <= status < 500:
            raise NetworkRefused(_("The carrier refused: %(words)s") % {"words": words or status})
        raise NetworkUnavailable(_("The carrier is not well (HTTP %(status)d).") % {"status": status})


def _e164(msisdn: Any) -> str:
    digits = str(msisdn or "").strip().lstrip("+")
    return f"+{digits}" if re.fullmatch(r"[1-9][0-9]{6,14}", digits) else ""


def _moment(text: Any) -> datetime | None:
    """Such as 2016-06-29 00:21:33.339+0000."""
    try:
        moment = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
