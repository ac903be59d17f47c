"""Each fault of a simulated device, taken through the pipeline with the world's own clock, is found, and nothing else
is; a healthy device has no findings (L6). The verdict of the list, made message by message, is that of the frames."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Avg

from devices.models import Device, DeviceState, Health
from ingest import pipeline, stream
from ingest.reading import Entry
from lora import diagnosis as d
from lora import diagnosis_rules as rules
from lora import frames, health
from lora.diagnosis import Summary
from lora.diagnosis_rules import Code, Severity, Step
from lora.events import Event, RadioEvent, to_json
from lora.models import Direction, Frame, FrameKind, Radio
from lora.networks.simulated.network import place
from lora.networks.simulated.world import EndDeviceConfig, Fault, World
from tests import factories
from tests.cast import Cast
from things_portal.management.commands.seed_demo import LORA

START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
DEV, APP, KEY = "0059AC000017338B", "70B3D57ED0000001", bytes(range(16))
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, dev_eui=DEV, in_flow=factories.flow(cast.project))


def process(events: list[Event], now: datetime) -> None:
    meta = {"received_at": now.timestamp()}
    entries = [
        Entry(f"{number + 1}-0", stream.LORA_EVENTS, orjson.dumps(to_json(event)), meta)
        for number, event in enumerate(events)
    ]
    result = pipeline.process(entries, now=now)
    assert result.processed == len(entries), result.rejected


def live_for(
    days: float,
    *faults: Fault,
    interval: timedelta = 10 * MINUTE,
    instructions: int = 0,
    profile: str = "climate",
    dev_eui: str = DEV,
    at: tuple[float, float] = (51.918, 4.474),
) -> tuple[World, datetime]:
    """A device's life from its first join, told to the pipeline hour by hour."""
    world = World(seed=11, now=START)
    world.register(dev_eui=dev_eui, app_eui=APP, app_key=KEY)
    world.power_on(EndDeviceConfig(dev_eui, APP, KEY, interval, profile, *at, frozenset(faults)), at=START)
    now, end = START, START + days * DAY
    while now < end:
        now = min(now + HOUR, end)
        process(world.advance(now), now)
        if instructions and now < end:
            instructions -= 1
            world.enqueue(dev_eui, fport=2, payload=b"\x01", confirmed=True, correlation_id=f"{now:%d%H}")
    return world, now


def diagnosis(device: Device, now: datetime) -> health.Diagnosis:
    """From the frames; what the list has must be the same."""
    found = health.diagnose(device.pk, now, locates=True)
    state, radio = DeviceState.objects.get(device=device), Radio.objects.get(pk=device.pk)
    assert health.Verdict(Health(state.health), state.finding) == found.verdict
    assert health.Verdict(Health(radio.health), radio.finding) == found.verdict
    assert orjson.loads(radio.state) == found.summary.plain()
    return found


FOUND = {
    Fault.WRONG_APP_KEY: ({Code.JOIN_UNANSWERED}, Step.REQUESTED),
    Fault.JOIN_UNHEARD: ({Code.ACCEPT_UNHEARD}, Step.ACCEPTED),
    Fault.POWER_CYCLE: ({Code.REJOINS}, None),
    Fault.ALWAYS_CONFIRMED: ({Code.CONFIRMED}, Step.NORMAL),
    Fault.MAC_SILENT: ({Code.MAC_UNANSWERED}, Step.NORMAL),
    Fault.HEAVY_LOSS: ({Code.LOSS}, Step.NORMAL),
    Fault.ACK_BLIND: ({Code.REPEATED}, Step.NORMAL),
    Fault.FAR_AWAY: ({Code.WEAK_SIGNAL, Code.SLOWEST, Code.ONE_GATEWAY}, Step.NORMAL),
    Fault.UNLOCATABLE: ({Code.NO_LOCATION}, Step.NORMAL),
    Fault.DISOBEDIENT: (set(), Step.NORMAL),
}


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_is_found_and_nothing_else(device: Device, fault: Fault) -> None:
    # One that keeps its data rate is heard by enough gateways to be located.
    # One that does not notice ACKs asks for few: it takes longer to show.
    days = 3 if fault is Fault.ACK_BLIND else 1.5
    _world, now = live_for(days, fault, profile="tracker" if fault is Fault.UNLOCATABLE else "climate")
    found = diagnosis(device, now)
    codes, step = FOUND[fault]
    assert {one.code for one in found.findings} == codes, found.findings
    assert step in {None, found.step}


