"""Payload codecs in the LoRa Alliance TS013 JavaScript form, run in a child process that can be killed.

Source: TS013-1.0.0 (Payload Codec API). Each call gets a fresh context with limits on time, heap and stack; the child
has a limit on its address space and is killed where a builtin runs past the clock. No state crosses calls.
What happens in the child stands in :mod:`codec.script_host`.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

LONGEST_SOURCE: Final = 128 << 10
LONGEST_PAYLOAD: Final = 512  # the longest LoRaWAN payload has 242 bytes
DEEPEST: Final = 20
LARGEST_WHOLE: Final = 1 << 53
MOST_TEXTS: Final = 20
LONGEST_TEXT: Final = 500
LONGEST_ANSWER: Final = 1 << 20
START_SECONDS: Final = 10.0

_HOST = Path(__file__).with_name("script_host.py")
_FRAME = re.compile(r"^ {4}at (?:(?P<name>\S.*?) \()?<input>:(?P<line>\d{1,7}):(?P<column>\d{1,7})\)?$", re.MULTILINE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class ScriptFailed(ValueError):
    """The codec could not be run to its end; the text is a sentence for the person who wrote it, with its place.

    ``kind``: "syntax", "missing" (the function), "error" (it threw), "time", "memory", "killed", "output" (what it gave
    is not of TS013's form). ``line`` and ``column`` (from 1) in the source where they are known. ``logs``: what it
    printed before. ``sentence``: the text without the place.
    """

    def __init__(
        self, message: str, *, kind: str, line: int | None = None, column: int | None = None, logs: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message if line is None else f"Line {line}, column {column or 1}: {message}")
        self.sentence, self.kind, self.line, self.column, self.logs = message, kind, line, column, logs


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``cpu``: processor seconds of a call; ``wall``: seconds until the child is killed; ``heap`` and ``stack``: bytes
    of the context; ``output``: characters of JSON; ``calls`` and ``memory`` (bytes): when a child is replaced."""

    cpu: float = 0.1
    wall: float = 0.5
    heap: int = 16 << 20
    stack: int = 256 << 10
    output: int = 64 << 10
    calls: int = 10_000
    memory: int = 100 << 20


class Host:
    """The child process, started with its first call and again after it was killed. Threads take turns."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._calls = 0

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid if self._child is not None else None

    def call(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The child's answer; None where it did not answer in time or died, and was killed."""
        limits = self.limits
        body = json.dumps(
            dict(request) | {"cpu": limits.cpu, "heap": limits.heap, "stack": limits.stack, "output": limits.output}
        ).encode()
        with self._lock:
            child = self._ready()
            told = _exchange(child, body, time.monotonic() + limits.wall)
            self._calls += 1
            if told is None or self._calls >= limits.calls or int(told["memory"]) > limits.memory:
                self._end()
            return told

    def close(self) -> None:
        """End the child; the next call starts another."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """In a process just forked: the child belongs to the parent, whose threads may have held the lock."""
        self._lock = threading.Lock()
        if self._child is not None:
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child.returncode = 0  # not this process's to wait for
            self._child = None

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self._end()
        if self._child is None:
            child = subprocess.Popen(
                [sys.executable, "-I", str(_HOST)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                close_fds=True,
                start_new_session=True,
            )
            self._child, self._calls = child, 0
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
            if _receive(child, time.monotonic() + START_SECONDS) is None:
                self._end()
                raise RuntimeError("The process that runs codecs does not start.")
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


_host = Host()
atexit.register(_host.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_host.forget)


def functions_of(source: str, *, host: Host = _host) -> frozenset[str]:
    """The TS013 functions that the source defines. Raises ScriptFailed where it does not run at all."""
    _result, found, _logs = _run(host, source, "", {}, None)
    return found


def decode_uplink(source: str, payload: bytes, fport: int, at: datetime, *, host: Host = _host) -> Decoded:
    """Raises ScriptFailed. ``at``: when it was received, as ``recvTime``."""
    return _decoded(host, source, "decodeUplink", payload, fport, at.timestamp() * 1000)


def decode_downlink(source: str, payload: bytes, fport: int, *, host: Host = _host) -> Decoded:
    """Raises ScriptFailed."""
    return _decoded(host, source, "decodeDownlink", payload, fport, None)


def encode_downlink(source: str, data: Mapping[str, Any], *, host: Host = _host) -> Encoded:
    """Raises ScriptFailed."""
    result, _found, logs = _run(host, source, "encodeDownlink", {"data": dict(data)}, None)
    errors, warnings = _texts(result, "errors", logs), _texts(result, "warnings", logs)
    fport = result.get("fPort")
    if isinstance(fport, float) and fport.is_integer():
        fport = int(fport)
    if fport is not None and (not isinstance(fport, int) or isinstance(fport, bool) or not 1 <= fport <= 223):
        _refuse("“fPort” must be a whole number from 1 to 223.", logs)
    if errors:
        return Encoded(payload=b"", fport=fport, errors=errors, warnings=warnings, logs=logs)
    octets = result.get("bytes")
    if not isinstance(octets, list):
        _refuse("encodeDownlink gave neither “bytes” (a list of numbers) nor “errors”.", logs)
    if len(octets) > LONGEST_PAYLOAD:
        _refuse(f"encodeDownlink gave {len(octets)} bytes; at most {LONGEST_PAYLOAD} are accepted.", logs)
    for number, octet in enumerate(octets, start=1):
        if not isinstance(octet, int | float) or isinstance(octet, bool) or octet not in range(256):
            _refuse(f"Byte {number} that encodeDownlink gave is not a whole number from 0 to 255.", logs)
    payload = bytes(int(octet) for octet in octets)
    return Encoded(payload=payload, fport=fport, warnings=warnings, logs=logs)


# --- what the child says, made ours; it is never believed ---


def _decoded(host: Host, source: str, function: str, payload: bytes, fport: int, at: float | None) -> Decoded:
    result, _found, logs = _run(host, source, function, {"bytes": list(payload), "fPort": fport}, at)
    errors, warnings = _texts(result, "errors", logs), _texts(result, "warnings", logs)
    data = result.get("data")
    if errors:
        data = None
    elif data is None:
        _refuse(f"{function} gave neither “data” nor “errors”.", logs)
    elif not isinstance(data, dict):
        _refuse("“data” must be an object with names and values.", logs)
    return Decoded(data=data, errors=errors, warnings=warnings, logs=logs)


def _run(
    host: Host, source: str, function: str, argument: Mapping[str, Any], at: float | None
) -> tuple[dict[str, Any], frozenset[str], tuple[str, ...]]:
    """The object that the function gave ({} without a function), the functions there are, and what was printed."""
    length = len(source.encode(errors="replace"))
    if length > LONGEST_SOURCE:
        raise ScriptFailed(f"The source has {length} bytes; at most {LONGEST_SOURCE} are accepted.", kind="syntax")
    told = host.call({"source": source, "function": function, "argument": json.dumps(argument), "at": at})
    if told is None:
        raise ScriptFailed(
            "The codec did not come to an end and was killed, with the process that ran it.", kind="killed"
        )
    logs = _logs(told.get("logs"))
    if "failed" in told:
        raise _failure(str(told["failed"]), str(told.get("text", "")), function, source, host.limits, logs)
    found = frozenset(map(str, told["found"]))
    if not function:
        return {}, found, logs
    try:
        result = _clean(json.loads(told["result"]))
    except (ValueError, OverflowError, RecursionError):
        _refuse(f"What {function} gave is nested too deeply, or has a number that is too large.", logs)
    if not isinstance(result, dict):
        _refuse(f"{function} must give an object.", logs)
    return result, found, logs


def _failure(phase: str, text: str, function: str, source: str, limits: Limits, logs: tuple[str, ...]) -> ScriptFailed:
    if phase == "missing":
        return ScriptFailed(f"The codec has no function {function}.", kind="missing", logs=logs)
    if phase == "output":
        sentence = {
            "promise": f"{function} must give its result itself, and not a promise of it (“async”).",
            "large": f"{function} gave more than {limits.output} characters.",
            "nothing": f"{function} must give an object.",
        }[text]
        return ScriptFailed(sentence, kind="output", logs=logs)
    words = _plain(text.partition("\n    at ")[0].strip())
    line, column = _place(text, source, loading=phase == "load")
    if words.startswith("InternalError: interrupted"):
        sentence, kind = f"The codec took more than {limits.cpu * 1000:.0f} ms.", "time"
    elif words.startswith(("InternalError: out of memory", "InternalError: string too long")):
        sentence, kind = f"The codec took more than {limits.heap >> 20} MB of memory.", "memory"
    elif words.startswith("RangeError: Maximum call stack"):
        sentence, kind = "The codec called itself too deeply.", "memory"
    elif phase == "load" and (words.startswith("SyntaxError: ") or not words):
        sentence, kind = f"This is not JavaScript: {words.removeprefix('SyntaxError: ')}.", "syntax"
    elif phase == "load" and ("null character" in words or "can't encode" in words):
        sentence, kind = "The source has a character that no text may have.", "syntax"
    elif phase == "result":
        sentence, kind, line, column = f"What {function} gave cannot be written as JSON: {words}.", "output", None, None
    else:
        sentence, kind = f"The codec threw: {words}", "error"
    return ScriptFailed(sentence, kind=kind, line=line, column=column, logs=logs)


def _place(text: str, source: str, *, loading: bool) -> tuple[int | None, int | None]:
    """Where in the source it happened, by the engine's list of calls, which a codec can forge."""
    lines = source.count("\n") + 1
    for frame in _FRAME.finditer(text):
        name, line = frame["name"] or "", int(frame["line"])
        # Outside loading a frame without a name is of a text that the codec evaluated itself.
        if name.startswith("portal") or (not loading and name in {"", "<eval>"}):
            continue
        if 1 <= line <= lines:
            return line, int(frame["column"])
    return None, None


def _logs(text: object) -> tuple[str, ...]:
    try:
        lines = json.loads(text) if isinstance(text, str) else []
    except (ValueError, RecursionError):
        lines = []
    return tuple(_plain(line) for line in lines if isinstance(line, str))[:100] if isinstance(lines, list) else ()


def _texts(result: Mapping[str, Any], key: str, logs: tuple[str, ...]) -> tuple[str, ...]:
    found = result.get(key)
    if found is None:
        return ()
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list):
        _refuse(f"“{key}” must be a list of texts.", logs)
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in found[:MOST_TEXTS]]
    return tuple(_plain(text) for text in texts if text)


