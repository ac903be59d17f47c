"""Sending an instruction to many devices (D4, S2, S5): what is asked, whom it leaves alone, one for each device."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEntry
from devices import bulk, jobs, live
from devices.bulk import Asked, Result
from devices.models import Category, Connection, Device, DeviceType, Job, JobItem, Outcome, Processing
from devices.services import deactivate
from downlinks import tasks
from downlinks.bulk import INSTRUCTION, InstructionForm, gateways
from downlinks.models import Downlink
from lora import frames
from lora.events import Reception, Uplink
from tests import factories
from tests.cast import Cast
from tests.downlinks.conftest import RecordedNetwork, ask, at_once, states

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscoped")]
LORA = {"encoder": "raw-lora", "fport": 2, "payload": "0aff", "confirmed": True}
SENML = {"encoder": "raw-senml", "payload": '[{"n":"setpoint","v":21}]'}


@pytest.fixture
def fleet(cast: Cast, network: RecordedNetwork) -> list[Device]:
    """Six LoRa devices that take instructions."""
    flow = factories.flow(cast.project)
    return [factories.lora_device(cast.project, in_flow=flow) for _ in range(6)]


def form(cast: Cast, devices: Any = None, **data: Any) -> InstructionForm:
    chosen = Device.objects.all() if devices is None else devices
    return InstructionForm(data, devices=chosen, projects=[cast.project])


def apply(ids: list[int], parameters: dict[str, Any] = LORA, *, job: int = 1, actor: Any = None) -> dict[int, Result]:
    with transaction.atomic():
        return dict(INSTRUCTION.apply(ids, Asked(parameters, actor, job)))


# --- what is asked ---


def test_action_is_registered_and_paced() -> None:
    assert bulk.by_slug("instruction") is INSTRUCTION
    assert INSTRUCTION.paced


def test_form_of_lora_devices_asks_for_a_raw_lora_instruction(cast: Cast, device: Device) -> None:
    asked = form(cast, fport="2", payload="0x0A ff", acknowledged="on")
    assert list(asked.fields) == ["fport", "payload", "acknowledged"]
    assert asked.is_valid(), asked.errors
    assert asked.parameters() == LORA
    assert INSTRUCTION.summary(asked.parameters()) == "Raw LoRa data: FPort 2, 0A FF, confirmed"


def test_form_of_fetching_devices_asks_for_senml(cast: Cast, fetching: Device) -> None:
    asked = form(cast, senml=SENML["payload"])
    assert list(asked.fields) == ["senml"]
    assert asked.is_valid(), asked.errors
    assert asked.parameters() == SENML
    assert INSTRUCTION.summary(SENML) == 'Raw SenML: [{"n":"setpoint","v":21}]'


def test_form_of_both_kinds_asks_which_and_looks_at_that_alone(cast: Cast, device: Device, fetching: Device) -> None:
    lora = form(cast, encoder="raw-lora", fport="2", payload="0aff", acknowledged="on", senml="no json")
    assert lora.is_valid() and lora.parameters() == LORA
    senml = form(cast, encoder="raw-senml", fport="999", payload="zz", senml=SENML["payload"])
    assert senml.is_valid() and senml.parameters() == SENML
    assert set(form(cast, fport="2", payload="0aff").errors) == {"encoder"}
    assert set(form(cast, encoder="raw-lora").errors) == {"fport", "payload"}
    assert set(form(cast, encoder="raw-senml").errors) == {"senml"}


def test_form_offers_the_kinds_of_the_chosen_devices_alone(cast: Cast, device: Device, fetching: Device) -> None:
    chosen = Device.objects.filter(pk=fetching.pk).select_related("type").order_by("name")
    assert list(form(cast, chosen).fields) == ["senml"]


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        ({"fport": "224", "payload": "01"}, "fport", "less than or equal to 223"),
        ({"fport": "0", "payload": "01"}, "fport", "greater than or equal to 1"),
        ({"fport": "2", "payload": "0"}, "payload", "two digits"),
        ({"fport": "2", "payload": "zz"}, "payload", "hexadecimal"),
        ({"fport": "2", "payload": ""}, "payload", "required"),
        ({"fport": "2", "payload": "00" * 243}, "payload", "at most 242"),
        ({"payload": "01"}, "fport", "required"),
    ],
)
def test_form_refuses_what_no_lora_device_takes(
    cast: Cast, device: Device, data: dict[str, str], field: str, words: str
) -> None:
    asked = form(cast, **data)
    assert not asked.is_valid()
    assert words in str(asked.errors[field])


@pytest.mark.parametrize("senml", ["", "x", "{}", "[]", '[{"n":"a"}]', '[{"bn":"urn:dev:IMEI:1:","n":"a","v":1}]'])
def test_form_refuses_what_is_no_senml(cast: Cast, fetching: Device, senml: str) -> None:
    assert set(form(cast, senml=senml).errors) == {"senml"}


def test_form_says_where_no_device_takes_instructions(cast: Cast, device: Device) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    asked = form(cast, fport="2", payload="01")
    assert not asked.is_valid()
    assert asked.non_field_errors() == ["None of these devices takes instructions."]


# --- commands, of devices of one type ---

MODE = {
    "name": "mode",
    "label": "Mode",
    "choices": [{"label": "Normal", "value": 0}, {"label": "Lost", "value": 1}],
    "way": {"by": "bytes", "fport": 11, "template": "01{value:u8}", "confirmed": True},
}
LOST = {"encoder": "commands", "label": "Mode: Lost", "payload": "0101", "fport": 11, "confirmed": True}


def commanded(cast: Cast, number: int = 2, **fields: Any) -> list[Device]:
    kind = factories.own_type(cast.project, encoders=["raw-lora", "commands"], commands=[MODE], **fields)
    flow = factories.flow(cast.project)
    return [factories.lora_device(cast.project, kind.slug, in_flow=flow) for _ in range(number)]


def test_devices_of_one_type_are_offered_its_commands(cast: Cast, network: RecordedNetwork) -> None:
    devices = commanded(cast)
    asked = form(cast, encoder="commands", command="0:1")
    assert list(asked.fields) == ["encoder", "command", "fport", "payload", "acknowledged"]
    assert asked.is_valid(), asked.errors
    assert asked.parameters() == LOST | {"type": devices[0].type_id}
    assert INSTRUCTION.summary(asked.parameters()) == "Mode: Lost: FPort 11, 01 01, confirmed"
    assert set(form(cast, encoder="commands", command="0:7").errors) == {"command"}


def test_devices_of_several_types_are_not(cast: Cast, network: RecordedNetwork, device: Device) -> None:
    commanded(cast)
    assert "command" not in form(cast).fields


def test_managed_devices_of_one_type_take_commands_alone(cast: Cast, network: RecordedNetwork) -> None:
    devices = commanded(cast, category=Category.MANAGED)
    assert list(form(cast).fields) == ["command"]
    commanded(cast, category=Category.MANAGED)
    asked = form(cast, command="0:1")
    assert asked.non_field_errors() == ["Choose devices of one type to send its commands."]
    assert len(devices) == 2


def test_command_that_the_type_cannot_make_is_refused_for_all(cast: Cast, network: RecordedNetwork) -> None:
    devices = commanded(cast)
    DeviceType.objects.filter(pk=devices[0].type_id).update(commands=[MODE | {"way": {"by": "codec"}}])
    asked = form(cast, encoder="commands", command="0:1")
    assert "no version in use" in str(asked.errors["command"])


def test_command_reaches_the_devices_of_the_type_and_no_other(
    cast: Cast, network: RecordedNetwork, device: Device
) -> None:
    devices = commanded(cast)
    parameters = LOST | {"type": devices[0].type_id}
    first = INSTRUCTION.refusals(Asked(parameters, None))[0]
    assert list(Device.objects.filter(first.condition)) == [device]
    assert str(first.reason) == "It is of another device type."
    assert apply([each.pk for each in devices], parameters) == {}
    assert {(row.fport, bytes(row.payload), row.label, row.encoder) for row in Downlink.objects.all()} == {
        (11, b"\x01\x01", "Mode: Lost", "commands")
    }


# --- whom it leaves alone ---


def test_devices_that_take_none_are_left_alone_with_the_reason(cast: Cast, fleet: list[Device]) -> None:
    good, managed, off, loose, unlinked, fetching = fleet
    managed_type = DeviceType.objects.create(
        slug="managed", name="Managed", category=Category.MANAGED, connectivity="lora", key_source="customer",
        encoders=["raw-lora"],
    )  # fmt: skip
    other_type = DeviceType.objects.get(slug="own-internet")
    Device.objects.filter(pk=managed.pk).update(type=managed_type)
    deactivate(device=off, actor=None)
    Device.objects.filter(pk=loose.pk).update(processing_status=Processing.NOT_LINKED, flow_count=0)
    Device.objects.filter(pk=unlinked.pk).update(connection_status=Connection.FAILED)
    Device.objects.filter(pk=fetching.pk).update(type=other_type)
    reasons, left = {}, Q()
    for refusal in INSTRUCTION.refusals(Asked(LORA, None)):
        for pk in Device.objects.filter(refusal.condition).exclude(left).values_list("pk", flat=True):
            reasons[pk] = str(refusal.reason).split(":")[0]
        left |= refusal.condition
    assert reasons == {
        managed.pk: "A managed device takes no raw instructions.",
        off.pk: "The device is deactivated",
        loose.pk: "Link the device to a Flow first",
        unlinked.pk: "The device is not active on its network.",
        fetching.pk: "This kind of device does not take such instructions.",
    }
    assert list(Device.objects.exclude(left)) == [good]


# --- what it does ---


def test_each_device_gets_one_at_the_end_of_its_queue(
    cast: Cast, fleet: list[Device], monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    busy = fleet[0]
    ask(busy)
    ids = [one.pk for one in fleet]
    rung: list[Any] = []
    told: list[Any] = []
    monkeypatch.setattr(tasks.run_downlinks, "apply_async", lambda args, **_options: rung.extend(args[0]))
    monkeypatch.setattr(live, "publish", lambda changes: told.append({pk for pk, _parts in changes}))
    with django_capture_on_commit_callbacks(execute=True):
        assert apply(ids, actor=cast.operator) == {}
    made = {row.device_id: row for row in Downlink.objects.filter(source="bulk")}
    assert set(made) == set(ids)
    assert {pk: (row.number, row.head) for pk, row in made.items()} == {
        pk: (2, False) if pk == busy.pk else (1, True) for pk in ids
    }
    facts = {(row.fport, bytes(row.payload), row.confirmed, row.state, row.requested_by) for row in made.values()}
    assert facts == {(2, b"\x0a\xff", True, "pending", cast.operator)}
    assert sorted(rung) == ids[1:] and told == [set(ids)]
    entries = AuditEntry.objects.filter(action="downlink.requested", actor=cast.operator)
    assert set(entries.values_list("device_id", "target")) == {(one.pk, one.name) for one in fleet}


def test_repeated_set_makes_no_second_one(fleet: list[Device]) -> None:
    ids = [one.pk for one in fleet]
    apply(ids[:3])
    assert apply(ids) == {} == apply(ids)
    assert [states(one) for one in fleet] == [["pending"]] * 6
    assert AuditEntry.objects.filter(action="downlink.requested").count() == 6
    apply(ids, job=2)
    assert [states(one) for one in fleet] == [["pending"] * 2] * 6


def test_senml_goes_out_with_each_devices_own_base_name(cast: Cast, fetching: Device) -> None:
    other = factories.m2m_device(cast.project, in_flow=factories.flow(cast.project))
    assert apply([fetching.pk, other.pk], SENML) == {}
    payloads = {row.device_id: bytes(row.payload).decode() for row in Downlink.objects.all()}
    assert f'"bn":"urn:dev:IMEI:{other.m2m.imei}:"' in payloads[other.pk]
    assert f'"bn":"{fetching.internet.base_name}"' in payloads[fetching.pk]


def test_payload_too_long_for_a_device_fails_there_alone(fleet: list[Device], network: RecordedNetwork) -> None:
    network.rooms = {fleet[1].pk: 11}
    ids = [one.pk for one in fleet]
    results = apply(ids, LORA | {"payload": "00" * 12})
    assert results == {
        fleet[1].pk: Result(
            Outcome.FAILED, "The payload has 12 bytes; at the device's present data rate at most 11 fit."
        )
    }
    assert Downlink.objects.count() == 5


def test_device_that_was_deactivated_meanwhile_fails_with_the_reason(fleet: list[Device]) -> None:
    deactivate(device=fleet[0], actor=None)
    results = apply([one.pk for one in fleet])
    assert results == {fleet[0].pk: Result(Outcome.FAILED, "The device is deactivated: nothing is sent to it.")}
    assert states(fleet[0]) == []


def test_empty_set_asks_for_nothing(network: RecordedNetwork) -> None:
    assert apply([]) == {}
    assert not Downlink.objects.exists()


def test_set_takes_as_many_statements_as_one_device(fleet: list[Device]) -> None:
    counts = []
    for job, chosen in enumerate((fleet[:1], fleet)):
        with CaptureQueriesContext(connection) as queries:
            apply([one.pk for one in chosen], job=job + 10)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 11


@pytest.mark.django_db(transaction=True)
def test_sets_and_single_requests_at_once_keep_one_order(fleet: list[Device]) -> None:
    ids = [one.pk for one in fleet]

    def work(index: int) -> Any:
        if index < 2:
            return apply(ids if index else ids[::-1], job=index)
        return [ask(one, now=None) for one in fleet[:: 1 if index % 2 else -1]]

    results = at_once(6, work)
    assert not [result for result in results if isinstance(result, Exception)]
    for one in fleet:
        rows = list(Downlink.objects.filter(device=one).order_by("number").values_list("number", "head"))
        assert rows == [(number, number == 1) for number in range(1, 7)]


# --- the gateway to spare ---


def heard(device: Device, gateway: str, ago: timedelta, factor: int = 7) -> None:
    uplink = Uplink(
        dev_eui=device.identifier,
        at=timezone.now() - ago,
        fcnt=int(ago.total_seconds()) % 60_000,
        fport=1,
        payload=b"\x01",
        spreading_factor=factor,
        receptions=(Reception(gateway=gateway, rssi=-80.0, snr=5.0), Reception(gateway="far", rssi=-110.0, snr=-5.0)),
    )
    with transaction.atomic():
        frames.store([(device.pk, uplink)])


def test_gateway_is_that_of_the_last_uplink_of_the_last_week(fleet: list[Device], fetching: Device) -> None:
    heard(fleet[0], "old", timedelta(hours=2))
    heard(fleet[0], "new", timedelta(hours=1))
    heard(fleet[1], "other", timedelta(days=6))
    heard(fleet[2], "long ago", timedelta(days=8))
    ids = [one.pk for one in (*fleet, fetching)]
    with CaptureQueriesContext(connection) as queries:
        assert gateways(ids) == {fleet[0].pk: "new", fleet[1].pk: "other"}
    assert len(queries) == 1
    assert INSTRUCTION.pace_key(ids) == gateways(ids)


def test_rooms_of_many_are_one_statement(fleet: list[Device]) -> None:
    heard(fleet[0], "a", timedelta(hours=1), factor=7)
    heard(fleet[1], "a", timedelta(hours=1), factor=12)
    with CaptureQueriesContext(connection) as queries:
        rooms = frames.largest_payloads([one.pk for one in fleet[:3]])
    assert (rooms, len(queries)) == ({fleet[0].pk: 242, fleet[1].pk: 51, fleet[2].pk: 51}, 1)


# --- as a job ---


def start(cast: Cast, asked: InstructionForm, **pace: int) -> Job:
    assert asked.is_valid(), asked.errors
    devices = Device.objects.all()
    return jobs.create(
        action=INSTRUCTION,
        devices=devices,
        parameters=asked.parameters(),
        agreed=devices.count(),
        actor=cast.operator,
        projects=[cast.project],
        token=uuid4(),
        **pace,
    )


def report(job: Job) -> dict[int | None, tuple[str, str]]:
    return {item.device_id: (item.outcome, item.reason) for item in JobItem.objects.filter(job=job)}


def test_job_puts_one_into_each_queue_and_reports_the_rest(
    cast: Cast, fleet: list[Device], fetching: Device, network: RecordedNetwork
) -> None:
    deactivate(device=fleet[0], actor=None)
    network.rooms = {fleet[1].pk: 1}
    job = start(cast, form(cast, encoder="raw-lora", fport="2", payload="0aff"))
    assert jobs.run(job.pk)
    assert report(job) == {
        fleet[0].pk: ("skipped", "The device is deactivated: nothing is sent to it."),
        fleet[1].pk: ("failed", "The payload has 2 bytes; at the device's present data rate at most 1 fit."),
        fetching.pk: ("skipped", "This kind of device does not take such instructions."),
    } | {one.pk: ("done", "") for one in fleet[2:]}
    assert [states(one) for one in fleet] == [[], [], *[["pending"]] * 4]
    made = Downlink.objects.get(device=fleet[2])
    assert (made.source, made.requested_by, made.fport, bytes(made.payload)) == ("bulk", cast.operator, 2, b"\x0a\xff")


def test_job_spares_the_gateway(cast: Cast, fleet: list[Device]) -> None:
    """Two a minute through a gateway: four devices hang on one, two on another."""
    for number, one in enumerate(fleet):
        heard(one, "busy" if number < 4 else "quiet", timedelta(hours=1))
    job = start(cast, form(cast, fport="2", payload="01"), per_minute=2)
    jobs.run(job.pk)
    assert [len(states(one)) for one in fleet] == [1, 1, 0, 0, 1, 1]
    jobs.run(job.pk, now=timezone.now() + timedelta(seconds=70))
    assert [len(states(one)) for one in fleet] == [1] * 6
    assert set(report(job).values()) == {("done", "")}


def test_set_that_a_worker_did_and_did_not_note_makes_no_second_one(cast: Cast, fleet: list[Device]) -> None:
    """S4: the items are asked for again as after a crash, and every queue stays as it is."""
    job = start(cast, form(cast, fport="2", payload="01"))
    jobs.run(job.pk)
    JobItem.objects.filter(job=job).update(outcome="pending", at=None)
    Job.objects.filter(pk=job.pk).update(state="running", done=0, not_before=timezone.now(), finished_at=None)
    jobs.run(job.pk)
    assert set(report(job).values()) == {("done", "")}
    assert [states(one) for one in fleet] == [["pending"]] * 6
