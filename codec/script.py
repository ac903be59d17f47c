"""Payload codecs in the LoRa Alliance TS013 JavaScript form, run in a child process that can be killed.

Source: TS013-1.0.0 (Payload Codec API). Each call gets a fresh context with limits on time, heap and stack; the child
has a limit on its address space and is killed where a builtin runs past the clock. No state crosses calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


class ScriptFailed(ValueError):
    """The codec could not be run to its end; the text is a sentence for the person who wrote it.

    ``kind``: "syntax", "missing" (the function), "error" (it threw), "time", "memory", "killed", "output" (what it gave
    is not of TS013's form). ``line`` and ``column`` (from 1) in the source where they are known. ``logs``: what it
    printed before.
    """

    def __init__(
        self, message: str, *, kind: str, line: int | None = None, column: int | None = None, logs: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.kind, self.line, self.column, self.logs = kind, line, column, logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What ``decodeUplink`` or ``decodeDownlink`` gave: ``data`` as JSON, or None with ``errors``."""

    data: dict[str, Any] | None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What ``encodeDownlink`` gave. ``fport`` None: it named none. With ``errors`` the payload is empty."""

    payload: bytes
    fport: int | None = None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


def functions_of(source: str) -> frozenset[str]:
    """The TS013 functions that the source defines. Raises ScriptFailed where it does not run at all."""
    raise NotImplementedError


def decode_uplink(source: str, payload: bytes, fport: int, at: datetime) -> Decoded:
    """Raises ScriptFailed. ``at``: when it was received, as ``recvTime``."""
    raise NotImplementedError


def decode_downlink(source: str, payload: bytes, fport: int) -> Decoded:
    """Raises ScriptFailed."""
    raise NotImplementedError


def encode_downlink(source: str, data: Mapping[str, Any]) -> Encoded:
    """Raises ScriptFailed."""
    raise NotImplementedError