def _plain(text: str) -> str:
    text = _UNSTORABLE.sub("\ufffd", text)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _clean(value: Any, depth: int = 0) -> Any:
    """Without characters and numbers that no database holds. Raises ValueError for what is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        return float(value)  # which raises OverflowError where it is none of JavaScript
    if isinstance(value, list):
        return [_clean(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("\ufffd", key): _clean(one, depth + 1) for key, one in value.items()}
    return value


def _refuse(sentence: str, logs: tuple[str, ...]) -> NoReturn:
    raise ScriptFailed(sentence, kind="output", logs=logs)


# --- the pipes ---


def _exchange(child: subprocess.Popen[bytes], body: bytes, deadline: float) -> dict[str, Any] | None:
    assert child.stdin is not None
    left = memoryview(len(body).to_bytes(4, "big") + body)
    poll = select.poll()
    poll.register(child.stdin.fileno(), select.POLLOUT)
    while left:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        try:
            left = left[os.write(child.stdin.fileno(), left) :]
        except BlockingIOError:
            continue
        except OSError:
            return None
    return _receive(child, deadline)


def _receive(child: subprocess.Popen[bytes], deadline: float) -> dict[str, Any] | None:
    """The next message, or None: late, cut off, or no message of ours."""
    assert child.stdout is not None
    poll = select.poll()
    poll.register(child.stdout.fileno(), select.POLLIN)
    got, wanted = b"", 4
    while len(got) < wanted:
        # What is there already counts, however late this process gets to look.
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        piece = os.read(child.stdout.fileno(), 1 << 16)
        if not piece:
            return None
        got += piece
        if len(got) >= 4:
            wanted = 4 + int.from_bytes(got[:4], "big")
            if wanted > LONGEST_ANSWER:
                return None
    try:
        told = json.loads(got[4:])
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
