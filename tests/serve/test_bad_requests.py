"""A hundred bad requests: each gets one clear error in OpenAI's form, and nobody else notices."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fledge.text.tokenizer import load_tokenizer
from tests.serve.bad_requests import BAD, CHAT, HI, Bad
from tests.serve.conftest import Running
from tests.serve.process import start_server

LONG = {"messages": HI, "max_tokens": 200, "seed": 3, "temperature": 1.0, "ignore_eos": True}
KEY = "a-key-of-some-length"


def hold(answer: httpx.Response, status: int, word: str) -> None:
    """That it is one clear error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert word.lower() in error["message"].lower()
    assert error["message"].endswith(".")
    assert len(error["message"]) < 500
    assert "Traceback" not in answer.text


def send(client: httpx.Client, bad: Bad) -> httpx.Response:
    headers = {"content-type": "application/json", **bad.headers}
    content = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    return client.request(bad.method, bad.path, content=content, headers=headers)


def read_answer(running: Running) -> str:
    answer = httpx.post(running.url + CHAT, json=LONG, timeout=60)
    assert answer.status_code == 200
    return answer.json()["choices"][0]["message"]["content"]


def test_each_has_a_clear_error_and_neighbours_go_on(running: Running) -> None:
    expected, answers, stop = read_answer(running), list[str](), threading.Event()

    def be_a_neighbour() -> None:
        while not stop.is_set():
            answers.append(read_answer(running))

    neighbour = threading.Thread(target=be_a_neighbour)
    neighbour.start()
    failed: list[str] = []
    with httpx.Client(base_url=running.url, timeout=60) as client:
        for bad in BAD:
            try:
                hold(send(client, bad), bad.status, bad.word)
            except (AssertionError, httpx.HTTPError) as error:
                failed.append(f"{str(bad)[:200]}: {error!r}"[:600])
    stop.set()
    neighbour.join()
    assert not failed, "\n".join(failed)
    assert len(BAD) >= 100
    assert len(answers) >= 2
    assert set(answers) == {expected}
    assert running.server.process.poll() is None
    assert not any("Traceback" in line for line in running.server.lines)


# Below HTTP: what no client library sends.


def speak(running: Running, *pieces: bytes, pause_s: float = 0.0) -> httpx.Response:
    """The answer to these bytes, sent with pauses between them."""
    place = urlsplit(running.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as line:
        try:
            for piece in pieces:
                line.sendall(piece)
                time.sleep(pause_s)
        except OSError:  # refused before it had all been sent: the answer lies there all the same
            pass
        heard = b""
        while more := line.recv(65536):
            heard += more
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
)


