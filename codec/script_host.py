"""The child process that runs codecs: nothing else happens in it, and it is killed from outside where it must be.

Started by :mod:`codec.script` with ``-I`` and an empty environment; it has no files, no network and no way to start
anything. Requests and answers are JSON behind four bytes of length (big endian). It ends when its input ends.

A request is ``{"source", "function", "argument", "at", "cpu", "heap", "stack", "output"}``: the function by its name
("" only loads the source), the argument as JSON text, ``at`` in milliseconds (a float) since 1970 or null for
``recvTime``. An answer is ``{"result", "found", "logs", "memory"}`` with the result as JSON text, or ``{"failed",
"text", "logs", "memory"}`` with the step that failed and the engine's own words.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any, BinaryIO, Final

import quickjs

ADDRESS_SPACE: Final = 256 << 20
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
LONGEST_LOGS: Final = 128 << 10

# What we need of the language is taken before the codec can change it. Nothing of ours is reachable for the codec but
# `console`. A codec may declare its functions with `const`, which makes no property of the global object: hence the
# three look-ups by name. Functions of ours are named portal…, so that no line of theirs is told as one of the codec's.
PRELUDE: Final = """
(function () {
  'use strict';
  const parse = JSON.parse, stringify = JSON.stringify, text = String, Moment = Date, lines = [];
  let result, thrown;
  // Here, because the engine converts what is thrown without a limit on time.
  function portalDescribes(error) {
    try {
      const stack = typeof error === 'object' && error !== null ? error.stack : undefined;
      return text(error).slice(0, 1000) + '\\n' + (typeof stack === 'string' ? stack.slice(0, 2000) : '');
    } catch (worse) {
      return 'something that has no text';
    }
  }
  function portalShows(value) {
    if (typeof value === 'string') return value;
    try { return stringify(value) || text(value); } catch (error) { return text(value); }
  }
  function portalLogs() {
    if (lines.length >= 100) return;
    let line = '';
    for (let i = 0; i < arguments.length && line.length < 500; i++) line += (i ? ' ' : '') + portalShows(arguments[i]);
    lines[lines.length] = line.length > 500 ? line.slice(0, 499) + '\\u2026' : line;
  }
  globalThis.console = {
    log: portalLogs, info: portalLogs, warn: portalLogs, error: portalLogs, debug: portalLogs,
  };
  const functions = {
    decodeUplink: function portalFinds() { if (typeof decodeUplink === 'function') return decodeUplink; },
    encodeDownlink: function portalFinds() { if (typeof encodeDownlink === 'function') return encodeDownlink; },
    decodeDownlink: function portalFinds() { if (typeof decodeDownlink === 'function') return decodeDownlink; },
  };
  return function portalCalls(step, name, argument, at) {
    if (step === 'has') return functions[name]() !== undefined;
    if (step === 'logs') return stringify(lines);
    if (step === 'result') return stringify(result);
    if (step === 'thrown') return thrown;
    const input = parse(argument);
    if (at !== null) input.recvTime = new Moment(at);
    try {
      result = functions[name]()(input);
    } catch (error) {
      thrown = portalDescribes(error);
      return 'thrown';
    }
    return typeof result === 'object' && result !== null && typeof result.then === 'function' ? 'promise' : '';
  };
})()
"""

# The part of Node's Buffer that codecs use to read and write numbers.
BUFFER: Final = """
(function () {
  'use strict';
  class Buffer extends Uint8Array {
    static from(what, form) {
      if (typeof what !== 'string') return super.from(what);
      if (form === 'hex') return super.from((what.match(/[0-9a-f]{2}/gi) || []).map((pair) => parseInt(pair, 16)));
      return super.from(Array.from(unescape(encodeURIComponent(what)), (letter) => letter.charCodeAt(0)));
    }
    static alloc(length) { return new Buffer(length); }
    static isBuffer(what) { return what instanceof Buffer; }
    slice(from, to) { return this.subarray(from, to); }
    toString(form) {
      if (form === 'hex') return Array.from(this, (byte) => byte.toString(16).padStart(2, '0')).join('');
      return decodeURIComponent(escape(String.fromCharCode.apply(null, this)));
    }
    toJSON() { return Array.from(this); }
  }
  const view = (buffer) => new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const kinds = [['Int8', 'Int8', 1], ['UInt8', 'Uint8', 1], ['Int16', 'Int16', 2], ['UInt16', 'Uint16', 2],
    ['Int32', 'Int32', 4], ['UInt32', 'Uint32', 4], ['Float', 'Float32', 4], ['Double', 'Float64', 8]];
  for (const [name, kind, size] of kinds) for (const order of size === 1 ? [''] : ['LE', 'BE']) {
    Buffer.prototype['read' + name + order] = function portalReads(at = 0) {
      return view(this)['get' + kind](at, order === 'LE');
    };
    Buffer.prototype['write' + name + order] = function portalWrites(value, at = 0) {
      view(this)['set' + kind](at, value, order === 'LE');
      return at + size;
    };
  }
  globalThis.Buffer = Buffer;
})()
"""
NAMES: Final = ("decodeUplink", "encodeDownlink", "decodeDownlink")


class Clock:
    """Processor seconds that are left for one request, over all its steps."""

    def __init__(self, context: quickjs.Context, seconds: float) -> None:
        self.context, self.end = context, time.process_time() + seconds

    def start_step(self) -> None:
        self.context.set_time_limit(max(0.001, self.end - time.process_time()))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request in a context of its own."""
    context = quickjs.Context()
    context.set_memory_limit(request["heap"])
    context.set_max_stack_size(request["stack"])
    clock = Clock(context, request["cpu"])
    source, function = request["source"], request["function"]
    step = context.eval(PRELUDE)
    if "Buffer" in source:
        context.eval(BUFFER)
    phase = "load"
    try:
        clock.start_step()
        context.eval(source)
        phase = "find"
        found = [name for name in NAMES if step("has", name, None, None)]
        if not function:
            return {"found": found, "result": None, "logs": logs(context, step)}
        if function not in found:
            return {"failed": "missing", "text": function, "logs": logs(context, step)}
        phase = "call"
        clock.start_step()
        outcome = step("call", function, request["argument"], request["at"])
        if outcome == "thrown":
            return {"failed": "call", "text": step("thrown", "", None, None), "logs": logs(context, step)}
        if outcome == "promise":
            return {"failed": "output", "text": "promise", "logs": logs(context, step)}
        phase = "result"
        clock.start_step()
        result = step("result", function, None, None)
        if not isinstance(result, str):
            return {"failed": "output", "text": "nothing", "logs": logs(context, step)}
        if len(result) > request["output"]:
            return {"failed": "output", "text": "large", "logs": logs(context, step)}
        return {"found": found, "result": result, "logs": logs(context, step)}
    except (quickjs.JSException, quickjs.StackOverflow, ValueError) as error:
        return {"failed": phase, "text": str(error)[:4000], "logs": logs(context, step)}


