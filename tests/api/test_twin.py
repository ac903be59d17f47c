"""The Device Twin as JSON for programs (W8): read, changed by a merge patch, two writers, limits, who may."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from codec.measurements import Measurement
from devices import deletion
from devices.models import Category, Device, DeviceState, DeviceType
from tests import factories
from tests.cast import Cast
from tests.twin.controls import INTERVAL, LED, give
from twin import loop
from twin.models import DesiredValue, Sync, Twin
from twin.services import set_desired, set_metadata, update_reported

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AT = "2026-03-01T12:00:00.000Z"
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def device(cast: Cast) -> Device:
    with scopes_disabled():
        made = factories.lora_device(cast.project, in_flow=factories.flow(cast.project))
        return give(made, INTERVAL, LED)


@scopes_disabled()
def report(device: Device, after: float = 0.0, /, **values: Any) -> None:
    time = NOW.timestamp() + after
    told = [Measurement(name=name, value=value, time=time, unit="m") for name, value in values.items()]
    update_reported({device.pk: told}, NOW)


@scopes_disabled()
def desire(device: Device, **values: Any) -> None:
    loop.request_many(device=device, values=values, actor=None, now=NOW)


@scopes_disabled()
def note(device: Device, **metadata: str | None) -> None:
    set_metadata([device.pk], metadata, actor=None, now=NOW)


@scopes_disabled()
def ways() -> list[DesiredValue]:
    return list(DesiredValue.objects.order_by("name"))


@scopes_disabled()
def put(**fields: Any) -> None:
    DesiredValue.objects.update(**fields)


@scopes_disabled()
def twin(device: Device) -> Twin:
    return Twin.objects.get(pk=device.pk)


def values(part: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["v"] for name, entry in part.items()}


def url(device: Device) -> str:
    return f"/api/v1/devices/{device.pk}/twin"


def get(cast: Cast, device: Device, **headers: str) -> HttpResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return cast.client(cast.viewer).get(url(device), headers=names)


def said(cast: Cast, device: Device) -> dict[str, Any]:
    return dict(json.loads(get(cast, device).content))


def patch(cast: Cast, device: Device, document: Any, *, client: Client | None = None, **headers: str) -> HttpResponse:
    body = document if isinstance(document, bytes) else json.dumps(document)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return (client or cast.client(cast.operator)).patch(url(device), body, content_type=MERGE_PATCH, headers=names)


def problem(response: HttpResponse, status: int) -> dict[str, Any]:
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    document = json.loads(response.content)
    assert (document["status"], document["type"]) == (status, "about:blank")
    assert document["title"] and document["detail"]
    return dict(document)


# --- reading ---


def test_twin_has_its_parts_with_the_time_of_each_value(cast: Cast, device: Device) -> None:
    report(device, temperature=21.5, interval=10)
    desire(device, interval=15, note={"a": 1})
    note(device, room="12")
    DeviceState.objects.filter(pk=device.pk).update(
        last_message_at=NOW, previous_message_at=NOW - timedelta(minutes=10)
    )
    response = get(cast, device)
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response["Cache-Control"] == "private, no-store"
    document = json.loads(response.content)
    assert document["device"] == device.pk
    assert document["reported"]["temperature"] == {"value": 21.5, "unit": "m", "time": AT}
    assert document["desired"]["interval"] == {
        "value": 15,
        "time": AT,
        "state": "queued",
        "attempts": 1,
        "instruction": 1,
        "finished": None,
    }
    assert document["desired"]["note"] == {"value": {"a": 1}, "time": AT, "state": None}
    assert document["metadata"] == {"room": {"value": "12", "time": AT}}
    assert document["observed"] == {"send_interval": 600.0, "last_message": AT}
    assert (document["version"], document["versions"]) == (3, {"reported": 1, "desired": 1, "metadata": 1})
    assert document["delta"] == {"interval": 15, "note": {"a": 1}}


def test_device_that_has_told_nothing_has_an_empty_twin(cast: Cast, device: Device) -> None:
    document = said(cast, device)
    assert [document[part] for part in ("reported", "desired", "delta", "metadata", "version")] == [{}, {}, {}, {}, 0]


def test_bytes_say_how_they_are_written(cast: Cast, device: Device) -> None:
    report(device, raw=b"\xde\xad")
    assert said(cast, device)["reported"]["raw"] == {"value": "3q0=", "unit": "m", "time": AT, "encoding": "base64"}


@pytest.mark.parametrize("value", [1e20, -1e22, 0.1, "\u2028é", True])
def test_any_value_that_a_device_reports_can_be_read(cast: Cast, device: Device, value: Any) -> None:
    report(device, odd=value)
    desire(device, odd=[value])
    document = said(cast, device)
    assert document["reported"]["odd"]["value"] == value and document["delta"] == {"odd": [value]}


def test_failure_says_why(cast: Cast, device: Device) -> None:
    desire(device, interval=15)
    put(state=Sync.FAILED, due_at=None, cause="NO_ACK", reason="Nobody answered.")
    entry = said(cast, device)["desired"]["interval"]
    assert (entry["state"], entry["cause"], entry["reason"]) == ("failed", "NO_ACK", "Nobody answered.")


def test_delta_compares_controls_by_their_rule_and_others_member_by_member(cast: Cast, device: Device) -> None:
    report(device, 60.0, interval=15.3, fan={"speed": 1, "dir": "up"}, days=[1, 2], same=True)
    desire(device, interval=15, led=True, fan={"speed": 2, "dir": "up"}, days=[1], same=True)
    assert said(cast, device)["delta"] == {"led": True, "fan": {"speed": 2}, "days": [1]}


def test_control_that_no_report_answers_differs_until_it_is_acknowledged(cast: Cast, device: Device) -> None:
    desire(device, led=True)
    assert said(cast, device)["delta"] == {"led": True}
    put(state=Sync.IN_SYNC, due_at=None)
    assert said(cast, device)["delta"] == {}


def test_tag_names_the_version_and_spares_what_has_not_changed(cast: Cast, device: Device) -> None:
    report(device, temperature=21)
    tag = get(cast, device)["ETag"]
    assert tag.startswith('"v1.') and tag.endswith('"')
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        spared = get(cast, device, If_None_Match=given)
        assert (spared.status_code, spared.content, spared["ETag"]) == (304, b"", tag)
    assert get(cast, device, If_None_Match='"v1"').status_code == 200
    report(device, 60.0, temperature=22)
    assert get(cast, device, If_None_Match=tag)["ETag"].startswith('"v2.')


def test_tag_changes_with_the_way_of_a_value_and_with_what_is_observed(cast: Cast, device: Device) -> None:
    desire(device, interval=15)
    first = get(cast, device)["ETag"]
    put(state=Sync.ON_AIR)
    second = get(cast, device, If_None_Match=first)
    assert second.status_code == 200 and second["ETag"].startswith('"v1.')
    DeviceState.objects.filter(pk=device.pk).update(last_message_at=NOW)
    assert get(cast, device, If_None_Match=second["ETag"]).status_code == 200


# --- changing ---


def test_patch_asks_for_values_keeps_others_and_changes_metadata(cast: Cast, device: Device) -> None:
    note(device, room="12", floor="1")
    document = {"desired": {"interval": 15, "note": {"a": 1}}, "metadata": {"room": "13", "floor": None, "no": None}}
    response = patch(cast, device, document)
    assert response.status_code == 200
    answer = json.loads(response.content)
    assert answer["desired"]["interval"]["state"] == "queued" and answer["metadata"]["room"]["value"] == "13"
    assert response["ETag"] == get(cast, device)["ETag"]
    kept = twin(device)
    assert values(kept.desired) == {"interval": 15, "note": {"a": 1}} and values(kept.metadata) == {"room": "13"}
    with scopes_disabled():
        assert device.downlinks.count() == 1, "only the control is sent"
        assert AuditEntry.objects.filter(actor=cast.operator, action="twin.metadata_changed").count() == 1


def test_patch_merges_inside_a_value(cast: Cast, device: Device) -> None:
    desire(device, fan={"speed": 1, "dir": "up", "days": [1, 2]})
    patch(cast, device, {"desired": {"fan": {"speed": 2, "dir": None, "days": [3]}}})
    assert values(twin(device).desired) == {"fan": {"speed": 2, "days": [3]}}


def test_null_removes_a_value_and_the_whole_part(cast: Cast, device: Device) -> None:
    desire(device, interval=15, led=True, note=1)
    patch(cast, device, {"desired": {"interval": None, "absent": None}})
    assert values(twin(device).desired) == {"led": True, "note": 1}
    assert [way.name for way in ways()] == ["led"]
    assert patch(cast, device, {"desired": None}).status_code == 200
    assert twin(device).desired == {} and ways() == []


def test_empty_patch_changes_nothing(cast: Cast, device: Device) -> None:
    report(device, temperature=21)
    assert patch(cast, device, {}).status_code == 200
    assert patch(cast, device, {"desired": {}, "metadata": {}}).status_code == 200
    assert twin(device).version == 1


def test_every_wrong_member_is_named_and_nothing_is_changed(cast: Cast, device: Device) -> None:
    report(device, temperature=21)
    document = {
        "desired": {"interval": 0, "led": "perhaps", "a/b~": "x" * 4001, "good": 1, "": 1},
        "metadata": {"n": 5, "long": "x" * 1001, "fine": "text"},
        "reported": {"temperature": 1},
        "nonsense": 1,
    }
    errors = problem(patch(cast, device, document), 422)["errors"]
    assert {one["pointer"]: one["detail"] for one in errors} == {
        "#/desired/interval": "1 at least.",
        "#/desired/led": "Choose on or off.",
        "#/desired/a~1b~0": "A value has 4000 characters at most.",
        "#/desired/": "A property needs a key.",
        "#/metadata/n": "A property is a text.",
        "#/metadata/long": "A value has 1000 characters at most.",
        "#/reported": "This part is read-only.",
        "#/nonsense": "There is no such part: “desired” and “metadata” can be changed.",
    }
    kept = twin(device)
    assert (kept.version, kept.desired, kept.metadata) == (1, {}, {}) and ways() == []


@pytest.mark.parametrize("part", ["desired", "metadata"])
@pytest.mark.parametrize("content", [1, "text", [], True])
def test_part_that_is_no_object_is_refused(cast: Cast, device: Device, part: str, content: Any) -> None:
    errors = problem(patch(cast, device, {part: content}), 422)["errors"]
    assert [one["pointer"] for one in errors] == [f"#/{part}"]


@pytest.mark.parametrize("content", [[], 1, None, "text"])
def test_patch_that_is_no_object_is_refused(cast: Cast, device: Device, content: Any) -> None:
    problem(patch(cast, device, content), 422)


@pytest.mark.parametrize("body", [b" ", b"{", b'{"desired": NaN}', b"\xff", b'{"a": "\\ud800"}'])
def test_body_that_is_no_json_is_refused(cast: Cast, device: Device, body: bytes) -> None:
    problem(patch(cast, device, body), 400)


def test_too_large_too_deep_and_too_much_are_refused(cast: Cast, device: Device) -> None:
    problem(patch(cast, device, {"desired": {"a": "x" * 64 * 1024}}), 413)
    deep: Any = 1
    for _level in range(15):
        deep = {"a": deep}
    errors = problem(patch(cast, device, {"desired": {"a": deep}}), 422)["errors"]
    assert "16 levels" in errors[0]["detail"]
    assert patch(cast, device, {"desired": {"a": deep["a"]}}).status_code == 200
    many = {f"k{index}": index for index in range(100)}
    errors = problem(patch(cast, device, {"desired": many, "metadata": {"room": "1"}}), 422)["errors"]
    assert errors[0]["pointer"] == "#/desired" and "100 properties" in errors[0]["detail"]
    assert (len(twin(device).desired), twin(device).metadata) == (1, {})


def test_other_kind_of_body_is_refused(cast: Cast, device: Device) -> None:
    response = cast.client(cast.operator).patch(url(device), "{}", content_type="application/json")
    problem(response, 415)
    assert response["Accept-Patch"] == MERGE_PATCH


# --- two writers ---


def test_second_of_two_writers_is_told_the_version_and_changes_nothing(cast: Cast, device: Device) -> None:
    report(device, temperature=21)
    seen = get(cast, device)["ETag"]
    assert patch(cast, device, {"metadata": {"room": "mine"}}, If_Match=seen).status_code == 200
    response = patch(cast, device, {"metadata": {"room": "theirs"}, "desired": {"interval": 5}}, If_Match=seen)
    assert problem(response, 412)["version"] == 2
    assert response["ETag"] == get(cast, device)["ETag"]
    assert values(twin(device).metadata) == {"room": "mine"} and twin(device).desired == {}
    assert patch(cast, device, {"metadata": {"room": "theirs"}}, If_Match=response["ETag"]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_writers_at_the_same_time_one_is_done(cast: Cast, device: Device) -> None:
    note(device, room="12")
    seen, answers = get(cast, device)["ETag"], []

    def write(text: str) -> None:
        answers.append(patch(cast, device, {"metadata": {"room": text}}, If_Match=seen).status_code)
        connection.close()

    threads = [threading.Thread(target=write, args=(f"by {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 412, 412, 412]
    assert twin(device).metadata_version == 2


@pytest.mark.parametrize(
    ("given", "status"),
    [("*", 200), ('"v1"', 200), ('"v7", "v1"', 200), ('W/"v1"', 412), ('"v2"', 412), ('"1"', 412), ("v1", 412)],
)
def test_if_match_takes_versions_and_no_weak_tags(cast: Cast, device: Device, given: str, status: int) -> None:
    report(device, temperature=21)
    assert patch(cast, device, {"metadata": {"room": "12"}}, If_Match=given).status_code == status


def test_versions_of_parts_let_a_report_pass(cast: Cast, device: Device) -> None:
    note(device, room="12")
    seen = said(cast, device)["versions"]
    report(device, temperature=21)
    document = {"versions": {"metadata": seen["metadata"]}, "metadata": {"room": "13"}}
    assert patch(cast, device, document).status_code == 200
    assert problem(patch(cast, device, document), 412)["version"] == 3
    for wrong in ({"nonsense": 1}, 5):
        pointers = [one["pointer"] for one in problem(patch(cast, device, {"versions": wrong}), 422)["errors"]]
        assert pointers == ["#/versions/nonsense" if wrong != 5 else "#/versions"]


def test_program_is_told_of_what_a_person_asked_for_meanwhile(cast: Cast, device: Device) -> None:
    desire(device, interval=15)
    seen, generation = get(cast, device)["ETag"], ways()[0].generation
    fields = {"name": "interval", "value": "20", "seen": generation}
    assert cast.client(cast.operator).post(f"/devices/{device.pk}/twin/desired/", fields).status_code == 302
    problem(patch(cast, device, {"desired": {"interval": 30}}, If_Match=seen), 412)
    assert values(twin(device).desired) == {"interval": 20}


# --- who may ---


def test_refusals_are_problem_documents(cast: Cast, device: Device) -> None:
    anonymous = cast.client(None).get(url(device))
    problem(anonymous, 401)
    assert "WWW-Authenticate" in anonymous
    problem(cast.client(cast.stranger).get(url(device)), 404)
    problem(patch(cast, device, {"metadata": {"a": "b"}}, client=cast.client(cast.stranger)), 404)
    problem(patch(cast, device, {"metadata": {"a": "b"}}, client=cast.client(cast.viewer)), 403)
    refused = cast.client(cast.operator).delete(url(device))
    problem(refused, 405)
    assert refused["Allow"] == "GET, HEAD, PATCH"
    with scopes_disabled():
        assert not Twin.objects.filter(pk=device.pk).exists()


def test_change_by_a_session_needs_the_csrf_header(cast: Cast, device: Device) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.operator)
    assert client.get(url(device)).status_code == 200
    assert "CSRF" in problem(patch(cast, device, {"metadata": {"a": "b"}}, client=client), 403)["detail"]
    client.get(f"/devices/{device.pk}/twin/")
    token = client.cookies["csrftoken"].value
    response = patch(cast, device, {"metadata": {"a": "b"}}, client=client, X_CSRFToken=token)
    assert response.status_code == 200


def test_managed_device_keeps_no_metadata_and_takes_desired_values(cast: Cast, device: Device) -> None:
    managed = DeviceType.objects.create(
        slug="managed",
        name="Managed",
        category=Category.MANAGED,
        connectivity="lora",
        key_source="customer",
        controls=[INTERVAL],
        encoders=["commands"],
    )
    with scopes_disabled():
        Device.objects.filter(pk=device.pk).update(type=managed)
    errors = problem(patch(cast, device, {"metadata": {"room": "12"}, "desired": {"interval": 5}}), 422)["errors"]
    assert [one["pointer"] for one in errors] == ["#/metadata"]
    assert patch(cast, device, {"desired": {"interval": 5}}).status_code == 200


def test_device_that_is_being_deleted_is_not_changed(cast: Cast, device: Device) -> None:
    with scopes_disabled():
        deletion.request(device=Device.objects.get(pk=device.pk), actor=cast.operator)
    problem(patch(cast, device, {"metadata": {"room": "12"}}), 409)
    assert get(cast, device).status_code == 200


def test_number_of_queries_does_not_grow_with_the_values(cast: Cast, device: Device) -> None:
    client, counts = cast.client(cast.viewer), []
    for amount in (2, 90):
        report(device, **{f"v{index}": index for index in range(amount)})
        with scopes_disabled():
            set_desired([device.pk], {f"d{index}": index for index in range(amount)}, actor=None)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6
