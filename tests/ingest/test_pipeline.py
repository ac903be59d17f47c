"""From accepted messages to history, twin, states and instructions (L3, L4, D7, F1, W2, W5); each once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from django.db import connection

from codec.lorawan import eu868
from devices.models import Device, DeviceState, DeviceType, Health, SenmlMessage
from devices.services import deactivate, link_flow
from downlinks import execution, services
from downlinks.models import Downlink
from flows.models import Flow
from ingest import pipeline, stream
from ingest.pipeline import Result, process
from ingest.reading import Entry
from lora.events import (
    DownlinkAcknowledged,
    DownlinkFailed,
    DownlinkSent,
    JoinAccept,
    JoinRequest,
    Located,
    Location,
    Reception,
    Uplink,
)
from lora.models import Frame, LoraIdentity
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, network  # noqa: F401
from tests.ingest.conftest import Listener, now, pack, report, statements, tables, take
from twin.models import Twin

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DEV_EUI = "0059AC000017338B"
# ThingsML: temperature 21.5, humidity 40
CLIMATE = bytes.fromhex("82a2173702f94d60a2173602f95100")


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, dev_eui=DEV_EUI, in_flow=factories.flow(cast.project))


@pytest.fixture
def internet(cast: Cast) -> Device:
    return factories.internet_device(cast.project, in_flow=factories.flow(cast.project))


def uplink(at: datetime, fcnt: int = 1, *, dev_eui: str = DEV_EUI, **fields: Any) -> Uplink:
    values: dict[str, Any] = {"fport": 1, "payload": CLIMATE, "mic": f"{fcnt:08x}"} | fields
    return Uplink(dev_eui=dev_eui, at=at, fcnt=fcnt, **values)


def told(*events: Any) -> Result:
    """What a LoRa network told, processed as one batch."""
    stream.accept_events(events)
    return process(take())


def pushed(*documents: dict[str, Any], received_at: datetime | None = None) -> Result:
    for document in documents:
        meta = {"network": "radio", "received_at": (received_at or now()).timestamp()}
        stream.accept(stream.THINGPARK, json.dumps(document).encode(), meta, DEV_EUI)
    return process(take())


def sent(device: Device, *bodies: bytes, at: Sequence[datetime] = (), **options: Any) -> Result:
    """What an M2M or Internet device sent, processed as one batch."""
    for index, body in enumerate(bodies):
        moment = at[index] if at else now()
        stream.accept_senml("internet", device.pk, body, received_at=moment.timestamp(), **options)
    return process(take())


def reported(device: Device) -> dict[str, Any]:
    twin = Twin.objects.filter(device=device).first()
    return {name: value["v"] for name, value in twin.reported.items()} if twin else {}


def times(device: Device) -> dict[str, float]:
    return {name: value["t"] for name, value in Twin.objects.get(device=device).reported.items()}


def frame(device: Device, **fields: Any) -> Frame:
    return Frame.objects.get(device_id=device.pk, **fields)


# --- ThingPark's reports, end to end ---


def test_recorded_uplink_becomes_a_frame(device: Device) -> None:
    at = now()
    assert pushed(report("uplink-with-token", DEV_EUI, at)) == Result(1, {}, {})
    row = frame(device)
    assert (row.received_at, row.direction, row.kind, row.fcnt, row.fport) == (at, 0, 2, 0, 1)
    assert (bytes(row.payload).hex(), row.spreading_factor, row.channel) == ("7639", 12, "LC3")
    assert (row.gateway_count, row.rssi, row.snr, row.esp) == (1, -117.0, -19.0, -136.054337)
    assert (row.detail["mic"], row.detail["dev_addr"]) == ("1b400c44", "14C4CC04")
    assert row.detail["receptions"] == [
        {"gateway": "FF0101C2", "rssi": -117.0, "snr": -19.0, "esp": -136.054337, "latitude": 51.905693,
         "longitude": 4.46333}
    ]  # fmt: skip


def test_recorded_join_request_counts_as_a_message(device: Device) -> None:
    at = now()
    pushed(report("join-request", DEV_EUI, at))
    row = frame(device)
    assert (row.kind, row.direction, row.fcnt, row.detail["app_eui"]) == (0, 0, None, "00590D0000010161")
    assert row.detail["dev_nonce"] == 0x9E64
    state = DeviceState.objects.get(device=device)
    assert (state.last_message_at, state.messages, state.project_id) == (at, 1, device.project_id)


def test_recorded_downlink_is_no_message_of_the_device(device: Device) -> None:
    pushed(report("downlink-sent", DEV_EUI, now()))
    row = frame(device)
    assert (row.direction, row.fcnt, row.delivered, row.detail["window"]) == (1, 1, True, "RX2")
    assert DeviceState.objects.get(device=device).last_message_at is None


def test_recorded_location_goes_to_its_uplink_and_the_twin(device: Device) -> None:
    at = now() - timedelta(minutes=5)
    location = report("location", DEV_EUI, at + timedelta(seconds=22), DevLocTime=at.isoformat())
    pushed(report("uplink-with-token", DEV_EUI, at), location)
    row = frame(device)
    assert (row.latitude, row.longitude, row.radius) == (51.907218, 4.489303, 85.0)
    assert row.detail["location_method"] == "TDOA"
    assert reported(device)["latitude"] == 51.907218


def test_esp_is_computed_where_the_network_does_not_tell_it(device: Device) -> None:
    Flow.objects.update(decoder="raw-lora-extended")
    told(uplink(now(), receptions=(Reception(gateway="A", rssi=-100.0, snr=-3.0),)))
    assert frame(device).esp == pytest.approx(eu868.esp(-100.0, -3.0)) == pytest.approx(-104.7643, abs=1e-4)
    assert reported(device)["LrrESP"] == frame(device).esp


# --- once ---


def test_message_that_comes_twice_is_stored_once(device: Device, listener: Listener) -> None:
    document = report("uplink-with-token", DEV_EUI, now())
    pushed(document, document)
    assert listener.told() == [(device.pk, {"frames", "twin"})]
    before = tables()
    assert pushed(document).processed == 1
    assert tables() == before
    assert DeviceState.objects.get(device=device).messages == 1
    assert listener.told() == []


def everything(cast: Cast, device: Device, internet: Device, recorded: RecordedNetwork) -> list[Entry]:
    """A batch with one of every kind of message."""
    at = now() - timedelta(minutes=10)
    ask = {"encoder": "raw-lora", "fport": 2, "payload": b"\x01", "actor": None}
    first, second = (services.request(device=device, confirmed=bool(index), **ask) for index in range(2))
    execution.run(device.pk)
    place = Location(latitude=52.0, longitude=4.0, radius=90.0, solved_at=at)
    stream.accept_events(
        [
            uplink(at, 7),
            uplink(at, 7),
            uplink(at + timedelta(seconds=30), 8, ack=True),
            Located(dev_eui=DEV_EUI, at=at + timedelta(seconds=5), location=place, fcnt=7),
            DownlinkSent(dev_eui=DEV_EUI, at=at + timedelta(seconds=1), correlation_id=str(first.correlation_id)),
            DownlinkFailed(dev_eui=DEV_EUI, at=at, correlation_id=str(second.correlation_id), cause="E3"),
            DownlinkAcknowledged(dev_eui=DEV_EUI, at=at),
            uplink(at, 1, dev_eui="FFFFFFFFFFFFFFFF"),
        ]
    )
    documents = [report(name, DEV_EUI, at) for name in ("uplink-with-token", "join-request", "downlink-sent")]
    for document in documents:
        meta = {"network": "radio", "received_at": at.timestamp()}
        stream.accept(stream.THINGPARK, json.dumps(document).encode(), meta, DEV_EUI)
    timed = pack(internet, {"n": "t", "v": 1}, bt=at.timestamp())
    for body in (timed, timed, pack(internet, {"n": "alarm", "vb": True})):
        stream.accept_senml("internet", internet.pk, body, received_at=at.timestamp())
    stream.accept("nowhere", b"?", {}, "")
    return take()


def test_any_batch_may_be_repeated(
    cast: Cast,
    device: Device,
    internet: Device,
    network: RecordedNetwork,  # noqa: F811
    listener: Listener,
) -> None:
    entries = everything(cast, device, internet, network)
    result = process(entries)
    assert (len(result.rejected), list(result.unknown.values())) == (1, ["FFFFFFFFFFFFFFFF"])
    assert {parts for _device, parts in ((each, frozenset(parts)) for each, parts in listener.told())} >= {
        frozenset({"messages", "twin"})
    }
    before = tables()
    assert [len(before[name]) for name in ("lora_frame", "devices_senmlmessage", "devices_devicestate")] == [6, 2, 2]
    assert Downlink.objects.get(number=1).state == "delivered"
    for batch in (entries, entries[::-1], *([entry] for entry in entries)):
        process(batch)
        assert tables() == before
    assert listener.told() == []


def test_statements_do_not_grow_with_the_batch(cast: Cast) -> None:
    flow = factories.flow(cast.project)
    radio = [factories.lora_device(cast.project, in_flow=flow) for _ in range(5)]
    others = [factories.internet_device(cast.project, in_flow=flow) for _ in range(5)]
    euis = dict(LoraIdentity.objects.values_list("device_id", "dev_eui"))

    def batch(size: int, minute: int) -> list[Entry]:
        at = now() - timedelta(minutes=minute)
        place = Location(latitude=52.0, longitude=4.0, radius=90.0)
        events: list[Any] = [uplink(at, 1, dev_eui=euis[each.pk]) for each in radio[:size]]
        events += [Located(dev_eui=euis[each.pk], at=at, location=place, fcnt=1) for each in radio[:size]]
        stream.accept_events(events)
        for each in others[:size]:
            body = pack(each, {"n": "t", "v": 1}, bt=at.timestamp())
            stream.accept_senml("internet", each.pk, body, received_at=at.timestamp())
        return take()

    process(batch(1, 9))
    small, large = batch(2, 8), batch(5, 7)
    few, many = statements(lambda: process(small)), statements(lambda: process(large))
    assert few == many
    # Identities, devices without rows, devices, Flows; stage, COPY, insert, empty stage; places; summaries, twice, and
    # those of devices heard for the first time; packs; states; twins, columns, samples and the names of their values
    # (only of names that the process has not met), two savepoints; where the values go.
    assert many == 23
    assert Frame.objects.filter(latitude=52.0).count() == 8


# --- who is processed ---


@pytest.mark.parametrize("off", ["no Flow", "deactivated", "Flow disabled"])
def test_what_is_not_processed_is_still_in_the_history(cast: Cast, off: str) -> None:
    flow = None if off == "no Flow" else factories.flow(cast.project)
    radio = factories.lora_device(cast.project, dev_eui=DEV_EUI, in_flow=flow)
    other = factories.internet_device(cast.project, in_flow=flow)
    if off == "deactivated":
        deactivate(device=radio, actor=None), deactivate(device=other, actor=None)
    if off == "Flow disabled":
        Flow.objects.update(enabled=False)
    place = Location(latitude=52.0, longitude=4.0, radius=90.0)
    told(uplink(now()), Located(dev_eui=DEV_EUI, at=now(), location=place, fcnt=1))
    sent(other, pack(other, {"n": "t", "v": 1}))
    assert (reported(radio), reported(other)) == ({}, {})
    assert frame(radio).latitude == 52.0
    assert SenmlMessage.objects.filter(device_id=other.pk).count() == 1
    assert DeviceState.objects.filter(messages=1).count() == 2


def test_type_decoders_are_tried_in_order(device: Device) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(decoders=["thingsml-lora", "cayenne-lpp", "raw-lora"])
    told(uplink(now() - timedelta(seconds=9)))
    assert reported(device) == {"temperature": 21.5, "humidity": 40.0}
    at = now()
    told(uplink(at, 2, payload=bytes.fromhex("036700c8")))
    assert (reported(device)["temperature"], times(device)["temperature"]) == (20.0, at.timestamp())
    told(uplink(now(), 3, payload=b"\xff\xff"))
    assert reported(device) == {
        "temperature": 20.0, "humidity": 40.0, "payload": "ffff", "port": 1.0, "timeOrigin": "NETWORK"
    }  # fmt: skip


def test_flows_with_different_decoders_give_the_union(cast: Cast, device: Device) -> None:
    Flow.objects.update(decoder="thingsml-lora")
    for decoder in ("raw-lora", "raw-lora"):
        link_flow(device=device, flow=factories.flow(cast.project, decoder=decoder), actor=None)
    told(uplink(now()))
    assert set(reported(device)) == {"temperature", "humidity", "payload", "port", "timeOrigin"}


def test_unknown_decoder_costs_the_values_and_not_the_frame(device: Device) -> None:
    Flow.objects.update(decoder="no-such")
    assert told(uplink(now())).rejected == {}
    assert (frame(device).fcnt, reported(device)) == (1, {})


@pytest.mark.parametrize("fport", [0, None])
def test_frames_without_application_data_are_not_decoded(device: Device, fport: int | None) -> None:
    told(uplink(now(), fport=fport, payload=b""))
    assert (frame(device).fport, reported(device)) == (fport, {})


# --- states ---


def test_last_and_previous_message(device: Device) -> None:
    start = now() - timedelta(hours=1)

    def at(minute: int) -> datetime:
        return start + timedelta(minutes=minute)

    def state() -> tuple[Any, ...]:
        row = DeviceState.objects.get(device=device)
        return row.last_message_at, row.previous_message_at, row.messages

    seen = [
        ([10], (at(10), None, 1)),
        ([20], (at(20), at(10), 2)),
        ([15], (at(20), at(15), 3)),
        ([12], (at(20), at(15), 4)),
        ([30, 18], (at(30), at(20), 6)),
        ([50, 40, 45], (at(50), at(45), 9)),
        ([41, 42], (at(50), at(45), 11)),
    ]
    for fcnt, (minutes, expected) in enumerate(seen):
        told(*(uplink(at(minute), 10 * fcnt + minute) for minute in minutes))
        assert state() == expected


# --- clocks ---


def test_clock_ahead_is_not_believed(device: Device, internet: Device) -> None:
    """Else a device from the year 2099 would keep its first value, and stay the last heard, for ever."""
    received = now()
    pushed(report("uplink-with-token", DEV_EUI, received + timedelta(days=30)), received_at=received)
    assert frame(device).received_at == received
    future = (received + timedelta(days=30)).timestamp()
    sent(internet, pack(internet, {"n": "t", "v": 1}, bt=future), at=[received])
    assert times(internet) == {"t": received.timestamp()}
    near = received + timedelta(hours=20)
    told(uplink(near, 9))
    assert frame(device, fcnt=9).received_at == near


def test_repeat_of_a_frame_with_a_wrong_clock_meets_itself(device: Device) -> None:
    stream.accept_events([uplink(now() + timedelta(days=400))])
    entries = take()
    process(entries)
    before = tables()
    process(entries, now=now() + timedelta(hours=1))
    assert tables() == before


# --- SenML ---


def test_pack_is_kept_and_reported(internet: Device, listener: Listener) -> None:
    at = now()
    body = pack(internet, {"n": "temperature", "u": "Cel", "v": 21.5}, {"n": "door", "vb": True}, {"n": "x", "vs": "é"})
    sent(internet, body, at=[at])
    row = SenmlMessage.objects.get(device_id=internet.pk)
    assert (bytes(row.body), row.records, row.received_at) == (body, 3, at)
    assert reported(internet) == {"temperature": 21.5, "door": True, "x": "é"}
    assert set(times(internet).values()) == {at.timestamp()}
    assert listener.told() == [(internet.pk, {"messages", "twin"})]


def test_pack_in_cbor(internet: Device) -> None:
    body = cbor2.dumps([{-2: internet.internet.base_name, 0: "t", 2: 4}])
    assert sent(internet, body, cbor=True).processed == 1
    assert reported(internet) == {"t": 4}


def test_same_pack_with_own_times_is_one_message(internet: Device) -> None:
    at = now() - timedelta(hours=30)
    body = pack(internet, {"n": "t", "v": 1}, bt=at.timestamp())
    sent(internet, body, body, at=[at, at + timedelta(seconds=3)])
    sent(internet, body, at=[at + timedelta(hours=23)])
    # Another web process whose clock is behind.
    sent(internet, body, at=[at - timedelta(seconds=2)])
    assert DeviceState.objects.get(device=internet).messages == 1
    sent(internet, body, at=[at + timedelta(hours=25)])
    assert DeviceState.objects.get(device=internet).messages == 2


def test_same_pack_without_times_is_another_message(internet: Device) -> None:
    at, body = now(), pack(internet, {"n": "alarm", "vb": True})
    sent(internet, body, body, at=[at, at])
    assert SenmlMessage.objects.filter(device_id=internet.pk).count() == 2


FILL = """
INSERT INTO devices_senmlmessage (device_id, received_at, seq, digest, body)
SELECT device, %s - make_interval(secs => number), 1, sha256(convert_to(concat(device, ' ', number), 'UTF8')), ''
FROM generate_series(1, 5) AS device, generate_series(1, 400) AS number
"""


def test_same_message_is_found_among_thousands_by_its_digest(internet: Device) -> None:
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql == pipeline.KEEP_PACKS:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    at = now()
    with connection.cursor() as cursor:
        cursor.execute(FILL, [at])
        cursor.execute("ANALYZE devices_senmlmessage")
    with connection.execute_wrapper(explain):
        sent(internet, pack(internet, {"n": "t", "v": 1}, bt=at.timestamp()), at=[at])
    (plan,) = plans
    assert "device_id = new.device_id) AND (digest = new.digest" in plan
    assert len(re.findall(r"Scan .*on devices_senmlmessage_\w+ ", plan)) <= 4, "of some forty days"


# --- places ---


def located(at: datetime, latitude: float, fcnt: int | None = 1, solved: datetime | None = None) -> Located:
    place = Location(latitude=latitude, longitude=4.0, radius=90.0, solved_at=solved)
    return Located(dev_eui=DEV_EUI, at=at, location=place, fcnt=fcnt)


def test_place_told_again_is_measured_once(device: Device, listener: Listener) -> None:
    """ThingPark repeats the last place with every later uplink."""
    at = now() - timedelta(minutes=30)
    told(uplink(at), located(at + timedelta(seconds=5), 52.0, solved=at))
    first = times(device)["latitude"]
    listener.told()
    told(uplink(at + timedelta(minutes=9), 2), located(at + timedelta(minutes=9), 52.0, solved=at))
    assert times(device)["latitude"] == first == (at + timedelta(seconds=5)).timestamp()
    assert frame(device, fcnt=2).latitude is None


def test_earlier_solution_does_not_replace_a_later_one(device: Device) -> None:
    at = now() - timedelta(minutes=30)
    told(uplink(at), located(at, 53.0, solved=at + timedelta(seconds=9)), located(at, 52.0, solved=at))
    assert frame(device).latitude == 53.0
    told(located(at, 52.0, solved=at))
    assert frame(device).latitude == 53.0


def test_place_without_its_frame_still_reaches_the_twin(device: Device) -> None:
    told(located(now(), 52.0, fcnt=99))
    assert reported(device)["latitude"] == 52.0


# --- instructions ---


def test_network_reports_reach_the_instruction(device: Device, network: RecordedNetwork) -> None:  # noqa: F811
    ask = {"encoder": "raw-lora", "fport": 2, "payload": b"\x01", "actor": None}
    made = [services.request(device=device, confirmed=confirmed, **ask) for confirmed in (False, True, False, False)]
    names = [str(each.correlation_id) for each in made]
    at = now()
    execution.run(device.pk)
    told(DownlinkSent(dev_eui=DEV_EUI, at=at, correlation_id=names[0], fcnt=1, fport=2, payload=b"\x01"))
    execution.run(device.pk)
    told(DownlinkSent(dev_eui=DEV_EUI, at=at, correlation_id=names[1], fcnt=2))
    assert Downlink.objects.get(number=2).state == "executing"
    told(
        uplink(at + timedelta(seconds=9), ack=True), DownlinkAcknowledged(dev_eui=DEV_EUI, at=at + timedelta(seconds=9))
    )
    execution.run(device.pk)
    told(DownlinkSent(dev_eui=DEV_EUI, at=at, correlation_id=names[2], delivered=False, cause="D0"))
    execution.run(device.pk)
    told(DownlinkFailed(dev_eui=DEV_EUI, at=at, correlation_id=names[3], cause="E3", reason="Too late."))
    rows = Downlink.objects.order_by("number").values_list("state", "cause", "reason")
    assert list(rows) == [
        ("delivered", "", ""),
        ("delivered", "", ""),
        ("failed", "D0", "The duty cycle of the gateway was used up."),
        ("failed", "E3", "Too late."),
    ]
    assert frame(device, fcnt=1, direction=1).correlation_id == made[0].correlation_id


# --- what cannot be processed ---


@pytest.mark.parametrize(
    ("source", "body", "meta"),
    [
        ("nowhere", b"{}", {"received_at": 1.0}),
        (stream.THINGPARK, b"{", {"received_at": 1.0}),
        (stream.THINGPARK, b'{"DevEUI_uplink":{}}', {"received_at": 1.0}),
        (stream.THINGPARK, json.dumps(report("join-request", DEV_EUI, datetime(2026, 1, 1, tzinfo=UTC))).encode(), {}),
        (stream.LORA_EVENTS, b'{"kind":"Nothing"}', {"received_at": 1.0}),
        (stream.LORA_EVENTS, b"[]", {"received_at": 1.0}),
        (stream.LORA_EVENTS, b'{"kind":"Uplink","at":"soon"}', {"received_at": 1.0}),
        (stream.SENML, b"[]", {"received_at": 1.0, "device_id": 1}),
        (stream.SENML, b'[{"n":"t","v":1}]', {"received_at": 1.0, "device_id": -1}),
        (stream.SENML, b'[{"n":"t","v":1}]', {"received_at": 1.0}),
    ],
)  # fmt: skip
def test_unreadable_message_is_rejected_alone(device: Device, source: str, body: bytes, meta: dict[str, Any]) -> None:
    stream.accept(source, body, meta, "x")
    stream.accept_events([uplink(now())])
    result = process(take())
    assert (result.processed, len(result.rejected)) == (1, 1)
    assert all(reason for reason in result.rejected.values())
    assert frame(device).fcnt == 1


def test_entry_that_is_no_message_of_ours_is_rejected() -> None:
    for values in ({b"a": b"b"}, {b"source": b"\xff", b"body": b"", b"meta": b"{}"}, {b"meta": b"{"}):
        entry = Entry.read(b"1-0", values)
        assert list(process([entry]).rejected) == ["1-0"]


def test_values_larger_than_their_columns(device: Device) -> None:
    told(uplink(now(), gateway_count=100_000, frequency_hz=10**10, channel="C" * 99))
    row = frame(device)
    assert (row.gateway_count, row.frequency_hz, len(row.channel)) == (32767, None, 16)


def test_failure_in_a_batch_leaves_nothing_behind(device: Device) -> None:
    """All or nothing: a value that the database refuses comes after the frames."""
    before = tables()
    stream.accept_events([uplink(now()), uplink(now(), 2, fport=70_000)])
    with pytest.raises(Exception, match="out of range"):
        process(take())
    assert tables() == before


def test_decoder_with_a_mistake_costs_the_values_only(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(_message: object) -> list[Any]:
        raise ZeroDivisionError

    monkeypatch.setitem(pipeline.decoders.DECODERS, "thingsml-lora", mistaken)
    Flow.objects.update(decoder="thingsml-lora")
    told(uplink(now()))
    assert (frame(device).fcnt, reported(device)) == (1, {})


# --- health (L6) ---


def heard_at(esp: float) -> tuple[Reception, ...]:
    return (Reception(gateway="7076FF0056060B8A", rssi=-100.0, snr=5.0, esp=esp),)


def health(device: Device) -> Health:
    return Health(DeviceState.objects.get(device=device).health)


@pytest.mark.parametrize(
    ("esp", "expected"),
    [
        (-125.0, (Health.GOOD, "")),
        (-125.5, (Health.ATTENTION, "weak-signal")),
        (-131.0, (Health.PROBLEM, "weak-signal")),
    ],
)
def test_health_follows_the_messages_as_they_come(device: Device, esp: float, expected: tuple[Health, str]) -> None:
    assert health(device) is Health.UNKNOWN
    start = now() - timedelta(hours=10)
    first = [uplink(start + timedelta(minutes=10 * n), n, receptions=heard_at(esp)) for n in range(10)]
    told(*first)
    assert health(device) is Health.GOOD, "too few to judge by"
    told(*(uplink(start + timedelta(minutes=10 * n), n, receptions=heard_at(esp)) for n in range(10, 20)))
    state = DeviceState.objects.get(device=device)
    assert (state.health, state.finding) == expected
    # What comes twice is counted once.
    told(*first)
    state = DeviceState.objects.get(device=device)
    assert (state.health, state.finding, state.messages) == (*expected, 20)


def test_health_of_a_device_that_asks_to_join(device: Device) -> None:
    for minute in (9, 8):
        told(JoinRequest(dev_eui=DEV_EUI, at=now() - timedelta(minutes=minute), mic=f"{minute:08}"))
    state = DeviceState.objects.get(device=device)
    assert (state.health, state.finding) == (Health.PROBLEM, "join-unanswered")
    told(JoinAccept(dev_eui=DEV_EUI, at=now() - timedelta(minutes=7), mic="00000002"))
    # Nobody was heard, and it is another health all the same.
    assert health(device) is Health.UNKNOWN
    told(uplink(now(), 1))
    assert health(device) is Health.GOOD


def test_health_of_a_device_without_radio_is_good_when_it_sends(internet: Device) -> None:
    sent(internet, pack(internet, {"n": "t", "v": 1}))
    assert health(internet) is Health.GOOD
