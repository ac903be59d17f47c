"""The network step (L1, M1, I1): each connectivity, bad input, identifiers in use, secrets shown once."""

from __future__ import annotations

import re
import threading
import uuid
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from codec import tokens
from devices import network
from devices.models import Category, Connection, Device, DeviceType, Identity, NetworkTask
from internet.models import InternetIdentity
from lora.models import LoraIdentity
from m2m.models import M2mIdentity, SimCard, SimStatus
from m2m.numbers import with_check_digit
from tests import factories
from tests.cast import Cast

DEV_EUI, APP_EUI, APP_KEY = "0059AC0000001234", "70B3D57ED0000001", "00112233445566778899AABBCCDDEEFF"
LORA = {"dev_eui": DEV_EUI, "app_eui": APP_EUI, "app_key": APP_KEY}
IMEI = with_check_digit("35693803111111")
IN_USE = "it is in use already, or belonged to a deleted device."


def url(device: Device) -> str:
    return f"/devices/{device.pk}/network/"


def fresh(device: Device) -> Device:
    with scopes_disabled():
        return Device.objects.select_related("type", "project").get(pk=device.pk)


def errors(response: HttpResponse) -> dict[str, str]:
    """field → what stands beside it."""
    found = re.findall(r'<ul class="errorlist" id="id_(\w+)_error"><li>([^<]*)</li>', response.content.decode())
    return dict(found)


@pytest.fixture
def client(cast: Cast) -> Client:
    return cast.client(cast.operator)


class TestAccess:
    def test_stranger_finds_nothing(self, cast: Cast) -> None:
        device = factories.device(cast.project)
        assert cast.client(cast.stranger).get(url(device)).status_code == 404
        assert cast.client(cast.stranger).post(url(device), LORA).status_code == 404

    def test_read_only_account_is_refused(self, cast: Cast) -> None:
        device = factories.device(cast.project)
        assert cast.client(cast.viewer).get(url(device)).status_code == 403
        assert cast.client(cast.viewer).post(url(device), LORA).status_code == 403

    def test_wrong_method_is_refused(self, cast: Cast, client: Client) -> None:
        assert client.delete(url(factories.device(cast.project))).status_code == 405

    def test_managed_device_has_no_network_step(self, cast: Cast, client: Client) -> None:
        kind = DeviceType.objects.create(
            slug="m", name="Bought", category=Category.MANAGED, connectivity="lora", key_source="customer"
        )
        device = factories.device(cast.project, kind.slug)
        assert client.post(url(device), LORA).status_code == 302
        assert fresh(device).connection_status == "not_linked"
        assert not LoraIdentity.objects.exists()

    def test_registered_device_has_no_network_step(self, cast: Cast, client: Client) -> None:
        device = factories.lora_device(cast.project, dev_eui=DEV_EUI)
        assert client.post(url(device), {**LORA, "dev_eui": "70B3D57ED0000009"}).status_code == 302
        assert LoraIdentity.objects.get().dev_eui == DEV_EUI


