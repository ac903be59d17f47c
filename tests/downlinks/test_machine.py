"""The state machine whole: random events against a plain model, and the one table in code and docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from common.states import StateConflict
from devices.errors import NetworkRefused, NetworkUnavailable
from devices.models import Connection, Device
from devices.services import activate, deactivate
from downlinks import dispatch, execution, handover, queue, reports, services
from downlinks.errors import InstructionRefused
from downlinks.models import FINAL, MOVES, Cause, Downlink, Event, State
from tests.downlinks.conftest import T0, RecordedNetwork, ask, ask_senml, lost, states
from tests.downlinks.model import Model, Row

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
ANSWERS: dict[str, Callable[[], Any]] = {
    "taken": lambda: None,
    "refused": lambda: NetworkRefused("no"),
    "unavailable": lambda: NetworkUnavailable("later"),
    "answer lost": lambda: lost(NetworkUnavailable("later")),
    "dies before": SystemExit,
    "dies after": lambda: lost(SystemExit()),
}
# By then the sweeper rings for whatever waits: after the longest wait between two tries, and a worker's lease.
BOUND = int(execution.BACKOFF[-1] + execution.RING_AGAIN.total_seconds())
# Which instruction: that at the head more often than not, else one of all.
answers = st.sampled_from(["taken", "answer lost", *ANSWERS])
which = st.one_of(st.none(), st.none(), st.integers(0, 9))


def event(name: str, *values: Any, weight: int = 1) -> list[Any]:
    """A step: the machine's method and its arguments."""
    return [st.tuples(st.just(name), *values) for _turn in range(weight)]


events = st.one_of(
    *event("ask", st.integers(1, 3), st.booleans(), st.sampled_from([None, None, None, 5, 60, 7200]), weight=3),
    *event(
        "run",
        st.sampled_from(["taken", "answer lost", *ANSWERS]),
        st.sampled_from([0, 2, 31, 310]),
        st.booleans(),
        weight=8,
    ),
    *event("report", which, st.sampled_from(["sent", "sent", "not sent", "acknowledged", "given up"]), weight=3),
    *event("report_without_name", st.sampled_from(["acknowledged", "given up"])),
    *event("message", st.booleans(), weight=3),
    *event("wait", st.sampled_from([1, 7, 31, 400, 7200, 86400]), st.booleans(), weight=3),
    *event("cancel", which),
    *event("cancel_all"),
    *event("again", which),
    *event("switch", st.booleans(), st.sampled_from([True, True, False])),
)


