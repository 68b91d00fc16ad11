"""The engine on SmolLM2: what its narrow weights change, what a second turn of a chat reads, and a
prompt of two thousand tokens.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.generation import Generation, GenerationTransformer
from fledge.engine.request import Completion, Request
from fledge.hub.folder import Loaded
from fledge.log_prob import Decoding
from fledge.rows.turns import Conversation
from fledge.text.chat import render
from fledge.trajectories import from_rows
from tests.real.following import GREEDY_PROMPTS, count_same

pytestmark = pytest.mark.real

GREEDY = Decoding(0.0)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass reads into the KV cache, padding included."""
    read: list[int] = []
    extend = GenerationTransformer.extend

    def count(self: Any, tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append(tokens.numel())
        return extend(self, tokens, *rest)

    monkeypatch.setattr(GenerationTransformer, "extend", count)
    return read


def score(model: Loaded, said: list[Completion]) -> torch.Tensor:
    """The trainer's log-probabilities of what was said."""
    batch = from_rows(
        [one.prompt + one.tokens for one in said],
        [[False] * len(one.prompt) + [True] * len(one.tokens) for one in said],
    )
    with torch.no_grad():
        return model.policy().log_prob(batch.obs, batch.action, batch.chosen)[batch.chosen]


def test_the_second_turn_of_a_chat_reads_only_what_is_new(model: Loaded, sizes: list[int]) -> None:
    engine = Engine(model.policy(), slots=1, positions=256, prefix_cache_rows=1)
    turns: Conversation = [{"role": "user", "content": "Name the three primary colours."}]
    first, _ = render(model.tokenizer, turns, reply=True)
    [one] = engine.run([Request(first, 24, rule=GREEDY, stop=model.tokenizer.ends)])
    assert sizes == [len(first)]
    turns.append({"role": "assistant", "content": model.tokenizer.decode(one.tokens)})
    turns.append({"role": "user", "content": "And which is yours?"})
    second, _ = render(model.tokenizer, turns, reply=True)
    held = count_same(second, first + one.tokens[:-1])
    assert held >= len(first)
    [two] = engine.run([Request(second, 8, rule=GREEDY)])
    assert sizes == [len(first), len(second) - held]
    [alone] = Engine(model.policy(), slots=1, positions=256).run([Request(second, 8, rule=GREEDY)])
    assert two.tokens == alone.tokens


@pytest.mark.parametrize(
    ("precision", "mean"),
    [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.005), ("int8", 0.2), ("int4", 0.15)],
)
def test_a_precision_drifts_from_the_trainer_by_no_more_than_it_says(
    model: Loaded, precision: Generation, mean: float
) -> None:
    """Mean over 96 sampled tokens, in nats; bounds are twice what docs/real-models.md tells."""
    prompts = [model.tokenizer.encode(text) for text in GREEDY_PROMPTS[:8]]
    engine = Engine(model.policy(), slots=8, positions=32, precision=precision)
    said = engine.run(Request(prompt, 12, sample=i) for i, prompt in enumerate(prompts))
    off = (torch.tensor([logp for one in said for logp in one.logp]) - score(model, said)).abs()
    assert float(off.mean()) < mean
    assert precision == "fp32" or float(off.mean()) > 1e-5


@pytest.mark.slow
def test_a_prompt_of_two_thousand_tokens_is_answered_as_the_trainer_scores_it(
    model: Loaded, sizes: list[int]
) -> None:
    words = model.tokenizer.encode("The quick brown fox jumps over the lazy dog. 1, 2, 3. ")
    prompt = (words * 200)[:2000]
    [one] = Engine(model.policy(), slots=1, positions=2048).run([Request(prompt, 8)])
    assert sizes == [1024, 976]
    torch.testing.assert_close(torch.tensor(one.logp), score(model, [one]), atol=1e-3, rtol=0)
