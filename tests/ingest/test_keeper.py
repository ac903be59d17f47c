"""Keeping from the event loop: all that arrive together in one pipeline, each answered for its own entry."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import redis
from redis.asyncio.client import Pipeline

from ingest import stream
from ingest.keeper import CHUNK, keeper
from tests.ingest.conftest import counts, waiting

KEYS = [f"{number:016X}" for number in range(40)]


def run(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of the works, begun together; errors come back as results."""

    async def together() -> list[Any]:
        try:
            return await asyncio.gather(*works, return_exceptions=True)
        finally:
            await keeper().client.aclose()

    return asyncio.run(together())


async def keep(number: int, key: str) -> None:
    await keeper().keep("x", str(number).encode(), {"n": number}, key, "x:accepted")


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands went to Redis in each pipeline."""
    sizes: list[int] = []
    execute = Pipeline.execute

    async def watched(self: Any, *args: Any, **options: Any) -> Any:
        sizes.append(len(self.command_stack))
        return await execute(self, *args, **options)

    monkeypatch.setattr(Pipeline, "execute", watched)
    return sizes


def test_together_in_one_pipeline_in_the_order_they_came(pipelines: list[int]) -> None:
    assert run(*(keep(number, KEYS[number % 40]) for number in range(300))) == [None] * 300
    assert pipelines == [301]
    entries = waiting()
    assert len(entries) == 300
    for key in KEYS:
        shard = stream.name(stream.shard_of(key))
        own = [int(values[b"body"]) for _id, values in stream.client().xrange(shard)]
        assert own == sorted(own)
    assert counts() == {"x:accepted": 300}


def test_more_than_one_pipeline_holds(pipelines: list[int]) -> None:
    assert run(*(keep(number, KEYS[0]) for number in range(CHUNK + 7))) == [None] * (CHUNK + 7)
    assert [int(entry.body) for entry in waiting()] == list(range(CHUNK + 7))
    assert pipelines == [CHUNK + 1, 8]


def test_each_is_answered_for_its_own_entry() -> None:
    """One stream cannot be written: the others' messages are kept, and only they hear so."""
    stream.client().set(stream.name(0), "no stream")
    answers = run(*(keep(number, key) for number, key in enumerate(KEYS)))
    failed = {key for key, answer in zip(KEYS, answers, strict=True) if isinstance(answer, redis.RedisError)}
    assert failed == {key for key in KEYS if stream.shard_of(key) == 0} != set()
    assert stream.client().xlen(stream.name(1)) == len(KEYS) - len(failed)


@pytest.mark.parametrize("gone", [1, 5])
def test_requests_that_go_away_do_not_hold_up_the_others(gone: int) -> None:
    async def cut(task: asyncio.Task[None]) -> None:
        await asyncio.sleep(0)
        task.cancel()

    async def all_of_them() -> list[Any]:
        tasks = [asyncio.create_task(keep(number, KEYS[0])) for number in range(10)]
        await asyncio.gather(*(cut(task) for task in tasks[:gone]))
        return await asyncio.gather(*tasks, return_exceptions=True)

    (answers,) = run(all_of_them())
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True] * gone + [False] * (10 - gone)
    assert answers[gone:] == [None] * (10 - gone)
