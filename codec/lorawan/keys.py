"""The cryptography of LoRaWAN 1.0.x: MIC, payload encryption, join-accept and session keys.

Source: LoRaWAN L2 specification 1.0.x, sections 4.3.3, 4.4 and 6.2.4-6.2.5. All keys are 16 bytes (AES-128).
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from .mac import Direction


# Key schedules are kept: making one costs five times the work of one frame. Both contexts carry no state
# between calls: the CMAC is copied before use, and ECB blocks are always whole.
@lru_cache(maxsize=8192)
def _cmac(key: bytes) -> CMAC:
    return CMAC(AES(key))


@lru_cache(maxsize=8192)
def _encryptor(key: bytes) -> CipherContext:
    return Cipher(AES(key), ECB()).encryptor()  # noqa: S305  (the A_i blocks are a counter mode made of ECB)


def mic(key: bytes, message: bytes) -> bytes:
    """The first four bytes of AES-CMAC(key, message): the MIC of join frames."""
    context = _cmac(key).copy()
    context.update(message)
    return context.finalize()[:4]


def data_mic(nwk_skey: bytes, direction: Direction, dev_addr: int, fcnt: int, message: bytes) -> bytes:
    """The MIC of a data frame. ``message`` is MHDR to FRMPayload as sent; ``fcnt`` all 32 bits (4.4)."""
    block = b"\x49\0\0\0\0" + _counted(direction, dev_addr, fcnt) + bytes((0, len(message)))
    return mic(nwk_skey, block + message)


def crypt_payload(key: bytes, direction: Direction, dev_addr: int, fcnt: int, payload: bytes) -> bytes:
    """Encrypt or decrypt FRMPayload, which is the same operation (4.3.3.1).

    ``key`` is the NwkSKey for FPort 0, else the AppSKey; ``fcnt`` all 32 bits.
    """
    size = len(payload)
    if not size:
        return b""
    head = b"\x01\0\0\0\0" + _counted(direction, dev_addr, fcnt) + b"\0"
    blocks = b"".join([head + bytes((number,)) for number in range(1, (size + 15) // 16 + 1)])
    stream = _encryptor(key).update(blocks)[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def session_keys(app_key: bytes, app_nonce: int, net_id: int, dev_nonce: int) -> tuple[bytes, bytes]:
    """NwkSKey and AppSKey of a session (6.2.5). AppNonce and NetID have 24 bits, DevNonce 16."""
    tail = app_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + dev_nonce.to_bytes(2, "little") + bytes(7)
    encryptor = _encryptor(app_key)
    return encryptor.update(b"\x01" + tail), encryptor.update(b"\x02" + tail)


def seal_join_accept(app_key: bytes, body: bytes) -> bytes:
    """AES **decrypt** of the join-accept's body and MIC: so the device needs only the encrypting half (6.2.5)."""
    return Cipher(AES(app_key), ECB()).decryptor().update(body)  # noqa: S305


def open_join_accept(app_key: bytes, sealed: bytes) -> bytes:
    """The inverse of :func:`seal_join_accept`; 16 or 32 bytes."""
    return _encryptor(app_key).update(sealed)


def _counted(direction: Direction, dev_addr: int, fcnt: int) -> bytes:
    return bytes((direction,)) + dev_addr.to_bytes(4, "little") + fcnt.to_bytes(4, "little")
