"""Devices from a file (D12): checked as the wizard checks, agreed to, added each once, refused rows mended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import AuditEntry, Membership, Role
from common.states import StateConflict
from devices import import_columns, import_runner, imports, network
from devices.errors import DeviceError
from devices.import_file import FileUnreadable, read
from devices.models import Device, DeviceType, Identity, ImportFile, ImportRow, ImportState, NetworkTask, Outcome
from internet.models import InternetIdentity
from lora.forms import LoraNetworkForm
from lora.models import LoraIdentity
from m2m.models import M2mIdentity, SimCard
from m2m.numbers import with_check_digit
from tests import factories
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("unscoped")

LORA = "Name,DevEUI,AppEUI,AppKey,Barcode"
KEY = "2B7E151628AED2A6ABF7158809CF4F3C"


def lora_row(number: int, **changes: str) -> str:
    row = {"name": f"Probe {number}", "dev_eui": f"70B3D57ED{number:07X}", "app_eui": "70B3D57ED0000001", "key": KEY}
    return ",".join((row | changes).values()) + f",B-{number}"


def kind(slug: str) -> DeviceType:
    return DeviceType.objects.get(slug=slug)


def sent(cast: Cast, text: str, slug: str = "own-lora-preset") -> ImportFile:
    return imports.upload(
        project=cast.project, device_type=kind(slug), name="probes.csv", content=text.encode(), actor=cast.operator
    )


def checked(cast: Cast, text: str, slug: str = "own-lora-preset") -> ImportFile:
    made = sent(cast, text, slug)
    imports.choose_columns(upload=made, mapping=import_columns.guess(made.header, made.type), actor=cast.operator)
    made.refresh_from_db()
    return made


def errors(made: ImportFile) -> dict[int, dict[str, str]]:
    return dict(ImportRow.objects.filter(file=made, faulty=True).values_list("number", "errors"))


def added(cast: Cast, made: ImportFile) -> ImportFile:
    imports.accept(upload=made, agreed=made.ready, actor=cast.operator)
    import_runner.run(made.pk)
    made.refresh_from_db()
    return made


def test_rows_become_whole_devices(cast: Cast) -> None:
    made = checked(cast, "\n".join([LORA, *(lora_row(number) for number in (1, 2, 3))]))
    assert (made.state, made.ready, made.faulty) == (ImportState.CHECKED, 3, 0)
    assert not Device.objects.exists()
    added(cast, made)
    assert (made.state, made.done, made.failed) == (ImportState.DONE, 3, 0)
    devices = list(Device.objects.order_by("pk"))
    assert [(one.name, one.barcode, one.identifier) for one in devices] == [
        (f"Probe {number}", f"B-{number}", f"70B3D57ED{number:07X}") for number in (1, 2, 3)
    ]
    assert {one.connection_status for one in devices} == {"pending_create"}
    assert NetworkTask.objects.filter(operation="register").count() == 3
    assert LoraIdentity.objects.get(device=devices[0]).get_app_key() == bytes.fromhex(KEY)
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions.count("device.added") == 3
    accepted = AuditEntry.objects.get(action="import.accepted")
    assert accepted.after == {"import": made.pk, "rows": 3, "devices": 3, "with_errors": 0}


def test_keys_are_kept_encrypted_and_go_when_the_device_is_there(cast: Cast) -> None:
    made = checked(cast, f"{LORA}\n{lora_row(1)}")
    cells = bytes(ImportRow.objects.get(file=made).cells)
    assert KEY.encode() not in cells
    assert bytes.fromhex(KEY) not in cells
    added(cast, made)
    assert bytes(ImportRow.objects.get(file=made).cells) == b""


def test_errors_stand_beside_their_cells_and_stop_nothing_else(cast: Cast) -> None:
    rows = [lora_row(1), lora_row(2, dev_eui="XYZ"), lora_row(3, name=""), lora_row(4, key="12")]
    made = checked(cast, "\n".join([LORA, *rows]))
    assert (made.ready, made.faulty) == (1, 3)
    assert {number: set(told) for number, told in errors(made).items()} == {3: {"dev_eui"}, 4: {"name"}, 5: {"app_key"}}
    added(cast, made)
    assert [one.name for one in Device.objects.all()] == ["Probe 1"]
    assert ImportRow.objects.filter(file=made, outcome=Outcome.SKIPPED).count() == 3


@given(
    st.text(alphabet="0159aAfFgG :-.xX", max_size=20),
    st.text(alphabet="0159aAfFgG :-.xX", max_size=20),
    st.text(alphabet="0159aAfFgG :-.xX", max_size=40),
)
def test_row_is_cleaned_as_the_network_step_cleans(dev_eui: str, app_eui: str, app_key: str) -> None:
    values = {"dev_eui": dev_eui, "app_eui": app_eui, "app_key": app_key}
    device = Device(type=DeviceType(connectivity="lora", key_source="customer"))
    step = LoraNetworkForm(values, device=device)
    told = {key: " ".join(map(str, texts)) for key, texts in step.errors.items()}
    row = import_runner.connectivity.by_slug("lora").import_form(device, {})
    for again in ({}, values):
        found = import_runner._errors(row, again)
    assert found == told


def test_doubles_in_the_file_name_the_other_row(cast: Cast) -> None:
    rows = [lora_row(1), lora_row(2), lora_row(3, dev_eui="70:B3:D5:7E:D0:00:00:01")]
    made = checked(cast, "\n".join([LORA, *rows]))
    assert errors(made) == {
        2: {"dev_eui": "DevEUI 70B3D57ED0000001 stands in row 4 too."},
        4: {"dev_eui": "DevEUI 70B3D57ED0000001 stands in row 2 too."},
    }


def test_identifiers_in_use_and_retired_are_refused_without_telling_whose(cast: Cast) -> None:
    factories.lora_device(cast.elsewhere, dev_eui="70B3D57ED0000001")
    Identity.objects.create(urn="DEVEUI:70B3D57ED0000002", device_id=None)
    made = checked(cast, "\n".join([LORA, *(lora_row(number) for number in (1, 2, 3))]))
    sentence = "This DevEUI cannot be used: it is in use already, or belonged to a deleted device."
    assert errors(made) == {2: {"dev_eui": sentence}, 3: {"dev_eui": sentence}}


def imei(number: int) -> str:
    return with_check_digit(f"35693803{number:06d}")


def iccid(number: int) -> str:
    return with_check_digit(f"893108000001{number:06d}")


def test_m2m_rows_take_free_sims_and_early_access_ones(cast: Cast) -> None:
    own = factories.sim(cast.project, iccid(1))
    factories.sim(cast.elsewhere, iccid(2))
    factories.m2m_device(cast.project, imei=imei(9))
    used = SimCard.objects.exclude(device=None).get().iccid
    rows = [
        f"A,{imei(1)},{iccid(1)},{factories.SECRET}", f"B,{imei(2)},{iccid(2)},", f"C,{imei(3)},{iccid(3)},",
        f"D,{imei(4)},{used},", f"E,{imei(5)}0,{iccid(5)},", f"F,{imei(6)},123,", f"G,{imei(7)},{iccid(7)},short",
    ]  # fmt: skip
    made = checked(cast, "\n".join(["name,IMEI,SIM,shared secret", *rows]), "own-m2m")
    in_use = {"iccid": "This ICCID cannot be used: it is in use already."}
    found = errors(made)
    assert (found[3], found[5]) == (in_use, in_use)
    assert {number: set(found[number]) for number in (6, 7, 8)} == {6: {"imei"}, 7: {"iccid"}, 8: {"secret"}}
    added(cast, made)
    assert (made.done, made.failed) == (2, 0)
    own.refresh_from_db()
    assert own.device == Device.objects.get(name="A")
    assert M2mIdentity.objects.get(device__name="A").get_secret() == factories.SECRET
    assert SimCard.objects.get(iccid=iccid(3)).early_access


def test_keys_that_the_portal_made_are_given_once(cast: Cast) -> None:
    made = added(cast, checked(cast, "name,barcode\nA,1\nB,2\n", "own-lora"))
    stored = bytes(ImportRow.objects.get(file=made, number=2).secrets or b"")
    content = read(imports.take_keys(upload=made, actor=cast.operator))
    assert content.header == ["Row", "Name", "DevEUI", "AppEUI", "AppKey"]
    for _number, (row, name, dev_eui, app_eui, app_key) in content.rows:
        identity = LoraIdentity.objects.get(device__name=name)
        assert (identity.dev_eui, identity.app_eui) == (dev_eui, app_eui)
        assert identity.get_app_key() == bytes.fromhex(app_key)
        assert row == {"A": "2", "B": "3"}[name]
        assert bytes.fromhex(app_key) not in stored
        assert app_key.encode() not in stored
    assert not ImportRow.objects.exclude(secrets=None).exists()
    with pytest.raises(StateConflict):
        imports.take_keys(upload=made, actor=cast.operator)


def test_internet_rows_may_leave_identifier_and_secret_to_the_portal(cast: Cast) -> None:
    given_one = "0f8fad5b-d9cb-469f-a165-70867728950e"
    made = added(cast, checked(cast, f"name,UUID,secret\nA,{given_one},{factories.SECRET}\nB,,\n", "own-internet"))
    assert (made.done, made.failed) == (2, 0)
    assert str(InternetIdentity.objects.get(device__name="A").dvn_uuid) == given_one
    ((_number, cells),) = read(imports.take_keys(upload=made, actor=cast.operator)).rows
    second = InternetIdentity.objects.get(device__name="B")
    assert cells == ["3", "B", str(second.dvn_uuid), second.get_secret()]


def test_refused_rows_come_back_mendable_and_then_pass(cast: Cast) -> None:
    rows = [lora_row(1), lora_row(2, dev_eui="12", name="=SUM(A1)"), lora_row(3, name="")]
    made = added(cast, checked(cast, "\n".join([LORA, *rows])))
    content = imports.refused_file(made)
    table = read(content)
    assert table.header == [*LORA.split(","), "error"]
    assert [number for number, _cells in table.rows] == [2, 3]
    assert table.rows[0][1][:-1] == ["=SUM(A1)", "12", "70B3D57ED0000001", KEY, "B-2"]
    assert table.rows[0][1][-1].startswith("DevEUI: DevEUI has 16 hexadecimal digits")
    assert "\n'=SUM" in content.decode("utf-8-sig").replace("\r", "")
    mended = content.decode("utf-8-sig").replace(",12,", ",70B3D57ED0000002,").replace("\n,", "\nProbe 3,")
    again = sent(cast, mended)
    chosen = import_columns.preselected(again, cast.operator)
    assert chosen == made.mapping
    imports.choose_columns(upload=again, mapping=chosen, actor=cast.operator)
    again.refresh_from_db()
    assert (again.ready, again.faulty) == (2, 0)
    added(cast, again)
    assert set(Device.objects.values_list("name", flat=True)) == {"Probe 1", "=SUM(A1)", "Probe 3"}
    # A file that has the column keeps one of it.
    assert read(imports.refused_file(checked(cast, f"name,error,DevEUI,AppEUI,AppKey\nA,old,1,2,{KEY}"))).header == [
        "name", "error", "DevEUI", "AppEUI", "AppKey"
    ]  # fmt: skip


def test_identifier_taken_after_the_check_fails_its_row_alone(cast: Cast) -> None:
    made = checked(cast, "\n".join([LORA, *(lora_row(number) for number in (1, 2))]))
    factories.lora_device(cast.elsewhere, dev_eui="70B3D57ED0000001")
    added(cast, made)
    assert (made.done, made.failed) == (1, 1)
    assert set(errors(made)) == {2}
    assert not Device.objects.filter(name="Probe 1").exists()
    assert read(imports.refused_file(made)).rows[0][1][0] == "Probe 1"


def test_agreed_number_must_be_the_present_one(cast: Cast) -> None:
    made = checked(cast, f"{LORA}\n{lora_row(1)}")
    with pytest.raises(imports.CountChanged) as refused:
        imports.accept(upload=made, agreed=2, actor=cast.operator)
    assert refused.value.found == 1
    made.refresh_from_db()
    assert made.state == ImportState.CHECKED
    imports.accept(upload=made, agreed=1, actor=cast.operator)
    with pytest.raises(StateConflict):
        imports.accept(upload=made, agreed=1, actor=cast.operator)


def test_killed_worker_leaves_each_row_to_be_added_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_runner, "ADD_SET", 2)
    made = checked(cast, "\n".join([LORA, *(lora_row(number) for number in range(1, 6))]))
    imports.accept(upload=made, agreed=5, actor=cast.operator)
    asked: list[int] = []
    ask = network.request_registration

    def dies(**asked_for: Any) -> None:
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        ask(**asked_for)

    monkeypatch.setattr(network, "request_registration", dies)
    with pytest.raises(KeyboardInterrupt):
        import_runner.run(made.pk)
    assert Device.objects.count() == 2
    now = timezone.now()
    assert import_runner.due(now) == []
    assert not import_runner.run(made.pk, now=now)
    later = now + import_runner.LEASE + timedelta(seconds=1)
    assert import_runner.due(later) == [made.pk]
    assert import_runner.run(made.pk, now=later)
    made.refresh_from_db()
    assert (made.state, made.done, made.failed) == (ImportState.DONE, 5, 0)
    assert sorted(Device.objects.values_list("name", flat=True)) == [f"Probe {number}" for number in range(1, 6)]


def test_worker_that_lost_its_lease_writes_nothing(cast: Cast) -> None:
    made = checked(cast, f"{LORA}\n{lora_row(1)}")
    imports.accept(upload=made, agreed=1, actor=cast.operator)
    slow = import_runner._Worker(ImportFile.objects.get(pk=made.pk))
    ImportFile.objects.filter(pk=made.pk).update(not_before=timezone.now() + timedelta(hours=1))
    with pytest.raises(import_runner._Lost):
        slow.add_set()
    assert not Device.objects.exists()


def test_work_is_given_back_when_the_budget_is_used(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(import_runner, "ADD_SET", 1)
    made = checked(cast, "\n".join([LORA, lora_row(1), lora_row(2)]))
    imports.accept(upload=made, agreed=2, actor=cast.operator)
    assert import_runner.run(made.pk, budget=timedelta(0))
    assert Device.objects.count() == 1
    assert import_runner.run(made.pk, budget=timedelta(0))
    assert import_runner.run(made.pk, budget=timedelta(0))
    assert ImportFile.objects.get(pk=made.pk).state == ImportState.DONE


def test_person_who_is_no_operator_any_more_adds_nothing(cast: Cast) -> None:
    made = checked(cast, f"{LORA}\n{lora_row(1)}")
    Membership.objects.filter(user=cast.operator).update(role=Role.VIEWER)
    added(cast, made)
    assert (made.done, made.failed) == (0, 1)
    assert errors(made) == {2: {"": "You are not an operator of this Project."}}


def test_columns_are_remembered_for_the_person_the_type_and_the_header(cast: Cast) -> None:
    head, row = "Bezeichnung,Hardware,Join,Geheim", f"A,70B3D57ED0000001,70B3D57ED0000001,{KEY}"
    made = sent(cast, f"{head}\n{row}")
    assert import_columns.preselected(made, cast.operator) == {}
    mapping = {"name": 0, "dev_eui": 1, "app_eui": 2, "app_key": 3}
    imports.choose_columns(upload=made, mapping=mapping, actor=cast.operator)
    again = sent(cast, f"{head}\n{row}")
    assert import_columns.preselected(again, cast.operator) == mapping
    assert import_columns.preselected(again, cast.administrator) == {}
    assert import_columns.preselected(sent(cast, f"{head},More\n{row},1"), cast.operator) == {}
    assert import_columns.preselected(sent(cast, f"{head}\n{row}", "own-m2m"), cast.operator) == {}


@pytest.mark.parametrize(
    ("header", "slug", "found"),
    [
        (["dev_eui", "JoinEUI", "app-key", "NAME"], "own-lora-preset", {"dev_eui", "app_eui", "app_key", "name"}),
        (
            ["EUI", "AppEUI", "Application Key", "serial"],
            "own-lora-preset",
            {"dev_eui", "app_eui", "app_key", "barcode"},
        ),
        (["imei", "sim card", "Description"], "own-m2m", {"imei", "iccid", "description"}),
        (["uuid", "secret", "colour"], "own-internet", {"dvn_uuid", "secret"}),
    ],
)
def test_columns_are_guessed_from_names(cast: Cast, header: list[str], slug: str, found: set[str]) -> None:
    assert set(import_columns.guess(header, kind(slug))) == found


@pytest.mark.parametrize("slug", ["own-lora", "own-lora-preset", "own-m2m", "own-internet"])
def test_template_is_recognised_whole(cast: Cast, slug: str) -> None:
    columns = import_columns.template_columns(kind(slug))
    assert list(import_columns.guess(columns, kind(slug)).values()) == list(range(len(columns)))


def test_other_columns_can_be_chosen_after_the_check(cast: Cast) -> None:
    made = checked(cast, f"{LORA},Second\n{lora_row(1, dev_eui='x')},70B3D57ED0000005")
    assert made.faulty == 1
    imports.choose_columns(upload=made, mapping=made.mapping | {"dev_eui": 5}, actor=cast.operator)
    made.refresh_from_db()
    assert (made.ready, made.faulty, made.checked) == (1, 0, 1)


def test_large_file_is_checked_in_the_background(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 2)
    monkeypatch.setattr(import_runner, "CHECK_SET", 2)
    made = checked(cast, "\n".join([LORA, *(lora_row(number) for number in (1, 2, 1))]))
    assert (made.state, made.checked) == (ImportState.CHECKING, 0)
    import_runner.run(made.pk, budget=timedelta(0))
    made.refresh_from_db()
    assert (made.state, made.checked) == (ImportState.CHECKING, 2)
    import_runner.run(made.pk)
    made.refresh_from_db()
    assert (made.state, made.checked, made.faulty) == (ImportState.CHECKED, 3, 2)


def test_expired_files_are_dropped_with_their_secrets(cast: Cast) -> None:
    old = added(cast, checked(cast, "name\nA\n", "own-lora"))
    now = timezone.now()
    assert imports.drop_expired(now + timedelta(days=6)) == 0
    assert imports.drop_expired(now + timedelta(days=7, minutes=1)) == 1
    assert not ImportFile.objects.filter(pk=old.pk).exists()
    assert not ImportRow.objects.exists()
    assert Device.objects.count() == 1


def test_file_is_discarded_only_before_devices_are_added(cast: Cast) -> None:
    made = checked(cast, f"{LORA}\n{lora_row(1)}")
    kept = added(cast, checked(cast, f"{LORA}\n{lora_row(2)}"))
    imports.discard(upload=made)
    with pytest.raises(StateConflict):
        imports.discard(upload=kept)
    assert list(ImportFile.objects.all()) == [kept]


def test_type_outside_the_subscription_and_unreadable_file_are_refused(cast: Cast) -> None:
    small = factories.project("Small", subscription="freemium")
    with pytest.raises(DeviceError):
        imports.upload(project=small, device_type=kind("own-m2m"), name="a", content=b"n\n1", actor=cast.operator)
    with pytest.raises(FileUnreadable):
        sent(cast, "")
    assert not ImportFile.objects.exists()