class Machine(RuleBasedStateMachine):
    """Every event that an instruction can meet, in the portal and in the model, in any order. Time moves by ``wait``;
    the sweeper and the workers come when they come."""

    device: Device
    network: RecordedNetwork
    rung: list[int]
    fetching: bool

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.pk = self.device.pk
        self.ends: dict[int, tuple[str, datetime | None, str]] = {}
        self.numbers: dict[UUID, int] = {}
        self.network.calls.clear()
        self.network.had.clear()

    @initialize(knows=st.sampled_from([True, True, False]))
    def start(self, knows: bool) -> None:
        self.network.knows = knows
        self.model = Model(fetching=self.fetching, knows=knows)

    @rule(step=events)
    def step(self, step: tuple[Any, ...]) -> None:
        """One rule, not one for each event: hypothesis would leave most of them out of most histories."""
        name, *values = step
        getattr(self, name)(*values)

    @property
    def fresh(self) -> Device:
        return Device.objects.select_related("type", "project").get(pk=self.pk)

    # --- people ---

    def ask(self, number: int, confirmed: bool, seconds: int | None) -> None:
        for _turn in range(number if len(self.model.rows) < 9 else 0):
            self.ask_one(confirmed, seconds)

    def ask_one(self, confirmed: bool, seconds: int | None) -> None:
        model, valid = self.model, None if seconds is None else self.model.now + timedelta(seconds=seconds)
        if not model.portal:
            with pytest.raises(InstructionRefused):
                self._ask(confirmed, valid)
            return
        self._ask(confirmed, valid)
        model.rows.append(Row(confirmed and not self.fetching, valid))

    def _ask(self, confirmed: bool, valid: datetime | None) -> None:
        if self.fetching:
            ask_senml(self.fresh, valid_until=valid, now=self.model.now)
        else:
            ask(self.fresh, confirmed=confirmed, valid_until=valid, now=self.model.now)

    def index_of(self, chosen: int | None) -> int:
        rows = self.model.rows
        head = self.model.head()
        return rows.index(head) if chosen is None and head is not None else (chosen or 0) % max(len(rows), 1)

    def cancel(self, chosen: int | None) -> None:
        index = self.index_of(chosen)
        row = self.model.rows[index] if self.model.rows else None
        if row and row.state == "pending":
            services.cancel(device=self.fresh, number=index + 1, actor=None, now=self.model.now)
            row.end("cancelled")
        else:
            with pytest.raises(StateConflict):
                services.cancel(device=self.fresh, number=index + 1, actor=None, now=self.model.now)

    def cancel_all(self) -> None:
        if len(self.model.rows) < 5:
            return
        pending = [row for row in self.model.rows if row.state == "pending"]
        assert services.cancel_all(device=self.fresh, actor=None, now=self.model.now) == len(pending)
        for row in pending:
            row.end("cancelled")

    def again(self, chosen: int | None) -> None:
        rows, index = self.model.rows, self.index_of(chosen)
        if rows and self.model.portal and rows[index].state in {"cancelled", "failed", "delivered"}:
            services.send_again(device=self.fresh, number=index + 1, actor=None, now=self.model.now)
            rows.append(Row(rows[index].confirmed))

    def switch(self, portal: bool, on: bool) -> None:
        if not portal:
            Device.objects.filter(pk=self.pk).update(
                connection_status=Connection.ACTIVE if on else Connection.DEACTIVATED
            )
            self.model.connected = on
        elif on != self.model.portal:
            (activate if on else deactivate)(device=self.fresh, actor=None)
            self.model.portal = on

    # --- workers, network, device, time ---

    def run(self, answer: str, seconds: int = 0, many: bool = False) -> None:
        """A worker, some seconds later, so that a try comes after another one often; by itself or with others."""
        self.model.now += timedelta(seconds=seconds)
        self.network.answers = [ANSWERS[answer]()]
        claimed = None
        try:
            if many:
                claimed = dispatch.run_many([self.pk], now=self.model.now) == 1
            else:
                claimed = execution.run(self.pk, now=self.model.now)
        except SystemExit:
            assert answer.startswith("dies")
            claimed = True
        assert claimed == self.model.run(answer)

    def report(self, chosen: int | None, what: str) -> None:
        if self.model.rows and not self.fetching:
            self.tell(self.index_of(chosen), what, named=True)

    def report_without_name(self, what: str) -> None:
        if not self.fetching:
            self.tell(0, what, named=False)

    def tell(self, index: int, what: str, *, named: bool) -> None:
        now = self.model.now
        name = str(Downlink.objects.get(device=self.pk, number=index + 1).correlation_id) if named else ""
        match what:
            case "acknowledged":
                reports.on_acknowledged(self.pk, name, now, now=now)
            case "given up":
                reports.on_failed(self.pk, name, now, now=now)
            case _:
                reports.on_sent(self.pk, name, now, delivered=what == "sent", now=now)
        if named:
            self.model.report(self.model.rows[index], what)
        else:
            self.model.report_unnamed(what)

    def message(self, new: bool) -> None:
        """Of a device, whether it fetches or not; not a new one: it repeats it, for our answer was lost."""
        if new:
            handover.device_answered(self.pk, self.model.now)
            self.model.came_back()
        handed, expected = handover.hand_over(self.pk, self.model.now), self.model.hand_over()
        assert (handed is None) == (expected is None)
        if handed and expected:
            number = Downlink.objects.get(device=self.pk, correlation_id=handed.correlation_id).number
            assert self.model.rows.index(expected) == number - 1

    def wait(self, seconds: int, swept: bool) -> None:
        self.model.now += timedelta(seconds=seconds)
        if swept:
            execution.sweep(self.model.now)
            self.model.sweep()

    # --- what always holds ---

    @invariant()
    def goes_as_the_model(self) -> None:
        rows = list(Downlink.objects.filter(device=self.pk).order_by("number"))
        assert [row.state for row in rows] == [row.state for row in self.model.rows]
        assert [row.number for row in rows] == list(range(1, len(rows) + 1)), "numbered in the order of request"
        open_ones = [row.number for row in rows if row.state not in FINAL]
        assert [row.number for row in rows if row.head] == open_ones[:1], "a head if and only if something is open"
        assert {row.number for row in rows if row.state == State.EXECUTING} <= set(open_ones[:1]), "one, the oldest"
        for row, expected in zip(rows, self.model.rows, strict=True):
            assert row.cause == Cause.EXPIRED or expected.cause != Cause.EXPIRED
            self.numbers[row.correlation_id] = row.number
            end = (row.state, row.finished_at, row.cause)
            if row.state in FINAL:
                assert self.ends.setdefault(row.number, end) == end, "a final state changed"

    @property
    def numbers_sent(self) -> list[int]:
        return [self.numbers[each] for each in self.network.taken]

    @invariant()
    def sent_in_order_once_and_to_active_devices(self) -> None:
        assert self.numbers_sent == sorted(self.numbers_sent)
        if self.network.knows:
            assert set(self.network.had.values()) <= {1}, "a network that can be asked is never given one twice"

    def teardown(self) -> None:
        try:
            if hasattr(self, "model"):
                self.nothing_is_stuck()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    def nothing_is_stuck(self) -> None:
        """With everything in order again, what the sweeper alone rings for is enough to bring all to an end."""
        self.switch(True, True)
        self.switch(False, True)
        for _round in range(sum(row.state in {"pending", "executing"} for row in self.model.rows)):
            self.rung.clear()
            self.wait(BOUND, True)
            if self.pk in self.rung:
                self.run("taken")
            for _message in range(2):
                self.message(True)
                self.wait(1, False)
            for head in Downlink.objects.filter(device=self.pk, head=True, accepted_at__isnull=False):
                for what in ("sent", "acknowledged"):
                    self.tell(head.number - 1, what, named=True)
            self.goes_as_the_model()
        assert set(states(self.device)) <= {state.value for state in FINAL}


