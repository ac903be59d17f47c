"""The pages of destinations: who sees what, what is kept, what is shown once (F5, P2)."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEntry
from flows import deliveries
from flows.models import Delivery, DeliveryState, Destination, Flow, FlowDestination
from tests import factories
from tests.cast import Cast
from tests.flows.conftest import SECRET

pytestmark = pytest.mark.django_db
FIELDS: dict[str, Any] = {
    "name": "Receiver", "url": "https://receiver.example/in", "layout": "merged", "enabled": "on",
    "authentication": "none",
}  # fmt: skip


def add(cast: Cast, kind: str = "https", **changes: Any) -> Any:
    return cast.client(cast.operator).post(f"/destinations/add/?kind={kind}", FIELDS | changes)


class TestAdd:
    def test_secret_that_the_portal_makes_is_shown_once(self, cast: Cast) -> None:
        html = add(cast).content.decode()
        made = Destination.objects.get()
        secret = made.get_secrets()["shared_secret"]
        assert secret in html
        assert secret not in cast.client(cast.operator).get(f"/destinations/{made.pk}/").content.decode()
        assert secret not in cast.client(cast.operator).get(f"/destinations/{made.pk}/edit/").content.decode()
        entry = AuditEntry.objects.get(action="destination.created")
        assert secret not in str(entry.after)

    def test_secret_of_ones_own_is_not_shown(self, cast: Cast) -> None:
        response = add(cast, shared_secret=SECRET)
        made = Destination.objects.get()
        assert response["Location"] == f"/destinations/{made.pk}/"
        assert made.get_secrets()["shared_secret"] == SECRET

    def test_mqtt_and_test_endpoint(self, cast: Cast) -> None:
        fields = {"name": "Broker", "host": "broker.example", "port": "8883", "topic": "t/{identifier}"}
        assert add(cast, "mqtt", **fields).status_code == 302
        assert add(cast, "test", name="Here").status_code == 200  # its address is shown, once
        assert list(Destination.objects.values_list("kind", flat=True)) == ["mqtt", "test"]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"name": ""}, "name"), ({"url": "http://receiver.example/"}, "url"), ({"url": "https://"}, "url"),
            ({"url": "https://me:pw@receiver.example/"}, "url"), ({"url": "https://[::1/"}, "url"),
            ({"shared_secret": "short"}, "shared_secret"), ({"authentication": "bearer"}, "credential"),
            ({"authentication": "basic", "credential": "x"}, "username"), ({"headers": "no colon"}, "headers"),
            ({"headers": "Host: elsewhere"}, "headers"), ({"headers": "Things-Timestamp: 0"}, "headers"),
            ({"headers": "X-A: b\r\nX B: c"}, "headers"), ({"expected_status": "99"}, "expected_status"),
        ],
    )  # fmt: skip
    def test_bad_input_is_told_beside_the_field(self, cast: Cast, changes: dict[str, str], field: str) -> None:
        response = add(cast, **changes)
        assert response.status_code == 422
        assert f'id="id_{field}_error"' in response.content.decode()
        assert not Destination.objects.exists()

    @pytest.mark.parametrize("topic", ["a/+/b", "a/#", "{name}"])
    def test_topic_is_one_that_can_be_published_to(self, cast: Cast, topic: str) -> None:
        response = add(cast, "mqtt", host="broker.example", port="8883", topic=topic)
        assert response.status_code == 422

    def test_read_only_accounts_look(self, cast: Cast, flow: Flow) -> None:
        made = factories.destination(flow)
        client = cast.client(cast.viewer)
        html = client.get(f"/destinations/{made.pk}/").content.decode()
        assert made.name in html
        assert "<form" not in html.split("<main")[1]
        assert "/destinations/add/" not in client.get("/destinations/").content.decode()
        for address in ("add/?kind=test", f"{made.pk}/edit/", f"{made.pk}/delete/"):
            assert client.get(f"/destinations/{address}").status_code == 403
        for address in ("test", "again", "delete"):
            assert client.post(f"/destinations/{made.pk}/{address}/").status_code == 403
        assert cast.client(cast.stranger).get(f"/destinations/{made.pk}/").status_code == 404


class TestEdit:
    def test_what_is_left_empty_stays(self, cast: Cast, flow: Flow) -> None:
        secrets = {"shared_secret": SECRET, "credential": "s3cret", "headers": {"X-A": "b"}}
        made = factories.destination(
            flow, kind="https", url="https://old.example/", authentication="bearer", secrets=secrets,
            open_until=timezone.now(),
        )  # fmt: skip
        client = cast.client(cast.operator)
        html = client.get(f"/destinations/{made.pk}/edit/").content.decode()
        assert "s3cret" not in html
        fields = FIELDS | {"authentication": "bearer"}
        assert client.post(f"/destinations/{made.pk}/edit/", fields).status_code == 302
        made.refresh_from_db()
        assert (made.url, made.open_until) == (FIELDS["url"], None)
        assert made.get_secrets() == secrets
        client.post(f"/destinations/{made.pk}/edit/", fields | {"credential": "n3w", "headers": "-"})
        made.refresh_from_db()
        assert made.get_secrets() == {"shared_secret": SECRET, "credential": "n3w", "headers": {}}
        entry = AuditEntry.objects.filter(action="destination.edited").latest("pk")
        assert entry.after == {"new secrets": ["credential", "headers"]}

    def test_delete_needs_its_name(self, cast: Cast, flow: Flow) -> None:
        made = factories.destination(flow, "Receiver")
        client = cast.client(cast.operator)
        assert flow.name in client.get(f"/destinations/{made.pk}/delete/").content.decode()
        response = client.post(f"/destinations/{made.pk}/delete/", {"typed": "Other"})
        assert response.status_code == 422
        assert 'id="id_typed_error"' in response.content.decode()
        assert client.post(f"/destinations/{made.pk}/delete/", {"typed": "Receiver"}).status_code == 302
        assert not Destination.objects.exists()
        assert not FlowDestination.objects.exists()


class TestFlowPage:
    def test_link_and_unlink(self, cast: Cast, flow: Flow) -> None:
        made = factories.destination(flow)
        client, page = cast.client(cast.operator), f"/flows/{flow.pk}/"
        client.post(f"{page}destinations/unlink/", {"destination": made.pk})
        assert not FlowDestination.objects.exists()
        html = client.get(page).content.decode()
        assert "It has no destination" in html
        client.post(f"{page}destinations/link/", {"destination": made.pk})
        client.post(f"{page}destinations/link/", {"destination": made.pk})
        assert FlowDestination.objects.count() == 1
        assert "It has no destination" not in client.get(page).content.decode()

    def test_destination_of_another_project_cannot_be_linked(self, cast: Cast, flow: Flow) -> None:
        theirs = factories.destination(factories.flow(cast.elsewhere))
        cast.client(cast.operator).post(f"/flows/{flow.pk}/destinations/link/", {"destination": theirs.pk})
        assert not FlowDestination.objects.filter(flow=flow).exists()

    def test_failing_and_disabled_ones_are_told(self, cast: Cast, flow: Flow) -> None:
        factories.destination(flow, "Down", failures=deliveries.CIRCUIT, error="It answered 500.")
        factories.destination(flow, "Off", enabled=False)
        html = cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        assert "The destination Down fails: It answered 500." in html
        assert "The destination Off is disabled" in html


class TestDeliveries:
    def test_list_tells_state_and_answer_and_given_up_ones_are_sent_again(self, cast: Cast, flow: Flow) -> None:
        made, now = factories.destination(flow, kind="https"), timezone.now()
        device = factories.internet_device(cast.project, in_flow=flow)
        for seq, state in enumerate((DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.DEAD)):
            Delivery.objects.create(
                device_id=device.pk, created_at=now, destination_id=made.pk, seq=seq, state=state, status=500 + seq,
                attempts=3, identifier="ID-1", body=b'[{"n":"t"}]', error="It answered 501." if state == 2 else "",
            )  # fmt: skip
        client, address = cast.client(cast.operator), f"/destinations/{made.pk}/"
        html = client.get(address).content.decode()
        for text in ("ID-1", "501", "It answered 501.", "[{&quot;n&quot;:&quot;t&quot;}]", "2 given up"):
            assert text in html
        assert client.get(f"{address}?state=dead").content.decode().count("It answered 50") == 2
        name = Delivery.objects.get(seq=1).name
        client.post(f"{address}again/", {"delivery": "1 2"})
        client.post(f"{address}again/", {"delivery": name})
        assert [row.state for row in Delivery.objects.order_by("seq")] == [1, 0, 2]
        client.post(f"{address}again/")
        assert [row.state for row in Delivery.objects.order_by("seq")] == [1, 0, 0]

    def test_test_message_is_put_in_the_queue(self, cast: Cast, flow: Flow) -> None:
        made = factories.destination(flow)
        cast.client(cast.operator).post(f"/destinations/{made.pk}/test/")
        assert Delivery.objects.get().device_id == 0
        Destination.objects.update(enabled=False)
        cast.client(cast.operator).post(f"/destinations/{made.pk}/test/")
        assert Delivery.objects.count() == 1

    def test_two_cost_as_many_queries_as_twenty(self, cast: Cast, flow: Flow, django_assert_num_queries: Any) -> None:
        client = cast.client(cast.viewer)
        for number in range(20):
            factories.destination(flow, f"D{number}")
            if number in {1, 19}:
                with django_assert_num_queries(4):
                    client.get("/destinations/")
