"""Files of the whole fleet: how long they take over HTTP, and what the web process holds more while it makes them."""

from __future__ import annotations

import http.client
import os
import time
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class FileTime:
    """``size`` in bytes; ``grown``: MiB of memory of the web processes at their largest, above what they had before."""

    kind: str
    size: int
    seconds: float
    grown: float


def measure(port: int, cookie: str, kind: str, path: str, web: int) -> FileTime:
    """``web``: the process id of the web server, whose children count too."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    before = largest = resident(web)
    started = looked_at = time.perf_counter()
    link.request("GET", path, headers={"Cookie": cookie, "Host": "localhost"})
    response = link.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status}")
    size = 0
    while chunk := response.read(CHUNK):
        size += len(chunk)
        if time.perf_counter() - looked_at > 0.1:
            largest = max(largest, resident(web))
            looked_at = time.perf_counter()
    link.close()
    return FileTime(kind, size, time.perf_counter() - started, (largest - before) / 2**20)


def resident(process: int) -> int:
    """Bytes of memory of the process and its children."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)
