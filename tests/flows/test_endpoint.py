"""The test endpoint: what arrives, from Flows and from outside, and what its page shows (F5)."""

from __future__ import annotations

import html
import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry
from codec import tokens
from flows import deliveries, tasks
from flows import destination_inbox as inbox
from flows.deliverer import Deliverer
from flows.models import Delivery, DeliveryState, Destination, Flow, Received
from tests.cast import Cast
from tests.flows.conftest import SECRET, destination

pytestmark = pytest.mark.django_db
BODY = b'[{"bn":"urn:dev:IMEI:490154203237518:","n":"temperature","v":21.5}]'


@pytest.fixture
def endpoint(flow: Flow) -> Destination:
    return destination(flow, "Here", kind="test", inbox_hash=inbox.hashed("k" * 43))


ADDRESS = f"/test-endpoints/{'k' * 43}/"


def post(body: bytes = BODY, address: str = ADDRESS, **headers: str) -> int:
    return Client(enforce_csrf_checks=True).post(address, body, "application/json", headers=headers).status_code


class TestArrives:
    def test_body_headers_and_whether_the_token_fits(self, endpoint: Destination) -> None:
        token = tokens.message_token(BODY, SECRET)
        assert post(**{"Things-Message-Token": token, "Authorization": "Bearer s3cret"}) == 204
        assert post(**{"Things-Message-Token": "0" * 64}) == 204
        assert post(b"\x00anything") == 204
        found = inbox.newest(endpoint, timezone.now())
        assert [(each.body, each.proved, each.sender) for each in found] == [
            (b"\x00anything", None, ""), (BODY, False, ""), (BODY, True, "")
        ]  # fmt: skip
        headers = dict(found[-1].headers)
        assert headers["Things-Message-Token"] == token
        assert headers["Authorization"] == "…"

    def test_nobody_at_another_address_and_nothing_of_it_is_kept(self, cast: Cast, endpoint: Destination) -> None:
        assert post(address="/test-endpoints/elsewhere/") == 404
        # The hash that the portal keeps opens nothing.
        assert post(address=f"/test-endpoints/{inbox.hashed('k' * 43).hex()}/") == 404
        Destination.objects.update(kind="https")
        assert post() == 404
        assert not Received.objects.exists()

    def test_too_large(self, endpoint: Destination) -> None:
        assert post(b"x" * (inbox.MOST_BYTES + 1)) == 413
        assert post(b"x" * inbox.MOST_BYTES) == 204

    def test_newest_hundred_for_five_days(
        self, endpoint: Destination, flow: Flow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox, "MOST", 3)
        now, other = timezone.now(), destination(flow, kind="test")
        for number in range(5):
            inbox.keep(endpoint, [inbox.Arrived(now - timedelta(days=4 - number), [], b"%d" % number)])
        inbox.keep(other, [inbox.Arrived(now - inbox.KEEP, [], b"old"), inbox.Arrived(now, [], b"new")])
        assert [each.body for each in inbox.newest(endpoint, now)] == [b"4", b"3", b"2"]
        assert Received.objects.filter(destination=endpoint).count() == 3
        assert [each.body for each in inbox.newest(other, now)] == [b"new"]
        assert tasks.drop_received() == 1
        assert tasks.drop_received() == 0

    def test_one_costs_as_many_queries_as_many(self, endpoint: Destination, django_assert_num_queries: Any) -> None:
        for count in (1, 20):
            arrived = [inbox.Arrived(timezone.now(), [], b"x")] * count
            with django_assert_num_queries(4):
                inbox.keep(endpoint, arrived)


