"""A prompt that is echoed with log-probabilities, as lm-evaluation-harness' `local-completions`
asks for it: ids as prompts, one token more, and the numbers of all tokens but that one.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import torch

from fledge.evaluate.suites.choosing import encode_pair, measure_rows
from fledge.hub.folder import load_model
from tests.serve.conftest import Running


def ask(running: Running, prompts: list[list[int]], **more: Any) -> list[dict[str, Any]]:
    body = {
        "model": "one", "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True, **more,
    }  # fmt: skip
    answer = httpx.post(f"{running.url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return sorted(answer.json()["choices"], key=lambda choice: choice["index"])


def test_a_continuation_has_the_same_number_at_this_door(running: Running) -> None:
    model = load_model(running.folders["one"])
    said = [" a mat", " green hills and old rivers", " seven birds"]
    rows = [encode_pair(model.tokenizer, "the cat sat on", text, 1024) for text in said]
    choices = ask(running, [row.tokens for row in rows])
    for row, choice, (nats, best) in zip(
        rows, choices, measure_rows(model.policy(), rows), strict=True
    ):
        told = choice["logprobs"]
        assert len(told["tokens"]) == len(row.tokens) + 1
        own = told["token_logprobs"][row.start : -1]
        assert sum(own) == pytest.approx(nats, abs=1e-4)
        top = told["top_logprobs"][row.start : -1]
        greedy = all(a == max(b.values()) for a, b in zip(own, top, strict=True))
        assert greedy == best
        assert told["token_logprobs"][0] is None


def test_ends_of_turns_are_counted_in_the_prompt_and_after_it(running: Running) -> None:
    """A client leaves the last entry out: were the end of a turn not among them, it would leave out
    a token of the prompt.
    """
    model = load_model(running.folders["one"])
    end = min(model.tokenizer.ends)
    prompt = [*model.tokenizer.open_text("the cat"), end, *model.tokenizer.encode(" sat")]
    [choice] = ask(running, [prompt], logit_bias={str(end): 100})
    assert choice["finish_reason"] == "stop"
    told = choice["logprobs"]
    assert all(len(told[name]) == len(prompt) + 1 for name in told)
    row = torch.tensor([prompt])
    with torch.no_grad():
        logp = model.policy().log_prob(row, row[:, 1:])[0].tolist()
    assert told["token_logprobs"][1:-1] == pytest.approx(logp, abs=1e-4)
