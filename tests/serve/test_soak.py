"""Thousands of short requests, many of them dropped by their clients at any moment: each is
answered or cancelled once, no slot is lost, memory stays flat.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serve.conftest import Running
from tests.serve.process import Server

CLIENTS = 24
GROWTH_MB = 40  # of 10,000 requests; a lost row of the KV cache of each would be 10 times as much


def read_memory(server: Server) -> float:
    """MB that the process holds now."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert resident is not None
    return int(resident[1]) / 1024


def read_metrics(server: Server) -> dict[str, float]:
    """Summed over labels."""
    values: dict[str, float] = defaultdict(float)
    for line in httpx.get(f"{server.url}/metrics").text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name.partition("{")[0]] += float(value)
            values[name] = float(value)
    return values


async def ask(address: tuple[str, int], draws: random.Random) -> str:
    """One request on a connection of its own; what became of it."""
    body: dict[str, Any] = {
        "prompt": "the cat " * draws.randint(1, 10),
        "max_tokens": draws.randint(1, 24),
        "stream": draws.random() < 0.7,
        "n": draws.choice((1, 1, 1, 2)),
    }
    leaves = draws.choice(("never", "never", "at once", "after the head", "in the middle"))
    reader, writer = await asyncio.open_connection(*address)
    try:
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
            "Connection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        await writer.drain()
        if leaves == "at once":
            return "left"
        await asyncio.sleep(draws.random() * 0.02)
        if leaves == "after the head":
            await reader.readuntil(b"\r\n\r\n")
            return "left"
        if leaves == "in the middle":
            await reader.read(draws.randint(300, 2000))
            return "left"
        answer = await reader.read()
        status, _, said = answer.partition(b"\r\n\r\n")
        if b" 200 " not in status.splitlines()[0]:
            return status.split()[1].decode()
        if body["stream"]:
            assert said.count(b"data: [DONE]") == 1
            assert said.count(b'"finish_reason":"') == body["n"]
        else:
            assert said.count(b'"finish_reason":') == body["n"]
        return "answered"
    finally:
        writer.close()
        if leaves == "at once" or draws.random() < 0.5:
            writer.transport.abort()  # a reset, not a polite end


def soak(server: Server, requests: int) -> Counter[str]:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    address, left = (parts.hostname, parts.port), iter(range(requests))

    async def work(number: int) -> list[str]:
        draws = random.Random(number)
        return [await ask(address, draws) for _ in left]

    async def run() -> list[list[str]]:
        return await asyncio.gather(*map(work, range(CLIENTS)))

    return Counter(one for several in asyncio.run(run()) for one in several)


def assert_at_rest(server: Server) -> dict[str, float]:
    """All slots are free again soon, and each row ended once."""
    until = time.monotonic() + 20
    while True:
        now = read_metrics(server)
        if now["fledge_rows_running"] == now["fledge_rows_waiting"] == 0:
            return now
        assert time.monotonic() < until, now
        time.sleep(0.05)


def hold(server: Server, requests: int) -> Counter[str]:
    became = soak(server, requests)
    assert sum(became.values()) == requests
    # 408: the machine let a client wait for a second between its first and its last byte
    assert set(became) <= {"answered", "left", "429", "408"}, became
    assert became["answered"] > requests / 5, became
    now = assert_at_rest(server)
    assert now["fledge_engine_failures"] == 0
    # the slots are all there: as many rows as fit are answered side by side
    answer = httpx.post(
        f"{server.url}/v1/completions", json={"prompt": "old", "n": 8, "max_tokens": 4}, timeout=30
    )
    assert len(answer.json()["choices"]) == 8
    return became


def test_hundreds_of_clients_come_and_go(running: Running) -> None:
    hold(running.server, 500)


@pytest.mark.slow
def test_ten_thousand_requests_leave_nothing_behind(running: Running) -> None:
    hold(running.server, 1000)  # whatever is made once is made
    before = read_memory(running.server)
    hold(running.server, 10_000)
    assert read_memory(running.server) - before < GROWTH_MB
