"""The ways in over ASGI: who is let in, what is refused and how, and that a 200 means kept (M5, I3, L9)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import cbor2
import pytest
import redis
from django.conf import settings
from django.db import OperationalError, connection

from devices.models import Connection, Device
from devices.services import deactivate
from downlinks import execution, handover, services
from downlinks.models import Cause, Downlink
from ingest import stream, views
from ingest.reading import Entry
from lora.models import Network
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import (
    AS_KEY,
    INTERNET,
    M2M,
    THINGPARK,
    Answer,
    call,
    counts,
    now,
    pack,
    push,
    report,
    statements,
    take,
    thingpark_network,
    token,
    waiting,
)

transactional = pytest.mark.django_db(transaction=True)
pytestmark = pytest.mark.usefixtures("unscoped")
DEV_EUI = "0059AC000017338B"


def post(path: str, *parts: bytes, **options: Any) -> Answer:
    return call(views.ingestion, path, *parts, **options)


# --- before anything is read ---


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [INTERNET, M2M, THINGPARK])
def test_only_post(path: str, method: str) -> None:
    answer = post(path, b"[]", method=method)
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method", "POST")


@pytest.mark.parametrize("path", ["/ingestion/", "/ingestion/ip/senml/v2", "/ingestion/lora/thingpark", f"{M2M}/x"])
def test_no_such_way(path: str) -> None:
    assert (post(path, b"[]").status, waiting()) == (404, [])


def test_addresses_of_strangers_do_not_fill_the_counters() -> None:
    for number in range(5):
        post(f"/ingestion/{number}/x", b"")
    assert counts() == {"none:no-such-way": 5}


@pytest.mark.parametrize("length", [str(settings.INGEST_MAX_BODY + 1), "9" * 18, "9" * 5000, "-1", "1e3", "³"])
def test_length_is_refused_before_the_body_is_read(length: str) -> None:
    read: list[str] = []

    async def ingestion(scope: Any, receive: Any, send: Any) -> None:
        scope["headers"] = [(b"content-length", length.encode())]

        async def watched() -> Any:
            read.append("read")
            return await receive()

        await views.ingestion(scope, watched, send)

    answer = call(ingestion, INTERNET, b"[]")
    expected = (413, "too-large") if length.isdecimal() and len(length) <= 18 else (400, "bad-length")
    assert (answer.status, answer.code) == expected
    # One piece of what is too large is looked at, for the name of the device in it.
    assert read == (["read"] if answer.status == 413 else [])


def test_chunks_are_counted_while_they_come() -> None:
    half = b" " * (settings.INGEST_MAX_BODY // 2 + 1)
    answer = post(INTERNET, half, half, b"never asked for", length=False)
    assert (answer.status, answer.code, answer.headers["connection"]) == (413, "too-large", "close")


def test_message_that_is_cut_short() -> None:
    async def ingestion(scope: Any, receive: Any, send: Any) -> None:
        async def cut() -> Any:
            message = await receive()
            return message | {"more_body": True}

        await views.ingestion(scope, cut, send)

    assert call(ingestion, INTERNET, b"[").code == "cut-short"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad-senml"),
        (b"not json", "bad-senml"),
        (b'[{"bn":"urn:dev:DVNUUID:x:","n":"t","v":1}]', "bad-senml"),
        (b'[{"n":"t","v":1}]', "bad-base-name"),
        (b'[{"bn":"urn:dev:IMEI:356938035643809:","n":"t","v":1}]', "bad-base-name"),
        (b'[{"bn":"urn:dev:DVNUUID:00000000-0000-4000-8000-000000000000:"}]', "bad-base-name"),
    ],
)
def test_pack_that_cannot_be_accepted(body: bytes, code: str) -> None:
    answer = post(INTERNET, body)
    assert (answer.status, answer.code, waiting()) == (400, code, [])
    assert counts() == {f"internet:{code}": 1}


# --- M2M and Internet devices ---


@transactional
@pytest.mark.parametrize("way", [INTERNET, M2M])
def test_pack_is_kept_as_it_came(cast: Cast, way: str) -> None:
    device = (factories.internet_device if way == INTERNET else factories.m2m_device)(cast.project)
    body = pack(device, {"n": "temperature", "u": "Cel", "v": 21.5}) + b"\n "
    before = now()
    answer = post(way, body[:20], body[20:], headers=token(body), length=False)
    assert (answer.status, answer.body, "content-type" in answer.headers) == (200, b"", False)
    (entry,) = waiting()
    assert (entry.source, entry.body, entry.meta["device_id"]) == (stream.SENML, body, device.pk)
    assert before <= entry.received_at <= before + timedelta(seconds=30)
    assert counts() == {("internet" if way == INTERNET else "m2m") + ":accepted": 1}


@transactional
def test_unknown_device_and_wrong_token_get_the_same_answer(cast: Cast) -> None:
    device = factories.internet_device(cast.project)
    body = pack(device, {"n": "t", "v": 1})
    stranger = body.replace(str(device.internet.dvn_uuid).encode(), b"00000000-0000-0000-0000-000000000000")
    refused = [
        post(INTERNET, body),
        post(INTERNET, body, headers=token(body, "another" * 6)),
        post(INTERNET, body + b" ", headers=token(body)),
        post(INTERNET, stranger, headers=token(stranger)),
        post(INTERNET, stranger, headers=token(stranger, "")),
    ]
    assert {answer.code for answer in refused} == {"not-proved"}
    assert {(answer.status, answer.body, tuple(answer.headers)) for answer in refused} == {
        (401, refused[0].body, tuple(refused[0].headers))
    }
    assert waiting() == []
    assert counts() == {"internet:not-proved": 5}


@pytest.mark.django_db
def test_unknown_device_costs_the_queries_of_a_known_one(cast: Cast) -> None:
    device = factories.m2m_device(cast.project)
    assert statements(lambda: views.find_sender("IMEI", device.m2m.imei)) == 1
    assert statements(lambda: views.find_sender("IMEI", "000000000000000")) == 1
    assert views.find_sender("IMEI", device.m2m.imei) == views.Sender(
        device.pk, factories.SECRET, active=True, base_name=device.m2m.base_name
    )
    assert len(views.find_sender("DVNUUID", "00000000-0000-0000-0000-000000000000").secret) == 40


@transactional
def test_connectivity_that_is_not_active_is_told_to_who_proves_itself(cast: Cast) -> None:
    device = factories.m2m_device(cast.project)
    body = pack(device, {"n": "t", "v": 1})
    for status in set(Connection) - {Connection.ACTIVE}:
        Device.objects.filter(pk=device.pk).update(connection_status=status)
        answer = post(M2M, body, headers=token(body))
        assert (answer.status, answer.code) == (403, "not-active"), status
        assert post(M2M, body, headers=token(body, "x" * 40)).status == 401, status
    assert waiting() == []


@transactional
def test_device_deactivated_in_the_portal_is_still_kept(cast: Cast) -> None:
    """D7: its data goes into the history."""
    device = factories.m2m_device(cast.project, in_flow=factories.flow(cast.project))
    deactivate(device=device, actor=None)
    body = pack(device, {"n": "t", "v": 1})
    assert post(M2M, body, headers=token(body)).status == 200
    assert len(waiting()) == 1


@transactional
def test_pack_in_cbor(cast: Cast) -> None:
    device = factories.internet_device(cast.project)
    body = cbor2.dumps([{-2: device.internet.base_name, 0: "temperature", 2: 21.5}])
    answer = post(INTERNET, body, headers=token(body) | {"content-type": "Application/SenML+CBOR; x=y"})
    assert answer.status == 200
    (entry,) = waiting()
    assert entry.meta["cbor"] is True
    assert post(INTERNET, body, headers=token(body)).code == "bad-senml"


def ask(device: Any, value: float) -> Downlink:
    payload = f'[{{"n":"setpoint","v":{value}}}]'.encode()
    return services.request(device=device, encoder="raw-senml", payload=payload, actor=None)


def states(device: Any) -> list[str]:
    return list(Downlink.objects.filter(device=device).order_by("number").values_list("state", flat=True))


@transactional
def test_answer_carries_the_instruction_that_waits(cast: Cast) -> None:
    device = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
    ask(device, 1), ask(device, 2)
    answers = []
    for number in range(3):
        body = pack(device, {"n": "t", "v": number})
        answers.append(post(INTERNET, body, headers=token(body)))
    assert [answer.headers.get("content-type") for answer in answers] == ["application/json"] * 2 + [None]
    assert [json.loads(answer.body)[0]["v"] for answer in answers[:2]] == [1, 2]
    assert next(iter(json.loads(answers[0].body)[0].items())) == ("bn", device.internet.base_name)
    assert (answers[2].status, answers[2].body) == (200, b"")
    assert states(device) == ["delivered", "delivered"]
    assert len(waiting()) == 3


@transactional
def test_repeated_message_gets_the_same_instruction_and_acknowledges_nothing(cast: Cast) -> None:
    """A device whose answer was lost sends the same bytes again, with the same times."""
    device = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
    ask(device, 1), ask(device, 2)
    body = pack(device, {"n": "t", "v": 1}, bt=now().timestamp())
    first, again = (post(INTERNET, body, headers=token(body)) for _ in range(2))
    assert first.body == again.body != b""
    assert states(device) == ["executing", "pending"]
    other = pack(device, {"n": "t", "v": 1}, bt=now().timestamp() + 1)
    assert json.loads(post(INTERNET, other, headers=token(other)).body)[0]["v"] == 2
    assert states(device) == ["delivered", "executing"]


@pytest.mark.django_db
def test_message_without_instructions_costs_one_query(cast: Cast) -> None:
    """Few devices have one at any time."""
    device = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
    body = pack(device, {"n": "t", "v": 1})
    proof = token(body)["things-message-token"]
    message = views.Message("DVNUUID", str(device.internet.dvn_uuid), body, proof, now(), cbor=False, timed=False)
    assert statements(lambda: views._keep_from_device(message)) == 1
    ask(device, 1)
    assert views.find_sender("DVNUUID", message.value).instructed
    assert views._keep_from_device(message) != b""


@transactional
def test_same_values_without_times_are_a_new_message(cast: Cast) -> None:
    device = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
    ask(device, 1)
    body = pack(device, {"n": "alarm", "vb": True})
    assert [bool(post(INTERNET, body, headers=token(body)).body) for _ in range(2)] == [True, False]
    assert states(device) == ["delivered"]


@transactional
def test_message_that_is_kept_is_never_asked_for_again(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away after the message was kept: a 503 would bring it twice."""
    device = factories.internet_device(cast.project, in_flow=factories.flow(cast.project))
    body = pack(device, {"n": "t", "v": 1})

    def gone(*_: object) -> None:
        assert len(waiting()) == 1, "first keep, then mark"
        raise OperationalError("the connection is closed")

    ask(device, 1)
    monkeypatch.setattr(handover, "device_answered", gone)
    answer = post(INTERNET, body, headers=token(body))
    assert (answer.status, answer.body) == (200, b"")


