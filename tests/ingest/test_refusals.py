"""Refused messages for the owner's eyes (M3, I2), and old secrets that are accepted for a while."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from django.conf import settings
from django.utils import timezone

from devices.models import Connection, Device
from devices.services import deactivate
from ingest import refusals, views
from ingest.models import RefusedMessage
from internet.models import InternetIdentity
from m2m import services as m2m_services
from m2m.models import M2mIdentity
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import INTERNET, M2M, Answer, call, counts, pack, token, waiting

pytestmark = [pytest.mark.usefixtures("unscoped"), pytest.mark.django_db(transaction=True)]
HOUR = timedelta(hours=1)


def post(path: str, *parts: bytes, **options: Any) -> Answer:
    answer = call(views.ingestion, path, *parts, **options)
    refusals.settle()
    return answer


def kept(device: Device) -> list[tuple[str, bool]]:
    return [(refused.code, refused.proved) for refused in refusals.of(device.pk)]


@pytest.fixture(params=[INTERNET, M2M])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def device(cast: Cast, way: str) -> Device:
    return (factories.internet_device if way == INTERNET else factories.m2m_device)(cast.project)


def test_wrong_token_is_seen_by_the_owner_without_the_body(device: Device, way: str) -> None:
    body = pack(device, {"n": "t", "v": 1})
    answer = post(way, body, headers=token(body, "x" * 40))
    assert (answer.status, answer.code) == (401, "not-proved")
    [refused] = refusals.of(device.pk)
    assert (refused.code, refused.proved, refused.body, refused.size) == ("not-proved", False, "", len(body))
    assert "another secret" in refused.reason


def test_unknown_device_leaves_a_count_and_nothing_else(device: Device, way: str) -> None:
    unknown = "000000000000000" if way == M2M else "00000000-0000-0000-0000-000000000000"
    kind = "IMEI" if way == M2M else "DVNUUID"
    body = f'[{{"bn":"urn:dev:{kind}:{unknown}:","n":"t","v":1}}]'.encode()
    assert post(way, body, headers=token(body)).status == 401
    assert not RefusedMessage.objects.exists()
    assert counts() == {f"{'m2m' if way == M2M else 'internet'}:not-proved": 1}


def test_bad_senml_of_the_device_itself_has_place_and_body(device: Device, way: str) -> None:
    body = pack(device, {"n": "t", "v": 1})[:-1] + b',\n{"n":"t","v":,}]'
    answer = post(way, body, headers=token(body))
    assert (answer.status, answer.code) == (400, "bad-senml")
    [refused] = refusals.of(device.pk)
    assert (refused.code, refused.proved) == ("bad-senml", True)
    assert "Line 2, column 14" in refused.reason and refused.body == body.decode()


def test_bad_senml_of_a_stranger_looks_like_a_wrong_token(device: Device, way: str) -> None:
    body = pack(device, {"n": "t", "v": 1})[:-1]
    known, unknown = (
        post(way, body),
        post(way, b"[" + body.replace(device_name(device), b"0" * len(device_name(device)))),
    )
    assert known.status == unknown.status == 400
    [refused] = refusals.of(device.pk)
    assert (refused.code, refused.proved, refused.body) == ("not-proved", False, "")


def device_name(device: Device) -> bytes:
    found = M2mIdentity.objects.filter(device=device).first()
    return (found.imei if found else str(InternetIdentity.objects.get(device=device).dvn_uuid)).encode()


def test_bad_cbor_has_its_reason(device: Device, way: str) -> None:
    bn = json.loads(pack(device, {"n": "t", "v": 1}))[0]["bn"]
    good, bad = cbor2.dumps([{-2: bn, 0: "t", 2: 1}]), cbor2.dumps([{-2: bn, 0: "t", 2: "x"}])
    headers = {"content-type": "application/senml+cbor"}
    assert post(way, good, headers=token(good) | headers).status == 200
    assert post(way, bad, headers=token(bad) | headers).status == 400
    [refused] = refusals.of(device.pk)
    assert refused.proved and refused.reason


@pytest.mark.parametrize("told", [True, False])
def test_too_large_is_seen_with_its_size(device: Device, way: str, told: bool) -> None:
    body = pack(device, {"n": "t", "v": 1}).ljust(settings.INGEST_MAX_BODY + 1)
    assert post(way, body[:500], body[500:], headers=token(body), length=told).status == 413
    [refused] = refusals.of(device.pk)
    assert (refused.code, refused.proved, refused.body) == ("too-large", False, "")
    assert refused.size == len(body)


def test_connectivity_that_is_not_active_is_told_to_the_owner(device: Device, way: str) -> None:
    Device.objects.filter(pk=device.pk).update(connection_status=Connection.DEACTIVATED)
    body = pack(device, {"n": "t", "v": 1})
    assert post(way, body, headers=token(body)).status == 403
    assert kept(device) == [("not-active", True)]


def test_accepted_messages_leave_nothing(device: Device, way: str) -> None:
    body = pack(device, {"n": "t", "v": 1})
    assert post(way, body, headers=token(body)).status == 200
    deactivate(device=device, actor=None)
    assert kept(device) == []


def test_flood_is_kept_small(device: Device, way: str) -> None:
    """Ten rows a minute, fifty in all, whatever comes."""
    body = pack(device, {"n": "t", "v": 1})
    for _each in range(15):
        call(views.ingestion, way, body)
    refusals.settle()
    assert RefusedMessage.objects.count() == refusals.A_MINUTE
    now = timezone.now()
    for minute in range(1, 60):
        refusals._write(device.pk, now + timedelta(minutes=minute), "not-proved", f"{minute}", 1, b"", False)
    assert RefusedMessage.objects.count() == refusals.KEPT
    assert refusals.of(device.pk)[0].at == now + timedelta(minutes=59)


def test_full_queue_drops_and_never_waits(device: Device, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _each in range(refusals.WAITING):
        assert refusals._waiting.acquire(blocking=False)
    try:
        body = pack(device, {"n": "t", "v": 1})
        assert post(way, body).status == 401
        assert kept(device) == []
    finally:
        for _each in range(refusals.WAITING):
            refusals._waiting.release()


def test_owner_sees_them_on_the_tab_and_a_stranger_nothing(cast: Cast, device: Device, way: str) -> None:
    post(way, pack(device, {"n": "t", "v": 1}))
    url = f"/devices/{device.pk}/{'m2m' if way == M2M else 'internet'}/"
    assert "another secret" in cast.client(cast.viewer).get(url).content.decode()
    assert cast.client(cast.stranger).get(url).status_code == 404
    post(way, pack(device, {"n": "<script>", "v": 1})[:-1] + b"<script>alert(1)</script>", headers={})
    assert "<script>alert" not in cast.client(cast.viewer).get(url).content.decode()


# --- the old secret ---


def test_old_secret_is_accepted_for_its_time_and_its_use_is_seen(cast: Cast) -> None:
    device = factories.m2m_device(cast.project)
    new = m2m_services.new_secret(device=device, actor=cast.operator, grace=HOUR)
    body = pack(device, {"n": "t", "v": 1})
    assert post(M2M, body, headers=token(body, new)).status == 200
    assert M2mIdentity.objects.get(device=device).old_secret_used_at is None
    assert post(M2M, body, headers=token(body)).status == 200
    used = M2mIdentity.objects.get(device=device).old_secret_used_at
    assert used is not None and len(waiting()) == 2
    post(M2M, body, headers=token(body))
    assert M2mIdentity.objects.get(device=device).old_secret_used_at == used  # noted once a minute
    page = cast.client(cast.viewer).get(f"/devices/{device.pk}/m2m/").content.decode()
    assert "Old shared secret" in page and "old-secret/revoke/" not in page
    M2mIdentity.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    assert post(M2M, body, headers=token(body)).status == 401
    assert "Old shared secret" not in cast.client(cast.viewer).get(f"/devices/{device.pk}/m2m/").content.decode()


def test_without_grace_and_after_revoking_the_old_one_is_refused(cast: Cast) -> None:
    device = factories.internet_device(cast.project)
    body = pack(device, {"n": "t", "v": 1})
    client = cast.client(cast.operator)
    url = f"/devices/{device.pk}/internet/"
    assert client.post(f"{url}secret/", {"grace": "604800"}).status_code == 200
    assert post(INTERNET, body, headers=token(body)).status == 200
    assert "old-secret/revoke/" in client.get(url).content.decode()
    assert client.post(f"{url}old-secret/revoke/")["Location"] == url
    assert post(INTERNET, body, headers=token(body)).status == 401
    assert InternetIdentity.objects.get(device=device).old_secret == b""
    assert "No old secret" in client.post(f"{url}old-secret/revoke/", follow=True).content.decode()
    InternetIdentity.objects.get(device=device)
    assert client.post(f"{url}secret/", {"grace": "0"}).status_code == 200
    assert client.post(f"{url}secret/", {"grace": "99"}).status_code == 422
    assert InternetIdentity.objects.get(device=device).old_secret_until is None


def test_a_second_new_secret_ends_the_one_before_the_last(cast: Cast) -> None:
    device = factories.m2m_device(cast.project)
    first = m2m_services.new_secret(device=device, actor=cast.operator, grace=HOUR)
    m2m_services.new_secret(device=device, actor=cast.operator, grace=HOUR)
    body = pack(device, {"n": "t", "v": 1})
    assert post(M2M, body, headers=token(body)).status == 401
    assert post(M2M, body, headers=token(body, first)).status == 200


def test_both_secrets_are_always_compared(cast: Cast) -> None:
    """Also of a device that is not known, and of one without an old secret."""
    device = factories.m2m_device(cast.project)
    message = views.Message("IMEI", "0", b"body", "token", timezone.now(), cbor=False, timed=False)
    for imei in (device.m2m.imei, "000000000000000"):
        assert views.find_sender("IMEI", imei).proves(message) == (False, False)
    # No secret proves nothing, whatever the token.
    empty = views.Message(
        "IMEI", "0", b"body", token(b"body", "")["things-message-token"], timezone.now(), False, False
    )
    assert views.Sender(None, "s" * 40).proves(empty) == (False, False)
