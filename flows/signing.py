"""How a receiver knows that a message is the portal's: the platform's token and an HMAC with its moment (F5)."""

from __future__ import annotations

import base64
import hashlib
import hmac


def message_token(body: bytes, secret: str) -> str:
    """``Things-Message-Token``: SHA-256 of the body followed by the shared secret, lower-case hexadecimal
    (operator's platform, 2.3 and 5.4)."""
    return hashlib.sha256(body + secret.encode()).hexdigest()


def signature(body: bytes, secret: str, *, delivery: str, timestamp: int) -> str:
    """``Things-Signature``: HMAC-SHA256 of ``timestamp.delivery.body``. With the moment and the delivery's id in it, a
    message that somebody has kept cannot be passed off as a new one."""
    signed = f"{timestamp}.{delivery}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def basic(username: str, password: str) -> str:
    """The value of ``Authorization`` (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
