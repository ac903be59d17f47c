"""S3 under many at once, with connections of their own: one order, one executing, whatever the timing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import psycopg
import pytest

from devices.models import Device
from downlinks import execution, reports
from downlinks.models import Downlink
from tests.downlinks.conftest import T0, RecordedNetwork, ask, at_once, states
from tests.processes import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unscoped")]


def test_fifty_requests_at_once_are_carried_out_in_their_order(device: Device, network: RecordedNetwork) -> None:
    """While some ask, others work and report: numbers without gaps, sent in the order of request, one at a time."""

    def carry_out() -> None:
        execution.run(device.pk)
        for each in Downlink.objects.filter(device=device, state="executing", accepted_at__isnull=False):
            reports.on_sent(device.pk, str(each.correlation_id), each.accepted_at)

    def work(index: int) -> Any:
        if index < 50:
            return ask(device, bytes([index]), now=None).number
        for _turn in range(30):
            carry_out()
        return 0

    made = at_once(54, work)
    assert sorted(made) == [0] * 4 + list(range(1, 51))
    while Downlink.objects.filter(head=True).exists():
        carry_out()
    rows = list(Downlink.objects.order_by("number"))
    assert [row.requested_at for row in rows] == sorted(row.requested_at for row in rows), "numbered by request"
    assert network.taken == [row.correlation_id for row in rows], "sent in that order"
    assert set(network.had.values()) == {1}
    assert states(device) == ["delivered"] * 50
    for before, after in pairwise(rows):
        assert before.finished_at <= after.executing_at, "the next one begins when the one before has ended"


EXECUTE = """
UPDATE downlinks_downlink SET state = 'executing', head = true, due_at = %s, executing_at = %s, deadline = %s
WHERE device_id = %s AND number = %s
"""


@pytest.mark.parametrize("turn", range(3))
def test_database_itself_holds_one_executing_and_one_head(device: Device, turn: int) -> None:
    """Statements that know nothing of locks and heads, at once: the constraints let one through."""
    for _index in range(8):
        ask(device)
    Downlink.objects.update(head=False, due_at=None)
    url = database_url()

    def work(index: int) -> Any:
        with psycopg.connect(url) as raw:
            return raw.execute(EXECUTE, [T0, T0, T0, device.pk, index + 1]).rowcount

    results = at_once(8, work)
    assert results.count(1) == 1
    assert sum(isinstance(result, psycopg.errors.UniqueViolation) for result in results) == 7
    assert sorted(states(device)) == ["executing"] + ["pending"] * 7


@pytest.mark.parametrize("constraint", ["downlink_one_executing", "downlink_one_head"])
def test_each_constraint_holds_alone(device: Device, constraint: str) -> None:
    """Not one of them is there for the other's sake: without the one, the other still refuses."""
    ask(device), ask(device)
    with psycopg.connect(database_url()) as raw:
        raw.execute(f"DROP INDEX {constraint}")
        raw.execute("UPDATE downlinks_downlink SET head = false, due_at = NULL")
        raw.execute(EXECUTE, [T0, T0, T0, device.pk, 1])
        with pytest.raises(psycopg.errors.UniqueViolation) as refused:
            raw.execute(EXECUTE, [T0, T0, T0, device.pk, 2])
        assert refused.value.diag.constraint_name in {"downlink_one_executing", "downlink_one_head"} - {constraint}
        raw.rollback()
