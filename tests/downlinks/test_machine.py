"""The state machine whole: random histories against a plain model, and the page in docs against the table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.states import StateConflict
from devices.errors import NetworkRefused, NetworkUnavailable
from devices.models import Device
from devices.services import activate, deactivate
from downlinks import execution, reports, services
from downlinks.models import FINAL, MOVES, Downlink, Event, State
from tests.downlinks.conftest import T0, RecordedNetwork, ask, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
DAY = timedelta(days=1)


@dataclass
class Model:
    """What S3 to S5 say should happen, without database, leases and correlation ids."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    active: bool = True
    now: datetime = T0

    def head(self) -> dict[str, Any] | None:
        return next((row for row in self.rows if row["state"] in {"pending", "executing"}), None)

    def ask(self, confirmed: bool) -> None:
        self.rows.append({"state": "pending", "confirmed": confirmed, "taken": False, "wait": self.now, "tries": 0})

    def run(self, answer: str) -> None:
        head = self.head()
        if head is None or not self.active or head["taken"] or head["wait"] > self.now:
            return
        if head["state"] == "pending":
            head |= {"state": "executing", "deadline": self.now + DAY}
        elif head["deadline"] <= self.now:
            return
        head["tries"] += 1
        if answer == "refused":
            head["state"] = "failed"
        elif answer == "unavailable":
            seconds = execution.BACKOFF[min(head["tries"], len(execution.BACKOFF)) - 1]
            head["wait"] = min(self.now + timedelta(seconds=seconds), head["deadline"])
        else:
            head["taken"] = True

    def report(self, index: int, what: str) -> None:
        row = self.rows[index]
        if row["state"] != "executing":
            return
        if what == "sent":
            row["taken"] = True
            row["state"] = "executing" if row["confirmed"] else "delivered"
        else:
            row["state"] = "delivered" if what == "acknowledged" else "failed"

    def sweep(self) -> None:
        head = self.head()
        if head and head["state"] == "executing" and head["deadline"] <= self.now:
            head["state"] = "failed"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.booleans()),
        st.tuples(st.just("run"), st.sampled_from(["taken", "taken", "refused", "unavailable"])),
        st.tuples(st.just("cancel"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["sent", "not sent", "acknowledged", "given up"]), st.integers(0, 3)),
        st.tuples(st.just("switch"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 7, 3600, 86400])),
    ),
    min_size=4,
    max_size=14,
)


def do(device: Device, network: RecordedNetwork, model: Model, step: str, value: Any) -> None:
    """The same step in the portal and in the model."""
    now = model.now
    if step == "ask" and model.active:
        ask(device, confirmed=value, now=now)
        model.ask(value)
    elif step == "run":
        errors = {"refused": NetworkRefused("no"), "unavailable": NetworkUnavailable("later")}
        network.answers = [errors.get(value)]
        execution.run(device.pk, now=now)
        model.run(value)
    elif step == "wait":
        model.now = now + timedelta(seconds=value)
        execution.sweep(model.now)
        model.sweep()
    elif step == "switch" and value != model.active:
        (activate if value else deactivate)(device=device, actor=None)
        model.active = value
    elif step == "cancel" and value < len(model.rows):
        if model.rows[value]["state"] == "pending":
            services.cancel(device=device, number=value + 1, actor=None, now=now)
            model.rows[value]["state"] = "cancelled"
        else:
            with pytest.raises(StateConflict):
                services.cancel(device=device, number=value + 1, actor=None, now=now)
    elif step in {"sent", "not sent", "acknowledged", "given up"} and value < len(model.rows):
        name = str(Downlink.objects.get(device=device, number=value + 1).correlation_id)
        if step == "acknowledged":
            reports.on_acknowledged(device.pk, name, now, now=now)
        elif step == "given up":
            reports.on_failed(device.pk, name, now, now=now)
        else:
            reports.on_sent(device.pk, name, now, delivered=step == "sent", now=now)
        model.report(value, step)


@hypothesis_settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=steps)
def test_any_history_goes_as_the_model(
    device: Device, network: RecordedNetwork, history: list[tuple[str, Any]]
) -> None:
    network.calls.clear()
    with transaction.atomic():
        fresh, model = Device.objects.select_related("type").get(pk=device.pk), Model()
        ends: dict[int, str] = {}
        for step, value in history:
            calls = len(network.calls)
            do(fresh, network, model, step, value)
            found = states(device)
            assert found == [row["state"] for row in model.rows], f"after {step} {value} in {history}"
            assert found.count("executing") <= 1
            assert len(network.calls) == calls or model.active, "S5: sent to a deactivated device"
            heads = list(Downlink.objects.filter(device=device, head=True).values_list("number", flat=True))
            open_ones = [number for number, state in enumerate(found, 1) if State(state) not in FINAL]
            assert heads == open_ones[:1], "S3: the oldest goes first"
            for number, state in enumerate(found, 1):
                assert ends.setdefault(number, state) == state or State(ends[number]) not in FINAL
                ends[number] = state
        in_order = Downlink.objects.filter(correlation_id__in=network.taken).order_by("number")
        assert list(in_order.values_list("correlation_id", flat=True)) == network.taken
        transaction.set_rollback(True)


def test_final_states_are_never_left() -> None:
    for event, moves in MOVES.items():
        assert not FINAL & moves.keys(), event
    assert {after for moves in MOVES.values() for after in moves.values()} == set(State) - {State.PENDING}


def test_docs_show_the_table_of_the_code() -> None:
    text = (settings.BASE_DIR / "docs" / "downlinks.md").read_text()
    shown = {
        cells[0]: (cells[1], cells[2])
        for line in text.splitlines()
        if len(cells := [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]) == 4
    }
    for event in Event:
        before, after = MOVES[event].keys(), set(MOVES[event].values())
        expected = " or ".join(str(state.label) for state in before), str(after.pop().label)
        assert shown.get(str(event.label)) == expected, event
