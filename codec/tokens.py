"""The ``Things-Message-Token``: how a device, and the portal towards a destination, prove themselves.

Source: reference, sections 2.3 and 5.4. The same formula both ways: SHA-256 over the body followed by the
shared secret (not an HMAC; the format is given).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from typing import Final

# For a shared secret as the platform documents it; `\Z`, because `$` would let a line end through.
SECRET_PATTERN: Final = re.compile(r"^[0-9a-zA-Z]{30,100}\Z")
_ALPHABET: Final = string.ascii_letters + string.digits


def message_token(body: bytes, secret: str) -> str:
    """The token for the exact bytes of ``body``: 64 lower-case hex digits.

    Take the bytes that were sent or received; JSON that was parsed and written again is another body.
    """
    return hashlib.sha256(body + secret.encode()).hexdigest()


def verify(body: bytes, secret: str, token: str) -> bool:
    """Whether ``token`` (hex, any case) belongs to body and secret; constant time, never raises.

    An empty secret proves nothing, so that nothing is accepted with it.
    """
    expected = message_token(body, secret).encode()
    given = token.lower().encode(errors="replace")
    return hmac.compare_digest(expected, given) and bool(secret)


def new_secret() -> str:
    """A fresh shared secret: 40 letters and digits, about 238 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(40))