@pytest.mark.parametrize(
    ("pieces", "status", "word"),
    [
        ([b"this is no HTTP\r\n\r\n"], 400, "no HTTP"),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)], 400, "no HTTP"),
        ([b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 1_000_000], 431, "headers"),
        ([b"GET /" + b"a" * 1_000_000], 431, "headers"),
        ([b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200_000], 431, "headers"),
        ([POST + b"content-length: -5\r\n\r\n"], 400, "no HTTP"),
        ([POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello"], 400, "no HTTP"),
        ([POST + b"connection: close\r\ncontent-length: 99999999999\r\n\r\n{}"], 413, "bytes"),
        ([POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"], 400, ""),
        (
            [
                POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
                *[b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 5,
                b"0\r\n\r\n",
            ],
            413,
            "bytes",
        ),
        ([b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n"], 400, ""),
    ],
)
def test_what_is_no_request_is_answered(
    running: Running, pieces: list[bytes], status: int, word: str
) -> None:
    hold(speak(running, *pieces), status, word)


def test_who_sends_slowly_is_let_go(running: Running) -> None:
    began = time.monotonic()
    heads = (POST + b"x: y").partition(b"host")
    hold(speak(running, *heads, pause_s=0.1), 408, "headers")
    body = POST + b"content-length: 50\r\n\r\n", b'{"messages"'
    hold(speak(running, *body, pause_s=0.1), 408, "body")
    assert time.monotonic() - began < 15
    assert read_answer(running)


def test_who_opens_a_connection_and_says_nothing_is_let_go(running: Running) -> None:
    place = urlsplit(running.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as line:
        assert line.recv(10) == b""


def test_who_takes_nothing_of_an_answer_is_let_go(running: Running) -> None:
    """Else the answer stays in memory, and an orderly end waits for it. It has more bytes than the
    kernel holds between the two, of which Linux says how many they are.
    """
    tokenizer = load_tokenizer(running.folders["one"])
    longest = max(range(tokenizer.vocab_size), key=lambda i: len(tokenizer.decode([i])))
    body = json.dumps({"tokens": [longest] * 799_999}, separators=(",", ":")).encode()
    whole = 799_999 * len(tokenizer.decode([longest]))
    held = Path("/proc/sys/net/ipv4/tcp_wmem")
    if held.exists() and int(held.read_text().split()[2]) + 100_000 > whole:
        pytest.skip("the kernel of this machine takes the whole answer")
    place = urlsplit(running.url)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(60)
        line.connect((place.hostname or "", place.port or 0))
        head = POST.replace(b"/v1/chat/completions", b"/detokenize")
        line.sendall(head + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        heard = len(line.recv(1000))
        time.sleep(4)  # slow=1: looked at twice
        with suppress(ConnectionResetError):
            while more := line.recv(1 << 20):
                heard += len(more)
    assert 0 < heard < whole
    assert read_answer(running)


def test_who_goes_before_the_body_is_whole_is_no_failure(running: Running) -> None:
    place = urlsplit(running.url)
    before = len(running.server.lines)
    for _ in range(3):
        with socket.create_connection((place.hostname or "", place.port or 0)) as line:
            line.sendall(POST + b"content-length: 50\r\n\r\n{")
            time.sleep(0.2)
    assert read_answer(running)
    assert running.server.lines[before:] == []


@pytest.fixture(scope="module")
def locked(folders: dict[str, Path]) -> Iterator[str]:
    """A server that wants a key."""
    with start_server(folders["one"], env={"FLEDGE_KEY": KEY}, slots=2) as server:
        yield server.url


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-key-of-length"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer \u00e9\u00e9".encode().decode("latin-1")},
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/metrics", "/fledge/runs"])
def test_a_wrong_key_opens_nothing(locked: str, headers: dict[str, str], path: str) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    hold(httpx.get(locked + path, headers=raw), 401, "key")  # pyright: ignore[reportArgumentType]


def test_every_path_but_the_page_itself_wants_the_key(locked: str) -> None:
    """Whatever is served, written by hand: a new path has to be thought about."""
    paths = [
        ("POST", path)
        for path in (
            "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings",
            "/tokenize", "/detokenize", "/fledge/tokens", "/fledge/score", "/fledge/votes",
            "/fledge/thumbs", "/fledge/compare", "/fledge/compared",
        )
    ]  # fmt: skip
    paths += [
        ("GET", path)
        for path in (
            "/v1/models", "/v1/models/one", "/metrics", "/fledge/models", "/fledge/runs",
            "/fledge/lineage", "/fledge/runs/1/metrics", "/fledge/runs/1/report", "/docs",
            "/openapi.json", "/page", "//page/main.js", "/nothing",
        )
    ]  # fmt: skip
    for method, path in paths:
        hold(httpx.request(method, locked + path, content=b"{}"), 401, "key")
    for path in ("/", "/health", "/page/main.js", "/page/page.css", "/favicon.ico"):
        assert httpx.get(locked + path).status_code == 200, path
    for path in ("../verb.py", "..%2fverb.py", "%2e%2e/verb.py", "..%5cverb.py", "x", "", "a/b"):
        assert httpx.get(f"{locked}/page/{path}").status_code in (401, 404), path


def test_refused_answers_are_counted(locked: str) -> None:
    headers: dict[str, Any] = {"authorization": f"Bearer {KEY}"}

    def count() -> float:
        told = httpx.get(f"{locked}/metrics", headers=headers).text
        name = 'fledge_responses_total{route="other",status="401"} '
        return float((told.partition(name)[2] or "0\n").split("\n")[0])

    before = count()
    hold(httpx.get(f"{locked}/v1/models"), 401, "key")
    assert count() == before + 1


def test_the_right_key_does(locked: str) -> None:
    headers: dict[str, Any] = {"authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{locked}/v1/models", headers=headers).status_code == 200
    assert httpx.get(f"{locked}/health").status_code == 200
