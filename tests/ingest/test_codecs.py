"""Codecs in the intake (T5): read before the decoders, told of on the device, stopped, and never a frame lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from accounts.models import AuditEntry
from codec import script
from codec.script import Host, Limits
from devices import codecs, deletion, many
from devices.models import Codec, CodecProblem, CodecVersion, Device, DeviceType, NetworkTask
from devices.services import link_flow
from flows.models import Flow
from ingest import stream
from ingest.payloads import CodecRuns
from ingest.pipeline import process
from ingest.reading import Entry
from lora.events import Uplink
from lora.models import Frame, LoraIdentity
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import now, statements, tables, take
from twin.models import Twin

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]

GOOD = """function decodeUplink(input) {
  const data = {temperature: input.bytes[0] / 10, door: {open: true}};
  return input.bytes[0] > 200 ? {data, warnings: ['It is hot.']} : {data};
}"""
ERRING = "function decodeUplink(input) {\n  return {data: input.bytes.none.at(0)};\n}"
SAYS_NO = "function decodeUplink(input) { return {errors: ['Port ' + input.fPort + ' is new to me.']}; }"
# Built-in functions that no limit of the engine itself reaches.
ESCAPES = """function decodeUplink(input) {
  const s = 'a'.repeat(2e6) + 'b';
  for (let i = 0; i < 1e5; i++) s.indexOf('ab', 0);
}"""


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closing(Host(Limits(cpu=0.03, wall=0.5))) as host:
        for name in ("decode_uplink", "decode_downlink"):
            held = getattr(script, name)
            monkeypatch.setattr(script, name, lambda *args, held=held: held(*args, host=host))
        yield


@pytest.fixture
def device(cast: Cast) -> Device:
    made = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
    DeviceType.objects.filter(pk=made.type_id).update(
        decoders=["raw-lora"], measurements=[{"name": "temperature", "unit": "Cel"}]
    )
    return made


def codec_of(device: Device, source: str) -> CodecVersion:
    made = factories.codec(device.project, source, of=device.type)
    assert made.in_use is not None
    return made.in_use


def entries(*devices: Device, payload: bytes = b"\x64", minute: int = 0, fcnt: int = 1) -> list[Entry]:
    euis = dict(LoraIdentity.objects.values_list("device_id", "dev_eui"))
    at = now() - timedelta(minutes=minute)
    stream.accept_events(
        [
            Uplink(dev_eui=euis[each.pk], at=at + timedelta(seconds=n), fcnt=fcnt + n, fport=2, payload=payload, mic="")
            for n, each in enumerate(devices)
        ]
    )
    return take()


def told(*devices: Device, **options: Any) -> None:
    assert process(entries(*devices, **options)).rejected == {}


def reported(device: Device) -> dict[str, Any]:
    twin = Twin.objects.filter(device=device).first()
    return {name: value["v"] for name, value in twin.reported.items()} if twin else {}


def problem(device: Device) -> tuple[bool, str] | None:
    return CodecProblem.objects.filter(device_id=device.pk).values_list("error", "text").first()


# --- what is read ---


def test_codec_reads_before_the_decoders_of_the_type(device: Device) -> None:
    codec_of(device, GOOD)
    told(device)
    assert reported(device) == {"temperature": 10.0, "door_open": True}
    assert Twin.objects.get(device=device).reported["temperature"]["u"] == "Cel"
    assert problem(device) is None


def test_decoder_that_the_flow_names_is_taken_instead(device: Device) -> None:
    codec_of(device, ERRING)
    Flow.objects.update(decoder="raw-lora")
    told(device)
    assert reported(device) == {"payload": "64", "port": 2.0, "timeOrigin": "NETWORK"}
    assert problem(device) is None


def test_flow_that_names_the_codec_has_nothing_else(device: Device) -> None:
    Flow.objects.update(decoder="codec")
    told(device, minute=2)
    assert reported(device) == {}, "the type has no codec yet"
    codec_of(device, GOOD)
    told(device, minute=1)
    assert set(reported(device)) == {"temperature", "door_open"}
    assert not Frame.objects.filter(detail__has_key="unreadable").exists()
    DeviceType.objects.update(codec=None)
    codec_of(device, SAYS_NO)
    told(device)
    assert set(reported(device)) == {"temperature", "door_open"}
    assert Frame.objects.count() == 3


def test_codec_runs_once_for_several_flows(cast: Cast, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for decoder in ("", "codec", "raw-lora"):
        link_flow(device=device, flow=factories.flow(cast.project, decoder=decoder), actor=None)
    codec_of(device, GOOD)
    runs = []
    held = codecs.read
    monkeypatch.setattr(codecs, "read", lambda *args: runs.append(args) or held(*args))
    told(device)
    assert len(runs) == 1
    assert set(reported(device)) == {"temperature", "door_open", "payload", "port", "timeOrigin"}


def test_codec_without_a_version_in_use_is_passed_over(device: Device) -> None:
    version = codec_of(device, GOOD)
    Codec.objects.filter(pk=version.codec_id).update(in_use=None)
    told(device)
    assert set(reported(device)) == {"payload", "port", "timeOrigin"}
    assert problem(device) is None


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (ERRING, "Line 2, column 17: The codec threw: TypeError: cannot read property 'at' of undefined"),
        (SAYS_NO, "Port 2 is new to me."),
        ("function decodeUplink(", "Line 1, column 23: This is not JavaScript: "),
        ("", "The codec has no function decodeUplink."),
        ("function decodeUplink() { while (true) {} }", "Line 1, column 1: The codec took more than 30 ms."),
    ],
)
def test_error_costs_neither_the_frame_nor_the_decoders(device: Device, source: str, sentence: str) -> None:
    codec_of(device, source)
    told(device)
    frame = Frame.objects.get(device_id=device.pk)
    assert sentence in frame.detail["unreadable"], "the search for messages with errors finds it (L5)"
    assert set(reported(device)) == {"payload", "port", "timeOrigin"}
    held = problem(device)
    assert held is not None
    assert held[0]
    assert held[1].startswith(sentence)


def test_warning_stands_beside_the_values_and_goes_with_the_next_good_message(device: Device) -> None:
    codec_of(device, GOOD)
    told(device, payload=b"\xff", minute=3)
    assert reported(device)["temperature"] == 25.5
    assert problem(device) == (False, "It is hot.")
    told(device, minute=2)
    assert problem(device) is None


def test_older_message_says_nothing_about_a_newer_one(device: Device) -> None:
    codec_of(device, GOOD)
    told(device, payload=b"\xff", minute=1)
    told(device, minute=5, fcnt=7)
    assert problem(device) == (False, "It is hot.")


def test_problem_goes_where_no_codec_is_needed_any_more(device: Device) -> None:
    codec_of(device, ERRING)
    told(device, minute=1)
    assert problem(device)
    DeviceType.objects.update(codec=None)
    told(device, fcnt=5)
    assert problem(device) is None


def test_new_version_is_taken_with_the_next_batch(device: Device) -> None:
    version = codec_of(device, ERRING)
    told(device, minute=1)
    newer = CodecVersion.objects.create(codec_id=version.codec_id, number=2, source=GOOD)
    Codec.objects.filter(pk=version.codec_id).update(in_use=newer)
    told(device, fcnt=5)
    assert reported(device)["temperature"] == 10.0
    assert problem(device) is None


def test_message_without_application_data_asks_no_codec(device: Device) -> None:
    codec_of(device, ERRING)
    eui = LoraIdentity.objects.get(device=device).dev_eui
    stream.accept_events([Uplink(dev_eui=eui, at=now(), fcnt=1, fport=None, payload=b"", mic="")])
    process(take())
    assert problem(device) is None


# --- the breaker ---


def test_killed_codec_costs_its_values_only(device: Device) -> None:
    version = codec_of(device, ESCAPES)
    told(device)
    version.refresh_from_db()
    assert (len(version.kills), version.stopped_at) == (1, None)
    assert problem(device) == (True, "The codec did not come to an end and was killed, with the process that ran it.")
    assert Frame.objects.filter(device_id=device.pk).count() == 1


def test_fifth_kill_within_ten_minutes_stops_the_version(device: Device) -> None:
    version = codec_of(device, GOOD)
    moment = now()
    old = moment - timedelta(minutes=11)
    assert not codecs.count_kills(version.pk, [old] * 4, old)
    assert not codecs.count_kills(version.pk, [moment] * 4, moment), "the old ones count no more"
    version.refresh_from_db()
    assert (len(version.kills), version.stopped_at) == (4, None)
    assert codecs.count_kills(version.pk, [moment], moment + timedelta(minutes=9))
    version.refresh_from_db()
    assert version.stopped_at == moment + timedelta(minutes=9)
    entry = AuditEntry.objects.get(action="codec.stopped")
    assert (entry.project_id, entry.actor, entry.after["version"]) == (device.project_id, None, 1)
    assert not codecs.count_kills(version.pk, [moment] * 5, moment), "once"
    assert AuditEntry.objects.filter(action="codec.stopped").count() == 1


def test_stopped_version_is_not_run_and_the_device_says_so(device: Device) -> None:
    version = codec_of(device, GOOD)
    codecs.count_kills(version.pk, [now()] * 5, now())
    told(device)
    assert set(reported(device)) == {"payload", "port", "timeOrigin"}
    assert problem(device) == (True, "The codec was stopped: it had to be killed 5 times within 10 minutes.")
    assert codecs.source_of(device.type) is None


def test_batch_runs_a_killed_version_no_more_than_five_times(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def killed(*args: Any) -> Any:
        asked.append(args)
        raise script.ScriptFailed("killed", kind="killed")

    monkeypatch.setattr(script, "decode_uplink", killed)
    version = codec_of(device, GOOD)
    told(*[device] * 8)
    version.refresh_from_db()
    assert len(asked) == 5
    assert version.stopped_at is not None
    assert Frame.objects.filter(device_id=device.pk).count() == 8
    assert problem(device) == (True, "The codec was stopped: it had to be killed 5 times within 10 minutes.")


def test_slow_codec_gets_its_share_of_a_batch_and_no_more(device: Device) -> None:
    runs = CodecRuns(seconds=0.0)
    runs.spent[7] = 0.1
    codec = codecs.InUse(7, GOOD)
    reading = runs.read(device.pk, device.project_id, codec, b"\x01", 1, now(), now())
    assert (reading.kind, reading.measurements) == ("late", ())
    assert runs.newest[device.pk].text == "The codec is too slow: its time for these messages was used up."


# --- statements, repetition, removal ---


def test_statements_do_not_grow_and_nothing_is_written_twice(cast: Cast) -> None:
    flow = factories.flow(cast.project)
    devices = [factories.lora_device(cast.project, in_flow=flow) for _ in range(6)]
    codec_of(devices[0], GOOD)
    told(*devices, minute=9)

    good = [entries(*devices[:n], minute=8 - n // 3, fcnt=10 * n) for n in (2, 6)]
    few, many_of_them = (statements(lambda batch=batch: process(batch)) for batch in good)
    assert few == many_of_them, "no problems: none are written"
    bad = [entries(*devices[:n], payload=b"\xff", minute=5 - n // 3, fcnt=100 * n) for n in (2, 6)]
    first, second = (statements(lambda batch=batch: process(batch)) for batch in bad)
    assert first == second == few + 1
    again = entries(*devices, payload=b"\xff", minute=1, fcnt=1000)
    assert statements(lambda: process(again)) == few, "the same again is no news"
    before = tables()
    for batch in (*good, *bad, again):
        process(batch)
    assert tables() == before
    assert CodecProblem.objects.count() == 6


def test_problem_goes_with_the_device_and_moves_with_it(cast: Cast, device: Device) -> None:
    codec_of(device, ERRING)
    told(device)
    with transaction.atomic():
        many.move([device.pk], cast.elsewhere, None)
    assert CodecProblem.objects.get(device_id=device.pk).project_id == cast.elsewhere.pk
    deletion.request(device=device, actor=None, by_support=True)
    deletion.finish(NetworkTask.objects.select_related("device", "requested_by").get(device=device), refused="")
    assert problem(device) is None
