"""codec.script: what TS013 says of input and output, where errors point, and that no codec can hurt its host."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from codec import script
from codec.script import Host, Limits, ScriptFailed

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
GOOD = "function decodeUplink(input) { return {data: {first: input.bytes[0]}}; }"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """One child with short limits for the whole file."""
    with closing(Host(Limits(cpu=0.03, wall=1.0))) as host:
        yield host


def decode(source: str, host: Host, payload: bytes = b"\x07\x08") -> script.Decoded:
    return script.decode_uplink(source, payload, 3, AT, host=host)


def failure(source: str, host: Host) -> ScriptFailed:
    with pytest.raises(ScriptFailed) as caught:
        decode(source, host)
    return caught.value


def body(statements: str) -> str:
    return f"function decodeUplink(input) {{ {statements} }}"


# --- TS013 ---


def test_uplink_gets_bytes_fport_and_the_moment_as_a_date(host: Host) -> None:
    told = decode(
        body("return {data: {n: input.bytes, p: input.fPort, d: input.recvTime instanceof Date, t: input.recvTime}};"),
        host,
    )
    assert told.data == {"n": [7, 8], "p": 3, "d": True, "t": "2026-03-01T12:30:00.000Z"}
    assert (told.errors, told.warnings, told.logs) == ((), (), ())


def test_errors_take_the_place_of_data_and_warnings_stand_beside_it(host: Host) -> None:
    told = decode(body("return {data: {a: 1}, warnings: ['low battery']};"), host)
    assert (told.data, told.warnings) == ({"a": 1}, ("low battery",))
    told = decode(body("return {data: {a: 1}, errors: ['unknown port', {code: 4}]};"), host)
    assert (told.data, told.errors) == (None, ("unknown port", '{"code": 4}'))


def test_downlink_is_encoded_and_decoded(host: Host) -> None:
    source = """
        const encodeDownlink = (input) => ({bytes: [1, input.data.interval >> 8, input.data.interval & 255], fPort: 2});
        const decodeDownlink = (input) => ({data: {interval: input.bytes[1] * 256 + input.bytes[2]}});
    """
    encoded = script.encode_downlink(source, {"interval": 600}, host=host)
    assert (encoded.payload, encoded.fport) == (bytes.fromhex("010258"), 2)
    assert script.decode_downlink(source, encoded.payload, 2, host=host).data == {"interval": 600}
    assert script.functions_of(source, host=host) == {"encodeDownlink", "decodeDownlink"}


def test_encoder_may_refuse(host: Host) -> None:
    told = script.encode_downlink("function encodeDownlink() { return {errors: ['no']}; }", {}, host=host)
    assert (told.payload, told.errors) == (b"", ("no",))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{fPort: 2}", "encodeDownlink gave neither “bytes” (a list of numbers) nor “errors”."),
        ("{bytes: [1, 256]}", "Byte 2 that encodeDownlink gave is not a whole number from 0 to 255."),
        ("{bytes: [1.5]}", "Byte 1 that encodeDownlink gave is not a whole number from 0 to 255."),
        ("{bytes: [true]}", "Byte 1 that encodeDownlink gave is not a whole number from 0 to 255."),
        ("{bytes: new Array(600).fill(0)}", "encodeDownlink gave 600 bytes; at most 512 are accepted."),
        ("{bytes: [1], fPort: 0}", "“fPort” must be a whole number from 1 to 223."),
        ("{bytes: [1], fPort: '2'}", "“fPort” must be a whole number from 1 to 223."),
    ],
)
def test_encoder_output_that_cannot_be_sent(given: str, sentence: str, host: Host) -> None:
    with pytest.raises(ScriptFailed) as caught:
        script.encode_downlink(f"function encodeDownlink() {{ return {given}; }}", {}, host=host)
    assert (caught.value.sentence, caught.value.kind) == (sentence, "output")


def test_console_is_caught(host: Host) -> None:
    source = body("console.log('bytes', input.bytes, {a: 1}); console.warn(undefined); return {data: {}};")
    assert decode(source, host).logs == ('bytes [7,8] {"a":1}', "undefined")
    logs = decode(body("for (let i = 0; i < 1000; i++) console.log('x'.repeat(9000)); return {data: {}};"), host).logs
    assert len(logs) == 100
    assert {len(line) for line in logs} == {500}
    assert failure(body("console.log('here'); throw new Error('gone');"), host).logs == ("here",)


def test_buffer_reads_numbers(host: Host) -> None:
    source = body(
        """const b = Buffer.from(input.bytes); const h = Buffer.from('fffe3f800000', 'hex');
        return {data: {u: b.readUInt16BE(0), l: b.readUInt16LE(0), i: h.readInt16BE(), f: h.readFloatBE(2),
          x: h.slice(0, 2).toString('hex')}};"""
    )
    assert decode(source, host).data == {"u": 0x0708, "l": 0x0807, "i": -2, "f": 1, "x": "fffe"}


# --- what is wrong, and where ---


@pytest.mark.parametrize(
    ("source", "kind", "line", "sentence"),
    [
        ("var a = 1;\nfunction decodeUplink( {", "syntax", 2, "This is not JavaScript: "),
        ("let a;\n\nlet a;", "syntax", 3, "This is not JavaScript: invalid redefinition"),
        ("export function decodeUplink() {}", "syntax", 1, "This is not JavaScript: unsupported keyword: export."),
        ("var a = 1;\nundefinedThing.b;", "error", 2, "The codec threw: ReferenceError: undefinedThing is not defined"),
        ("function decodeUplink(input) {\n  return input.a.b;\n}", "error", 2, "The codec threw: TypeError: "),
        ("function decodeUplink(i) {\n  throw 'a text';\n}", "error", None, "The codec threw: a text"),
        ("function decodeUplink(i) {\n  throw null;\n}", "error", None, "The codec threw: null"),
        (
            "function decodeUplink(i) {\n\n  Buffer.from([1]).readInt32BE(0);\n}",
            "error",
            3,
            "The codec threw: RangeErr",
        ),
        ("function decodeUplink(i) {\n\n  eval('\\n\\n\\nx.y');\n}", "error", 3, "The codec threw: ReferenceError: x"),
        ("var a = '\x00';", "syntax", None, "The source has a character that no text may have."),
        ("var a = '\ud800';", "syntax", None, "The source has a character that no text may have."),
        ("//" + "x" * script.LONGEST_SOURCE, "syntax", None, "The source has 131074 bytes; at most 131072 are accepte"),
        ("function decodeDownlink() {}", "missing", None, "The codec has no function decodeUplink."),
        ("var decodeUplink = 5;", "missing", None, "The codec has no function decodeUplink."),
        (body("return 5;"), "output", None, "decodeUplink must give an object."),
        (body(""), "output", None, "decodeUplink must give an object."),
        (body("return {};"), "output", None, "decodeUplink gave neither “data” nor “errors”."),
        (body("return {data: [1]};"), "output", None, "“data” must be an object with names and values."),
        (body("return {data: {}, errors: 5};"), "output", None, "“errors” must be a list of texts."),
        (body("return {data: {x: 'a'.repeat(70000)}};"), "output", None, "decodeUplink gave more than 65536 character"),
        (body("const a = {}; a.a = a; return a;"), "output", None, "What decodeUplink gave cannot be written as JSON"),
        (body("return {data: {a: 1n}};"), "output", None, "What decodeUplink gave cannot be written as JSON"),
        (body("let a = 1; for (let i = 0; i < 99; i++) a = [a]; return {data: {a}};"), "output", None, "What decodeUp"),
        ("async " + body("return {data: {}};"), "output", None, "decodeUplink must give its result itself, and not"),
    ],
)
def test_failure_tells_what_and_where(source: str, kind: str, line: int | None, sentence: str, host: Host) -> None:
    error = failure(source, host)
    assert (error.kind, error.line) == (kind, line)
    assert error.sentence.startswith(sentence)
    assert str(error).startswith(f"Line {line}, column {error.column}: " if line else sentence)


def test_place_that_the_codec_forges_is_not_told(host: Host) -> None:
    source = body("const e = new Error('x'); e.stack = '    at q (<input>:99999:1)'; throw e;")
    assert failure(source, host).line is None


def test_numbers_that_json_does_not_have_and_texts_that_no_database_holds(host: Host) -> None:
    told = decode(body("return {data: {a: NaN, b: 1 / 0, c: undefined, d: 'x\\u0000\\ud800', e: 2 ** 60}};"), host)
    assert told.data == {"a": None, "b": None, "d": "x\ufffd\ufffd", "e": float(2**60)}


# --- limits under attack ---


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("while (true) {}", "time"),
        (body("while (true) {}"), "time"),
        (body("while (true) { try { while (true) {} } catch (e) {} finally { continue; } }"), "time"),
        (body("return {data: {a: {toJSON() { while (true) {} }}}};"), "time"),
        (body("return {data: {get a() { while (true) {} }}};"), "time"),
        (body("throw {toString() { while (true) {} }};"), "time"),
        (body("console.log({toJSON() { while (true) {} }});"), "time"),
        ("Object.defineProperty(globalThis, 'decodeUplink', {get() { while (true) {} }});", "time"),
        (body("return /^(a+)+$/.test('a'.repeat(40) + 'b');"), "time"),
        (body("return decodeUplink(input);"), "memory"),
        (body("const a = []; while (true) a.push([1, 2, 3]);"), "memory"),
        (body("const a = []; while (true) a.push(new ArrayBuffer(1 << 20));"), "memory"),
        (body("return new Array(1e8).fill(0);"), "memory"),
        (body("let s = 'x'; while (true) s += s;"), "memory"),
        (body("return new SharedArrayBuffer(1 << 28);"), "memory"),
        (body("function f() { return Promise.resolve().then(f); } f(); return {data: {}};"), ""),
        (body("Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); return {data: {}};"), "error"),
        (body("import('os').then((os) => os.exit()); return {data: {}};"), ""),
        ("Array.prototype.toJSON = String.prototype.toJSON = () => { while (true) {} };" + GOOD, ""),
        (body("JSON.stringify = JSON.parse = Date = undefined; console = null; return {data: {}};"), ""),
    ],
)
def test_attack_ends_in_time_and_the_next_call_works(source: str, kind: str, host: Host) -> None:
    decode(GOOD, host)
    child = host.pid
    began = time.process_time()
    try:
        decode(source, host)
        outcome = ""
    except ScriptFailed as error:
        outcome = error.kind
    # new Array(…).fill on a busy machine may meet the clock before the heap.
    assert outcome == kind or {outcome, kind} == {"time", "memory"}
    assert host.pid == child, "the child lives"
    assert time.process_time() - began < 0.1, "this process did nothing but wait"
    assert decode(GOOD, host).data == {"first": 7}


@pytest.mark.parametrize(
    "statements",
    [
        "const s = 'a'.repeat(2e6) + 'b'; for (let i = 0; i < 1e5; i++) s.indexOf('ab', 0);",
        "const s = JSON.stringify(new Array(50000).fill(1234)); for (let i = 0; i < 1e4; i++) JSON.parse(s);",
    ],
)
def test_native_escape_is_killed(statements: str) -> None:
    with closing(Host(Limits(cpu=0.02, wall=0.2))) as host:
        decode(GOOD, host)
        child = host.pid
        assert child is not None
        began = time.monotonic()
        error = failure(body(statements), host)
        assert error.kind == "killed"
        assert time.monotonic() - began < 2
        assert host.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        assert decode(GOOD, host).data == {"first": 7}


def test_child_has_no_powers_and_leaves_nothing_behind(host: Host) -> None:
    source = body(
        "return {data: {a: typeof require, b: typeof process, c: typeof fetch, d: typeof setTimeout, e: typeof std}};"
    )
    assert set((decode(source, host).data or {}).values()) == {"undefined"}
    assert decode("var n = (globalThis.n || 0) + 1;" + body("return {data: {n: n}};"), host).data == {"n": 1}
    decode("Array.prototype.map = undefined; globalThis.kept = 5;" + GOOD, host)
    assert decode(body("return {data: {k: typeof kept, m: typeof [].map}};"), host).data == {
        "k": "undefined",
        "m": "function",
    }


def test_payload_and_names_are_never_read_as_a_program(host: Host) -> None:
    source = "function encodeDownlink(input) { return {bytes: [], errors: Object.keys(input.data)}; }"
    name = "\"'`${1};</script>\u2028\\"
    assert script.encode_downlink(source, {name: name}, host=host).errors == (name,)


# --- the child ---


def test_child_that_died_between_calls_is_replaced(host: Host) -> None:
    decode(GOOD, host)
    child = host.pid
    assert child is not None
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert decode(GOOD, host).data == {"first": 7}
    assert host.pid not in {None, child}


def test_child_is_replaced_after_its_calls_and_when_it_grew() -> None:
    for limits in (Limits(calls=2), Limits(memory=1)):
        with closing(Host(limits)) as host:
            decode(GOOD, host)
            decode(GOOD, host)
            assert host.pid is None
            assert decode(GOOD, host).data == {"first": 7}


def test_threads_take_turns(host: Host) -> None:
    answers: dict[int, object] = {}

    def work(number: int) -> None:
        answers[number] = [decode(GOOD, host, bytes([number])).data for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [{"first": number}] * 5 for number in range(6)}


def test_forked_process_has_a_child_of_its_own() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    script.decode_uplink(GOOD, b"\x01", 1, at)
    mine = script._host.pid
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            before = script._host.pid
            data = script.decode_uplink(GOOD, b"\x02", 1, at).data
            fine = before is None and data == {"first": 2} and script._host.pid not in {None, mine}
            os.write(writing, b"1" if fine else b"0")
            script._host.close()
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    assert os.read(reading, 1) == b"1"
    os.close(reading)
    os.close(writing)
    assert script._host.pid == mine
    assert script.decode_uplink(GOOD, b"\x03", 1, at).data == {"first": 3}