def test_a_device_that_sends_too_often(device: Device) -> None:
    _world, now = live_for(0.25, interval=MINUTE)
    found = diagnosis(device, now).findings
    assert [one.code for one in found] == [Code.TOO_OFTEN]
    assert 55 < found[0].seen["interval"] / 1e6 < 65


@pytest.mark.parametrize(("fault", "cause"), [(Fault.NOT_SENT, "D0"), (Fault.DEAF, "NO_ACK")])
def test_instructions_that_fail_for_one_cause(device: Device, fault: Fault, cause: str) -> None:
    _world, now = live_for(1, fault, instructions=6)
    found = diagnosis(device, now).findings
    assert [(one.code, one.seen["cause"]) for one in found] == [(Code.FAILED_DOWNLINKS, cause)]


@pytest.mark.parametrize("number", range(4))
def test_a_healthy_device_has_no_findings(cast: Cast, number: int) -> None:
    dev_eui = f"0059AC00001733{number:02X}"
    device = factories.lora_device(cast.project, dev_eui=dev_eui, in_flow=factories.flow(cast.project))
    _world, now = live_for(2, dev_eui=dev_eui, instructions=6)
    found = diagnosis(device, now)
    assert (found.findings, found.step, found.verdict.health) == ([], Step.NORMAL, Health.GOOD)


@pytest.mark.parametrize(("dev_eui", "profile"), [("0059AC0000021003", "parking"), ("0059AC0000171612", "tracker")])
def test_a_healthy_device_that_the_network_hears_at_a_slower_data_rate(cast: Cast, dev_eui: str, profile: str) -> None:
    """Both are heard at about -122 dBm: ADR has one at SF9, the other keeps SF10. Each has 10 dB to spare and more."""
    device = factories.lora_device(cast.project, dev_eui=dev_eui, in_flow=factories.flow(cast.project))
    _world, now = live_for(2, dev_eui=dev_eui, profile=profile, interval=20 * MINUTE, at=place(dev_eui))
    found = diagnosis(device, now)
    assert (found.findings, found.verdict.health) == ([], Health.GOOD)
    heard = Frame.objects.filter(device_id=device.pk, kind=FrameKind.DATA, direction=Direction.UPLINK)
    assert heard.aggregate(mean=Avg("esp"))["mean"] < -120


@pytest.mark.parametrize("begins", [START, START + 17 * HOUR])
def test_a_demo_device_has_the_findings_of_its_fault_and_no_others(begins: datetime) -> None:
    """All of the demo, two days from the same chance and places as a new portal has, in one world."""
    world = World(seed=settings.SIMULATED_SEED, now=begins)
    told: dict[str, list[d.Seen]] = defaultdict(list)
    devices = {
        f"0059AC00{project:04X}{0x1000 + index:04X}": entry
        for project, entries in enumerate(LORA.values(), 1)
        for index, entry in enumerate(entries)
    }
    for dev_eui, entry in devices.items():
        world.register(dev_eui=dev_eui, app_eui=APP, app_key=KEY)
        faults = frozenset(Fault(fault) for fault in entry.faults)
        every = entry.minutes * MINUTE
        world.power_on(EndDeviceConfig(dev_eui, APP, KEY, every, entry.profile, *place(dev_eui), faults), at=begins)
    for event in world.advance(begins + 2 * DAY):
        if isinstance(event, RadioEvent):
            told[event.dev_eui].append(health.seen(frames.key_of(1, event), event))
    for dev_eui, entry in devices.items():
        summary = d.fold(Summary(), sorted(told[dev_eui]))
        wanted: set[Code] = set().union(*(FOUND[Fault(fault)][0] for fault in entry.faults))
        if entry.minutes < 5:
            wanted.add(Code.TOO_OFTEN)
        assert {one.code for one in rules.findings(summary, summary.last_at, locates=True)} == wanted, entry.name


