"""How a receiver knows that a message is the portal's, beside the platform's token: an HMAC with its moment (F5)."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature(body: bytes, secret: str, *, delivery: str, timestamp: int) -> str:
    """``Things-Signature``: HMAC-SHA256 of ``timestamp.delivery.body``. With the moment and the delivery's id in it, a
    message that somebody has kept cannot be passed off as a new one."""
    signed = f"{timestamp}.{delivery}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def basic(username: str, password: str) -> str:
    """The value of ``Authorization`` (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
