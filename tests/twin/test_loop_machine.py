"""The loop whole: random histories against a plain model, and the page in docs against the code."""

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

from codec.measurements import Measurement
from devices.models import Device, DeviceState
from devices.services import activate, deactivate
from downlinks import execution, reports
from downlinks.models import Downlink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import T0, RecordedNetwork, network, states  # noqa: F401
from tests.twin.controls import INTERVAL, give
from twin import loop
from twin.models import SYNC_ALLOWED, UNDER_WAY, DesiredValue, Sync, Twin
from twin.services import update_reported
from twin.sync import AGAIN

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
WAIT, GIVE_UP, TRIES = timedelta(hours=1), timedelta(days=1), 2
FINAL = {"delivered", "failed"}


@dataclass
class Wish:
    value: int
    requested: datetime
    state: str = "requested"
    carrier: int = -1
    attempts: int = 0
    on_air: datetime | None = None
    due: datetime | None = None

    @property
    def deadline(self) -> datetime:
        return self.requested + GIVE_UP


@dataclass
class Model:
    """What W4 says should happen to one value of one device, without database, locks and doorbells."""

    now: datetime = T0
    active: bool = True
    queue: list[dict[str, Any]] = field(default_factory=list)
    wish: Wish | None = None
    reported: tuple[int, datetime] | None = None

    def want(self, value: int) -> None:
        self.withdraw()
        self.wish = Wish(value, self.now)
        if self.known(value):
            self.end("in_sync")
        else:
            self.send(self.wish)

    def known(self, value: int) -> bool:
        """The device says so, and nothing has left for it since."""
        if self.reported is None or self.reported[0] != value:
            return False
        left = [one for one in self.queue if one["state"] != "cancelled"]
        return not left or (left[-1]["state"] in FINAL and self.reported[1] > (left[-1]["sent"] or left[-1]["end"]))

    def withdraw(self) -> None:
        if self.wish and self.wish.carrier >= 0 and self.queue[self.wish.carrier]["state"] == "pending":
            self.queue[self.wish.carrier]["state"] = "cancelled"

    def send(self, wish: Wish) -> None:
        if not self.active:
            wish.state, wish.due = "requested", self.now
            return
        self.queue.append({"state": "pending", "sent": None, "end": None})
        wish.state, wish.due, wish.on_air = "queued", wish.deadline, None
        wish.carrier, wish.attempts = len(self.queue) - 1, wish.attempts + 1

    def end(self, state: str) -> None:
        assert self.wish
        self.wish.state, self.wish.due = state, None

    def head(self) -> int:
        return next((i for i, one in enumerate(self.queue) if one["state"] in {"pending", "executing"}), -1)

    def network(self, what: str) -> None:
        index = self.head()
        if index < 0 or self.queue[index]["state"] != ("pending" if what == "claim" else "executing"):
            return
        one, wish = self.queue[index], self.wish
        if what == "claim":
            one["state"] = "executing" if self.active else "pending"
            return
        if what == "sent":
            one["sent"] = one["sent"] or self.now
        else:
            one |= {"state": "delivered" if what == "acknowledged" else "failed", "end": self.now}
        if wish is None or wish.carrier != index:
            return
        wish.on_air = wish.on_air or one["sent"]
        if wish.state not in {"queued", "on_air"}:
            return
        if what == "sent":
            wish.state = "on_air"
        elif what == "acknowledged":
            wish.state, wish.due = "acknowledged", min(self.now + WAIT, wish.deadline)
        elif wish.attempts >= TRIES or self.now + AGAIN[wish.attempts - 1] >= wish.deadline:
            self.end("failed")
        else:
            wish.state, wish.due = "requested", self.now + AGAIN[wish.attempts - 1]

    def report(self, value: int, at: datetime) -> None:
        if self.reported and (at < self.reported[1] or (value, at) == self.reported):
            return
        self.reported, wish = (value, at), self.wish
        if wish is None:
            return
        since = wish.on_air or (None if wish.state in {"in_sync", "differs"} else wish.requested)
        if since and at <= since:
            return
        if value == wish.value:
            self.end("in_sync")
        elif wish.state == "in_sync":
            self.end("differs")

    def sweep(self) -> None:
        wish = self.wish
        if wish is None or wish.due is None or wish.due > self.now:
            return
        if self.now >= wish.deadline:
            self.withdraw()
            self.end("failed")
        elif wish.state == "requested":
            if self.active:
                self.send(wish)
        elif wish.attempts < TRIES:
            self.send(wish)
        else:
            self.end("failed")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.sampled_from([10, 20])),
        st.tuples(st.just("network"), st.sampled_from(["claim", "sent", "acknowledged", "failed"])),
        st.tuples(st.just("network"), st.sampled_from(["claim sent", "claim sent acknowledged", "claim failed"])),
        st.tuples(st.just("report"), st.tuples(st.sampled_from([10, 20]), st.sampled_from([0, 0, 40]))),
        st.tuples(st.just("wait"), st.sampled_from([1, 120, 120, 3600, 3600, 86400])),
        st.tuples(st.just("switch"), st.booleans()),
        st.tuples(st.sampled_from(["drop", "again"]), st.none()),
    ),
    min_size=8,
    max_size=20,
)


