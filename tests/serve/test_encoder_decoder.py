"""A T5 behind the server: asked alone, by several at once, in pieces and in a chat, it says what
its encoder and decoder say to whoever computes them whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

import fledge
from fledge.hub.folder import load_model
from tests.serve.models import TEXT
from tests.serve.process import Server, start_server

PROMPTS = ("the cat", "seven birds sang", "a", "over green hills and old rivers")
WORDS = 9  # tokens of an answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps old, and far from uniform."""
    place = tmp_path_factory.mktemp("t5")
    run = fledge.pretrain(
        [TEXT[i : i + 160] for i in range(0, len(TEXT), 160)], architecture="t5", steps=3,
        tokenizer="bytes", layers=2, width=32, heads=2, context=64, tokens_per_step=512,
        precision="fp32", compile="no", out=place / "run",
    )  # fmt: skip
    loaded = load_model(run.folder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in loaded.network.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    loaded.save(place / "model")
    return place / "model"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with start_server(folder, slots=4) as started:
        yield started


@torch.no_grad()
def say(folder: Path, prompt: str) -> str:
    """Greedily, the whole row read again for every token, without an engine."""
    loaded = load_model(folder)
    tokenizer, network = loaded.tokenizer, loaded.network
    sayable = torch.from_numpy(tokenizer.sayable)
    row = tokenizer.open_text(prompt)
    begun = len(row)
    for _ in range(WORDS):
        logits = network(torch.tensor([row]))[0, -1] @ network.unembedding.T
        logits = logits[: len(sayable)].masked_fill(~sayable, -torch.inf)
        row.append(int(logits.argmax()))
        if row[-1] in tokenizer.ends:
            break
    said = [token for token in row[begun:] if token not in tokenizer.ends]
    return tokenizer.decode(said)


def ask(server: Server, prompt: str, **fields: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "max_tokens": WORDS, "temperature": 0, **fields}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_completions_are_those_of_the_network_alone_and_at_once(
    server: Server, folder: Path
) -> None:
    wanted = [say(folder, prompt) for prompt in PROMPTS]
    assert len(set(wanted)) > 1  # it hangs on what was read
    assert [ask(server, prompt)["choices"][0]["text"] for prompt in PROMPTS] == wanted
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda prompt: ask(server, prompt), PROMPTS * 4))
    assert [each["choices"][0]["text"] for each in answers] == list(wanted) * 4
    for answer in answers:
        assert answer["usage"]["completion_tokens"] <= WORDS


def test_a_stream_and_a_chat_come_to_their_ends(server: Server) -> None:
    whole = ask(server, PROMPTS[0])["choices"][0]["text"]
    body = {"prompt": PROMPTS[0], "max_tokens": WORDS, "temperature": 0, "stream": True}
    pieces = []
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=120) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                pieces += [each["text"] for each in json.loads(line[6:])["choices"]]
    assert "".join(pieces) == whole
    chat = httpx.post(
        f"{server.url}/v1/chat/completions", timeout=120,
        json={"messages": [{"role": "user", "content": "the cat"}], "max_tokens": 5},
    )  # fmt: skip
    assert chat.status_code == 200, chat.text
    assert chat.json()["choices"][0]["finish_reason"] in ("stop", "length")
