"""The SIM cards of a Project: filters, order, files, and the page of one card (M1, M4)."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, Membership, Project, Role
from devices import import_file, network
from devices.models import Category, Connection, Device, DeviceType
from m2m import sim_file
from m2m.models import SimCard, SimStatus, SimulatedSim
from m2m.numbers import e164, with_check_digit
from m2m.sim_list import Asked
from tests import factories
from tests.cast import Cast

ICCIDS = [with_check_digit(f"89310899000000{number:04d}") for number in range(1, 8)]


@pytest.fixture
def cards(cast: Cast) -> list[SimCard]:
    """Three free ones that differ in all that can be asked for, and one in a device."""
    made = [
        factories.sim(cast.project, ICCIDS[0], rate_plan="Plan B", msisdn="+31970000002", status=SimStatus.ACTIVE),
        factories.sim(cast.project, ICCIDS[1], rate_plan="Plan A", msisdn="+31970000001", early_access=True),
        factories.sim(cast.project, ICCIDS[2], rate_plan="Plan A", msisdn="+31970000003"),
    ]
    device = factories.m2m_device(cast.project, name="Pump")
    with scopes_disabled():
        SimCard.objects.filter(device=device).update(rate_plan="Plan C", msisdn="+31970000004")
        return [*made, SimCard.objects.get(device=device)]


def shown(cast: Cast, query: str = "", who: Any = None) -> list[str]:
    page = cast.client(who or cast.viewer).get(f"/sims/{query}").content.decode()
    return re.findall(r'data-href="/sims/(\d+)/"', page)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?status=inventory", [1, 2]), ("?status=active&linked=free", [0]), ("?linked=linked", [3]),
        ("?plan=Plan+A", [1, 2]), ("?plan=Plan+A&early=1", [1]), ("?early=1", [1]), ("?status=nonsense&sort=x", None),
        ("?sort=-iccid&linked=free", [2, 1, 0]), ("?sort=msisdn", [1, 0, 2, 3]), ("?sort=plan&linked=free", [1, 2, 0]),
        ("?sort=device&early=", [3, 0, 1, 2]), ("?q=Plan+A&sort=-msisdn", [2, 1]), ("?q=%00", []),
    ],
)  # fmt: skip
def test_cards_are_filtered_and_sorted(
    cast: Cast, cards: list[SimCard], query: str, expected: list[int] | None
) -> None:
    if query == "?q=%00":
        assert len(shown(cast, query)) == 4
        return
    found = shown(cast, query)
    assert (len(found) == 4) if expected is None else found == [str(cards[index].pk) for index in expected]


def test_search_keeps_filters_and_sort_in_its_links(cast: Cast, cards: list[SimCard]) -> None:
    page = cast.client(cast.viewer).get("/sims/?plan=Plan+A&sort=msisdn").content.decode()
    assert 'href="?plan=Plan+A&amp;sort=-msisdn"' in page and 'href="?plan=Plan+A&amp;sort=status"' in page
    assert "/sims/sim-cards.csv?plan=Plan+A&amp;sort=msisdn" in page and "2 SIM cards as CSV" in page


# --- files ---


def test_file_has_what_the_list_shows_and_comes_in_again(cast: Cast, cards: list[SimCard]) -> None:
    factories.sim(cast.elsewhere, rate_plan="Plan A")
    with scopes_disabled():
        SimCard.objects.filter(pk=cards[2].pk).update(rate_plan="=Plan()")
    answer = cast.client(cast.viewer).get("/sims/sim-cards.csv?linked=free&sort=msisdn")
    assert answer["Content-Type"].startswith("text/csv") and "attachment" in answer["Content-Disposition"]
    content = b"".join(answer.streaming_content)
    assert "'=Plan()" in content.decode()
    table = import_file.read(content)
    assert [row[0] for _number, row in table.rows] == [cards[1].iccid, cards[0].iccid, cards[2].iccid]
    assert table.rows[0][1][:5] == [cards[1].iccid, "+31970000001", "inventory", "Plan A", "yes"]
    report = sim_file.take_in(project=cast.project, content=content, actor=cast.operator)
    assert (report.added, report.changed, report.unchanged, report.problems) == (0, 0, 3, [])


def test_file_is_streamed_in_the_order_of_the_list(
    cast: Cast, cards: list[SimCard], monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(sim_file, "ROWS_AT_ONCE", 2)
    with scopes_disabled():
        asked = Asked(sort="-iccid").cards().filter(project=cast.project)
        with django_assert_num_queries(1):
            chunks = sim_file.stream(asked)
        with django_assert_num_queries(2):
            table = import_file.read(b"".join(chunks))
    assert [row[0] for _number, row in table.rows] == sorted((card.iccid for card in cards), reverse=True)
    linked = next(row for _number, row in table.rows if row[0] == cards[3].iccid)
    assert linked[6] == "Pump" and len(linked[7]) == 15


def test_file_has_all_cards_however_many(cast: Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO m2m_simcard (project_id, iccid, msisdn, status, rate_plan, early_access, created_at,"
            " carrier_says, trouble, release_attempts) SELECT %s, '8931' || lpad(n::text, 15, '0'), '', 'inventory',"
            " '', false, now(), '', '', 0 FROM generate_series(1, 20500) AS n",
            [cast.project.pk],
        )
    answer = cast.client(cast.viewer).get("/sims/sim-cards.csv")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert len(lines) == 20_501 and len({line.split(",")[0] for line in lines}) == 20_501


def sent(cast: Cast, content: str, **fields: Any) -> Any:
    file = SimpleUploadedFile("sims.csv", content.encode())
    return cast.client(cast.operator).post("/sims/import/", {"file": file} | fields)


def test_file_adds_and_changes_cards(cast: Cast, cards: list[SimCard]) -> None:
    rows = f"ICCID;msisdn;Rate plan;Early_access;Status\n{ICCIDS[4]};0031 970 12 34 56;Plan D;ja;active\n"
    answer = sent(cast, rows + f"{ICCIDS[0]};;Plan Z;no;\n{ICCIDS[2]};;;no;\n")
    said = "1 added, 1 changed, 0 put into a device, 1 as they were."
    assert answer.status_code == 200 and said in answer.content.decode()
    with scopes_disabled():
        added, changed = SimCard.objects.get(iccid=ICCIDS[4]), SimCard.objects.get(iccid=ICCIDS[0])
        assert (added.msisdn, added.rate_plan, added.early_access) == ("+31970123456", "Plan D", True)
        # The status is the carrier's to say, and an empty cell says nothing.
        assert (added.status, changed.rate_plan, changed.msisdn) == ("inventory", "Plan Z", "+31970000002")
        assert AuditEntry.objects.get(action="sims.imported").after == {"added": 1, "changed": 1, "linked": 0}


def bare(project: Project, name: str) -> Device:
    """An M2M device with network info and without a SIM card."""
    device = factories.m2m_device(project, name=name, connection=Connection.NOT_LINKED)
    with scopes_disabled():
        SimCard.objects.filter(device=device).delete()
    return device


def test_file_puts_cards_into_devices_by_imei_or_name(cast: Cast, cards: list[SimCard]) -> None:
    one, two, pump = bare(cast.project, "One"), bare(cast.project, "Two"), cards[3]
    rows = f"ICCID,Device,IMEI\n{ICCIDS[0]},,{one.identifier}\n{ICCIDS[4]},Two,\n{pump.iccid},Pump,\n{ICCIDS[1]},,\n"
    answer = sent(cast, rows)
    assert "1 added, 0 changed, 2 put into a device, 2 as they were." in answer.content.decode()
    with scopes_disabled():
        inside = dict(SimCard.objects.exclude(device=None).values_list("iccid", "device_id"))
        assert inside == {ICCIDS[0]: one.pk, ICCIDS[4]: two.pk, pump.iccid: pump.device_id}
        assert set(Device.objects.filter(pk__in=[one.pk, two.pk]).values_list("connection_status", flat=True)) == {
            Connection.PENDING_CREATE
        }
        assert AuditEntry.objects.filter(action="sim.linked", device_id__in=[one.pk, two.pk]).count() == 2


def test_file_that_cannot_put_each_card_into_its_device_writes_nothing(cast: Cast, cards: list[SimCard]) -> None:
    one, foreign = bare(cast.project, "One"), bare(cast.elsewhere, "Foreign")
    for _ in range(2):
        bare(cast.project, "Twin")
    rows = [
        f"{ICCIDS[0]},Foreign,", f"{ICCIDS[1]},,{foreign.identifier}", f"{ICCIDS[2]},Twin,", f"{ICCIDS[4]},Pump,",
        f"{cards[3].iccid},One,", f"{ICCIDS[5]},One,", f"{ICCIDS[6]},,{one.identifier}",
    ]  # fmt: skip
    page = html.unescape(sent(cast, "ICCID,Device,IMEI\n" + "\n".join(rows) + "\n").content.decode())
    assert re.findall(r'<td class="m-end">(\d+)</td>', page) == ["2", "3", "4", "5", "6", "8"]
    for sentence in ("no M2M device of this name", "Several M2M devices", f"has the SIM card {cards[3].iccid}",
                     "is in another device", "two SIM cards into this device"):  # fmt: skip
        assert sentence in page
    with scopes_disabled():
        assert not SimCard.objects.filter(iccid=ICCIDS[5]).exists()


def test_file_is_undone_whole_where_a_device_is_busy(cast: Cast, cards: list[SimCard]) -> None:
    one, two = bare(cast.project, "One"), bare(cast.project, "Two")
    with scopes_disabled():
        network.request_registration(device=two, actor=cast.operator)
    page = sent(cast, f"ICCID,Device\n{ICCIDS[0]},One\n{ICCIDS[1]},Two\n").content.decode()
    assert "The network is still at work on this device" in page
    with scopes_disabled():
        assert not SimCard.objects.filter(device=one).exists()


def test_file_with_a_wrong_row_writes_nothing_and_names_each(cast: Cast, cards: list[SimCard]) -> None:
    factories.sim(cast.elsewhere, ICCIDS[5])
    wrong = ICCIDS[4][:-1] + str((int(ICCIDS[4][-1]) + 1) % 10)
    content = (
        f"ICCID,MSISDN,Early access\n{ICCIDS[6]},,\n{wrong},,\n{ICCIDS[4]},061234,\n{ICCIDS[5]},,\n{ICCIDS[6]},,\n"
        f"abc,,\n{ICCIDS[0]},,perhaps\n"
    )
    answer = sent(cast, content)
    page = answer.content.decode()
    assert answer.status_code == 422 and "Nothing was written" in page
    assert re.findall(r'<td class="m-end">(\d+)</td>', page) == ["3", "4", "5", "6", "7", "8"]
    for sentence in ("mistyped", "country code", "in use already", "twice", "digits only", "yes or no"):
        assert sentence in page
    with scopes_disabled():
        assert not SimCard.objects.filter(iccid=ICCIDS[6]).exists()


@pytest.mark.parametrize("content", ["", "MSISDN\n1\n", "\x00\x01"])
def test_file_that_is_no_table_of_cards(cast: Cast, content: str) -> None:
    assert sent(cast, content).status_code == 422


def test_file_needs_an_operator(cast: Cast) -> None:
    assert cast.client(cast.viewer).get("/sims/import/").status_code == 403
    assert "/sims/import/" not in cast.client(cast.viewer).get("/sims/").content.decode()
    assert "/sims/import/" in cast.client(cast.operator).get("/sims/").content.decode()


def test_project_is_asked_where_there_are_several(cast: Cast) -> None:
    Membership.objects.create(user=cast.operator, project=cast.elsewhere, role=Role.OPERATOR)
    content = f"ICCID\n{ICCIDS[4]}\n"
    assert sent(cast, content).status_code == 422
    assert sent(cast, content, project=cast.elsewhere.pk).status_code == 200
    with scopes_disabled():
        assert SimCard.objects.get(iccid=ICCIDS[4]).project == cast.elsewhere


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+31970123456", "+31970123456"), ("0031 (970) 12-34.56", "+31970123456"), ("31970123456", "+31970123456"),
        ("0612345678", ""), ("+0612345678", ""), ("+3197", ""), ("+1234567890123456", ""), ("+31x70123456", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_msisdn_in_e164(text: str, number: str) -> None:
    assert e164(text) == number


# --- one card ---


def test_early_access_card_is_added_with_check_digit(cast: Cast) -> None:
    client = cast.client(cast.operator)
    iccid = ICCIDS[4]
    for wrong in ({"iccid": iccid[:-1]}, {"iccid": "8931080000000000018"}, {"iccid": iccid, "msisdn": "06"}):
        assert client.post("/sims/add/", wrong).status_code == 422
    answer = client.post("/sims/add/", {"iccid": f"{iccid[:6]} {iccid[6:]}", "msisdn": "+31970123456"})
    with scopes_disabled():
        card = SimCard.objects.get(iccid=iccid)
    assert answer["Location"] == f"/sims/{card.pk}/" and card.early_access and card.msisdn == "+31970123456"
    again = client.post("/sims/add/", {"iccid": iccid})
    assert again.status_code == 422 and "in use already" in again.content.decode()


def test_page_of_a_card_shows_it_and_offers_what_may_be_done(cast: Cast, cards: list[SimCard]) -> None:
    free, linked = cards[1], cards[3]
    page = cast.client(cast.operator).get(f"/sims/{free.pk}/").content.decode()
    assert all(
        text in page for text in (free.iccid, "+31970000001", "Plan A", "early access", f"/sims/{free.pk}/link/")
    )
    page = cast.client(cast.operator).get(f"/sims/{linked.pk}/").content.decode()
    assert "Pump" in page and f"/devices/{linked.device_id}/m2m/unlink/" in page
    viewer = cast.client(cast.viewer).get(f"/sims/{linked.pk}/").content.decode().split('id="main"')[1]
    assert "<form" not in viewer and "unlink/" not in viewer
    assert cast.client(cast.stranger).get(f"/sims/{linked.pk}/").status_code == 404


def test_card_of_a_managed_device_offers_no_unlinking(cast: Cast, cards: list[SimCard]) -> None:
    """M2, T3."""
    with scopes_disabled():
        device = Device.objects.get(pk=cards[3].device_id)
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    page = cast.client(cast.operator).get(f"/sims/{cards[3].pk}/").content.decode()
    assert "unlink/" not in page and "/m2m/sim/" not in page


def test_free_card_is_linked_to_a_device_without_one(cast: Cast, cards: list[SimCard]) -> None:
    client, card = cast.client(cast.operator), cards[2]
    assert "No device without a SIM card" in client.get(f"/sims/{card.pk}/link/").content.decode()
    device = factories.m2m_device(cast.project, name="Bare", connection=Connection.NOT_LINKED)
    other = factories.m2m_device(cast.elsewhere, name="Foreign", connection=Connection.NOT_LINKED)
    with scopes_disabled():
        SimCard.objects.filter(device__in=[device, other]).delete()
    page = client.get(f"/sims/{card.pk}/link/").content.decode()
    assert "Bare" in page and "Foreign" not in page and "Pump" not in page
    for forged in (other.pk, cards[3].device_id, "x", ""):
        assert client.post(f"/sims/{card.pk}/link/", {"device": forged}).status_code == 422
    assert client.post(f"/sims/{card.pk}/link/", {"device": device.pk})["Location"] == f"/sims/{card.pk}/"
    with scopes_disabled():
        assert SimCard.objects.get(pk=card.pk).device_id == device.pk
        assert Device.objects.get(pk=device.pk).connection_status == Connection.PENDING_CREATE
    assert "is in a device already" in client.get(f"/sims/{card.pk}/link/").content.decode()


def test_carrier_is_asked_and_says_number_and_plan(cast: Cast, cards: list[SimCard]) -> None:
    card = cards[3]
    SimulatedSim.objects.create(iccid=card.iccid, status="deactivated", rate_plan="New plan", msisdn="+31970999999")
    answer = cast.client(cast.operator).post(f"/sims/{card.pk}/refresh/", follow=True)
    page = answer.content.decode()
    assert "The carrier has answered." in page and "New plan" in page and "+31970999999" in page
    SimulatedSim.objects.update(faults=["away"])
    page = cast.client(cast.operator).post(f"/sims/{card.pk}/refresh/", follow=True).content.decode()
    assert page.count("The carrier does not answer.") == 2  # the message, and on the card from now on


def test_text_message_goes_to_an_active_card_only(cast: Cast, cards: list[SimCard]) -> None:
    client = cast.client(cast.operator)
    assert client.post(f"/sims/{cards[3].pk}/sms/", {"text": "APN=things"}).status_code == 302
    assert SimulatedSim.objects.get(iccid=cards[3].iccid).last_sms == "APN=things"
    assert client.post(f"/sims/{cards[3].pk}/sms/", {"text": "x" * 161}).status_code == 422
    assert client.post(f"/sims/{cards[2].pk}/sms/", {"text": "x"}).status_code == 422
    with scopes_disabled():
        [entry] = AuditEntry.objects.filter(action="sim.sms_sent")
    assert entry.after == {"characters": 10}