# --- ThingPark ---


@transactional
def test_push_is_kept_as_it_came(cast: Cast) -> None:
    thingpark_network()
    query, body = push(report("uplink-with-token", DEV_EUI, now()), now())
    answer = post(THINGPARK, body, query=query)
    assert (answer.status, answer.body) == (200, b"")
    (entry,) = waiting()
    assert (entry.source, entry.body, entry.meta["network"]) == (stream.THINGPARK, body, "radio")
    assert stream.client().xlen(stream.name(stream.shard_of(DEV_EUI))) == 1
    assert counts() == {"thingpark:accepted": 1}


@transactional
def test_push_that_does_not_prove_itself(cast: Cast) -> None:
    thingpark_network()
    document = report("uplink-with-token", DEV_EUI, now())
    query, body = push(document, now())
    changed = json.dumps(report("uplink-with-token", DEV_EUI, now(), payload_hex="7640")).encode()
    old_query, _ = push(document, now() - timedelta(seconds=601))
    early_query, _ = push(document, now() + timedelta(seconds=605))
    other_query, _ = push(document, now(), as_key="0" * 32)
    wrong = {
        "changed body": post(THINGPARK, changed, query=query),
        "another key": post(THINGPARK, body, query=other_query),
        "no query": post(THINGPARK, body),
        "another network": post("/ingestion/lora/thingpark/nowhere", body, query=query),
        "network without a key": post("/ingestion/lora/thingpark/simulated", body, query=query),
    }
    assert {name: (answer.status, answer.code) for name, answer in wrong.items()} == dict.fromkeys(
        wrong, (401, "bad-token")
    )
    assert len({answer.body for answer in wrong.values()}) == 1
    assert {post(THINGPARK, body, query=each).code for each in (old_query, early_query)} == {"stale"}
    assert post(THINGPARK, b"{", query=query).code == "malformed"
    assert post("/ingestion/lora/thingpark/nowhere", b"{", query=query).code == "malformed"
    assert waiting() == []


