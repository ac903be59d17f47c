"""How many messages a second come in, from HTTP to the twin, beside COPY of the same rows."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection

from lora.networks import thingpark

from .load import AS_KEY, NETWORK


@dataclass(frozen=True, slots=True)
class Intake:
    """Messages a second: answered 2xx; visible in the twin; and rows a second of COPY into the frame table."""

    messages: int
    connections: int
    accepted: float
    visible: float
    copied: float


def requests(count: int, identifiers: list[str]) -> list[bytes]:
    """Signed ThingPark uplinks as raw HTTP requests, each of another device where there are enough."""
    now = datetime.now(UTC)
    made = []
    for number in range(count):
        dev_eui = identifiers[number % len(identifiers)]
        document = {
            "DevEUI_uplink": {
                "Time": now.isoformat(timespec="milliseconds"),
                "DevEUI": dev_eui,
                "FPort": 1,
                "FCntUp": 1_000_000 + number,
                "MType": 2,
                # ThingsML: temperature 21.5, humidity 40
                "payload_hex": "82a2173702f94d60a2173602f95100",
                "mic_hex": f"{number:08x}",
                "LrrRSSI": -90.0,
                "LrrSNR": 7.5,
                "SpFact": 9,
                "SubBand": "G1",
                "Channel": "LC3",
                "DevLrrCnt": 1,
                "Lrrid": "FF0101C2",
                "Lrrs": {"Lrr": [{"Lrrid": "FF0101C2", "LrrRSSI": -90.0, "LrrSNR": 7.5, "LrrESP": -90.7}]},
                "CustomerID": "100000000",
                "DevAddr": "14C4CC04",
            }
        }
        body = json.dumps(document).encode()
        query = thingpark.sign_push(document, as_key=AS_KEY, time=now)
        made.append(
            f"POST /ingestion/lora/thingpark/{NETWORK}?{query} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    return made


async def _pour(port: int, lines: list[bytes]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    good = 0
    for line in lines:
        writer.write(line)
        head = await reader.readuntil(b"\r\n\r\n")
        good += head.split(b" ", 2)[1].startswith(b"2")
        for header in head.split(b"\r\n"):
            if header.lower().startswith(b"content-length:"):
                await reader.readexactly(int(header.split(b":")[1]))
    writer.close()
    return good


async def _all(port: int, parts: list[list[bytes]]) -> int:
    return sum(await asyncio.gather(*(_pour(port, part) for part in parts)))


def measure(port: int, identifiers: list[str], *, messages: int = 20_000, connections: int = 32) -> Intake:
    """Send, and wait until the last message can be seen in the twins of the devices."""
    lines = requests(messages, identifiers)
    version = sum_versions()
    started = time.perf_counter()
    good = asyncio.run(_all(port, [lines[index::connections] for index in range(connections)]))
    accepted = time.perf_counter() - started
    if good != messages:
        raise RuntimeError(f"only {good} of {messages} messages were accepted")
    deadline = time.monotonic() + 120
    wanted = len(set(identifiers[: min(messages, len(identifiers))]))
    while sum_versions() - version < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError("the twins do not show the messages within two minutes")
        time.sleep(0.02)
    visible = time.perf_counter() - started
    return Intake(messages, connections, messages / accepted, messages / visible, copy_rate(messages))


def sum_versions() -> int:
    """Grows by at least one for every device that had a message."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(version), 0) FROM twin_twin")
        return int(cursor.fetchone()[0])


def copy_rate(rows: int) -> float:
    """Rows a second of COPY into a partitioned table like the frames', one statement, one connection."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_copy (LIKE lora_frame INCLUDING ALL)")
        cursor.execute("TRUNCATE bench_copy")
        columns = "device_id, received_at, seq, fcnt, rssi, snr, esp, direction, kind, payload, detail"
        moment = datetime.now(UTC).isoformat()
        line = "\t{moment}\t{n}\t{n}\t-90\t7.5\t-90.7\t0\t2\t\\\\x82a2173702f94d60\t{{}}\n"
        text = "".join(str(n % 1000) + line.format(moment=moment, n=n) for n in range(rows))
        started = time.perf_counter()
        with cursor.copy(f"COPY bench_copy ({columns}) FROM STDIN") as copy:
            copy.write(text)
        elapsed = time.perf_counter() - started
        cursor.execute("DROP TABLE bench_copy")
    return rows / elapsed
