"""Secrets at rest: the key ring, its rotation, and what it refuses."""

from __future__ import annotations

import base64

import pytest
from django.core.exceptions import ImproperlyConfigured

from common import crypto
from common.crypto import KeyRing, SecretUnreadable

OLD = "old:" + base64.b64encode(b"o" * 32).decode()
NEW = "new:" + base64.b64encode(b"n" * 32).decode()


def test_secret_comes_back() -> None:
    assert crypto.decrypt(crypto.encrypt(b"secret", purpose="a"), purpose="a") == b"secret"


def test_same_secret_never_looks_the_same_twice() -> None:
    assert crypto.encrypt(b"secret", purpose="a") != crypto.encrypt(b"secret", purpose="a")


def test_secret_moved_to_another_place_cannot_be_read() -> None:
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(crypto.encrypt(b"secret", purpose="AppKey 1"), purpose="AppKey 2")


@pytest.mark.parametrize("stored", [b"", b"\x02k1", b"\xff" * 40])
def test_broken_secret_is_an_error_of_its_own(stored: bytes) -> None:
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(stored, purpose="a")


def test_changed_secret_is_refused() -> None:
    stored = bytearray(crypto.encrypt(b"secret", purpose="a"))
    stored[-1] ^= 1
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(bytes(stored), purpose="a")


def test_new_key_encrypts_and_the_old_one_still_reads(settings) -> None:
    settings.THINGS_KEYRING = KeyRing.parse(OLD)
    stored = crypto.encrypt(b"secret", purpose="a")
    settings.THINGS_KEYRING = KeyRing.parse(f"{NEW},{OLD}")
    assert crypto.decrypt(stored, purpose="a") == b"secret"
    assert crypto.encrypt(b"secret", purpose="a")[1:4] == b"new"
    settings.THINGS_KEYRING = KeyRing.parse(NEW)
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(stored, purpose="a")


@pytest.mark.parametrize("text", ["", "k1", "k1:short", ":" + "A" * 44, "k1:" + "?" * 44])
def test_key_ring_that_is_none_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="THINGS_KEYRING must be"):
        KeyRing.parse(text)


def test_key_ring_does_not_print_its_keys() -> None:
    assert repr(KeyRing.parse(NEW)) == "KeyRing(new)"
