"""A Flow is deleted (F1): what it means is told, its name is typed, its devices are left right, come what may."""

from __future__ import annotations

import html
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from devices import bulk, flow_deletion, jobs, many, services, tasks
from devices.errors import DeviceError
from devices.models import Device, FlowLink, JobItem
from flows.models import Delivery, Destination, Flow
from tests import factories
from tests.cast import Cast
from tests.processes import wait_for, waiting_for_us

NO_TIME = timedelta()


@pytest.fixture
def flow(cast: Cast) -> Flow:
    return factories.flow(cast.project, "Climate")


def statuses() -> list[tuple[str, int]]:
    return list(Device.objects.order_by("pk").values_list("processing_status", "flow_count"))


def actions() -> list[str]:
    return list(
        AuditEntry.objects.filter(action__startswith="flow.del").order_by("pk").values_list("action", flat=True)
    )


def delete(cast: Cast, flow: Flow, typed: str = "Climate", person: str = "operator") -> Any:
    return cast.client(getattr(cast, person)).post(f"/flows/{flow.pk}/delete/", {"typed": typed})


class TestQuestion:
    def test_says_what_it_means(self, cast: Cast, flow: Flow) -> None:
        other = factories.flow(cast.project, "Other")
        for flows in ([flow], [flow], [flow, other]):
            device = factories.device(cast.project)
            for each in flows:
                services.link_flow(device=device, flow=each, actor=None)
        here, both = factories.destination(flow, "Here"), factories.destination(flow, "Both")
        other.destination_links.create(destination=both)
        for seq in range(2):
            Delivery.objects.create(
                device_id=1,
                created_at=timezone.now(),
                destination_id=here.pk,
                seq=seq,
                body=b"[]",
                due_at=timezone.now(),
            )
        shown = html.unescape(cast.client(cast.operator).get(f"/flows/{flow.pk}/delete/").content.decode())
        assert "2 devices: their data is kept, but not processed" in shown
        assert "<dd>1 device</dd>" in shown
        assert "stays, with no Flow any more; 2 messages that wait are still delivered" in shown
        assert "stays, for other Flows too" in shown

    def test_numbers_cost_as_many_queries_for_many(
        self, cast: Cast, flow: Flow, django_assert_num_queries: Any
    ) -> None:
        client = cast.client(cast.operator)
        for number in range(20):
            factories.device(cast.project, in_flow=flow)
            if number in {1, 19}:
                with django_assert_num_queries(6):
                    client.get(f"/flows/{flow.pk}/delete/")

    @pytest.mark.parametrize("typed", ["", "climate", "Climate!"])
    def test_another_name_deletes_nothing(self, cast: Cast, flow: Flow, typed: str) -> None:
        response = delete(cast, flow, typed)
        assert response.status_code == 422
        shown = response.content.decode()
        assert 'id="id_typed_error"' in shown and "Nothing is saved yet" not in shown
        assert Flow.objects.filter(pk=flow.pk, enabled=True, deletion_asked_at=None).exists()

    def test_read_only_stranger_and_wrong_method(self, cast: Cast, flow: Flow) -> None:
        assert cast.client(cast.viewer).get(f"/flows/{flow.pk}/delete/").status_code == 403
        assert delete(cast, flow, person="viewer").status_code == 403
        assert delete(cast, flow, person="stranger").status_code == 404
        assert cast.client(cast.operator).put(f"/flows/{flow.pk}/delete/").status_code == 405
        assert "/delete/" not in cast.client(cast.viewer).get(f"/flows/{flow.pk}/").content.decode()
        assert Flow.objects.filter(pk=flow.pk).exists()


