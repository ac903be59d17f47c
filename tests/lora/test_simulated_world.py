"""The simulated network's world: joins to the byte, replay, persistence, downlinks, refusals (L9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

import pytest

from codec.lorawan import eu868, keys
from codec.lorawan.frames import JoinRequest as JoinFrame
from codec.lorawan.frames import SealedJoinAccept, parse
from codec.lorawan.mac import Direction, decode
from codec.thingsml import decode_lora
from lora.events import (
    DownlinkAcknowledged,
    DownlinkFailed,
    DownlinkSent,
    Event,
    JoinAccept,
    JoinRequest,
    Uplink,
    from_json,
    to_json,
)
from lora.networks.simulated.payloads import measure
from lora.networks.simulated.world import (
    AlreadyRegistered,
    EndDeviceConfig,
    Fault,
    NotRegistered,
    PayloadTooLarge,
    World,
)

START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DEV, APP, KEY = "0059AC000017338B", "70B3D57ED0000001", bytes(range(16))
Kind = TypeVar("Kind", bound=Event)


def config(dev_eui: str = DEV, *faults: Fault, interval: timedelta = 15 * MINUTE, **other: object) -> EndDeviceConfig:
    made = EndDeviceConfig(dev_eui, APP, KEY, interval, "climate", 51.918, 4.474, frozenset(faults))
    return replace(made, **other)  # type: ignore[arg-type]


def world(*devices: EndDeviceConfig, seed: int = 7) -> World:
    made = World(seed=seed, now=START)
    for device in devices:
        made.register(dev_eui=device.dev_eui, app_eui=APP, app_key=device.app_key)
        made.power_on(device, at=START)
    return made


def of(kind: type[Kind], events: Iterable[Event]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def run_until(made: World, reached: Callable[[list[Event]], object], limit: timedelta = 2 * DAY) -> list[Event]:
    """Advance from event to event until what is waited for was told."""
    events: list[Event] = []
    while not reached(events):
        at = made.next_at()
        assert at is not None
        assert at < START + limit, "it did not happen"
        events += made.advance(at)
    return events


def test_join_is_real_to_the_byte() -> None:
    made = world(config())
    phys: list[bytes] = []
    events = run_until(made, lambda told: of(JoinRequest, told))
    while not of(JoinAccept, events):
        exchange = made.dump(DEV)["exchange"]
        phys = [bytes.fromhex(exchange[name]["$hex"]) for name in ("phy", "accept")] if exchange else phys
        at = made.next_at()
        assert at is not None
        events += made.advance(at)
    told, accept_told = of(JoinRequest, events)[-1], of(JoinAccept, events)[0]
    request, sealed = parse(phys[0]), parse(phys[1])
    assert isinstance(request, JoinFrame)
    assert isinstance(sealed, SealedJoinAccept)
    assert request.verify(KEY)
    assert (request.dev_eui, request.app_eui, request.dev_nonce) == (DEV, APP, told.dev_nonce)
    assert request.mic.hex().upper() == told.mic
    assert told.frequency_hz in eu868.DEFAULT_CHANNELS
    accept = sealed.open(KEY)
    assert accept.cf_list == eu868.EXTRA_CHANNELS
    assert f"{accept.dev_addr:08X}" == accept_told.dev_addr
    delay = {"RX1": 5, "RX2": 6}[accept_told.window]
    assert accept_told.at - told.at == timedelta(seconds=delay)
    state = made.dump(DEV)
    nwk_skey, app_skey = keys.session_keys(KEY, accept.app_nonce, accept.net_id, request.dev_nonce)
    for side in (state["device"], state["server"]["pending"]):
        assert (side["nwk_skey"], side["app_skey"]) == ({"$hex": nwk_skey.hex()}, {"$hex": app_skey.hex()})


def test_first_join_request_comes_within_three_seconds() -> None:
    first = world(config()).next_at()
    assert first is not None
    assert timedelta(seconds=1) <= first - START <= timedelta(seconds=3)


def test_first_messages_come_soon_after_the_join() -> None:
    made = world(config())
    uplinks = of(Uplink, made.advance(START + 2 * MINUTE))
    assert [uplink.fcnt for uplink in uplinks if uplink.fport == 1][:4] == [0, 1, 2, 3]
    assert uplinks[0].fcnt == 0
    assert uplinks[3].at - uplinks[0].at < timedelta(seconds=40)


def test_network_sets_the_device_up_after_the_join() -> None:
    events = world(config()).advance(START + HOUR)
    asked = [command.name for sent in of(DownlinkSent, events) for command in decode(sent.mac, Direction.DOWNLINK)]
    answered = [command.name for up in of(Uplink, events) for command in decode(up.mac, Direction.UPLINK)]
    assert [name for name in dict.fromkeys(asked) if name.endswith("Req")] == [
        "DevStatusReq",
        "RXParamSetupReq",
        "LinkADRReq",
    ]
    assert {"DevStatusAns", "RXParamSetupAns", "LinkADRAns"} <= set(answered)
    assert of(Uplink, events)[-1].spreading_factor == 7


def test_same_seed_tells_the_same_and_another_does_not() -> None:
    devices = [config(f"0059AC00001733{n:02X}") for n in range(4)]
    one, two, other = (world(*devices, seed=seed).advance(START + 6 * HOUR) for seed in (7, 7, 8))
    assert one == two
    assert one != other
    assert [event.at for event in one] == sorted(event.at for event in one)


def test_steps_of_time_make_no_difference() -> None:
    devices = [config(f"0059AC00001733{n:02X}", profile="tracker") for n in range(2)]
    whole = world(*devices).advance(START + 3 * HOUR)
    stepped, made = [], world(*devices)
    for second in range(0, 3 * 3600 + 1, 7):
        stepped += made.advance(START + timedelta(seconds=second))
    stepped += made.advance(START + 3 * HOUR)
    assert stepped == whole


def test_devices_do_not_disturb_one_another() -> None:
    alone = world(config()).advance(START + 6 * HOUR)
    among = world(config("0059AC00001733AA"), config(), config("0059AC00001733BB")).advance(START + 6 * HOUR)
    assert [event for event in among if event.dev_eui == DEV] == alone


@pytest.mark.parametrize("seconds", [0, 2, 4.5, 9, 13.7, 40, 3600, 9000])
def test_kept_state_goes_on_as_if_nothing_had_happened(seconds: float) -> None:
    cut, end = START + timedelta(seconds=seconds), START + 8 * HOUR
    device = config(DEV, Fault.HEAVY_LOSS)
    first = world(device)
    first.advance(cut)
    first.enqueue(DEV, fport=2, payload=b"later", confirmed=True, correlation_id="a")
    kept = json.loads(json.dumps(first.dump(DEV)))
    second = World(seed=7, now=cut)
    second.load(kept)
    second.power_on(device, at=cut)
    assert second.dump(DEV) == first.dump(DEV)
    assert second.advance(end) == first.advance(end)
    assert second.dump(DEV) == first.dump(DEV)


def test_unknown_device_dumps_and_loads_as_nothing() -> None:
    made = World(seed=1, now=START)
    made.load(json.loads(json.dumps(made.dump("00000000000000FF"))))
    made.power_off("00000000000000FF")
    made.deregister("00000000000000FF")
    assert made.next_at() is None
    assert made.advance(START + DAY) == []


def test_events_survive_json() -> None:
    events = world(config()).advance(START + 6 * HOUR)
    assert [from_json(json.loads(json.dumps(to_json(event)))) for event in events] == events


def test_uplink_tells_what_the_gateways_heard() -> None:
    uplinks = of(Uplink, world(config(profile="tracker")).advance(START + 3 * DAY))
    for uplink in uplinks:
        assert uplink.gateway_count == len(uplink.receptions) >= 1
        levels = [reception.snr for reception in uplink.receptions]
        assert levels == sorted(levels, reverse=True)
        assert uplink.spreading_factor is not None
        floor = eu868.DATA_RATES[eu868.data_rate(uplink.spreading_factor)].min_snr
        for reception in uplink.receptions:
            assert reception.snr >= floor - 0.1
            assert reception.esp == pytest.approx(eu868.esp(reception.rssi, reception.snr), abs=0.01)
    heard_by_three = [uplink for uplink in uplinks if uplink.gateway_count >= 3]
    assert all(uplink.gateway_count >= 3 for uplink in uplinks if uplink.location)
    share = sum(uplink.location is not None for uplink in heard_by_three) / len(heard_by_three)
    assert 0.15 < share < 0.45


@pytest.mark.parametrize(
    ("profile", "names"),
    [
        ("climate", {"temperature", "humidity", "batteryVoltage", "illuminance", "CO2Concentration"}),
        ("door", {"readSwitch", "counter", "batteryVoltage"}),
        ("tracker", {"latitude", "longitude", "velocity", "batteryLevel"}),
        ("parking", {"presence", "batteryVoltage"}),
    ],
)
def test_payload_is_thingsml_and_fits_at_sf12(profile: str, names: set[str]) -> None:
    uplinks = of(Uplink, world(config(profile=profile)).advance(START + DAY))
    payloads = [uplink for uplink in uplinks if uplink.payload]
    assert all(len(uplink.payload) <= 51 for uplink in payloads)
    read = {value.name for uplink in payloads for value in decode_lora(uplink.payload, uplink.at.timestamp())}
    assert read == names


def test_tracker_moves() -> None:
    uplinks = of(Uplink, world(config(profile="tracker")).advance(START + 3 * HOUR))
    places = {
        value.value
        for uplink in uplinks
        if uplink.payload
        for value in decode_lora(uplink.payload, uplink.at.timestamp())
        if value.name == "latitude"
    }
    assert len(places) > 8


def test_confirmed_downlink_is_sent_and_acknowledged() -> None:
    made = world(config())
    made.advance(START + HOUR)
    made.enqueue(DEV, fport=2, payload=b"hello", confirmed=True, correlation_id="order")
    events = run_until(made, lambda told: of(DownlinkAcknowledged, told))
    sent = [event for event in of(DownlinkSent, events) if event.correlation_id]
    (acknowledged,) = of(DownlinkAcknowledged, events)
    assert {(one.correlation_id, one.fport, one.payload, one.confirmed) for one in sent} == {
        ("order", 2, b"hello", True)
    }
    assert (acknowledged.correlation_id, acknowledged.fcnt) == ("order", sent[-1].fcnt)
    assert of(Uplink, events)[-1].ack
    uplink = next(one for one in reversed(of(Uplink, events)) if one.at < sent[-1].at)
    assert sent[-1].at - uplink.at == timedelta(seconds={"RX1": 1, "RX2": 2}[sent[-1].window])
    if sent[-1].window == "RX1":
        assert (sent[-1].spreading_factor, sent[-1].frequency_hz) == (uplink.spreading_factor, uplink.frequency_hz)
    assert sent[-1].gateway == uplink.receptions[0].gateway


def test_unconfirmed_downlink_is_sent_once() -> None:
    made = world(config())
    made.advance(START + HOUR)
    for _ in range(2):
        made.enqueue(DEV, fport=2, payload=b"hello", confirmed=False, correlation_id="order")
    first = of(DownlinkSent, made.advance(START + 2 * HOUR))
    made.enqueue(DEV, fport=2, payload=b"hello", confirmed=False, correlation_id="order")
    later = of(DownlinkSent, made.advance(START + 4 * HOUR))
    assert [event.delivered for event in first if event.correlation_id == "order"] == [True]
    assert [event for event in later if event.correlation_id] == []


def test_more_downlinks_are_announced_and_fetched_at_once() -> None:
    made = world(config())
    made.advance(START + HOUR)
    for number in range(3):
        made.enqueue(DEV, fport=2, payload=bytes([number]), confirmed=False, correlation_id=str(number))
    sent = [event for event in of(DownlinkSent, made.advance(START + 2 * HOUR)) if event.correlation_id]
    assert [(event.correlation_id, event.fpending) for event in sent] == [("0", True), ("1", True), ("2", False)]
    assert sent[-1].at - sent[0].at < MINUTE


def test_downlink_that_nobody_acknowledges_is_given_up() -> None:
    made = world(config())
    made.advance(START + HOUR)
    made.enqueue(DEV, fport=2, payload=b"hello", confirmed=True, correlation_id="order")
    # The device's receiver breaks: it listens elsewhere than the network sends.
    state = made.dump(DEV)
    state["device"] |= {"rx1_offset": 5, "rx2_frequency": 869_700_000}
    made.load(state)
    events = made.advance(START + 12 * HOUR)
    (failed,) = of(DownlinkFailed, events)
    assert (failed.correlation_id, failed.cause) == ("order", "NO_ACK")
    assert len([event for event in of(DownlinkSent, events) if event.correlation_id == "order"]) == 4


def test_payload_sizes() -> None:
    far = config(latitude=51.832, longitude=4.60, profile="tracker")
    made = world(far)
    with pytest.raises(PayloadTooLarge):
        made.enqueue(DEV, fport=2, payload=bytes(243), confirmed=False, correlation_id="never")
    made.enqueue(DEV, fport=2, payload=bytes(200), confirmed=False, correlation_id="not at SF10")
    made.enqueue(DEV, fport=2, payload=bytes(51), confirmed=False, correlation_id="fits")
    events = run_until(made, lambda told: [one for one in of(DownlinkSent, told) if one.correlation_id == "fits"])
    (failed,) = of(DownlinkFailed, events)
    assert (failed.correlation_id, failed.cause) == ("not at SF10", "TOO_LARGE")


def test_large_payload_goes_out_at_sf7() -> None:
    made = world(config())
    made.advance(START + HOUR)
    made.enqueue(DEV, fport=2, payload=bytes(200), confirmed=False, correlation_id="large")
    sent = [event for event in of(DownlinkSent, made.advance(START + 2 * HOUR)) if event.correlation_id]
    assert [(event.spreading_factor, event.window, len(event.payload)) for event in sent] == [(7, "RX1", 200)]


def test_two_bytes_on_port_ten_set_the_interval() -> None:
    made = world(config())
    made.advance(START + HOUR)
    made.enqueue(DEV, fport=10, payload=b"\x00\x05", confirmed=True, correlation_id="five minutes")
    made.advance(START + 3 * HOUR)
    messages = [up for up in of(Uplink, made.advance(START + 5 * HOUR)) if up.fport == 1]
    assert 22 <= len(messages) <= 25


@pytest.mark.parametrize("profile", ["climate", "tracker", "door", "parking"])
def test_interval_that_was_set_is_reported_next_and_every_twelfth_time(profile: str) -> None:
    made = world(config(profile=profile))
    made.advance(START + HOUR)
    made.enqueue(DEV, fport=10, payload=b"\x00\x05", confirmed=True, correlation_id="five minutes")
    payloads = [up for up in of(Uplink, made.advance(START + 6 * HOUR)) if up.fport == 1]
    told = [
        [value for value in decode_lora(up.payload, up.at.timestamp()) if value.name == "interval"] for up in payloads
    ]
    values = [value for values in told for value in values]
    assert {(value.value, value.unit) for value in values} == {(5, "min")}
    assert len(payloads) // 12 <= len(values) <= len(payloads) // 12 + 3
    assert payloads[next(index for index, values in enumerate(told) if values)].at < START + 2 * HOUR


@pytest.mark.parametrize("room", [51, 36, 21])
def test_interval_stands_first_in_what_fits(room: int) -> None:
    payload = measure("climate", Random(1), at=0, count=1, latitude=52, longitude=4, room=room, interval=1440)
    assert len(payload) <= room
    assert decode_lora(payload, 0)[0].name == "interval"


def test_registration() -> None:
    made = world(config())
    made.register(dev_eui=DEV, app_eui=APP, app_key=KEY)
    with pytest.raises(AlreadyRegistered):
        made.register(dev_eui=DEV, app_eui=APP, app_key=bytes(16))
    made.deregister(DEV)
    made.deregister(DEV)
    with pytest.raises(NotRegistered):
        made.enqueue(DEV, fport=1, payload=b"", confirmed=False, correlation_id="x")
    with pytest.raises(NotRegistered):
        made.set_enabled(DEV, True)


def test_unknown_device_is_not_shown_and_joins_when_it_is_registered() -> None:
    made = World(seed=7, now=START)
    made.power_on(config(), at=START)
    assert made.advance(START + 6 * HOUR) == []
    made.register(dev_eui=DEV, app_eui=APP, app_key=KEY)
    assert of(Uplink, made.advance(START + 6 * HOUR + 3 * MINUTE))


def test_disabled_device_is_refused_and_keeps_its_session() -> None:
    made = world(config())
    before = of(Uplink, made.advance(START + 2 * HOUR))
    made.set_enabled(DEV, False)
    assert made.advance(START + 4 * HOUR) == []
    made.set_enabled(DEV, True)
    after = made.advance(START + 6 * HOUR)
    assert of(JoinRequest, after) == []
    assert {uplink.dev_addr for uplink in of(Uplink, after)} == {before[-1].dev_addr}
    assert of(Uplink, after)[0].fcnt > before[-1].fcnt + 5


def test_disabled_device_cannot_join() -> None:
    made = world(config())
    made.set_enabled(DEV, False)
    assert made.advance(START + 2 * HOUR) == []


def test_switched_off_device_is_silent_and_goes_on_with_its_session() -> None:
    made = world(config())
    before = of(Uplink, made.advance(START + 2 * HOUR))
    made.power_off(DEV)
    assert made.next_at() is None
    assert made.advance(START + 4 * HOUR) == []
    made.power_on(config(), at=START + 4 * HOUR)
    after = made.advance(START + 5 * HOUR)
    assert of(JoinRequest, after) == []
    assert of(Uplink, after)[0].dev_addr == before[-1].dev_addr


def test_new_configuration_keeps_the_session_where_the_key_stays() -> None:
    made = world(config())
    made.advance(START + 2 * HOUR)
    made.power_on(config(interval=5 * MINUTE), at=START + 2 * HOUR)
    after = made.advance(START + 4 * HOUR)
    assert of(JoinRequest, after) == []
    assert len([up for up in of(Uplink, after) if up.fport == 1]) > 18
    made.power_on(config(DEV, Fault.WRONG_APP_KEY), at=START + 4 * HOUR)
    broken = made.advance(START + 5 * HOUR)
    assert of(JoinRequest, broken)
    assert of(Uplink, broken) == []


def test_counter_passes_sixteen_bits_both_ways() -> None:
    made = world(config())
    made.advance(START + HOUR)
    state = made.dump(DEV)
    state["device"] |= {"fcnt_up": 0xFFFE, "fcnt_down": 0xFFFD}
    state["server"]["session"] |= {"fcnt_up": 0xFFFD, "fcnt_down": 0xFFFE}
    made.load(state)
    for number in range(4):
        made.enqueue(DEV, fport=2, payload=b"x", confirmed=True, correlation_id=str(number))
    events = made.advance(START + 5 * HOUR)
    assert {0xFFFF, 0x10000, 0x10001} & {up.fcnt for up in of(Uplink, events)} >= {0x10001}
    assert max(sent.fcnt or 0 for sent in of(DownlinkSent, events)) >= 0x10000
    assert [event.correlation_id for event in of(DownlinkAcknowledged, events)] == ["0", "1", "2", "3"]


def test_duty_cycle_is_kept_in_every_hour() -> None:
    made = world(config(interval=MINUTE, profile="tracker"))
    made.advance(START + MINUTE)
    state = made.dump(DEV)
    # A tracker keeps its own data rate: SF12, at which a message a minute is more than is allowed.
    state["device"]["rate"] = 0
    made.load(state)
    uplinks = of(Uplink, made.advance(START + DAY))
    assert {uplink.spreading_factor for uplink in uplinks} == {12}
    slots: dict[tuple[str, int], float] = {}
    for event in uplinks:
        assert event.frequency_hz
        size = 12 + len(event.mac) + len(event.payload) + bool(event.fport)
        band = eu868.sub_band(event.frequency_hz)[0]
        for quarter in range(4):
            hour = int(event.at.timestamp() + quarter * 900) // 3600 * 4 + quarter
            slots[band, hour] = slots.get((band, hour), 0) + eu868.airtime(0, size)
    assert max(slots.values()) <= 36
    assert max(slots.values()) > 20, "the limit was never near"
