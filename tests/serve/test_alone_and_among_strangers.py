"""A seed gives the same answer alone and among 32 strangers who come, stop in the middle and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.process import Server, start_server

STRANGERS = 32
WORDS = ("cat", "sat", "mat", "seven", "birds", "green hills", "old rivers", "the")


@pytest.fixture(scope="module")
def server(folders: dict[str, Path]) -> Iterator[Server]:
    """One that waits for slow clients: 33 of them, in a process that has other work too."""
    with start_server(folders["one"], slots=8, queue=64) as started:
        yield started


def ask(seed: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"the cat sat on {seed} old rivers"}],
        "max_tokens": 40,
        "temperature": 1.0,
        "seed": seed,
        "logprobs": True,
        "top_logprobs": 2,
        "return_token_ids": True,
    }


async def draw(
    client: httpx.AsyncClient, seed: int, **fields: Any
) -> tuple[list[int], list[float]]:
    """The tokens of an answer and their log-probabilities."""
    answer = await client.post("/v1/chat/completions", json=ask(seed))
    assert answer.status_code == 200, answer.text
    content = answer.json()["choices"][0]["logprobs"]["content"]
    return [each["token_id"] for each in content], [each["logprob"] for each in content]


async def pester(client: httpx.AsyncClient, number: int, over: asyncio.Event) -> int:
    """A stranger: chats and running text of every length and kind, most streams left in the middle;
    how many were begun.
    """
    draws, begun = random.Random(number), 0
    while not over.is_set():
        words = " ".join(draws.choices(WORDS, k=draws.randint(1, 60)))
        body: dict[str, Any] = {
            "max_tokens": draws.randint(1, 60),
            "temperature": draws.choice((0.0, 0.7, 1.5)),
            "top_p": draws.choice((1.0, 0.8)),
            "n": draws.choice((1, 1, 2)),
            "stop": draws.choice((None, ["e"], [" t", "zz"])),
            "frequency_penalty": draws.choice((0.0, 1.0)),
            "stream": draws.random() < 0.7,
        }
        chats = draws.random() < 0.6
        body |= {"messages": [{"role": "user", "content": words}]} if chats else {"prompt": words}
        path = "/v1/chat/completions" if chats else "/v1/completions"
        begun += 1
        async with client.stream("POST", path, json=body) as answer:
            assert answer.status_code in (200, 429)
            leaves = draws.randint(1, 30)
            async for _ in answer.aiter_lines():
                leaves -= 1
                if leaves == 0:
                    break
    return begun


def test_a_seed_is_the_same_alone_and_among_strangers(server: Server) -> None:
    async def run() -> None:
        # one that is turned away would be no stranger in the batch
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits) as client:
            alone = [await draw(client, seed) for seed in range(4)]
            assert len({tuple(tokens) for tokens, _ in alone}) == 4
            over = asyncio.Event()
            strangers = [
                asyncio.create_task(pester(client, number, over)) for number in range(STRANGERS)
            ]
            await asyncio.sleep(0.5)  # until they fill the slots and the queue
            for _ in range(3):
                among = await asyncio.gather(*(draw(client, seed) for seed in range(4)))
                for (tokens, logp), (same, near) in zip(alone, among, strict=True):
                    assert same == tokens
                    assert near == pytest.approx(logp, abs=1e-5)
            over.set()
            assert sum(await asyncio.gather(*strangers)) > STRANGERS

    asyncio.run(run())
