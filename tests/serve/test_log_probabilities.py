"""Served log-probabilities are the policy's own, computed here by the network alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from fledge.hub.folder import load_model
from tests.serve.conftest import Running

BOUND = 1e-5
CHAT = {"messages": [{"role": "user", "content": "the cat sat"}], "max_tokens": 24, "seed": 5}


def measure(folder: Path, prompt: list[int], said: list[int]) -> list[float]:
    """log π of each token said after the prompt."""
    policy = load_model(folder).policy()
    row = torch.tensor([[*prompt, *said]])
    with torch.no_grad():
        logp = policy.log_prob(row, row[:, 1:])[0]
    return logp[len(prompt) - 1 :].tolist()


def ask(running: Running, path: str, **body: Any) -> Any:
    answer = httpx.post(running.url + path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(running: Running, path: str, **body: Any) -> list[Any]:
    with httpx.stream("POST", running.url + path, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def read_prompt(running: Running) -> list[int]:
    return ask(running, "/tokenize", messages=CHAT["messages"])["tokens"]


@pytest.mark.parametrize("rule", [{}, {"temperature": 0}, {"temperature": 0.7, "top_p": 0.8}])
def test_a_chat_completion_tells_the_models_own_whatever_the_rule(
    running: Running, rule: dict[str, Any]
) -> None:
    body = {**CHAT, **rule, "model": "two", "logprobs": True, "top_logprobs": 3}
    choice = ask(running, "/v1/chat/completions", return_token_ids=True, **body)["choices"][0]
    told = choice["logprobs"]["content"]
    said = [one["token_id"] for one in told]
    expected = measure(running.folders["two"], read_prompt(running), said)
    assert [one["logprob"] for one in told] == pytest.approx(expected, abs=BOUND)
    best = [max(other["logprob"] for other in one["top_logprobs"]) for one in told]
    assert all(top >= one["logprob"] - BOUND for top, one in zip(best, told, strict=True))
    assert all(len(one["top_logprobs"]) == 3 for one in told)


def test_what_is_streamed_is_what_is_answered_at_once(running: Running) -> None:
    body = {**CHAT, "logprobs": True, "top_logprobs": 2, "n": 2, "return_token_ids": True}
    whole = ask(running, "/v1/chat/completions", **body)["choices"]
    pieces = stream(running, "/v1/chat/completions", **body)
    for i in range(2):
        mine = [c for piece in pieces for c in piece["choices"] if c["index"] == i]
        text = "".join(choice["delta"].get("content", "") for choice in mine)
        told = [
            one for choice in mine if choice["logprobs"] for one in choice["logprobs"]["content"]
        ]
        assert text == whole[i]["message"]["content"]
        assert [one["token_id"] for one in told] == [
            one["token_id"] for one in whole[i]["logprobs"]["content"]
        ]
        # Batches of other sizes sum in another order.
        assert [one["logprob"] for one in told] == pytest.approx(
            [one["logprob"] for one in whole[i]["logprobs"]["content"]], abs=BOUND
        )
        assert mine[-1]["finish_reason"] == whole[i]["finish_reason"]


def test_a_completion_tells_of_its_prompt_too(running: Running) -> None:
    body = {"prompt": "the cat sat on a mat", "max_tokens": 6, "temperature": 0, "logprobs": 2}
    choice = ask(running, "/v1/completions", echo=True, return_token_ids=True, **body)["choices"][0]
    told = choice["logprobs"]
    prompt = ask(running, "/tokenize", prompt=body["prompt"])["tokens"]
    assert told["token_ids"][: len(prompt)] == prompt
    expected = measure(running.folders["one"], prompt[:1], told["token_ids"][1:])
    assert told["token_logprobs"][0] is None
    assert told["top_logprobs"][0] is None
    assert told["token_logprobs"][1:] == pytest.approx(expected, abs=BOUND)
    assert choice["text"].startswith(body["prompt"])
    silent = ask(running, "/v1/completions", echo=True, **{**body, "max_tokens": 0})["choices"][0]
    assert silent["text"] == body["prompt"]
    n = len(silent["logprobs"]["tokens"])
    assert silent["logprobs"]["token_logprobs"][1:] == pytest.approx(expected[: n - 1], abs=BOUND)


def test_offsets_are_those_of_the_tokens_in_the_text(running: Running) -> None:
    body = {"prompt": "seven birds", "max_tokens": 12, "logit_bias": bias_to_letters(running)}
    choice = ask(running, "/v1/completions", echo=True, logprobs=1, seed=3, **body)["choices"][0]
    told = choice["logprobs"]
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)


def bias_to_letters(running: Running) -> dict[str, float]:
    """Against all tokens that are no whole characters."""
    vocabulary = load_model(running.folders["one"]).tokenizer.vocabulary
    return {str(i): -100.0 for i, word in enumerate(vocabulary) if word and not word.isascii()}


def test_best_of_keeps_the_likeliest(running: Running) -> None:
    body = {"prompt": "old rivers", "max_tokens": 8, "seed": 11, "logprobs": 0, "ignore_eos": True}
    every = ask(running, "/v1/completions", n=6, **body)["choices"]
    best = ask(running, "/v1/completions", n=2, best_of=6, **body)["choices"]

    def total(choice: Any) -> float:
        return sum(choice["logprobs"]["token_logprobs"])

    expected = sorted(map(total, every), reverse=True)[:2]
    assert [total(choice) for choice in best] == pytest.approx(expected, abs=1e-4)
