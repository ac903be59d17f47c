"""The Internet tab: identity, a new shared secret, the example request (I2)."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import cbor2
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import AuditEntry
from codec import senml, tokens
from devices.models import Category, Device, DeviceType
from internet.models import InternetIdentity
from tests import factories
from tests.cast import Cast

HTMX = {"HX-Request": "true"}


@pytest.fixture
def device(cast: Cast) -> Device:
    return factories.internet_device(cast.project, in_flow=factories.flow(cast.project))


def url(device: Device, action: str = "") -> str:
    return f"/devices/{device.pk}/internet/{action}"


def identity_of(device: Device) -> InternetIdentity:
    return InternetIdentity.objects.get(device=device)


def tab(cast: Cast, device: Device, **headers: str) -> str:
    response = cast.client(cast.operator).get(url(device), **headers)
    assert response.status_code == 200
    return response.content.decode()


def example_on(page: str) -> str:
    found = re.search(r'<pre class="code" id="example-curl">(.*?)</pre>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_tab_shows_the_identity(cast: Cast, device: Device) -> None:
    page = tab(cast, device)
    assert str(identity_of(device).dvn_uuid) in page
    assert f"urn:dev:DVNUUID:{identity_of(device).dvn_uuid}:" in page
    assert factories.SECRET not in page


@pytest.mark.parametrize("action", ["", "secret/"])
def test_tab_is_hidden_from_strangers(cast: Cast, device: Device, action: str) -> None:
    assert cast.client(cast.stranger).get(url(device, action)).status_code == 404
    assert cast.client(cast.stranger).post(url(device, "secret/")).status_code == 404


def test_secret_is_refused_to_a_read_only_account(cast: Cast, device: Device) -> None:
    client = cast.client(cast.viewer)
    assert url(device, "secret/") not in client.get(url(device)).content.decode()
    assert client.get(url(device, "secret/")).status_code == 403
    assert client.post(url(device, "secret/")).status_code == 403
    assert identity_of(device).get_secret() == factories.SECRET


def test_tab_refuses_other_methods(cast: Cast, device: Device) -> None:
    assert cast.client(cast.operator).post(url(device)).status_code == 405
    assert cast.client(cast.operator).put(url(device, "secret/")).status_code == 405


def test_device_without_network_info_is_led_to_the_network_step(cast: Cast) -> None:
    device = factories.device(cast.project, "own-internet")
    page = tab(cast, device)
    assert "No network info yet" in page and f'href="/devices/{device.pk}/network/"' in page
    assert "Example request" not in page
    answer = cast.client(cast.operator).post(url(device, "secret/"), follow=True)
    assert "no network info yet" in answer.content.decode()


def test_new_secret_is_shown_once_in_the_answer(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    assert client.get(url(device, "secret/")).status_code == 200
    assert identity_of(device).get_secret() == factories.SECRET
    answer = client.post(url(device, "secret/"))
    secret = identity_of(device).get_secret()
    assert secret != factories.SECRET and tokens.SECRET_PATTERN.fullmatch(secret)
    assert secret in answer.content.decode() and "no-store" in answer["Cache-Control"]
    for action in ("", "secret/"):
        assert secret not in client.get(url(device, action)).content.decode()
    with scopes_disabled():
        entry = AuditEntry.objects.get(action="internet.secret_replaced")
    assert entry.actor_id == cast.operator.pk and secret not in str(entry.after)


def test_managed_device_keeps_its_secret(cast: Cast, device: Device) -> None:
    DeviceType.objects.filter(pk=device.type_id).update(category=Category.MANAGED)
    assert url(device, "secret/") not in tab(cast, device).split('id="main"')[1]
    cast.client(cast.operator).post(url(device, "secret/"))
    assert identity_of(device).get_secret() == factories.SECRET


def test_example_works_as_printed(cast: Cast, device: Device, tmp_path: Path) -> None:
    """The shell runs what the page prints; a curl of our own keeps what would go over the line."""
    script = example_on(tab(cast, device))
    assert "'http://testserver/ingestion/ip/senml/v1'" in script
    script = script.replace("paste-the-shared-secret-here", factories.SECRET)
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\0" "$argument"; done\n')
    curl.chmod(0o755)
    ran = subprocess.run(
        ["sh", "-c", script], capture_output=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, text=True
    )
    arguments = ran.stdout.split("\0")
    body = arguments[arguments.index("--data-binary") + 1]
    token = next(argument for argument in arguments if argument.startswith("Things-Message-Token: "))
    assert tokens.verify(body.encode(), factories.SECRET, token.removeprefix("Things-Message-Token: "))
    senml.parse_json(body.encode(), received_at=0.0)
    assert json.loads(body)[0]["bn"] == identity_of(device).base_name


def test_tab_shows_the_last_messages(cast: Cast, device: Device) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devices_senmlmessage (device_id, received_at, seq, records, digest, body)"
            " VALUES (%s, %s, 1, 1, '', %s), (%s, %s, 2, 1, '', %s)",
            [device.pk, timezone.now(), b'[{"n":"<b>","v":1}]', device.pk, timezone.now(), b"no json"],
        )
    page = tab(cast, device)
    assert "&lt;b&gt;" in page and "no json" in page and "<b>" not in page.split('id="internet-messages"')[1]
    part = tab(cast, device, headers=HTMX)
    assert part.strip().startswith('<section class="panel" id="internet-messages"') and "<html" not in part


def test_number_of_queries_does_not_grow_with_the_messages(cast: Cast, device: Device) -> None:
    client = cast.client(cast.operator)
    counts = []
    for amount in (2, 18):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO devices_senmlmessage (device_id, received_at, seq, digest, body)"
                " SELECT %s, now(), %s + n, '', '[]' FROM generate_series(1, %s) n",
                [device.pk, amount * 100, amount],
            )
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url(device)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def arrived(device: Device, amount: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devices_senmlmessage (device_id, received_at, seq, records, digest, body)"
            " SELECT %s, now() - n / 2 * interval '1 second', n, 1, '',"
            " convert_to('[{\"n\":\"m' || n || '\",\"v\":1}]', 'UTF8') FROM generate_series(1, %s) n",
            [device.pk, amount],
        )


def test_messages_are_paged_without_a_gap_or_a_repeat(cast: Cast, device: Device) -> None:
    """Some came in the same moment."""
    arrived(device, 45)
    seen: list[str] = []
    address: str | None = url(device)
    pages = 0
    while address:
        page = html.unescape(cast.client(cast.viewer).get(address).content.decode())
        seen += re.findall(r'<td class="m-main">(m\d+)</td>', page)
        older = re.search(r'href="([^"]*\?before=[^"]+)"', page)
        # What is older does not change: it is not read again by itself.
        assert ("sse:messages" in page.split('id="internet-messages"')[1]) is (pages == 0)
        address, pages = (older[1] if older else None), pages + 1
    assert pages == 3 and len(seen) == len(set(seen)) == 45


@pytest.mark.parametrize("key", ["x", "99999999999999999999-1", "20260101000000000000-x", "-", "%00"])
def test_key_that_is_none_shows_the_newest(cast: Cast, device: Device, key: str) -> None:
    arrived(device, 2)
    page = cast.client(cast.viewer).get(f"{url(device)}?before={key}").content.decode()
    assert page.count('<td class="m-main">m') == 2


def test_message_shows_measurements_time_and_raw(cast: Cast, device: Device) -> None:
    body = json.dumps([{"bn": identity_of(device).base_name, "bt": 1767225600, "n": "a", "u": "Cel", "v": 21.5}])
    other = cbor2.dumps([{-2: "x", 0: "on", 4: True}])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO devices_senmlmessage (device_id, received_at, seq, records, digest, body)"
            " VALUES (%s, now(), 1, 1, '', %s), (%s, now(), 2, 1, '', %s)",
            [device.pk, body.encode(), device.pk, other],
        )
    page = html.unescape(tab(cast, device))
    assert '<td class="m-end">21.5</td><td class="m-end2">Cel</td>' in page and "2026-01-01" in page
    assert '"u": "Cel"' in page and '<td class="m-end">true</td>' in page and other.hex(" ").upper() in page