class TestProgrammableLora:
    def test_step_explains_and_makes_nothing_yet(self, cast: Cast, client: Client) -> None:
        html = client.get(url(factories.device(cast.project))).content.decode()
        assert "shown once" in html
        assert not LoraIdentity.objects.exists()

    def test_keys_are_made_shown_once_and_never_again(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project)
        response = client.post(url(device))
        identity = LoraIdentity.objects.get(device_id=device.pk)
        key = identity.get_app_key().hex().upper()
        html = response.content.decode()
        assert response.status_code == 200
        for value in (identity.dev_eui, identity.app_eui, key):
            assert f'data-copy="{value}"' in html
        assert "no-store" in response["Cache-Control"]
        assert fresh(device).connection_status == "pending_create"
        with scopes_disabled():
            assert not any(key in str(row.after) + str(row.before) for row in AuditEntry.objects.all())
        assert key not in str(dict(client.session))
        for page in ("", "device/", "network/", "cards/"):
            later = client.get(f"/devices/{device.pk}/{page}", follow=True)
            assert key not in later.content.decode()

    def test_second_submit_makes_no_second_identity(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project)
        client.post(url(device))
        first = LoraIdentity.objects.get().dev_eui
        assert client.post(url(device)).status_code == 302
        assert LoraIdentity.objects.get().dev_eui == first
        assert Identity.objects.count() == 1
        assert NetworkTask.objects.count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_two_submits_at_once_make_one_identity_and_show_it(self, cast: Cast) -> None:
        device = factories.device(cast.project)
        clients, barrier, answers = [cast.client(cast.operator) for _ in range(3)], threading.Barrier(3), []

        def submit(client: Client) -> None:
            barrier.wait()
            answers.append(client.post(url(device)))
            connection.close()

        threads = [threading.Thread(target=submit, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200, 302, 302]
        shown = next(answer.content.decode() for answer in answers if answer.status_code == 200)
        assert LoraIdentity.objects.get().dev_eui in shown
        assert Identity.objects.count() == 1


class TestPresetLora:
    def test_info_in_any_spacing_is_saved_and_registered(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project, "own-lora-preset")
        data = {"dev_eui": "00:59:ac:00:00:00:12:34", "app_eui": "70-B3-D5-7E-D0-00-00-01", "app_key": APP_KEY.lower()}
        response = client.post(url(device), data)
        assert response.status_code == 302
        assert fresh(device).identifier == DEV_EUI
        assert fresh(device).connection_status == "pending_create"
        network.run(device.pk)
        assert fresh(device).connection_status == "active"

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("dev_eui", "", "This field is required"),
            ("dev_eui", "0059AC00000012", "has 16 hexadecimal digits; this has 14"),
            ("dev_eui", "0059AC000000123G", "Only the digits"),
            ("dev_eui", "0" * 16, "not a DevEUI"),
            ("app_eui", "1", "has 16 hexadecimal digits; this has 1"),
            ("app_key", APP_KEY[:-2], "has 32 hexadecimal digits; this has 30"),
        ],
    )
    def test_bad_input_is_told_beside_the_field(
        self, cast: Cast, client: Client, field: str, value: str, said: str
    ) -> None:
        device = factories.device(cast.project, "own-lora-preset")
        response = client.post(url(device), {**LORA, field: value})
        assert response.status_code == 422
        assert list(errors(response)) == [field]
        assert said in errors(response)[field]
        assert fresh(device).connection_status == "not_linked"
        assert not LoraIdentity.objects.exists()

    def test_identifier_in_use_is_told_in_the_same_words_wherever_it_is(self, cast: Cast, client: Client) -> None:
        factories.lora_device(cast.project, dev_eui="0059AC0000000001")
        factories.lora_device(cast.elsewhere, dev_eui="0059AC0000000002")
        Identity.objects.create(urn="DEVEUI:0059AC0000000003", device_id=None)
        device = factories.device(cast.project, "own-lora-preset")
        said = set()
        for number in (1, 2, 3):
            response = client.post(url(device), {**LORA, "dev_eui": f"0059AC000000000{number}"})
            assert response.status_code == 422
            assert list(errors(response)) == ["dev_eui"]
            said.add(errors(response)["dev_eui"])
        assert len(said) == 1
        assert IN_USE in said.pop()
        assert fresh(device).identifier == ""
        assert not NetworkTask.objects.filter(device_id=device.pk).exists()

    def test_failed_registration_is_corrected(self, cast: Cast, client: Client) -> None:
        device = factories.lora_device(cast.project, dev_eui="0059AC00000000FF", connection=Connection.FAILED)
        Device.objects.with_scopes_disabled().filter(pk=device.pk).update(connection_reason="Already in use.")
        assert "Already in use." in client.get(url(device)).content.decode()
        client.post(url(device), LORA)
        assert fresh(device).identifier == DEV_EUI
        assert fresh(device).connection_status == "pending_create"
        assert list(Identity.objects.values_list("urn", flat=True)) == [f"DEVEUI:{DEV_EUI}"]

    def test_what_is_corrected_stands_there_without_the_key(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project, "own-lora-preset")
        client.post(url(device), LORA)
        Device.objects.with_scopes_disabled().filter(pk=device.pk).update(connection_status=Connection.FAILED)
        html = client.get(url(device)).content.decode()
        assert f'value="{DEV_EUI}"' in html
        assert f'value="{APP_EUI}"' in html
        assert APP_KEY not in html.upper()