@pytest.mark.parametrize("kind", ["network", "fetching"])
def test_any_history_goes_as_the_model(
    device: Device, fetching: Device, network: RecordedNetwork, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", lambda *ids: rung.extend(ids))
    chosen = {"device": fetching if kind == "fetching" else device, "fetching": kind == "fetching"}
    machine = type("Machine", (Machine,), chosen | {"network": network, "rung": rung})
    run_state_machine_as_test(
        machine, settings=hypothesis_settings(max_examples=20, stateful_step_count=30, derandomize=True, deadline=None)
    )


# --- one table ---


def test_final_states_are_never_left_and_each_event_has_one_end() -> None:
    for event, moves in MOVES.items():
        assert not FINAL & moves.keys(), event
        assert event.target in moves.values()
    assert {event.target for event in Event} == set(State) - {State.PENDING}


def test_database_of_these_tests_refuses_other_moves(device: Device) -> None:
    """The guard of conftest.py can fail: without it, all other tests here would say nothing of the table."""
    ask(device)
    pairs = {(before, after) for moves in MOVES.values() for before, after in moves.items()}
    for before in State:
        for after in set(State) - {before}:
            with transaction.atomic():
                values: dict[str, Any] = {"head": False, "due_at": None}
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL session_replication_role = replica")
                    open_ = {"head": True, "due_at": T0, "executing_at": T0, "deadline": T0}
                    Downlink.objects.update(state=before, **(values if before in FINAL else open_))
                    cursor.execute("SET LOCAL session_replication_role = origin")
                try:
                    with transaction.atomic():
                        Downlink.objects.update(state=after, **(values if after in FINAL else open_))
                    moved = True
                except IntegrityError:
                    moved = False
                assert moved == ((before, after) in pairs), (before, after)
                transaction.set_rollback(True)


def test_only_these_statements_write_a_state() -> None:
    """Three that take (one text), one that ends; each names its event, and the event names the states."""
    found = set()
    for path in sorted(settings.BASE_DIR.glob("*/**/*.py")):
        if path.relative_to(settings.BASE_DIR).parts[0] in {"tests", ".venv"} or "migrations" in path.parts:
            continue
        text = path.read_text()
        if re.search(r"update\s+downlinks_downlink\b", text, re.IGNORECASE):
            found.add((path.relative_to(settings.BASE_DIR).as_posix(), "SQL"))
        if path.parent.name == "downlinks":
            found |= {("downlinks/" + path.name, where) for where in _updates_of_state(path)}
    facts_alone = {("downlinks/dispatch.py", "SQL")}
    assert found == {("downlinks/execution.py", "SQL"), ("downlinks/queue.py", "_end")} | facts_alone
    for statement in (dispatch.ACCEPTED, dispatch.FETCHED_LATER, dispatch.HANDED_BACK):
        assert "state =" not in statement.partition("SET")[2].partition("FROM")[0], "it keeps facts alone"
    claims = [(statement, Event.CLAIM) for statement in (execution.CLAIM, execution.CLAIM_MANY)]
    for statement, event in (*claims, (execution.HAND_OVER, Event.HAND_OVER)):
        (written,) = re.findall(r"SET state = '(\w+)'", statement)
        (read,) = re.findall(r"state IN \(([^)]*)\)", statement)
        assert (written, set(re.findall(r"\w+", read))) == (event.target, set(event.sources))


def _updates_of_state(path: Path) -> set[str]:
    """The functions that call ``update(state=…)``."""
    return {
        function.name
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"update", "bulk_update", "update_or_create"}
        and any(keyword.arg == "state" for keyword in call.keywords)
    }


def test_docs_show_the_table_of_the_code() -> None:
    text = (settings.BASE_DIR / "docs" / "downlinks.md").read_text()
    section = text.partition("## States and events")[2].partition("\n## ")[0]
    shown = {
        cells[0]: (cells[1], cells[2])
        for line in section.splitlines()
        if len(cells := [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]) == 4
    }
    for event in Event:
        before = " or ".join(str(state.label) for state in event.sources)
        assert shown.pop(str(event.label)) == (before, str(event.target.label)), event
    assert set(shown) == {"Event", "---"}, "the docs tell of no move that the code does not know"
