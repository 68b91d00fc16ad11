"""An architecture is written once: whatever fledge does with tokens it does with a network that it
knows nothing of, and says what the trainer computes.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from fledge.algorithms.policy.grpo import GRPO
from fledge.engine.beam import beam_search
from fledge.engine.engine import Engine
from fledge.engine.forms import make_form
from fledge.engine.generation import GenerationTransformer
from fledge.engine.request import Completion, Request
from fledge.engine.slow_form import SlowForm
from fledge.engine.speculative import Speculator
from fledge.log_prob import Decoding
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from tests.engine.foreign import Mixer, MixerSizes
from tests.engine.strangers import same, strangers
from tests.subjects import learner, policy_of, rollouts, seeded, transformer


def mixer(seed: int = 0, **sizes: int) -> TokenPolicy:
    network = Mixer(MixerSizes(**sizes), seed=seed).double()
    return TokenPolicy(network, torch.arange(network.config.vocab_size) >= 2)


def agrees(policy: TokenPolicy, row: Completion) -> None:
    """With the trainer: one forward pass over the row as it stands."""
    plain = policy.with_rule(Decoding())
    tokens = torch.tensor([row.prompt + row.tokens])
    exact = plain.log_prob(tokens, tokens[:, 1:])[0, len(row.prompt) - 1 :].tolist()
    assert row.raw_logp == pytest.approx(exact, abs=1e-10)


def requests() -> list[Request]:
    beginning = list(range(2, 11)) * 2
    return [
        Request((beginning if i % 3 == 0 else []) + [3 + i % 8], 3 + i, sample=i, seed=5)
        for i in range(11)
    ]


@pytest.mark.parametrize("prefix_cache_rows", [0, 3])
def test_the_engine_says_what_the_trainer_computes(prefix_cache_rows: int) -> None:
    policy = mixer()
    engine = Engine(policy, slots=4, prefix_cache_rows=prefix_cache_rows)
    assert isinstance(engine.batch.network, SlowForm)
    for row in engine.run(requests()) + engine.run(requests()):
        assert row.error is None
        agrees(policy, row)
    assert len({tuple(row.tokens) for row in engine.run(requests())}) > 5


def test_a_row_says_the_same_alone_and_among_others() -> None:
    policy = mixer()
    for row, request in zip(Engine(policy, slots=5).run(requests()), requests(), strict=True):
        same(row, Engine(policy, slots=1).run([request])[0], 1e-10)


def test_a_transformer_in_the_slow_form_says_what_it_says_in_the_fast_one() -> None:
    class Derived(Transformer):
        """Of another class, and the same function."""

    fast = transformer(dtype=torch.float64, context=64)
    slow = Derived(fast.config).double()
    slow.load_state_dict(fast.state_dict())
    assert isinstance(make_form(fast), GenerationTransformer)
    assert isinstance(make_form(slow), SlowForm)
    asked = strangers(40)
    rows = Engine(policy_of(slow), slots=7).run(asked)
    for row, other in zip(rows, Engine(policy_of(fast), slots=7).run(asked), strict=True):
        same(row, other, 1e-8)


def beams_and_guesses_agree(policy: TokenPolicy, draft: TokenPolicy) -> None:
    """With what the engine says greedily, and with the trainer."""
    asked = [dataclasses.replace(one, rule=Decoding(temperature=0)) for one in requests()]
    greedy = Engine(policy).run(asked)
    for draft_or_none in (None, draft):
        speculator = Speculator(policy, draft=draft_or_none, slots=4)
        for row, other in zip(speculator.run(asked), greedy, strict=True):
            assert (row.tokens, row.ended) == (other.tokens, other.ended)
            agrees(policy, row)
    for width in (1, 3):
        searched = beam_search(policy, requests(), width=width, length_penalty=0.0)
        for [best], other in zip(searched, greedy, strict=True):
            agrees(policy, best)
            assert width > 1 or best.tokens == other.tokens


def test_beams_and_guesses_run_over_it_too() -> None:
    beams_and_guesses_agree(mixer(), mixer(seed=1, layers=1))


def test_it_learns_and_the_engine_follows() -> None:
    policy = mixer()
    engine = Engine(policy, slots=4)
    [before] = engine.run([Request([2, 3], 8)])
    batch = rollouts(policy)
    GRPO(policy, learner(policy, rate=0.05), Stopwatch()).update(batch)
    [after] = engine.run([Request([2, 3], 8)])
    agrees(policy, after)
    assert (before.version, after.version) == (0, 1)
    assert before.raw_logp != after.raw_logp


def test_what_the_network_keeps_while_it_speaks_can_be_trained_with() -> None:
    """A table made in inference mode could not be saved for a backward pass."""

    class Keeping(Mixer):
        kept: torch.Tensor | None = None

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            if self.kept is None:
                self.kept = torch.ones(self.config.context, 1, dtype=torch.float64) * 2
            return super().forward(tokens, mask) * self.kept[: tokens.shape[1]]

    network = Keeping(MixerSizes()).double()
    policy = TokenPolicy(network)
    Engine(policy).run([Request([2], 5)])
    row = torch.randint(2, 11, (1, 9), generator=seeded(0))
    policy.log_prob(row, row[:, 1:]).sum().backward()
    assert network.embedding.weight.grad is not None
    assert math.isfinite(float(network.embedding.weight.grad.sum()))
