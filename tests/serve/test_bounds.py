"""A server that is full: whoever comes is told so, and is heard once there is room."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serve.models import make_model
from tests.serve.parrots import make_tokenizer, save_judge
from tests.serve.process import Server, start_server

ASKED = [{"role": "user", "content": "the cat sat"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "on a mat"}]
LONG = {"prompt": "the cat", "max_tokens": 8_000, "ignore_eos": True, "stream": True}
ASKS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": ASKED, "max_tokens": 1}),
    ("/v1/completions", {"prompt": "the", "max_tokens": 0, "echo": True, "logprobs": 1}),
    ("/v1/embeddings", {"input": ["the cat", "a mat"]}),
    ("/fledge/tokens", {"messages": ASKED, "answer": "on a mat"}),
    ("/fledge/score", {"messages": ANSWERED, "reward_model": "judge"}),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of one slot, where nobody waits, and four are connected."""
    place = tmp_path_factory.mktemp("full")
    folders: list[Path] = [
        make_model(place / "one", context=8_192),
        save_judge(place / "judge", make_tokenizer("the cat sat on a mat")),
    ]
    with start_server(*folders, slots=1, queue=0, connections=4, context=8_192) as running:
        yield running


def test_who_comes_to_a_full_queue_is_told_so_wherever(server: Server) -> None:
    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        client.stream("POST", "/v1/completions", json=LONG) as stream,
    ):
        said = stream.iter_bytes()  # held: one that is let go closes the connection
        next(said)
        for path, body in ASKS:
            answer = client.post(path, json=body)
            assert (path, answer.status_code) == (path, 429)
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == "queue_full"
        stream.close()
        for path, body in ASKS:
            until = time.monotonic() + 20
            while (answer := client.post(path, json=body)).status_code == 429:
                assert time.monotonic() < until
                time.sleep(0.02)
            assert (path, answer.status_code) == (path, 200), answer.text


def test_one_client_too_many_is_told_so(server: Server) -> None:
    parts = urlsplit(server.url)
    address = (parts.hostname or "", parts.port or 0)
    lines = [socket.create_connection(address, timeout=20) for _ in range(4)]
    try:
        with socket.create_connection(address, timeout=20) as one_more:
            heard = b""
            while more := one_more.recv(65536):
                heard += more
        head, _, body = heard.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head
        assert "4 clients are connected" in json.loads(body)["error"]["message"]
    finally:
        for line in lines:
            line.close()
    until = time.monotonic() + 20
    while True:
        try:
            answer = httpx.get(f"{server.url}/health")
        except httpx.HTTPError:
            continue
        if answer.status_code == 200:
            break
        assert time.monotonic() < until
        time.sleep(0.05)