@pytest.fixture
def device(cast: Cast, network: RecordedNetwork) -> Device:  # noqa: F811
    return give(factories.lora_device(cast.project, in_flow=factories.flow(cast.project)), INTERVAL)


def do(device: Device, model: Model, step: str, value: Any) -> None:
    """The same step in the portal and in the model."""
    now = model.now
    asked: dict[str, Any] = {"device": device, "name": "interval", "seen": None, "actor": None, "now": now}
    match step:
        case "want":
            loop.request(value=value, **asked)
            model.want(value)
        case "drop":
            loop.drop(**asked)
            model.withdraw()
            model.wish = None
        case "again" if model.wish and model.wish.state in {"failed", "differs"}:
            loop.send_again(**asked)
            model.want(model.wish.value)
        case "switch" if value != model.active:
            (activate if value else deactivate)(device=device, actor=None)
            model.active = value
        case "wait":
            model.now = now + timedelta(seconds=value)
            loop.sweep(model.now)
            model.sweep()
        case "report":
            reported, late = value
            at = now - timedelta(seconds=late)
            measured = Measurement(name="interval", value=float(reported), time=at.timestamp(), unit="min")
            update_reported({device.pk: [measured]}, now)
            model.report(reported, at)
        case "network":
            for what in value.split():
                tell(device, model, what)
                model.network(what)


def tell(device: Device, model: Model, what: str) -> None:
    if what == "claim":
        execution.run(device.pk, now=model.now)
        return
    head = Downlink.objects.filter(device=device, state="executing").first()
    if head is None:
        return
    about = (device.pk, str(head.correlation_id), model.now)
    if what == "sent":
        reports.on_sent(*about, now=model.now)
    elif what == "acknowledged":
        reports.on_acknowledged(*about, now=model.now)
    else:
        reports.on_failed(*about, cause="NO_ACK", reason="no", now=model.now)


@hypothesis_settings(
    max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=steps)
def test_any_history_goes_as_the_model(device: Device, history: list[tuple[str, Any]]) -> None:
    with transaction.atomic():
        fresh, model = Device.objects.select_related("type", "project").get(pk=device.pk), Model()
        for step, value in history:
            do(fresh, model, step, value)
            told = f"after {step} {value} in {history}"
            assert states(device) == [one["state"] for one in model.queue], told
            row, wish = DesiredValue.objects.filter(device=device).first(), model.wish
            assert (row is None) == (wish is None), told
            if row is None or wish is None:
                continue
            found = row.value, row.state, row.attempts, row.on_air_at, row.due_at
            assert found == (wish.value, wish.state, wish.attempts, wish.on_air, wish.due), told
            assert (row.finished_at is None) == (Sync(row.state) in UNDER_WAY), told
            assert Twin.objects.get(device=device).desired["interval"]["v"] == wish.value
            assert DeviceState.objects.get(device=device).out_of_sync == (wish.state != "in_sync"), told
        transaction.set_rollback(True)


def test_docs_show_the_map_of_the_code() -> None:
    text = (settings.BASE_DIR / "docs" / "desired-state.md").read_text()
    labels = {str(state.label): state for state in Sync}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    shown = {
        labels[row[0]].value: {labels[label].value for label in re.split(r", ", row[2])}
        for row in rows
        if row[0] in labels and len(row) == 4
    }
    assert shown == {before: set(targets) for before, targets in SYNC_ALLOWED.items()}
