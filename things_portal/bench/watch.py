"""How a page fares while something else is going on. Knows no Django: it runs in a process of its own."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any


def watch(port: int, cookie: str, path: str, stop: Event, found: Any) -> None:
    """In a process of its own: ask for the page again and again until ``stop``; gives p50 and p95 in milliseconds."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    while not stop.is_set():
        started = time.perf_counter()
        link.request("GET", path, headers={"Cookie": cookie, "Host": "localhost"})
        response = link.getresponse()
        response.read()
        times.append((time.perf_counter() - started) * 1000)
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}")
    times.sort()
    found.put((statistics.median(times), times[int(len(times) * 0.95)]))


@contextmanager
def watched(port: int, cookie: str, path: str) -> Iterator[list[tuple[float, float]]]:
    """Ask for the page all the while; afterwards the list has its (p50, p95) in milliseconds."""
    context = get_context("spawn")
    stop, found = context.Event(), context.Queue()
    process = context.Process(target=watch, args=(port, cookie, path, stop, found))
    process.start()
    result: list[tuple[float, float]] = []
    yield result
    stop.set()
    result.append(found.get(timeout=60))
    process.join(10)
