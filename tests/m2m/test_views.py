"""The M2M tab with its actions, and the page of the SIM cards (M2, M3, M4)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import AuditEntry, Membership, Role
from devices import network
from devices.models import Category, Connection, Device, DeviceType, NetworkTask
from m2m.forms import M2mNetworkForm
from m2m.models import M2mIdentity, SimCard, SimStatus
from m2m.numbers import with_check_digit
from tests import factories
from tests.cast import Cast

HTMX = {"HX-Request": "true"}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.m2m_device(cast.project, in_flow=factories.flow(cast.project))


def url(device: Device, action: str = "") -> str:
    return f"/devices/{device.pk}/m2m/{action}"


@scopes_disabled()
def sim_of(device: Device) -> SimCard | None:
    return SimCard.objects.filter(device=device).first()


@scopes_disabled()
def fresh(device: Device) -> Device:
    return Device.objects.get(pk=device.pk)


def secret_of(device: Device) -> str:
    return M2mIdentity.objects.get(device=device).get_secret()


@scopes_disabled()
def recorded(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).select_related("actor"))


def body_of(page: str) -> str:
    return page.split('id="main"')[1]


def arrived(device: Device, body: bytes, *, seq: int = 1, minutes: int = 0) -> None:
    at = timezone.now() - timedelta(minutes=minutes)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devices_senmlmessage (device_id, received_at, seq, records, digest, body)"
            " VALUES (%s, %s, %s, 1, '', %s)",
            [device.pk, at, seq, body],
        )


# --- the tab ---


def test_tab_shows_identity_and_sim(cast: Cast, device: Device) -> None:
    sim = factories.sim(cast.project, msisdn="+31970000001", rate_plan="Things 10 MB")
    with scopes_disabled():
        SimCard.objects.filter(device=device).delete()
        SimCard.objects.filter(pk=sim.pk).update(device=device, status=SimStatus.ACTIVE)
    page = cast.client(cast.viewer).get(url(device)).content.decode()
    for text in (device.identifier, sim.iccid, "+31970000001", "Things 10 MB", "Not yet"):
        assert text in page


@pytest.mark.parametrize("action", ["", "secret/", "base-name/", "sim/", "unlink/"])
def test_tab_and_actions_are_hidden_from_strangers(cast: Cast, device: Device, action: str) -> None:
    client = cast.client(cast.stranger)
    assert client.get(url(device, action)).status_code == 404
    assert action == "" or client.post(url(device, action)).status_code == 404


@pytest.mark.parametrize("action", ["secret/", "base-name/", "sim/", "unlink/"])
def test_actions_are_refused_to_a_read_only_account(cast: Cast, device: Device, action: str) -> None:
    before = secret_of(device)
    client = cast.client(cast.viewer)
    assert client.get(url(device, action)).status_code == 403
    assert client.post(url(device, action)).status_code == 403
    assert secret_of(device) == before and sim_of(device) is not None


def test_tab_offers_a_read_only_account_no_controls(cast: Cast, device: Device) -> None:
    seen_by_operator = body_of(cast.client(cast.operator).get(url(device)).content.decode())
    seen_by_viewer = body_of(cast.client(cast.viewer).get(url(device)).content.decode())
    for action in ("secret/", "base-name/", "sim/", "unlink/"):
        assert url(device, action) in seen_by_operator
        assert url(device, action) not in seen_by_viewer


def test_tab_refuses_other_methods(cast: Cast, device: Device) -> None:
    assert cast.client(cast.operator).post(url(device)).status_code == 405
    assert cast.client(cast.operator).delete(url(device, "sim/")).status_code == 405


def test_device_without_network_info_is_led_to_the_network_step(cast: Cast) -> None:
    device = factories.device(cast.project, "own-m2m")
    page = body_of(cast.client(cast.operator).get(url(device)).content.decode())
    assert "Link connectivity" in page and f'href="/devices/{device.pk}/network/"' in page
    for action in ("secret/", "base-name/", "sim/", "unlink/"):
        assert cast.client(cast.operator).get(url(device, action)).status_code == 200
    assert cast.client(cast.operator).post(url(device, "secret/"), follow=True).redirect_chain
    assert cast.client(cast.operator).post(url(device, "sim/"), {"sim": "1"}).status_code == 422


def test_tab_shows_the_last_messages_indented_newest_first(cast: Cast, device: Device) -> None:
    for index in range(22):
        arrived(device, f'[{{"n":"m{index}","v":1}}]'.encode(), seq=index, minutes=60 - index)
    arrived(device, b"\xff\x00", seq=99)
    page = cast.client(cast.viewer).get(url(device)).content.decode()
    assert page.count('<details id="message-') == 20
    assert page.index("m21") < page.index("m20") and "&quot;m2&quot;" not in page
    assert "[\n  {\n    &quot;n&quot;: &quot;m21&quot;" in page
    assert "FF 00" in page


def test_messages_come_alone_for_the_live_part(cast: Cast, device: Device) -> None:
    arrived(device, b"[]")
    part = cast.client(cast.viewer).get(url(device), headers=HTMX).content.decode()
    assert part.strip().startswith('<section class="panel" id="m2m-messages"') and "<html" not in part
    assert 'hx-preserve="true"' in part


# --- a new secret ---


def test_new_secret_is_shown_once_in_the_answer(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    before = secret_of(device)
    answer = client.post(url(device, "secret/"))
    secret = secret_of(device)
    assert answer.status_code == 200 and secret != before
    assert secret in answer.content.decode() and before not in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    for action in ("", "secret/", "sim/", "unlink/"):
        assert secret not in client.get(url(device, action)).content.decode()
    assert secret not in str(dict(client.session.items()))


def test_new_secret_is_recorded_without_the_secret(cast: Cast, device: Device) -> None:
    cast.client(cast.operator).post(url(device, "secret/"))
    [entry] = recorded("m2m.secret_replaced")
    assert (entry.actor, entry.device_id) == (cast.operator, device.pk)
    assert secret_of(device) not in str(entry.before) + str(entry.after)


def test_asking_for_a_new_secret_makes_none(cast: Cast, device: Device) -> None:
    before = secret_of(device)
    page = cast.client(cast.operator).get(url(device, "secret/"))
    assert page.status_code == 200 and secret_of(device) == before


# --- switch, link, unlink ---


def test_switch_frees_the_old_sim_and_registers_the_device_with_the_new(cast: Cast, device: Device) -> None:
    old, new = sim_of(device), factories.sim(cast.project)
    assert old is not None
    answer = cast.client(cast.operator).post(url(device, "sim/"), {"sim": new.pk})
    assert answer["Location"] == url(device)
    with scopes_disabled():
        old.refresh_from_db()
        new.refresh_from_db()
    assert (old.device_id, old.status, old.release_at is not None) == (None, SimStatus.INVENTORY, True)
    assert (new.device_id, new.status) == (device.pk, SimStatus.INVENTORY)
    assert fresh(device).connection_status == Connection.PENDING_CREATE
    assert network.run(device.pk)
    with scopes_disabled():
        new.refresh_from_db()
    assert (new.status, fresh(device).connection_status) == (SimStatus.ACTIVE, Connection.ACTIVE)
    assert new.activated_at is not None
    [entry] = recorded("sim.switched")
    assert (entry.before, entry.after) == ({"iccid": old.iccid}, {"iccid": new.iccid})


def test_switch_to_an_early_access_sim(cast: Cast, device: Device) -> None:
    """M1, M3: the same steps as when the device was added."""
    client = cast.client(cast.operator)
    for wrong in ("8931080000000000018", "", "12", "8931 0800 0000 0000 01x"):
        assert client.post(url(device, "sim/"), {"sim": "early-access", "iccid": wrong}).status_code == 422
    known = factories.sim(cast.elsewhere)
    assert client.post(url(device, "sim/"), {"sim": "early-access", "iccid": known.iccid}).status_code == 422
    iccid = with_check_digit("893108777700000001")
    assert (
        client.post(url(device, "sim/"), {"sim": "early-access", "iccid": f"{iccid[:4]} {iccid[4:]}"}).status_code
        == 302
    )
    linked = sim_of(device)
    assert linked is not None and (linked.iccid, linked.early_access) == (iccid, True)


def test_switch_offers_free_sims_of_the_project_only(cast: Cast, device: Device) -> None:
    free, elsewhere = factories.sim(cast.project), factories.sim(cast.elsewhere)
    taken = sim_of(factories.m2m_device(cast.project))
    assert taken is not None
    page = cast.client(cast.operator).get(url(device, "sim/")).content.decode()
    assert 'value="early-access"' in page
    offered = re.findall(r'<option value="(\d+)"', page)
    assert offered == [str(free.pk)] and str(elsewhere.iccid) not in page
    for forged in (elsewhere.pk, taken.pk, "x", ""):
        answer = cast.client(cast.operator).post(url(device, "sim/"), {"sim": forged})
        assert answer.status_code == 422
    with scopes_disabled():
        elsewhere.refresh_from_db()
        taken.refresh_from_db()
    assert elsewhere.device_id is None and taken.device_id not in {None, device.pk}


def test_switch_waits_for_the_network(cast: Cast, device: Device) -> None:
    new = factories.sim(cast.project)
    NetworkTask.objects.create(device=device, operation=NetworkTask.Operation.DEACTIVATE)
    answer = cast.client(cast.operator).post(url(device, "sim/"), {"sim": new.pk})
    assert answer.status_code == 422 and "still at work" in answer.content.decode()
    assert sim_of(device) is not None
    assert "still at work" in cast.client(cast.operator).post(url(device, "unlink/"), follow=True).content.decode()
    assert sim_of(device) is not None


def test_unlink_frees_the_sim_and_the_next_link_registers(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    assert client.get(url(device, "unlink/")).status_code == 200
    old = sim_of(device)
    assert old is not None
    assert client.post(url(device, "unlink/"))["Location"] == url(device)
    assert sim_of(device) is None
    assert fresh(device).connection_status == Connection.NOT_LINKED
    assert [entry.before for entry in recorded("sim.unlinked")] == [{"iccid": old.iccid}]
    assert "Link connectivity" in client.get(url(device)).content.decode()

    client.post(url(device, "sim/"), {"sim": old.pk})
    linked = sim_of(device)
    assert linked is not None and linked.pk == old.pk
    assert fresh(device).connection_status == Connection.PENDING_CREATE
    assert NetworkTask.objects.filter(device=device, operation=NetworkTask.Operation.REGISTER).exists()


def test_unlink_of_no_sim_changes_nothing(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    client.post(url(device, "unlink/"))
    assert "No SIM card is linked" in client.post(url(device, "unlink/"), follow=True).content.decode()
    assert len(recorded("sim.unlinked")) == 1


def test_managed_device_keeps_its_sim_and_secret(cast: Cast, device: Device) -> None:
    """M2: no unlinking for managed devices."""
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    new, before = factories.sim(cast.project), sim_of(device)
    secret = secret_of(device)
    client = cast.client(cast.operator)
    assert url(device, "unlink/") not in body_of(client.get(url(device)).content.decode())
    client.post(url(device, "unlink/"))
    client.post(url(device, "sim/"), {"sim": new.pk})
    client.post(url(device, "secret/"))
    assert sim_of(device) == before and secret_of(device) == secret


def test_card_has_all_of_m2_and_an_unlink_button_but_for_managed_devices(cast: Cast, device: Device) -> None:
    """M2; and Link connectivity where there is no SIM card (M3)."""

    def card(who: Any) -> str:
        page = cast.client(who).get(url(device)).content.decode()
        return page.split('id="card-connectivity"')[1].split("</section>")[0]

    sim = sim_of(device)
    assert sim is not None
    for label in ("IMEI", "ICCID", "MSISDN", "SIM activated", "Rate plan", "Last message", "Connectivity"):
        assert f"<dt>{label}</dt>" in card(cast.operator)
    assert sim.iccid in card(cast.viewer)
    assert url(device, "unlink/") in card(cast.operator) and url(device, "unlink/") not in card(cast.viewer)
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    assert url(device, "unlink/") not in card(cast.operator)
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.OWN)
    cast.client(cast.operator).post(url(device, "unlink/"))
    assert "Link connectivity" in card(cast.operator) and url(device, "sim/") in card(cast.operator)


# --- all SIM cards ---


def sims(cast: Cast, query: str = "", who: Any = None, **headers: Any) -> str:
    response = cast.client(who or cast.viewer).get(f"/sims/{query}", **headers)
    assert response.status_code == 200
    return response.content.decode()


def test_sims_shows_those_of_the_persons_projects(cast: Cast, device: Device) -> None:
    factories.sim(cast.elsewhere, "8931080000000099990")
    free = factories.sim(cast.project, rate_plan="Plan A")
    page = sims(cast)
    linked = sim_of(device)
    assert linked is not None and linked.iccid in page and device.name in page and url(device) in page
    assert free.iccid in page and "Plan A" in page
    assert "8931080000000099990" not in page
    assert "8931080000000099990" in sims(cast, who=cast.stranger)


def test_sims_names_the_project_where_there_are_several(cast: Cast) -> None:
    factories.sim(cast.project)
    assert "Greenhouses" not in body_of(sims(cast))
    Membership.objects.create(user=cast.viewer, project=cast.elsewhere, role=Role.VIEWER)
    assert "Greenhouses" in body_of(sims(cast))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("8931 0800 00", {"a", "b"}), ("35693803", {"a"}), ("7777", {"a"}), ("%2B31 97 01", {"b"}), ("north", {"a"}),
        ("pump", {"b"}), ("nothing", set()), ("%25", set()),
    ],
)  # fmt: skip
def test_sims_are_found_by_digits_and_device(cast: Cast, query: str, found: set[str]) -> None:
    device = factories.m2m_device(cast.project, name="North pump")
    with scopes_disabled():
        SimCard.objects.filter(device=device).delete()
    factories.sim(cast.project, "8931080000007777001", device=device)
    factories.sim(cast.project, "8931080000005555002", msisdn="+3197018", rate_plan="Pump plan")
    if query == "pump":
        found = {"a", "b"}
    page = body_of(sims(cast, f"?q={query}"))
    assert ("8931080000007777001" in page, "8931080000005555002" in page) == ("a" in found, "b" in found)


def test_sims_are_paged_and_the_search_survives(cast: Cast) -> None:
    with scopes_disabled():
        SimCard.objects.bulk_create(
            SimCard(project=cast.project, iccid=f"893108000001{number:07d}", rate_plan="Bulk") for number in range(60)
        )
    first = sims(cast, "?q=Bulk")
    assert "1–50 of 60 SIM cards" in first and "?q=Bulk&amp;page=2" in first
    second = sims(cast, "?q=Bulk&page=2")
    assert "51–60 of 60 SIM cards" in second and "8931080000010000059" in second
    assert "51–60" in sims(cast, "?page=99") and "1–50" in sims(cast, "?page=x")


def test_sims_partial_is_the_list(cast: Cast, device: Device) -> None:
    part = sims(cast, headers=HTMX)
    assert part.strip().startswith('<section id="sim-list"') and "<html" not in part


def test_sims_ask_the_same_number_of_queries_for_2_and_for_20(cast: Cast, device: Device) -> None:
    factories.sim(cast.project)
    client = cast.client(cast.viewer)
    counts = []
    for _round in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get("/sims/")
        counts.append(len(queries))
        for _number in range(9):
            factories.m2m_device(cast.project)
            factories.sim(cast.project)
    assert counts[0] == counts[1] <= 6


# --- the base name of the firmware ---


def test_base_name_of_the_firmware_is_given_once_recorded_and_taken_back(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    assert client.post(url(device, "base-name/"), {"own_name": "device-name"}).status_code == 302
    assert client.post(url(device, "base-name/"), {"own_name": "device-name"}).status_code == 302
    assert "device-name" in cast.client(cast.viewer).get(url(device)).content.decode()
    other = factories.m2m_device(cast.elsewhere)
    stranger = cast.client(cast.stranger)
    answer = stranger.post(url(other, "base-name/"), {"own_name": "device-name"})
    assert answer.status_code == 422 and "in use already" in answer.content.decode()
    assert client.post(url(device, "base-name/"), {"own_name": ""}).status_code == 302
    assert stranger.post(url(other, "base-name/"), {"own_name": "device-name"}).status_code == 302
    before_and_after = [(entry.before, entry.after) for entry in recorded("m2m.base_name_changed")]
    assert sorted((before["base_name"], after["base_name"]) for before, after in before_and_after) == [
        ("", "device-name"), ("", "device-name"), ("device-name", "")
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["-a", "a b", "é", "a\x00", "urn:dev:IMEI:490154203237518:", "a" * 81])
def test_base_name_that_cannot_be_one_is_refused(cast: Cast, device: Device, name: str) -> None:
    assert cast.client(cast.operator).post(url(device, "base-name/"), {"own_name": name}).status_code == 422
    assert M2mIdentity.objects.get(device=device).own_name is None


def test_base_name_of_the_firmware_stays_when_network_info_is_corrected(cast: Cast) -> None:
    device = factories.m2m_device(cast.project)
    M2mIdentity.objects.filter(device=device).update(own_name="device-name")
    with scopes_disabled():
        sim, imei = SimCard.objects.get(device=device), M2mIdentity.objects.get(device=device).imei
        form = M2mNetworkForm({"imei": imei, "sim": str(sim.pk), "secret": ""}, device=device)
        assert form.is_valid(), form.errors
        form.save(actor=cast.operator)
    assert M2mIdentity.objects.get(device=device).own_name == "device-name"
