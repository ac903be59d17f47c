"""Asking for instructions and cancelling them (S1, S2, S3): order, rights of the type, one request once."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from accounts.models import AuditEntry
from common.states import StateConflict
from devices.capabilities import NotAllowedForType
from devices.models import Category, Device, DeviceType
from devices.services import deactivate, unlink_flow
from downlinks import execution, services, tasks
from downlinks.errors import InstructionRefused
from downlinks.models import Downlink, Source
from flows.models import Flow
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, again, ask, ask_senml, at, at_once, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]


def test_request_makes_the_first_one_head(cast: Cast, device: Device) -> None:
    first = ask(device, b"\x0a\xff", actor=cast.operator, confirmed=True, source=Source.API)
    second = ask(device, now=at(1))
    assert (first.number, first.head, first.due_at, first.state) == (1, True, at(3), "pending")
    assert (second.number, second.head, second.due_at) == (2, False, None)
    assert (first.requested_by, first.requested_at, first.source) == (cast.operator, at(0), "api")
    kept = again(first)
    assert (kept.fport, bytes(kept.payload), kept.confirmed) == (2, b"\x0a\xff", True)


def test_request_is_recorded(cast: Cast, device: Device) -> None:
    ask(device, b"\x0a\xff", actor=cast.operator)
    entry = AuditEntry.objects.get(action="downlink.requested")
    assert (entry.actor, entry.device_id, entry.project_id) == (cast.operator, device.pk, cast.project.pk)
    assert entry.after == {
        "number": 1, "encoder": "raw-lora", "payload": "0AFF", "fport": 2, "confirmed": False
    }  # fmt: skip


def test_request_rings_for_a_head_only_and_after_the_commit(
    device: Device, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    rung: list[tuple[int, ...]] = []
    monkeypatch.setattr(tasks.run_downlink, "apply_async", lambda args, **_options: rung.append(args))
    with django_capture_on_commit_callbacks(execute=True):
        ask(device)
        assert rung == []
    assert rung == [(device.pk,)]
    with django_capture_on_commit_callbacks(execute=True):
        ask(device)
    assert len(rung) == 1, "the second waits for the first"


def test_same_token_and_content_is_one_instruction(device: Device) -> None:
    token = uuid4()
    first = ask(device, token=token)
    assert ask(device, token=token).number == first.number
    assert ask(device, b"\x02", token=token).number == 2, "changed and sent again is another request"
    assert ask(device).number == 3
    assert ask(device).number == 4


def test_token_cannot_name_an_instruction_of_another_device(cast: Cast, device: Device, fetching: Device) -> None:
    token = uuid4()
    first = ask(device, token=token)
    assert first.correlation_id != token
    assert services._correlation_id(fetching.pk, token, "x") != services._correlation_id(device.pk, token, "x")


def test_request_needs_a_flow(device: Device) -> None:
    unlink_flow(device=device, flow=Flow.objects.get(), actor=None)
    with pytest.raises(InstructionRefused, match="Link the device to a Flow"):
        ask(device)


def test_request_to_a_deactivated_device_is_refused(device: Device) -> None:
    stale = Device.objects.select_related("type").get(pk=device.pk)
    deactivate(device=device, actor=None)
    with pytest.raises(InstructionRefused, match="deactivated"):
        ask(stale)
    assert not Downlink.objects.exists()


def test_request_needs_the_encoder_and_the_capability(device: Device) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(encoders=[])
    device.type.refresh_from_db()
    with pytest.raises(InstructionRefused, match="does not take"):
        ask(device)
    device.type.encoders, device.type.category = ["raw-lora"], Category.MANAGED
    with pytest.raises(NotAllowedForType):
        ask(device)
    device.type.encoders = ["commands"]
    made = services.request(device=device, encoder="commands", fport=9, payload=b"\x01", actor=None)
    assert made.encoder == "commands"


def test_cancel_takes_a_pending_one_out_of_the_queue(cast: Cast, device: Device) -> None:
    for second in range(3):
        ask(device, now=at(second))
    services.cancel(device=device, number=2, actor=cast.operator, now=at(9))
    assert states(device) == ["pending", "cancelled", "pending"]
    assert Downlink.objects.get(head=True).number == 1
    services.cancel(device=device, number=1, actor=cast.operator, now=at(10))
    head = Downlink.objects.get(head=True)
    assert (head.number, head.due_at) == (3, at(13)), "the next is first now"
    entry = AuditEntry.objects.filter(action="downlink.cancelled").earliest("pk")
    assert (entry.before, entry.after) == ({"number": 2, "state": "pending"}, {"state": "cancelled"})
    assert Downlink.objects.get(number=2).finished_at == at(9)


def test_cancel_of_one_that_executes_or_is_finished_changes_nothing(
    cast: Cast, device: Device, network: RecordedNetwork
) -> None:
    first, second = ask(device), ask(device)
    services.cancel(device=device, number=second.number, actor=None)
    execution.run(device.pk, now=at(1))
    for number in (first.number, second.number, 77):
        with pytest.raises(StateConflict):
            services.cancel(device=device, number=number, actor=None)
    assert states(device) == ["executing", "cancelled"]
    assert AuditEntry.objects.filter(action="downlink.cancelled").count() == 1


@pytest.mark.django_db(transaction=True)
def test_twenty_requests_at_once_stand_in_one_order(device: Device, network: RecordedNetwork) -> None:
    """S3: numbers without gaps, one head, carried out in the order of request."""
    made = at_once(20, lambda index: ask(device, bytes([index]), now=None))
    assert sorted(each.number for each in made) == list(range(1, 21))
    rows = list(Downlink.objects.order_by("number"))
    assert [row.head for row in rows] == [True] + [False] * 19
    assert [row.requested_at for row in rows] == sorted(row.requested_at for row in rows)
    for row in rows:
        assert execution.run(device.pk)
        assert network.taken[-1] == row.correlation_id
        Downlink.objects.filter(number=row.number).update(deadline=row.requested_at)
        execution.time_out(device.pk, row.number, at(86400 * 10_000))
    assert set(states(device)) == {"failed"}


@pytest.mark.django_db(transaction=True)
def test_double_click_makes_one_instruction(device: Device) -> None:
    token = UUID(int=5)
    made = at_once(8, lambda _index: ask(device, token=token))
    assert {each.number for each in made} == {1}
    assert Downlink.objects.count() == 1
    assert AuditEntry.objects.filter(action="downlink.requested").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(3))
def test_cancel_against_claim_has_one_winner(device: Device, network: RecordedNetwork, turn: int) -> None:
    ask(device)

    def work(index: int) -> Any:
        if index % 2:
            return services.cancel(device=device, number=1, actor=None, now=at(1))
        return execution.run(device.pk, now=at(1))

    results = at_once(4, work)
    cancelled = sum(result is None for result in results)
    claimed = sum(result is True for result in results)
    assert cancelled + claimed == 1
    assert states(device) == ["cancelled" if cancelled else "executing"]
    assert len(network.calls) == claimed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(3))
def test_finish_against_request_leaves_a_head(device: Device, turn: int) -> None:
    """The last one ends while another is added: without the lock the new one would wait for ever."""
    ask(device)

    def work(index: int) -> Any:
        return ask(device) if index else services.cancel(device=device, number=1, actor=None)

    at_once(2, work)
    assert list(Downlink.objects.filter(head=True).values_list("number", "state")) == [(2, "pending")]


# --- valid until, again, all at once ---


def test_valid_until_is_kept_and_recorded(device: Device) -> None:
    downlink = ask(device, valid_until=at(60))
    assert again(downlink).valid_until == at(60)
    assert AuditEntry.objects.get(action="downlink.requested").after["valid_until"] == at(60).isoformat()


@pytest.mark.parametrize("seconds", [-1, 0, 367 * 86400])
def test_valid_until_is_to_come_and_within_a_year(device: Device, seconds: int) -> None:
    with pytest.raises(InstructionRefused) as refusal:
        ask(device, valid_until=at(seconds))
    assert refusal.value.field == "valid_until"
    assert not Downlink.objects.exists()


def test_same_page_with_another_end_is_another_request(device: Device) -> None:
    token = UUID(int=5)
    numbers = [ask(device, token=token, valid_until=at(end)).number for end in (60, 60, 90)]
    assert [*numbers, ask(device, token=token).number] == [1, 1, 2, 3]


def test_send_again_stands_at_the_end_with_the_same_content(cast: Cast, device: Device) -> None:
    ask(device, b"\x0a\xff", confirmed=True, label="Open", source=Source.DESIRED), ask(device)
    services.cancel(device=device, number=1, actor=cast.operator)
    made = services.send_again(device=device, number=1, actor=cast.operator, now=at(9))
    row = again(made)
    assert (row.number, row.again, row.state, row.source, row.label) == (3, 1, "pending", "page", "Open")
    assert (row.fport, bytes(row.payload), row.confirmed, row.requested_by) == (2, b"\x0a\xff", True, cast.operator)
    assert AuditEntry.objects.filter(action="downlink.requested").latest("pk").after["again"] == 1


def test_send_again_of_senml_has_one_base_name(cast: Cast, fetching: Device) -> None:
    first = ask_senml(fetching)
    services.cancel(device=fetching, number=1, actor=cast.operator)
    made = services.send_again(device=fetching, number=1, actor=cast.operator)
    assert bytes(again(made).payload) == bytes(again(first).payload)


def test_send_again_twice_from_one_page_is_one(device: Device) -> None:
    ask(device)
    services.cancel(device=device, number=1, actor=None)
    token = UUID(int=5)
    made = [services.send_again(device=device, number=1, actor=None, token=token) for _turn in range(2)]
    assert {each.number for each in made} == {2}


def test_send_again_only_of_what_is_finished(device: Device) -> None:
    ask(device), ask(device)
    execution.run(device.pk, now=at(1))
    for number in (1, 2, 77):
        with pytest.raises(StateConflict):
            services.send_again(device=device, number=number, actor=None)
    assert Downlink.objects.count() == 2


def test_send_again_has_the_checks_of_a_request(device: Device) -> None:
    ask(device)
    services.cancel(device=device, number=1, actor=None)
    deactivate(device=device, actor=None)
    with pytest.raises(InstructionRefused):
        services.send_again(device=device, number=1, actor=None)
    assert Downlink.objects.count() == 1


def test_cancel_says_who(cast: Cast, device: Device) -> None:
    downlink = ask(device)
    services.cancel(device=device, number=1, actor=cast.operator)
    assert again(downlink).cancelled_by == cast.operator


def test_cancel_all_leaves_the_one_that_executes(cast: Cast, device: Device) -> None:
    for _index in range(4):
        ask(device)
    execution.run(device.pk, now=at(1))
    assert services.cancel_all(device=device, actor=cast.operator, now=at(2)) == 3
    assert states(device) == ["executing", *["cancelled"] * 3]
    assert {row.cancelled_by for row in Downlink.objects.filter(finished_at=at(2))} == {cast.operator}
    entry = AuditEntry.objects.get(action="downlink.cancelled")
    assert (entry.before, entry.after) == ({"numbers": [2, 3, 4], "state": "pending"}, {"state": "cancelled"})
    assert services.cancel_all(device=device, actor=cast.operator) == 0
    assert AuditEntry.objects.filter(action="downlink.cancelled").count() == 1


def test_cancel_all_with_the_head_leaves_an_empty_queue(device: Device) -> None:
    ask(device), ask(device)
    assert services.cancel_all(device=device, actor=None) == 2
    assert not Downlink.objects.filter(head=True).exists()
    assert ask(device).head


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(3))
def test_cancel_all_against_claim_and_request(device: Device, network: RecordedNetwork, turn: int) -> None:
    ask(device), ask(device)
    work = [
        lambda: services.cancel_all(device=device, actor=None, now=at(1)),
        lambda: execution.run(device.pk, now=at(1)),
        lambda: ask(device).number,
    ]
    cancelled, claimed, _number = at_once(3, lambda index: work[index]())
    found = states(device)
    assert found.count("cancelled") == cancelled
    assert found.count("executing") == claimed == len(network.calls)
    open_ones = [number for number, state in enumerate(found, 1) if state in {"pending", "executing"}]
    assert list(Downlink.objects.filter(head=True).values_list("number", flat=True)) == open_ones[:1]