class TestM2m:
    def data(self, **changes: Any) -> dict[str, Any]:
        return {"imei": IMEI, "sim": "early-access", "iccid": with_check_digit("893108000000999999"), **changes}

    def test_free_sim_is_linked_and_a_secret_is_made(self, cast: Cast, client: Client) -> None:
        device, sim = factories.device(cast.project, "own-m2m"), factories.sim(cast.project)
        response = client.post(url(device), self.data(sim=sim.pk, iccid=""))
        secret = M2mIdentity.objects.get(device_id=device.pk).get_secret()
        assert f'data-copy="{secret}"' in response.content.decode()
        assert "no-store" in response["Cache-Control"]
        with scopes_disabled():
            assert SimCard.objects.get(pk=sim.pk).device_id == device.pk
        assert fresh(device).identifier == IMEI

    def test_corrected_info_takes_another_sim_and_frees_the_old_one(self, cast: Cast, client: Client) -> None:
        device, other = factories.m2m_device(cast.project, connection=Connection.FAILED), factories.sim(cast.project)
        with scopes_disabled():
            old = SimCard.objects.get(device_id=device.pk)
            SimCard.objects.filter(pk=old.pk).update(status=SimStatus.ACTIVE)
        assert client.post(url(device), self.data(sim=other.pk, iccid="")).status_code == 200
        with scopes_disabled():
            assert SimCard.objects.filter(pk=old.pk, device=None, status=SimStatus.INVENTORY).exists()
            assert SimCard.objects.get(device_id=device.pk).pk == other.pk

    def test_corrected_info_may_keep_the_sim(self, cast: Cast, client: Client) -> None:
        device = factories.m2m_device(cast.project, connection=Connection.FAILED)
        with scopes_disabled():
            own = SimCard.objects.get(device_id=device.pk)
        assert f'<option value="{own.pk}">' in client.get(url(device)).content.decode()
        assert client.post(url(device), self.data(sim=own.pk, iccid="")).status_code == 200
        with scopes_disabled():
            assert SimCard.objects.get(device_id=device.pk).pk == own.pk

    def test_sim_stays_while_the_network_is_at_work(self, cast: Cast, client: Client) -> None:
        device, other = factories.m2m_device(cast.project, connection=Connection.FAILED), factories.sim(cast.project)
        with scopes_disabled():
            NetworkTask.objects.create(device_id=device.pk, operation=NetworkTask.Operation.REGISTER)
            own = SimCard.objects.get(device_id=device.pk)
        response = client.post(url(device), self.data(sim=other.pk, iccid=""))
        assert response.status_code == 422
        assert "still at work on this device" in response.content.decode()
        with scopes_disabled():
            assert SimCard.objects.get(device_id=device.pk).pk == own.pk
            assert M2mIdentity.objects.get(device_id=device.pk).imei == device.identifier

    def test_own_secret_is_not_shown_again(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project, "own-m2m")
        response = client.post(url(device), self.data(secret=factories.SECRET))
        assert response.status_code == 302
        assert M2mIdentity.objects.get().get_secret() == factories.SECRET

    @pytest.mark.parametrize(
        ("changes", "field", "said"),
        [
            ({"imei": IMEI[:-1] + str((int(IMEI[-1]) + 1) % 10)}, "imei", "a digit is mistyped"),
            ({"imei": "12345"}, "imei", "15 digits"),
            ({"sim": ""}, "sim", "required"),
            ({"sim": "999999"}, "sim", "not one of the available"),
            ({"iccid": ""}, "iccid", "19 or 20 digits"),
            ({"iccid": "8931080000009999990"[:-1] + "9"}, "iccid", "a digit is mistyped"),
            ({"secret": "short"}, "secret", "30 to 100 letters and digits"),
        ],
    )
    def test_bad_input_is_told_beside_the_field(
        self, cast: Cast, client: Client, changes: dict[str, str], field: str, said: str
    ) -> None:
        device = factories.device(cast.project, "own-m2m")
        response = client.post(url(device), self.data(**changes))
        assert response.status_code == 422
        assert list(errors(response)) == [field]
        assert said in errors(response)[field]
        assert not M2mIdentity.objects.exists()

    def test_sim_of_another_project_is_not_offered(self, cast: Cast, client: Client) -> None:
        device, theirs = factories.device(cast.project, "own-m2m"), factories.sim(cast.elsewhere)
        assert theirs.iccid not in client.get(url(device)).content.decode()
        response = client.post(url(device), self.data(sim=theirs.pk))
        assert list(errors(response)) == ["sim"]

    def test_identifiers_in_use_are_told_beside_their_fields(self, cast: Cast, client: Client) -> None:
        taken = factories.m2m_device(cast.elsewhere, imei=IMEI)
        device = factories.device(cast.project, "own-m2m")
        response = client.post(url(device), self.data())
        assert IN_USE in errors(response)["imei"]
        with scopes_disabled():
            iccid = SimCard.objects.get(device_id=taken.pk).iccid
        response = client.post(url(device), self.data(imei=with_check_digit("35693803222222"), iccid=iccid))
        assert response.status_code == 422
        assert list(errors(response)) == ["iccid"]
        # Nothing of the half-made info is left: the IMEI is free for the next try.
        assert not Identity.objects.filter(device_id=device.pk).exists()
        assert fresh(device).identifier == ""


