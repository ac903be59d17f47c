"""What the network says (S3): in order, late, twice, without id."""

from __future__ import annotations

import pytest

from devices.models import Device
from downlinks import execution, reports
from downlinks.models import Downlink
from lora.networks.thingpark import CAUSES
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, again, ask, at, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = 86400


def executing(device: Device, *, confirmed: bool = False) -> Downlink:
    downlink = ask(device, confirmed=confirmed)
    execution.run(device.pk, now=at(1))
    return downlink


def name(downlink: Downlink) -> str:
    return str(downlink.correlation_id)


def test_unconfirmed_is_delivered_when_sent(device: Device) -> None:
    downlink, after = executing(device), ask(device)
    assert reports.on_sent(device.pk, name(downlink), at(60), now=at(61))
    row = again(downlink)
    assert (row.state, row.sent_at, row.finished_at, row.acknowledged_at) == ("delivered", at(60), at(61), None)
    assert again(after).head


def test_confirmed_is_delivered_when_acknowledged(device: Device) -> None:
    downlink = executing(device, confirmed=True)
    assert reports.on_sent(device.pk, name(downlink), at(60))
    assert (again(downlink).state, again(downlink).sent_at) == ("executing", at(60))
    assert reports.on_acknowledged(device.pk, name(downlink), at(120), now=at(121))
    row = again(downlink)
    assert (row.state, row.sent_at, row.acknowledged_at, row.finished_at) == ("delivered", at(60), at(120), at(121))


def test_acknowledgement_without_id_is_of_the_one_on_air(device: Device) -> None:
    downlink = executing(device, confirmed=True)
    assert not reports.on_acknowledged(device.pk, "", at(50)), "it is not on air yet"
    reports.on_sent(device.pk, name(downlink), at(60))
    assert not reports.on_acknowledged(device.pk, "", at(59)), "an acknowledgement from before"
    assert reports.on_acknowledged(device.pk, "", at(61))
    assert states(device) == ["delivered"]


def test_acknowledgement_without_id_is_never_of_an_unconfirmed_one(device: Device, network: RecordedNetwork) -> None:
    downlink = executing(device)
    Downlink.objects.update(sent_at=at(2))
    assert not reports.on_acknowledged(device.pk, "", at(61))
    assert again(downlink).state == "executing"


def test_acknowledged_before_sent_is_told(device: Device) -> None:
    downlink = executing(device, confirmed=True)
    assert reports.on_acknowledged(device.pk, name(downlink), at(120))
    assert (again(downlink).state, again(downlink).sent_at) == ("delivered", None)
    assert reports.on_sent(device.pk, name(downlink), at(60)), "the fact is kept when it comes"
    assert (again(downlink).state, again(downlink).sent_at) == ("delivered", at(60))


@pytest.mark.parametrize("confirmed", [False, True])
def test_not_on_air_is_failed_in_words(device: Device, confirmed: bool) -> None:
    downlink = executing(device, confirmed=confirmed)
    assert reports.on_sent(device.pk, name(downlink), at(60), delivered=False, cause="D0", reason=CAUSES["D0"])
    row = again(downlink)
    assert (row.state, row.cause, row.sent_at) == ("failed", "D0", None)
    assert row.reason == "The duty cycle of the gateway was used up."


@pytest.mark.parametrize("delivered", [True, False])
def test_frame_is_kept_as_far_as_the_network_tells(device: Device, delivered: bool) -> None:
    downlink = executing(device, confirmed=True)
    reports.on_sent(device.pk, name(downlink), at(60), delivered=delivered, gateway="LRR1", window="RX2", fcnt=0)
    reports.on_sent(device.pk, name(downlink), at(70))
    row = again(downlink)
    assert (row.gateway, row.window, row.fcnt_down) == ("LRR1", "RX2", 0)


def test_frame_of_a_late_report_is_kept(device: Device) -> None:
    downlink = executing(device, confirmed=True)
    execution.sweep(at(1 + DAY))
    reports.on_sent(device.pk, name(downlink), at(DAY + 5), gateway="LRR1", window="RX1", fcnt=7)
    row = again(downlink)
    assert (row.state, row.gateway, row.window, row.fcnt_down) == ("failed", "LRR1", "RX1", 7)