@transactional
def test_drift_of_zero_accepts_any_time(cast: Cast) -> None:
    thingpark_network(max_drift_seconds=0)
    query, body = push(report("uplink-with-token", DEV_EUI, now()), now() - timedelta(days=400))
    assert post(THINGPARK, body, query=query).status == 200


@transactional
def test_proved_push_that_cannot_be_read_is_kept(cast: Cast) -> None:
    """It is our reading that fails: the network must not throw it away."""
    thingpark_network()
    query, body = push(report("uplink-with-token", DEV_EUI, now(), LrrRSSI="loud"), now())
    assert post(THINGPARK, body, query=query).status == 200
    assert len(waiting()) == 1


@transactional
def test_new_key_of_a_network_is_taken_within_seconds(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    network = thingpark_network()
    document = report("uplink-with-token", DEV_EUI, now())
    query, body = push(document, now())
    assert post(THINGPARK, body, query=query).status == 200
    network.set_as_key("0" * 32)
    network.save(update_fields=["as_key"])
    new_query, _ = push(document, now(), as_key="0" * 32)
    moment = views.time.monotonic()
    monkeypatch.setattr(views.time, "monotonic", lambda: moment + views.NETWORKS_KEPT_S + 0.1)
    assert post(THINGPARK, body, query=query).status == 401
    assert post(THINGPARK, body, query=new_query).status == 200
    assert Network.objects.get(slug="radio").get_as_key() != AS_KEY


# --- when the stores cannot take it ---


@transactional
def test_full_backlog_is_told_to_who_proves_itself(cast: Cast, settings: Any) -> None:
    device = factories.m2m_device(cast.project)
    settings.INGEST_MAX_BACKLOG = 1
    for _ in range(2):
        stream.accept(stream.LORA_EVENTS, b"{}", {}, "x")
    body = pack(device, {"n": "t", "v": 1})
    answer = post(M2M, body, headers=token(body))
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "backlog", "30")
    assert post(M2M, body).status == 401
    assert len(take()) == 2
    views._backlog[0] = float("-inf")
    assert post(M2M, body, headers=token(body)).status == 200


