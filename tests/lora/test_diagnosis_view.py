"""How a LoRa device does, on its history page: the step reached, the findings with their messages, for whom (L6)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.models import Device
from lora import diagnosis as d
from lora import diagnosis_words, evidence, frames, health
from lora.diagnosis_rules import Code, Finding, Severity, Step, totals
from lora.events import DownlinkSent, JoinAccept, JoinRequest, Location, RadioEvent, Reception, Uplink
from tests import factories
from tests.cast import Cast
from tests.lora.test_diagnosis import Story, history, normal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DEV = "0059AC000017338B"
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.lora_device(cast.project, dev_eui=DEV)


def address(device: Device, page: str = "diagnosis") -> str:
    return f"/devices/{device.pk}/lora/{page}/"


def keep(device: Device, events: list[RadioEvent]) -> None:
    """As the pipeline does: stored, and taken into the summary."""
    frames.store([(device.pk, event) for event in events])
    health.take({device.pk: [health.seen(frames.key_of(device.pk, event), event) for event in events]})


def messages(count: int, *, minutes: int = 10, **fields: object) -> list[RadioEvent]:
    start = timezone.now() - timedelta(minutes=minutes * count)
    return [
        Uplink(dev_eui=DEV, at=start + timedelta(minutes=minutes * n), fcnt=n, fport=1, mic=f"{n:08x}", **fields)  # type: ignore[arg-type]
        for n in range(count)
    ]


def steps(html: str) -> list[str]:
    return re.findall(r'<li data-step="(\w+)"', html)


def client_of(cast: Cast, person: str = "viewer") -> Client:
    client = Client()
    client.force_login(getattr(cast, person))
    return client


def test_a_device_that_was_never_heard_is_at_the_first_step_with_its_advice(cast: Cast, device: Device) -> None:
    for page in ("history", "diagnosis"):
        html = client_of(cast).get(address(device, page)).content.decode()
        assert steps(html) == ["now", "later", "later", "later", "later"]
        assert "DevEUI that stands on the LoRa tab" in html
        assert "868.1, 868.3 or 868.5 MHz" in html
        assert "SF12" in html


def test_a_healthy_device_has_the_line_that_says_so(cast: Cast, device: Device) -> None:
    keep(device, messages(30))
    html = client_of(cast).get(address(device, "history")).content.decode()
    assert steps(html) == ["done"] * 5
    assert "No findings" in html
    assert 'class="list-fold finding"' not in html
    # It asks for the one with messages, and again when messages come.
    assert f'hx-get="{address(device)}" hx-trigger="load, sse:frames delay:2s"' in html


def test_a_finding_tells_what_was_seen_what_it_means_what_to_do_and_links_its_messages(
    cast: Cast, device: Device
) -> None:
    sent = messages(30, confirmed=True)
    keep(device, sent)
    client = client_of(cast)
    html = client.get(address(device), **HTMX).content.decode()
    assert html.strip().startswith("<section")
    assert "30 of 30 messages were confirmed: 100%." in html
    assert "Too many confirmed messages" in html
    assert "At most one in ten may be confirmed" in html
    links = re.findall(rf'<a href="(/devices/{device.pk}/lora/history/[\d]+--?\d+/)">FCntUp (\d+)</a>', html)
    assert [fcnt for _link, fcnt in links] == ["29", "28", "27", "26", "25"]
    assert client.get(links[0][0]).status_code == 200
    whole = client.get(address(device)).content.decode()
    assert "<title>How the device does" in whole
    # The history says the same at once, without the messages.
    html = client.get(address(device, "history")).content.decode()
    assert "30 of 30 messages were confirmed: 100%." in html
    assert "Messages that show it" not in html


def test_findings_stand_worst_first(cast: Cast, device: Device) -> None:
    weak = (Reception(gateway="7076FF0056060B8A", rssi=-125.0, snr=-12.0, esp=-137.0),)
    keep(device, messages(30, minutes=1, confirmed=True, receptions=weak, spreading_factor=12))
    html = client_of(cast).get(address(device)).content.decode()
    found = re.findall(r'id="finding-([a-z-]+)"', html)
    assert found == ["weak-signal", "confirmed", "too-often", "slowest", "one-gateway"]
    assert html.count('<details class="list-fold finding"') == 5
    assert 'id="finding-weak-signal" data-keep-open="as-left" open' in html


def test_a_device_without_a_summary_that_was_heard_waits_for_its_frames(cast: Cast, device: Device) -> None:
    frames.store([(device.pk, event) for event in messages(30, confirmed=True)])
    type(device.state).objects.update(last_message_at=timezone.now())
    html = client_of(cast).get(address(device, "history")).content.decode()
    assert steps(html) == []
    assert "Too many confirmed messages" in client_of(cast).get(address(device)).content.decode()


def test_each_step_and_what_to_do_where_it_stops_can_be_read_of_any_device(cast: Cast, device: Device) -> None:
    keep(device, messages(30))
    client = client_of(cast)
    assert "diagnosis-guide" not in client.get(address(device, "history")).content.decode(), "it comes a moment later"
    guide = client.get(address(device), **HTMX).content.decode().split('id="diagnosis-guide"')[1]
    heads = re.findall(r"<h([34])>([^<]+)</h", guide)
    assert heads == [
        ("3", "Join request"),
        ("4", "Nothing is heard of the device"),
        ("3", "Join accept"),
        ("4", "Join requests are not answered"),
        ("3", "First message"),
        ("4", "The device does not hear the join accept"),
        ("3", "Settings from the network"),
        ("3", "Normal operation"),
        ("4", "It sends too often"),
        ("4", "MAC commands are not answered"),
        ("4", "No geolocation"),
        ("4", "Many messages are lost"),
        ("4", "It joins again before each message"),
        ("4", "Too many confirmed messages"),
    ]
    for said in ("AppKey", "endianness", "869.525 MHz and DR0 (SF12)", "Dragino", "up to three downlinks", "5 minutes"):
        assert said in guide


def test_strangers_do_not_see_it(cast: Cast, device: Device) -> None:
    assert client_of(cast, "stranger").get(address(device)).status_code == 404
    assert Client().get(address(device)).status_code == 302


# --- what frames say of themselves: the event and the stored row the same ---


def test_an_event_and_its_row_are_seen_the_same(device: Device) -> None:
    now = timezone.now() - timedelta(hours=1)
    one = Reception(gateway="A", rssi=-110.0, snr=-3.0)
    far = Reception(gateway="B", rssi=-121.0, snr=-15.0)
    place = Location(latitude=52.0, longitude=4.0, radius=90.0)
    told: list[RadioEvent] = [
        JoinRequest(dev_eui=DEV, at=now, mic="01", receptions=(one,)),
        JoinAccept(dev_eui=DEV, at=now, mic="02"),
        Uplink(dev_eui=DEV, at=now, fcnt=2**31 + 5, mic="03", receptions=(one,), spreading_factor=10, confirmed=True),
        Uplink(dev_eui=DEV, at=now, fcnt=1, mic="04", receptions=(far,), spreading_factor=12, ack=True, mac=b"\x02"),
        Uplink(dev_eui=DEV, at=now, fcnt=2, mic="05", receptions=(one, far, far), location=place, gateway_count=3),
        Uplink(dev_eui=DEV, at=now, fcnt=3, mic="06", gateway_count=1, spreading_factor=7),
        DownlinkSent(dev_eui=DEV, at=now, fcnt=9, fport=7, confirmed=True, mic="07", delivered=False, cause="D0"),
        DownlinkSent(dev_eui=DEV, at=now, fcnt=10, mac=b"\x06", ack=True, mic="08"),
        DownlinkSent(dev_eui=DEV, at=now, fport=0, mac=b"\x06", mic="09"),
    ]
    told = [
        type(event)(
            **{name: getattr(event, name) for name in event.__dataclass_fields__}
            | {"at": now + timedelta(microseconds=37 * n)}
        )
        for n, event in enumerate(told)
    ]
    frames.store([(device.pk, event) for event in told])
    wanted = [tuple(health.seen(frames.key_of(device.pk, event), event)) for event in told]
    assert [tuple(row) for row in health.month(device.pk, timezone.now())] == wanted


# --- words and evidence of every finding ---


@settings(max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_every_finding_has_words_and_never_fails_for_want_of_messages(seed: int) -> None:
    told = history(seed)
    summary = d.fold(d.Summary(), told)
    every = [
        Finding(code, Severity.NOTE, dict.fromkeys(NUMBERS[code], 3) | ({"cause": "D0"} if code == FAILED else {}))
        for code in Code
    ]
    made = health.Diagnosis(Step.NORMAL, every, health.Verdict(health.Health.GOOD), totals(summary), summary, told)
    for finding in every:
        assert len(evidence.of(finding, made)) <= evidence.MOST
        assert diagnosis_words.seen(finding)
        assert diagnosis_words.WORDS[finding.code].advice


FAILED = Code.FAILED_DOWNLINKS
NUMBERS = {
    Code.JOIN_UNANSWERED: ("requests", "at"), Code.ACCEPT_UNHEARD: ("accepts", "at"),
    Code.REJOINS: ("firsts", "messages"),
    Code.SILENT: ("at", "span", "interval"), Code.LOSS: ("lost", "sent", "share"),
    Code.WEAK_SIGNAL: ("weak", "very_weak", "messages"), FAILED: ("failures", "downlinks", "count"),
    Code.MAC_UNANSWERED: ("unanswered", "asked"), Code.CONFIRMED: ("confirmed", "messages", "share"),
    Code.TOO_OFTEN: ("interval", "messages"), Code.REPEATED: ("repeats", "messages"),
    Code.SLOWEST: ("slow", "messages"), Code.ONE_GATEWAY: ("single", "messages"), Code.NO_LOCATION: ("locatable",),
}  # fmt: skip


def shows(story: Story, code: Code) -> list[int | None]:
    summary = story.summary()
    finding = story.found()[code]
    made = health.Diagnosis(
        Step.NORMAL, [finding], health.Verdict(health.Health.GOOD), totals(summary), summary, story.frames
    )
    return [frame.fcnt for frame in evidence.of(finding, made)]


def test_the_messages_of_findings_that_lie_between_messages() -> None:
    lossy = Story().join().up(*(fcnt for fcnt in range(72) if fcnt % 6))
    assert shows(lossy, Code.LOSS) == [67, 61, 55, 49, 43]
    again = Story().join()
    for fcnt in range(40):
        again.up(*[fcnt] * (5 if fcnt % 10 == 0 else 1))
    assert shows(again, Code.REPEATED) == [30, 30, 30, 30, 20]
    silent, fcnt = normal(count=30), 30
    for _ in range(3):
        silent.down(b"\x06").up(fcnt, fcnt + 1, fcnt + 2)
        fcnt += 3
    assert shows(silent, Code.MAC_UNANSWERED) == [0, 0, 0]