class TestInternet:
    def test_uuid_is_filled_in_and_a_secret_is_made(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project, "own-internet")
        offered = re.search(r'name="dvn_uuid" value="([^"]+)"', client.get(url(device)).content.decode())
        assert offered is not None
        assert uuid.UUID(offered[1]).version == 4
        response = client.post(url(device), {"dvn_uuid": offered[1]})
        identity = InternetIdentity.objects.get(device_id=device.pk)
        assert str(identity.dvn_uuid) == offered[1]
        secret = identity.get_secret()
        assert tokens.SECRET_PATTERN.fullmatch(secret)
        assert f'data-copy="{secret}"' in response.content.decode()

    @pytest.mark.parametrize(
        ("changes", "field"), [({"dvn_uuid": "not-a-uuid"}, "dvn_uuid"), ({"secret": "!" * 40}, "secret")]
    )
    def test_bad_input_is_told_beside_the_field(
        self, cast: Cast, client: Client, changes: dict[str, str], field: str
    ) -> None:
        device = factories.device(cast.project, "own-internet")
        response = client.post(url(device), {"dvn_uuid": str(uuid.uuid4()), **changes})
        assert response.status_code == 422
        assert list(errors(response)) == [field]

    def test_uuid_of_a_stranger_is_refused_in_the_same_words(self, cast: Cast, client: Client) -> None:
        theirs = factories.internet_device(cast.elsewhere)
        with scopes_disabled():
            taken = theirs.internet.dvn_uuid
        device = factories.device(cast.project, "own-internet")
        assert IN_USE in errors(client.post(url(device), {"dvn_uuid": str(taken)}))["dvn_uuid"]


