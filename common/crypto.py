"""Secrets at rest: AES-256-GCM under a key ring, so that keys can be changed without losing what is stored."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class SecretUnreadable(Exception):
    """The stored secret was made with a key that is not in the ring, for another purpose, or was changed."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Named keys of 32 bytes; the first encrypts, all decrypt."""

    keys: tuple[tuple[str, bytes], ...]

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(name for name, _ in self.keys)})"

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """``name:base64,name:base64``, newest first. Raises ImproperlyConfigured with what is wrong."""
        keys = []
        for part in text.split(","):
            name, _, encoded = part.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if not name or len(name.encode()) > 32 or len(key) != 32:
                raise ImproperlyConfigured(
                    "THINGS_KEYRING must be name:key pairs separated by commas, each key 32 bytes in base64."
                )
            keys.append((name, key))
        return cls(tuple(keys))


def encrypt(plain: bytes, *, purpose: str) -> bytes:
    """The secret under the newest key: length and name of the key, 12-byte nonce, ciphertext with tag.

    ``purpose`` is bound in: a value copied to another column or device cannot be read there.
    """
    name, key = settings.THINGS_KEYRING.keys[0]
    nonce = os.urandom(12)
    label = name.encode()
    return bytes([len(label)]) + label + nonce + AESGCM(key).encrypt(nonce, plain, purpose.encode())


def decrypt(stored: bytes | memoryview, *, purpose: str) -> bytes:
    """The inverse of :func:`encrypt`. Raises SecretUnreadable."""
    stored = bytes(stored)
    length = stored[0] if stored else 0
    label = stored[1 : 1 + length].decode(errors="replace")
    nonce, sealed = stored[1 + length : 13 + length], stored[13 + length :]
    for name, key in settings.THINGS_KEYRING.keys:
        if name == label:
            try:
                return AESGCM(key).decrypt(nonce, sealed, purpose.encode())
            except (InvalidTag, ValueError):
                break
    raise SecretUnreadable(f"The secret for {purpose} cannot be read with the keys of THINGS_KEYRING.")
