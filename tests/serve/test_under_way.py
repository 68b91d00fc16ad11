"""Answers under way: what a full queue, a time that is up, a client that goes away and a signal do
to them.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serve.models import make_model
from tests.serve.process import Server, start_server

CHAT = "/v1/chat/completions"
# Says much more than any test waits for.
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4000, "ignore_eos": True,
}  # fmt: skip
SHORT = LONG | {"max_tokens": 4, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("served") / "long", context=8192)


@pytest.fixture(scope="module")
def narrow(folder: Path) -> Iterator[Server]:
    """Two slots, and room for one more to wait."""
    with start_server(folder, slots=2, queue=1, context=8192, timeout=5) as server:
        yield server


class Streaming:
    """A stream that has begun, on a connection of its own."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        place, content = urlsplit(url), json.dumps({**body, "stream": True}).encode()
        self.line = socket.create_connection((place.hostname or "", place.port or 0), timeout=30)
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        self.line.sendall(head.encode() + f"content-length: {len(content)}\r\n\r\n".encode())
        self.line.sendall(content)
        self.heard = b""

    def wait_for(self, words: bytes) -> None:
        while words not in self.heard:
            more = self.line.recv(65536)
            assert more, self.heard[-300:]
            self.heard += more


def read_metric(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics").text
    match = re.search(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert match, text
    return float(match[1])


def wait_until_idle(url: str) -> None:
    until = time.monotonic() + 30
    while read_metric(url, "fledge_rows_running") + read_metric(url, "fledge_rows_waiting"):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_beyond_the_queue_is_refused_and_a_client_that_goes_frees_its_slot(
    narrow: Server,
) -> None:
    streams = [Streaming(narrow.url, LONG) for _ in range(2)]
    for stream in streams:
        stream.wait_for(b'"content":"')
    third = Streaming(narrow.url, LONG)
    third.wait_for(b"assistant")  # accepted, and waits
    refused = httpx.post(narrow.url + CHAT, json=SHORT)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert refused.headers["retry-after"] == "1"
    assert read_metric(narrow.url, "fledge_refused_total") >= 1
    for stream in (*streams, third):
        stream.line.close()
    wait_until_idle(narrow.url)
    assert httpx.post(narrow.url + CHAT, json=SHORT).status_code == 200


def test_a_client_that_does_not_stream_and_goes_frees_its_slot(narrow: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(narrow.url + CHAT, json=LONG, timeout=0.5)
    wait_until_idle(narrow.url)


def test_a_request_that_takes_too_long_is_told_so(folder: Path) -> None:
    with start_server(folder, slots=2, context=8192, timeout=0.2) as hasty:
        answer = httpx.post(hasty.url + CHAT, json=LONG | {"n": 2}, timeout=30)
        assert answer.status_code == 504
        assert "longer than 0.2 s" in answer.json()["error"]["message"]
        stream = Streaming(hasty.url, LONG | {"n": 2})
        stream.wait_for(b'"error":')
        stream.wait_for(b"0\r\n\r\n")  # and the stream is closed in order
        assert b"longer than 0.2 s" in stream.heard
        wait_until_idle(hasty.url)


def test_what_is_asked_at_once_beyond_all_room_is_no_matter_of_waiting(narrow: Server) -> None:
    answer = httpx.post(narrow.url + CHAT, json=SHORT | {"n": 4})
    assert answer.status_code == 400
    assert "takes 3 at the most" in answer.json()["error"]["message"]


def test_a_signal_lets_what_streams_finish(folder: Path) -> None:
    with start_server(folder, slots=2, context=8192) as server:
        stream = Streaming(server.url, LONG | {"max_tokens": 300})
        stream.wait_for(b'"content":"')
        server.process.send_signal(signal.SIGTERM)
        stream.wait_for(b"data: [DONE]")
        assert stream.heard.count(b'"finish_reason":"length"') == 1
        assert server.process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        assert any("finishing what streams" in line for line in server.lines)
        assert not any("Traceback" in line for line in server.lines), "\n".join(server.lines)


def test_a_second_signal_ends_at_once(folder: Path) -> None:
    with start_server(folder, slots=2, context=8192) as server:
        stream = Streaming(server.url, LONG)
        stream.wait_for(b'"content":"')
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        began = time.monotonic()
        assert server.stop(signal.SIGINT) == 130
        assert time.monotonic() - began < 10
        assert not any("Traceback" in line for line in server.lines), "\n".join(server.lines)
