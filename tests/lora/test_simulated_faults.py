"""What each fault of a simulated device looks like to the network, and that a healthy one shows none (L6+, L9)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from codec.lorawan.frames import DataFrame, parse
from codec.lorawan.mac import Direction, decode
from lora.events import DownlinkAcknowledged, DownlinkFailed, DownlinkSent, Event, JoinAccept, JoinRequest, Uplink
from lora.networks.simulated.server import Heard, Server
from lora.networks.simulated.world import EndDeviceConfig, Fault, World

START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DEV, APP, KEY = "0059AC000017338B", "70B3D57ED0000001", bytes(range(16))


def events(*faults: Fault, days: float = 0.5, dev_eui: str = DEV) -> list[Event]:
    made = World(seed=11, now=START)
    made.register(dev_eui=dev_eui, app_eui=APP, app_key=KEY)
    made.power_on(
        EndDeviceConfig(dev_eui, APP, KEY, timedelta(minutes=10), "climate", 51.918, 4.474, frozenset(faults)),
        at=START,
    )
    return made.advance(START + days * DAY)


def kinds(told: list[Event]) -> Counter[type[Event]]:
    return Counter(type(event) for event in told)


def lost_share(told: list[Event]) -> float:
    counters = {event.fcnt for event in told if isinstance(event, Uplink)}
    return 1 - len(counters) / (max(counters) + 1)


def test_wrong_key_asks_and_is_never_answered() -> None:
    told = events(Fault.WRONG_APP_KEY)
    assert set(kinds(told)) == {JoinRequest}
    assert len(told) > 50
    gaps = [later.at - earlier.at for earlier, later in pairwise(told)]
    assert gaps[0] < timedelta(seconds=60) < gaps[-1]


def test_unheard_join_is_answered_and_asked_again() -> None:
    seen = kinds(events(Fault.JOIN_UNHEARD))
    assert set(seen) == {JoinRequest, JoinAccept}
    assert seen[JoinAccept] > 50


def test_power_cycling_joins_before_each_message() -> None:
    told = events(Fault.POWER_CYCLE)
    uplinks = [event for event in told if isinstance(event, Uplink)]
    assert {uplink.fcnt for uplink in uplinks} == {0}
    assert len(uplinks) > 50
    assert kinds(told)[JoinAccept] >= len({uplink.dev_addr for uplink in uplinks}) > 50


def test_always_confirmed() -> None:
    uplinks = [event for event in events(Fault.ALWAYS_CONFIRMED) if isinstance(event, Uplink)]
    messages = [uplink for uplink in uplinks if uplink.fport]
    assert all(uplink.confirmed for uplink in messages)
    repeated = Counter((uplink.fcnt, uplink.mic) for uplink in messages).values()
    assert len({uplink.fcnt for uplink in messages}) == len({uplink.mic for uplink in messages})
    assert max(repeated) >= 2, "a lost ACK makes the device send the same frame again"


def test_mac_silent_is_asked_again_and_never_answers() -> None:
    told = events(Fault.MAC_SILENT)
    assert all(not event.mac for event in told if isinstance(event, Uplink))
    asked = Counter(
        command.name
        for event in told
        if isinstance(event, DownlinkSent)
        for command in decode(event.mac, Direction.DOWNLINK)
    )
    assert asked["DevStatusReq"] == asked["RXParamSetupReq"] == 3
    assert asked["LinkADRReq"] >= 3


def test_heavy_loss() -> None:
    assert 0.2 < lost_share(events(Fault.HEAVY_LOSS, days=2)) < 0.4


def test_out_of_range_is_never_seen() -> None:
    assert events(Fault.OUT_OF_RANGE) == []


def instructed(*faults: Fault) -> list[Event]:
    """Five hours, in the second of which the network sends an interval of two minutes, confirmed."""
    made = World(seed=11, now=START)
    made.register(dev_eui=DEV, app_eui=APP, app_key=KEY)
    place = (timedelta(minutes=10), "climate", 51.918, 4.474)
    made.power_on(EndDeviceConfig(DEV, APP, KEY, *place, frozenset(faults)), at=START)
    made.advance(START + DAY / 24)
    made.enqueue(DEV, fport=10, payload=b"\x00\x02", confirmed=True, correlation_id="order")
    return made.advance(START + 5 * DAY / 24)


def test_deaf_device_takes_no_instruction_and_stays_in_the_network() -> None:
    told = instructed(Fault.DEAF)
    assert [event.cause for event in told if isinstance(event, DownlinkFailed)] == ["NO_ACK"]
    assert kinds(told)[JoinAccept] == 0
    assert kinds(told)[Uplink] < 40


def test_disobedient_device_acknowledges_and_goes_on_as_before() -> None:
    told = instructed(Fault.DISOBEDIENT)
    assert kinds(told)[DownlinkAcknowledged] == 1
    assert kinds(told)[Uplink] < 40
    assert kinds(instructed())[Uplink] > 100


@pytest.mark.parametrize("dev_eui", [f"0059AC00001733{number:02X}" for number in range(6)])
def test_healthy_device_shows_no_fault(dev_eui: str) -> None:
    told = events(days=2, dev_eui=dev_eui)
    uplinks = [event for event in told if isinstance(event, Uplink)]
    messages = [uplink for uplink in uplinks if uplink.fport]
    assert len(messages) > 270
    assert lost_share(told) < 0.05
    assert kinds(told)[JoinAccept] <= 3
    assert len({uplink.dev_addr for uplink in uplinks}) == 1
    assert sum(uplink.confirmed for uplink in messages) / len(messages) < 0.1
    asked: set[int] = set()
    for event in told:
        if isinstance(event, DownlinkSent):
            asked |= {c.cid for c in decode(event.mac, Direction.DOWNLINK) if c.cid and c.name.endswith("Req")}
        elif isinstance(event, Uplink):
            asked -= {c.cid for c in decode(event.mac, Direction.UPLINK) if c.cid}
    assert asked <= {c.cid for e in told[-2:] if isinstance(e, DownlinkSent) for c in decode(e.mac, Direction.DOWNLINK)}


def joined() -> tuple[Server, DataFrame, bytes]:
    """A server that has taken a first uplink, that frame, and its bytes."""
    from codec.lorawan.frames import JoinRequest as JoinFrame
    from lora.networks.simulated.server import HeardJoin

    server = Server(seed=1)
    server.register(DEV, APP, KEY)
    taken = server.hear(JoinFrame(APP, DEV, 1).build(KEY), best_snr=5, gateways=1, rate=2, now=0)
    assert isinstance(taken, HeardJoin)
    assert taken.answered
    _phy, session = server.join_accept(taken)
    frame = DataFrame.sealed(
        direction=Direction.UPLINK,
        dev_addr=session.dev_addr,
        fcnt=0,
        nwk_skey=session.nwk_skey,
        app_skey=session.app_skey,
        fport=1,
        payload=b"x",
        confirmed=True,
    )
    assert isinstance(server.hear(frame.build(), best_snr=5, gateways=1, rate=2, now=1), Heard)
    return server, frame, frame.build()


def test_server_takes_a_nonce_once() -> None:
    from codec.lorawan.frames import JoinRequest as JoinFrame
    from lora.networks.simulated.server import HeardJoin

    server, _frame, _phy = joined()
    again = server.hear(JoinFrame(APP, DEV, 1).build(KEY), best_snr=5, gateways=1, rate=2, now=9)
    assert isinstance(again, HeardJoin)
    assert not again.answered


def test_server_acknowledges_a_repeated_confirmed_frame_and_refuses_other_replays() -> None:
    server, frame, phy = joined()
    again = server.hear(phy, best_snr=5, gateways=1, rate=2, now=2)
    assert isinstance(again, Heard)
    assert again.repeated
    session = server.registrations[DEV].session
    assert session is not None
    for fcnt in (1, 2):
        later = DataFrame.sealed(
            direction=Direction.UPLINK,
            dev_addr=session.dev_addr,
            fcnt=fcnt,
            nwk_skey=session.nwk_skey,
            app_skey=session.app_skey,
            fport=1,
            payload=b"y",
        ).build()
        assert isinstance(server.hear(later, best_snr=5, gateways=1, rate=2, now=3), Heard)
        assert server.hear(later, best_snr=5, gateways=1, rate=2, now=4) is None
    assert server.hear(phy, best_snr=5, gateways=1, rate=2, now=5) is None
    assert isinstance(parse(phy), DataFrame)
    assert frame.confirmed


def test_server_refuses_a_changed_frame_and_any_bytes() -> None:
    server, _frame, phy = joined()
    for broken in (phy[:-1] + bytes([phy[-1] ^ 1]), phy[:8], b"", b"\xff" * 30):
        assert server.hear(broken, best_snr=5, gateways=1, rate=2, now=6) is None
