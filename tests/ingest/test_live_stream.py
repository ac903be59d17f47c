"""Live streams: who may watch, what is told, one subscription for all, and what happens when Redis goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import OperationalError

from accounts.models import Membership
from devices import live
from devices.models import Device
from ingest import live_stream, stream
from ingest.live_stream import Hub, may_watch
from tests import factories
from tests.cast import Cast
from tests.ingest.conftest import call, subscribers

pytestmark = pytest.mark.usefixtures("unscoped")
transactional = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fresh_hub(monkeypatch: pytest.MonkeyPatch, own_channel: None) -> None:
    """Its events belong to the loop of one test; nothing waits longer than it must."""
    monkeypatch.setattr(live_stream, "hub", Hub())
    monkeypatch.setattr(live_stream, "GATHER_S", 0.01)


def cookie(cast: Cast, person: Any) -> str:
    return f"other=1; {settings.SESSION_COOKIE_NAME}={cast.client(person).cookies[settings.SESSION_COOKIE_NAME].value}"


class Browser:
    """One that watches: what it was sent, and how it goes away."""

    def __init__(self, device_id: int | str, cookie: str) -> None:
        self.scope = {
            "type": "http", "method": "GET", "path": f"/live/devices/{device_id}", "query_string": b"",
            "headers": [(b"cookie", cookie.encode())],
        }  # fmt: skip
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.left = asyncio.Event()
        self.task = asyncio.create_task(live_stream.live_stream(self.scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.put_nowait(message)

    async def next(self) -> str:
        return str((await asyncio.wait_for(self.sent.get(), 5))["body"].decode())

    async def opened(self) -> None:
        start = await asyncio.wait_for(self.sent.get(), 5)
        assert start["status"] == 200, start
        assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
        assert await self.next() == "retry: 3000\n\n"
        await asyncio.wait_for(live_stream.hub.listening.wait(), 5)

    async def close(self) -> None:
        self.left.set()
        await asyncio.wait_for(self.task, 5)


def watching(work: Callable[..., Awaitable[None]], *args: Any) -> None:
    async def run() -> None:
        await work(*args)
        reader = live_stream.hub.reader
        if reader is not None:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    asyncio.run(run())


# --- who may watch ---


@transactional
def test_members_of_the_project_may_watch(cast: Cast) -> None:
    device = factories.device(cast.project)
    people = (cast.administrator, cast.operator, cast.viewer, cast.stranger)
    cookies = {person.email: cookie(cast, person).encode() for person in people}
    assert [may_watch(text, device.pk) for text in cookies.values()] == [True, True, True, False]
    viewers = cookies[cast.viewer.email]
    assert not may_watch(viewers, device.pk + 1000)
    for text in (b"", b"sessionid=", b"sessionid=forged", b"\xff;=;sessionid", viewers[:-1]):
        assert not may_watch(text, device.pk)
    assert may_watch(b'odd="unclosed; [x]=1; ' + viewers, device.pk)
    Membership.objects.filter(user=cast.viewer).delete()
    assert not may_watch(viewers, device.pk)
    operators = cookies[cast.operator.email]
    cast.operator.set_password("another one entirely")
    cast.operator.save()
    assert not may_watch(operators, device.pk), "a new password ends all sessions"
    get_user_model().objects.filter(pk=cast.administrator.pk).update(is_active=False)
    assert not may_watch(cookies[cast.administrator.email], device.pk)


@transactional
def test_strangers_find_nothing(cast: Cast) -> None:
    device = factories.device(cast.project)
    paths = (f"/live/devices/{device.pk}", "/live/devices/x", "/live/devices/²", "/live/", f"/live/devices/{'9' * 30}")
    answers = [
        call(live_stream.live_stream, path, method="GET", headers={"cookie": cookie(cast, cast.stranger)})
        for path in paths
    ]
    assert {(answer.status, answer.code) for answer in answers} == {(404, "not-found")}
    assert len({answer.body for answer in answers}) == 1
    assert call(live_stream.live_stream, paths[0]).headers["allow"] == "GET"


def test_database_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bool:
        raise OperationalError("away")

    monkeypatch.setattr(live_stream, "may_watch", away)
    assert call(live_stream.live_stream, "/live/devices/1", method="GET").status == 503


# --- what is told ---


async def _told(device: Device, other: Device, cookie: str) -> None:
    browsers = [Browser(device.pk, cookie), Browser(device.pk, cookie), Browser(other.pk, cookie)]
    for browser in browsers:
        await browser.opened()
    assert len(subscribers()) == 1
    live.publish([(device.pk, ["twin"]), (device.pk, ["frames", "twin"]), (other.pk, ["status"])])
    for browser in browsers[:2]:
        assert await browser.next() == "event: frames\ndata: 1\n\nevent: twin\ndata: 1\n\n"
    assert await browsers[2].next() == "event: status\ndata: 1\n\n"
    live.publish([(device.pk, ["<script>"]), (device.pk, ["messages"])])
    assert await browsers[0].next() == "event: messages\ndata: 1\n\n"
    for browser in browsers:
        await browser.close()
    assert not live_stream.hub.watches


@transactional
def test_changes_reach_every_watcher_of_the_device(cast: Cast) -> None:
    device, other = factories.device(cast.project), factories.device(cast.project)
    watching(_told, device, other, cookie(cast, cast.viewer))


async def _recent(device: Device, cookie: str) -> None:
    live.publish([(device.pk, ["twin"])])
    browser = Browser(device.pk, cookie)
    await browser.opened()
    assert await browser.next() == "event: twin\ndata: 1\n\n"
    await browser.close()


@transactional
def test_change_while_the_page_was_on_its_way_is_told(cast: Cast) -> None:
    watching(_recent, factories.device(cast.project), cookie(cast, cast.viewer))


async def _quiet(device: Device, cookie: str) -> None:
    browser = Browser(device.pk, cookie)
    await browser.opened()
    assert await browser.next() == ": still here\n\n"
    await asyncio.wait_for(browser.task, 5)
    messages = [browser.sent.get_nowait() for _ in range(browser.sent.qsize())]
    assert messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert not live_stream.hub.watches


@transactional
def test_stream_beats_and_ends_so_that_rights_are_checked_again(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(live_stream, "LIFETIME_S", 0.1)
    watching(_quiet, factories.device(cast.project), cookie(cast, cast.viewer))


async def _slow(device_id: int) -> None:
    hub = live_stream.hub
    with hub.watching(device_id) as watch:
        for _ in range(10_000):
            hub.tell(f"{device_id} twin,frames")
        assert watch.take() == ["frames", "twin"]
        assert (watch.take(), watch.changed.is_set()) == ([], False)


def test_slow_browser_holds_a_set_of_names_and_no_queue() -> None:
    watching(_slow, 1)


async def _broken(device: Device, cookie: str) -> None:
    browser = Browser(device.pk, cookie)
    await browser.opened()
    # Redis drops the subscription; what was told meanwhile is not known.
    (subscriber,) = subscribers()
    assert stream.client().client_kill_filter(_id=subscriber) == 1
    told = await browser.next()
    assert sorted(line[7:] for line in told.splitlines() if line.startswith("event: ")) == sorted(live.PARTS)
    assert len(subscribers()) == 1
    live.publish([(device.pk, ["twin"])])
    assert await browser.next() == "event: twin\ndata: 1\n\n"
    await browser.close()


@transactional
def test_after_a_break_everything_is_asked_for_again(cast: Cast) -> None:
    watching(_broken, factories.device(cast.project), cookie(cast, cast.viewer))