@transactional
def test_redis_away(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    device = factories.m2m_device(cast.project)
    body = pack(device, {"n": "t", "v": 1})
    away = redis.Redis(host="127.0.0.1", port=1, retry=stream.client().get_retry())
    monkeypatch.setattr(stream, "_client", away)
    started = views.time.monotonic()
    answer = post(M2M, body, headers=token(body))
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "5")
    assert post(M2M, body).status == 401
    assert views.time.monotonic() - started < 2, "the sender waits for the answer"


@transactional
def test_redis_away_for_pushes(cast: Cast, settings: Any) -> None:
    thingpark_network()
    query, body = push(report("uplink-with-token", DEV_EUI, now()), now())
    assert post(THINGPARK, body, query=query).status == 200
    # The backlog was asked for a moment ago: only keeping can fail.
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    started = views.time.monotonic()
    answer = post(THINGPARK, body, query=query)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "5")
    assert views.time.monotonic() - started < 2, "the network waits for the answer"


@transactional
def test_database_away(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    device = factories.m2m_device(cast.project)
    body = pack(device, {"n": "t", "v": 1})
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    answer = post(M2M, body, headers=token(body))
    assert (answer.status, answer.code) == (503, "unavailable")
    assert waiting() == []


def test_entry_is_what_was_accepted() -> None:
    stream.accept("a source", b"\x00\xff", {"received_at": 1.5}, "key")
    (entry,) = waiting()
    assert entry == Entry(entry.id, "a source", b"\x00\xff", {"received_at": 1.5})


def test_shard_of_a_device_is_stable(settings: Any) -> None:
    settings.INGEST_SHARDS = 4
    shards = [stream.shard_of(f"{number:016X}") for number in range(400)]
    assert [shards.count(shard) > 60 for shard in range(4)] == [True] * 4
    assert stream.shard_of(DEV_EUI) == 2


@transactional
@pytest.mark.parametrize("way", [M2M, INTERNET])
def test_instruction_goes_from_request_to_each_of_its_ends(cast: Cast, way: str) -> None:
    """Pending until a message comes; handed over in its answer, one per answer; the next new message delivers it.
    Failed where none comes in time, or where its own end comes first. A worker that was there before changes nothing.
    """
    make = factories.m2m_device if way == M2M else factories.internet_device
    device = make(cast.project, in_flow=factories.flow(cast.project))
    numbers = iter(range(99))

    def message() -> Any:
        body = pack(device, {"n": "t", "v": next(numbers)})
        answer = post(way, body, headers=token(body))
        assert answer.status == 200
        return json.loads(answer.body)[0]["v"] if answer.body else None

    first, second = ask(device, 1), ask(device, 2)
    execution.run(device.pk)
    assert states(device) == ["executing", "pending"], "a worker claims it; nobody but the device takes it away"
    assert message() == 1
    assert states(device) == ["executing", "pending"]
    assert message() == 2
    assert states(device) == ["delivered", "executing"]
    handed = Downlink.objects.get(pk=second.pk)
    assert handed.executing_at == handed.accepted_at == handed.sent_at
    execution.sweep(handed.deadline)
    assert Downlink.objects.get(pk=second.pk).cause == Cause.NOT_BACK
    ask(device, 3)
    Downlink.objects.filter(number=3).update(valid_until=now() - timedelta(seconds=1))
    assert message() is None, "not valid any more, whether or not the sweeper was there"
    execution.sweep(now())
    assert states(device) == ["delivered", "failed", "failed"]
    assert Downlink.objects.get(device=device, number=3).cause == Cause.EXPIRED
    assert Downlink.objects.get(pk=first.pk).cause == ""