class TestRegister:
    """Inventory and Failed: ask the network with what is there (D8)."""

    def ask(self, client: Client, device: Device, **headers: str) -> HttpResponse:
        return client.post(f"/devices/{device.pk}/register/", {"tab": "device"}, headers=headers)

    @pytest.mark.parametrize("status", [Connection.INVENTORY, Connection.FAILED])
    def test_registration_is_requested(self, cast: Cast, client: Client, status: Connection) -> None:
        device = factories.lora_device(cast.project, connection=status)
        assert self.ask(client, device)["Location"] == f"/devices/{device.pk}/device/"
        assert fresh(device).connection_status == "pending_create"

    def test_htmx_gets_the_cards_with_what_is_under_way(self, cast: Cast, client: Client) -> None:
        device = factories.lora_device(cast.project, connection=Connection.INVENTORY)
        response = self.ask(client, device, **{"HX-Request": "true"})
        html = response.content.decode()
        assert html.count('id="device-cards"') == 1
        assert "Registering on the network" in html
        assert "toast" in response["HX-Trigger"]

    def test_read_only_stranger_and_wrong_method(self, cast: Cast) -> None:
        device = factories.lora_device(cast.project, connection=Connection.INVENTORY)
        assert self.ask(cast.client(cast.viewer), device).status_code == 403
        assert self.ask(cast.client(cast.stranger), device).status_code == 404
        assert cast.client(cast.operator).get(f"/devices/{device.pk}/register/").status_code == 405
        assert fresh(device).connection_status == "inventory"

    @pytest.mark.parametrize("status", [Connection.ACTIVE, Connection.PENDING_CREATE, Connection.DEACTIVATED])
    def test_registered_device_is_left_alone(self, cast: Cast, client: Client, status: Connection) -> None:
        device = factories.lora_device(cast.project, connection=status)
        assert self.ask(client, device).status_code == 302
        assert fresh(device).connection_status == status
        assert not NetworkTask.objects.exists()

    def test_device_without_network_info_cannot_be_registered(self, cast: Cast, client: Client) -> None:
        device = factories.device(cast.project, connection=Connection.INVENTORY)
        response = client.post(f"/devices/{device.pk}/register/", follow=True)
        assert "no network info" in response.content.decode()
        assert fresh(device).connection_status == "inventory"


class TestSwitch:
    """Connectivity accepted or refused by the network; the status waits for its answer (D8)."""

    def ask(self, client: Client, device: Device, operation: str) -> HttpResponse:
        return client.post(f"/devices/{device.pk}/connectivity/", {"operation": operation, "tab": "flows"})

    def test_there_and_back(self, cast: Cast, client: Client) -> None:
        device = factories.internet_device(cast.project)
        assert self.ask(client, device, "deactivate")["Location"] == f"/devices/{device.pk}/flows/"
        assert fresh(device).connection_status == "active"
        assert "Deactivating" in client.get(f"/devices/{device.pk}/device/").content.decode()
        network.run(device.pk)
        assert fresh(device).connection_status == "deactivated"
        self.ask(client, device, "activate")
        network.run(device.pk)
        assert fresh(device).connection_status == "active"

    def test_question_is_a_page_without_script(self, cast: Cast, client: Client) -> None:
        device = factories.internet_device(cast.project)
        html = client.get(f"/devices/{device.pk}/connectivity/").content.decode()
        assert 'name="operation" value="deactivate"' in html

    @pytest.mark.parametrize("operation", ["activate", "deregister", "", "x"])
    def test_what_makes_no_sense_changes_nothing(self, cast: Cast, client: Client, operation: str) -> None:
        device = factories.internet_device(cast.project)
        assert self.ask(client, device, operation).status_code == 302
        assert not NetworkTask.objects.exists()

    def test_second_request_does_not_disturb_the_first(self, cast: Cast, client: Client) -> None:
        device = factories.internet_device(cast.project)
        self.ask(client, device, "deactivate")
        assert self.ask(client, device, "deactivate").status_code == 302
        assert NetworkTask.objects.count() == 1

    def test_read_only_and_stranger(self, cast: Cast) -> None:
        device = factories.internet_device(cast.project)
        assert self.ask(cast.client(cast.viewer), device, "deactivate").status_code == 403
        assert self.ask(cast.client(cast.stranger), device, "deactivate").status_code == 404
        assert not NetworkTask.objects.exists()