def test_out_of_range_is_the_first_step(device: Device) -> None:
    _world, now = live_for(0.2, Fault.OUT_OF_RANGE)
    found = health.diagnose(device.pk, now)
    assert (found.step, found.findings, found.verdict.health) == (Step.NOTHING_SEEN, [], Health.UNKNOWN)
    assert DeviceState.objects.get(device=device).health == Health.UNKNOWN


def test_a_device_that_is_switched_off_is_silent_and_then_unknown(device: Device) -> None:
    world, now = live_for(0.5)
    world.power_off(DEV)
    state = DeviceState.objects.get(device=device)
    assert (state.health, state.finding) == (Health.GOOD, "")
    assert health.sweep_silent(now + 20 * HOUR)[1] == []
    later = now + 31 * HOUR
    assert health.sweep_silent(later)[1] == [device.pk]
    found = diagnosis(device, later)
    assert [(one.code, one.severity) for one in found.findings] == [(Code.SILENT, Severity.ATTENTION)]
    assert health.sweep_silent(later)[1] == []
    state.refresh_from_db()
    assert (state.health, state.finding) == (Health.ATTENTION, "silent")
    assert health.sweep_silent(now + 33 * DAY)[1] == [device.pk]
    state.refresh_from_db()
    assert (state.health, state.finding) == (Health.UNKNOWN, "")
    assert Radio.objects.get(pk=device.pk).quiet_at is None


def test_the_sweep_takes_a_bounded_number_by_index(device: Device) -> None:
    Radio.objects.bulk_create(
        Radio(pk=1000 + n, state=orjson.dumps(Summary(up_at=1).plain()).decode(), quiet_at=START) for n in range(5)
    )
    assert health.sweep_silent(START + DAY, limit=3) == (3, [])
    assert health.sweep_silent(START + DAY, limit=3) == (2, [])
    assert health.sweep_silent(START + DAY, limit=3) == (0, [])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        due = Radio.objects.select_for_update(skip_locked=True).filter(quiet_at__lte=START).order_by("quiet_at")[:3]
        assert "radio_quiet" in due.explain()


def test_a_silent_device_that_sends_again_is_well(device: Device) -> None:
    world, now = live_for(0.5)
    world.power_off(DEV)
    later = now + 40 * HOUR
    assert health.sweep_silent(later)[1] == [device.pk]
    world.advance(later)
    world.power_on(EndDeviceConfig(DEV, APP, KEY, 10 * MINUTE, "climate", 51.918, 4.474), at=later)
    process(world.advance(later + HOUR), later + HOUR)
    assert diagnosis(device, later + HOUR).verdict.health is Health.GOOD


def test_one_request_without_an_answer_is_found_when_its_time_has_passed(device: Device) -> None:
    world = World(seed=11, now=START)
    world.register(dev_eui=DEV, app_eui=APP, app_key=KEY)
    config = EndDeviceConfig(DEV, APP, KEY, 10 * MINUTE, "climate", 51.918, 4.474, frozenset({Fault.WRONG_APP_KEY}))
    world.power_on(config, at=START)
    now = START + timedelta(seconds=6)
    process(world.advance(now), now)
    assert DeviceState.objects.get(device=device).health == Health.UNKNOWN
    assert health.sweep_silent(now + 2 * MINUTE)[1] == [device.pk]
    assert DeviceState.objects.get(device=device).finding == "join-unanswered"


def test_summaries_are_made_anew_from_the_frames(device: Device) -> None:
    _world, now = live_for(0.5, Fault.ALWAYS_CONFIRMED)
    held = Radio.objects.get(pk=device.pk)
    Radio.objects.all().delete()
    DeviceState.objects.update(health=0, finding="")
    with transaction.atomic():
        health.recompute([device.pk], now)
    again = Radio.objects.get(pk=device.pk)
    assert (again.state, again.finding) == (held.state, "confirmed")
    assert DeviceState.objects.get(device=device).finding == "confirmed"


def test_a_removed_device_leaves_no_summary(device: Device) -> None:
    live_for(0.1)
    health.remove(device.pk)
    assert not Radio.objects.exists()