class TestPages:
    def test_address_and_secret_are_shown_once(self, cast: Cast) -> None:
        client = cast.client(cast.operator)
        assert 'value="Test endpoint"' in client.get("/destinations/add/?kind=test").content.decode()
        page = client.post("/destinations/add/?kind=test", {"name": "Here", "layout": "merged", "enabled": "on"})
        text = html.unescape(page.content.decode())
        (address,) = set(re.findall(r"http://testserver(/test-endpoints/[\w-]{43}/)", text))
        made = Destination.objects.get()
        assert made.get_secrets()["shared_secret"] in text
        assert post(address=address) == 204
        assert address not in client.get(f"/destinations/{made.pk}/").content.decode()
        # A new one, and nobody is at the old.
        text = client.post(f"/destinations/{made.pk}/address/").content.decode()
        (renewed,) = set(re.findall(r"http://testserver(/test-endpoints/[\w-]{43}/)", text))
        assert (post(address=address), post(address=renewed)) == (404, 204)
        entry = AuditEntry.objects.get(action="destination.address_replaced")
        assert renewed not in f"{entry.before}{entry.after}"

    def test_page_shows_what_arrived_and_its_part_renews_it(self, cast: Cast, endpoint: Destination) -> None:
        client, address = cast.client(cast.viewer), f"/destinations/{endpoint.pk}/"
        assert "Nothing here yet" in client.get(address).content.decode()
        post(**{"X-Tenant": "<north>", "Things-Message-Token": "0" * 64})
        part = client.get(address, headers={"HX-Request": "true"}).content.decode()
        assert "<html" not in part
        for text in ("X-Tenant", "&lt;north&gt;", "Does not fit", html.escape(BODY.decode())):
            assert text in part
        assert cast.client(cast.stranger).get(address).status_code == 404
        assert client.post(f"{address}address/").status_code == 403
        assert cast.client(cast.operator).get(f"{address}address/").status_code == 405

    def test_other_kinds_have_no_address(self, cast: Cast, flow: Flow) -> None:
        made = destination(flow, url="https://receiver.example/")
        cast.client(cast.operator).post(f"/destinations/{made.pk}/address/")
        made.refresh_from_db()
        assert made.inbox_hash is None


@pytest.mark.django_db(transaction=True)
class TestFromFlows:
    @pytest.fixture(autouse=True)
    def emptied(self, transactional_db: None) -> Any:
        yield
        Delivery.objects.all().delete()

    def test_destinations_are_pointed_at_it_by_its_address(self, endpoint: Destination, flow: Flow) -> None:
        """What a receiver would get, without the network: of the Flow itself, and of an HTTPS destination with headers
        of its own. Addresses inside private networks are refused otherwise."""
        secrets = {"shared_secret": "another" * 6, "headers": {"X-Tenant": "north"}, "credential": "s3cret"}
        pushed = destination(
            flow, url=f"http://testserver{ADDRESS}", authentication="bearer", layout="legacy", secrets=secrets
        )
        now = timezone.now()
        for to in (endpoint, pushed):
            deliveries.test(to, now)
        deliverer = Deliverer(threading.Event(), clock=lambda: now, seed=1)
        for future in deliverer.round():
            future.result(20)
        deliverer.pool.shutdown()
        assert set(Delivery.objects.values_list("state", flat=True)) == {DeliveryState.DELIVERED}
        found = {dict(each.headers)["Things-Plug-UUID"]: each for each in inbox.newest(endpoint, timezone.now())}
        assert found.keys() == {str(endpoint.uuid), str(pushed.uuid)}
        own, other = found[str(endpoint.uuid)], found[str(pushed.uuid)]
        assert (own.proved, other.proved) == (True, True)  # each by the secret of its destination
        assert (own.sender, other.sender) == ("test", "test")
        headers = dict(other.headers)
        assert (headers["X-Tenant"], headers["Authorization"]) == ("north", "…")
        assert {row.body for row in Delivery.objects.all()} == {own.body, other.body}

    def test_form_takes_its_address_and_no_other_without_tls(self, cast: Cast, endpoint: Destination) -> None:
        fields = {"name": "Push", "layout": "merged", "authentication": "none", "enabled": "on"}
        client = cast.client(cast.operator)
        for url, status in ((f"http://testserver{ADDRESS}", 200), (f"http://elsewhere.example{ADDRESS}", 422)):
            assert client.post("/destinations/add/?kind=https", fields | {"url": url}).status_code == status