@pytest.mark.parametrize("named", [True, False])
def test_given_up_is_failed(device: Device, named: bool) -> None:
    downlink, after = executing(device), ask(device)
    assert reports.on_failed(device.pk, name(downlink) if named else "", at(9), cause="TOO_LARGE", reason="Too long.")
    assert (again(downlink).state, again(downlink).cause, again(downlink).reason) == (
        "failed",
        "TOO_LARGE",
        "Too long.",
    )
    assert not reports.on_failed(device.pk, "", at(10)), "the next one is not the network's yet"
    assert again(after).state == "pending"


def test_late_reports_leave_the_end_and_keep_the_facts(device: Device) -> None:
    downlink = executing(device, confirmed=True)
    execution.sweep(at(1 + DAY))
    failed = again(downlink)
    assert failed.state == "failed"
    assert reports.on_sent(device.pk, name(downlink), at(DAY + 5))
    assert reports.on_acknowledged(device.pk, name(downlink), at(DAY + 9))
    assert not reports.on_failed(device.pk, name(downlink), at(DAY + 9), reason="too late")
    row = again(downlink)
    assert (row.state, row.reason, row.finished_at) == ("failed", failed.reason, failed.finished_at)
    assert (row.sent_at, row.acknowledged_at) == (at(DAY + 5), at(DAY + 9))


@pytest.mark.parametrize("confirmed", [False, True])
def test_everything_twice_is_as_once(device: Device, confirmed: bool) -> None:
    downlink = executing(device, confirmed=confirmed)
    for _turn in range(2):
        reports.on_sent(device.pk, name(downlink), at(60), now=at(60))
        reports.on_acknowledged(device.pk, name(downlink), at(90), now=at(90))
    row = again(downlink)
    assert (row.state, row.sent_at, row.acknowledged_at) == ("delivered", at(60), at(90))
    assert row.finished_at == at(90 if confirmed else 60)
    assert not reports.on_sent(device.pk, name(downlink), at(99)), "sent again: the first time stays"
    assert again(downlink).sent_at == at(60)


def test_sent_tells_that_the_network_has_it(device: Device, network: RecordedNetwork) -> None:
    """A worker that died between sending and writing it down: it is not sent again."""
    downlink = ask(device, confirmed=True)
    network.answers = [SystemExit()]  # type: ignore[list-item]
    with pytest.raises(SystemExit):
        execution.run(device.pk, now=at(0))
    reports.on_sent(device.pk, name(downlink), at(5))
    row = again(downlink)
    assert (row.accepted_at, row.due_at) == (at(5), at(DAY))
    assert not execution.run(device.pk, now=at(60))
    assert len(network.calls) == 1


@pytest.mark.parametrize("unknown", ["", "7b1c", "00000000-0000-0000-0000-000000000000"])
def test_reports_about_nothing_known_change_nothing(device: Device, unknown: str) -> None:
    downlink = executing(device)
    before = again(downlink).__dict__ | {"_state": None}
    assert not reports.on_sent(device.pk, unknown, at(9))
    assert not reports.on_acknowledged(device.pk, unknown, at(9))
    if unknown:
        assert not reports.on_failed(device.pk, unknown, at(9))
    assert again(downlink).__dict__ | {"_state": None} == before


def test_reports_name_device_and_id_together(cast: Cast, device: Device, fetching: Device) -> None:
    downlink = executing(device)
    assert not reports.on_sent(fetching.pk, name(downlink), at(9))
    assert again(downlink).state == "executing"


def test_report_about_a_pending_one_changes_nothing(device: Device) -> None:
    downlink = ask(device)
    assert not reports.on_sent(device.pk, name(downlink), at(9))
    assert not reports.on_acknowledged(device.pk, name(downlink), at(9))
    assert not reports.on_failed(device.pk, name(downlink), at(9))
    row = again(downlink)
    assert (row.state, row.sent_at, row.acknowledged_at, row.accepted_at) == ("pending", None, None, None)