def logs(context: quickjs.Context, step: quickjs.Object) -> str:
    """What the codec printed, as JSON text; it may have broken its context, or what we do with it."""
    try:
        context.set_time_limit(0.02)
        text = step("logs", "", None, None)
    except (quickjs.JSException, quickjs.StackOverflow, ValueError, MemoryError):
        return "[]"
    return text if isinstance(text, str) and len(text) <= LONGEST_LOGS else "[]"


def confine() -> None:
    """Take from this process all that it does not need. The two pipes and the handle on its own size stay open."""
    for name, limit in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(name, (limit, limit))


def hold_clock(seconds: float) -> None:
    """Whoever would kill this process may have died: then the kernel does it, after so much processor time more."""
    end = int(time.process_time() + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


def read(stream: BinaryIO) -> bytes:
    """The next request, or b"" at the end of the input."""
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 4 else b""


def serve(source: BinaryIO, target: BinaryIO) -> None:
    try:
        size = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:  # not Linux: it is recycled by its calls alone
        size = -1
    confine()
    send(target, {"ready": True})
    while body := read(source):
        request = json.loads(body)
        hold_clock(request["cpu"])
        try:
            told = answer(request)
        except MemoryError:
            told = {"failed": "call", "text": "InternalError: out of memory", "logs": "[]"}
        told["memory"] = int(os.pread(size, 100, 0).split()[1]) * PAGE if size >= 0 else 0
        send(target, told)


def send(target: BinaryIO, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    target.write(len(body).to_bytes(4, "big") + body)
    target.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