class TestDelete:
    def test_devices_are_out_of_it_and_it_is_gone(self, cast: Cast, flow: Flow) -> None:
        other = factories.flow(cast.project, "Other")
        alone, both, idle = (factories.device(cast.project, in_flow=flow) for _ in range(3))
        services.link_flow(device=both, flow=other, actor=None)
        services.deactivate(device=idle, actor=None)
        destination = factories.destination(flow)
        assert delete(cast, flow)["Location"] == "/flows/"
        assert not Flow.objects.filter(pk=flow.pk).exists()
        assert Destination.objects.filter(pk=destination.pk).exists()
        assert statuses() == [("not_linked", 0), ("active", 1), ("deactivated", 0)]
        assert actions() == ["flow.deletion_requested", "flow.deleted"]
        entry = AuditEntry.objects.get(action="flow.deleted")
        assert (entry.actor_label, entry.target, entry.before["devices"]) == ("operator@example.com", "Climate", 3)
        told = AuditEntry.objects.filter(action="device.unlinked", device_id=alone.pk).get()
        assert told.before == {"flow": "Climate", "flow_id": flow.pk}

    def test_large_one_goes_on_in_workers_and_shows_how_far(
        self, cast: Cast, flow: Flow, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
    ) -> None:
        rung: list[tuple[int]] = []
        monkeypatch.setattr(tasks.delete_flow, "apply_async", lambda args, **_options: rung.append(args))
        monkeypatch.setattr(flow_deletion, "SET", 2)
        monkeypatch.setattr(flow_deletion, "AT_ONCE", NO_TIME)
        for _ in range(5):
            factories.device(cast.project, in_flow=flow)
        with django_capture_on_commit_callbacks(execute=True):
            assert delete(cast, flow)["Location"] == f"/flows/{flow.pk}/"
        assert rung == [(flow.pk,)]
        client = cast.client(cast.viewer)
        shown = client.get(f"/flows/{flow.pk}/").content.decode()
        assert "2 of 5 devices are out of it." in shown
        assert "Being deleted" in client.get("/flows/").content.decode()
        part = client.get(f"/flows/{flow.pk}/deletion/", headers={"HX-Request": "true"}).content.decode()
        assert "2 of 5 devices" in part and "<html" not in part
        assert not flow_deletion.go_on(flow.pk, NO_TIME)
        assert flow_deletion.due() == [flow.pk]
        assert flow_deletion.go_on(flow.pk)
        assert flow_deletion.go_on(flow.pk), "a second time it changes nothing"
        response = client.get(f"/flows/{flow.pk}/deletion/", headers={"HX-Request": "true"})
        assert response["HX-Redirect"] == "/flows/"
        assert statuses() == [("not_linked", 0)] * 5
        assert flow_deletion.due() == []

    def test_worker_that_died_is_followed_by_the_sweeper(
        self, cast: Cast, flow: Flow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rung: list[tuple[int]] = []
        monkeypatch.setattr(tasks.delete_flow, "apply_async", lambda args, **_options: rung.append(args))
        Flow.objects.filter(pk=flow.pk).update(deletion_asked_at=timezone.now())
        tasks.sweep_flow_deletions()
        assert rung == [(flow.pk,)]
        tasks.delete_flow(flow.pk)
        assert not Flow.objects.filter(pk=flow.pk).exists()

    def test_flow_that_nobody_deletes_is_left_alone(self, cast: Cast, flow: Flow) -> None:
        assert not flow_deletion.go_on(flow.pk)
        assert Flow.objects.filter(pk=flow.pk).exists()


class TestMeanwhile:
    """While it is being deleted, nothing is linked to it or changed in it."""

    @pytest.fixture
    def going(self, flow: Flow) -> Flow:
        Flow.objects.filter(pk=flow.pk).update(deletion_asked_at=timezone.now())
        return flow

    def test_device_is_not_linked_and_the_person_is_told(self, cast: Cast, going: Flow) -> None:
        device = factories.device(cast.project)
        with pytest.raises(DeviceError, match="not there any more"):
            services.link_flow(device=device, flow=going, actor=None)
        client = cast.client(cast.operator)
        assert client.post(f"/devices/{device.pk}/flows/link/", {"flow": going.pk}).status_code == 422
        for address, data in (
            (f"/flows/{going.pk}/devices/link/", {"device": device.pk}),
            (f"/flows/{going.pk}/edit/", {"name": "Again"}),
            (f"/flows/{going.pk}/destinations/link/", {"destination": factories.destination(
                factories.flow(cast.project)).pk}),
        ):  # fmt: skip
            response = client.post(address, data, follow=True)
            assert "the Flow was deleted, or is being deleted" in response.content.decode(), address
        assert not FlowLink.objects.exists()

    def test_job_that_links_to_it_leaves_the_devices_alone(self, cast: Cast, going: Flow) -> None:
        device = factories.device(cast.project)
        action = bulk.by_slug("link")
        assert action
        job = jobs.create(
            action=action, devices=Device.objects.all(), parameters={"flow": going.pk, "name": "Climate"},
            agreed=1, actor=cast.operator, projects=[cast.project], token=uuid4(),
        )  # fmt: skip
        jobs.run(job.pk)
        item = JobItem.objects.get(job=job)
        assert (item.outcome, item.reason) == ("skipped", "The Flow is not there any more.")
        with transaction.atomic(), pytest.raises(DeviceError, match="not there any more"):
            many.link([device.pk], going, cast.operator)

    def test_it_is_no_choice_and_has_no_warning(self, cast: Cast, going: Flow) -> None:
        device = factories.device(cast.project)
        client = cast.client(cast.operator)
        assert "Climate" not in client.get(f"/devices/{device.pk}/flows/link/").content.decode()
        assert "Climate" not in client.get("/flows/?warning=any").content.decode()

    def test_delete_asked_again_leads_to_the_progress(self, cast: Cast, going: Flow) -> None:
        assert delete(cast, going)["Location"] == f"/flows/{going.pk}/"
        assert cast.client(cast.operator).get(f"/flows/{going.pk}/delete/")["Location"] == f"/flows/{going.pk}/"


@pytest.mark.django_db(transaction=True)
def test_who_is_linking_at_that_moment_is_waited_for(cast: Cast) -> None:
    """The link is made before the Flow goes, and the device is out of it again at the end."""
    with scopes_disabled():
        flow, device = factories.flow(cast.project, "Climate"), factories.device(cast.project)
        gone: list[bool] = []

        def work() -> None:
            try:
                with scopes_disabled():
                    gone.append(flow_deletion.delete(flow=flow, actor=cast.operator))
            finally:
                connection.close()

        thread = threading.Thread(target=work)
        with transaction.atomic():
            services.link_flow(device=device, flow=flow, actor=None)
            thread.start()
            wait_for(lambda: waiting_for_us() > 0, "the deletion to wait for the link")
        thread.join(20)
        assert gone == [True]
        assert not Flow.objects.exists()
        assert statuses() == [("not_linked", 0)]


@pytest.mark.django_db(transaction=True)
def test_who_links_a_moment_too_late_is_told(cast: Cast) -> None:
    with scopes_disabled():
        flow, device = factories.flow(cast.project, "Climate"), factories.device(cast.project)
        errors: list[Exception] = []

        def work() -> None:
            try:
                with scopes_disabled():
                    services.link_flow(device=device, flow=flow, actor=None)
            except DeviceError as error:
                errors.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=work)
        with transaction.atomic():
            assert flow_deletion.delete(flow=flow, actor=cast.operator)
            thread.start()
            wait_for(lambda: waiting_for_us() > 0, "the link to wait for the deletion")
        thread.join(20)
        assert len(errors) == 1
        assert statuses() == [("not_linked", 0)]


@pytest.mark.django_db(transaction=True)
def test_two_that_work_on_one_deletion_take_each_device_out_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_deletion, "SET", 3)
    with scopes_disabled():
        flow, other = factories.flow(cast.project, "Climate"), factories.flow(cast.project, "Other")
        for _ in range(20):
            device = factories.device(cast.project, in_flow=flow)
            services.link_flow(device=device, flow=other, actor=None)
        Flow.objects.filter(pk=flow.pk).update(deletion_asked_at=timezone.now())
        barrier = threading.Barrier(2)

        def work() -> None:
            try:
                barrier.wait(10)
                while not flow_deletion.go_on(flow.pk):
                    pass
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert statuses() == [("active", 1)] * 20
        assert AuditEntry.objects.filter(action="flow.deleted").count() == 1
