"""Training with an adapter: the reference is the start, memory is shared, and how a batch is cut
changes nothing.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.engine.engine import Engine
from fledge.fit import nll, total
from fledge.hub.adapter_start import Adapter, start_bottlenecks, start_lora, start_virtual
from fledge.models.language.adapters import LoRA, list_adapters
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.frozen_weights import FROZEN_WEIGHTS, FrozenWeights
from fledge.models.language.virtual_tokens import Virtual
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.text.tokenizer import train_tokenizer
from fledge.trained_state import load_trained_state, trained_state
from fledge.trajectories import Trajectories
from tests.subjects import learner, policy_of, rollouts, seeded, transformer

TOKENS = train_tokenizer("characters", ["abcde"])  # 11 tokens
SETTINGS = LoRA(3, 6.0, dora=True)
KINDS: list[Adapter] = [SETTINGS, Houlsby(3), Virtual("prefix", 4), Virtual("prompt", 4)]
every_kind = pytest.mark.parametrize("settings", KINDS, ids=["dora", "houlsby", "prefix", "prompt"])


def adapted(
    weights: FrozenWeights = "fp32",
    dtype: torch.dtype = torch.float64,
    settings: Adapter = SETTINGS,
    **sizes: Any,
) -> TokenPolicy:
    network = transformer(dtype=dtype, **sizes)
    if isinstance(settings, LoRA):
        start_lora(network, settings, ["all-linear"], [], weights, seeded(1))
    elif isinstance(settings, Houlsby):
        start_bottlenecks(network, settings, weights, seeded(1))
    else:
        every = torch.ones(network.config.vocab_size, dtype=torch.bool)
        start_virtual(network, settings, TOKENS, every, weights, seeded(1))
    return policy_of(network)


def move(policy: TokenPolicy) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=seeded(5), dtype=parameter.dtype)
                parameter.add_(0.1 * noise)


def batch() -> Trajectories:
    return rollouts(policy_of(transformer(dtype=torch.float64)))


@every_kind
def test_the_reference_is_the_start_and_shares_what_is_frozen(settings: Adapter) -> None:
    policy, rows = adapted(settings=settings), batch()
    reference = policy.frozen_copy()
    ask = (rows.obs, rows.action, rows.chosen)
    before = policy.log_prob(*ask).detach()
    assert torch.equal(reference.log_prob(*ask), before)
    frozen = {id(p) for p in policy.parameters() if not p.requires_grad}
    copies = [p for p in reference.parameters() if id(p) not in frozen]
    learns = [p for p in policy.parameters() if p.requires_grad]
    assert len(copies) == len(learns) > 0
    assert sum(p.numel() for p in copies) == sum(p.numel() for p in learns)
    move(policy)
    assert torch.equal(reference.log_prob(*ask), before)
    assert not torch.allclose(policy.log_prob(*ask), before)


def gradients(size: int | None, settings: Adapter = SETTINGS) -> list[Tensor]:
    policy, rows = adapted(settings=settings), batch()
    move(policy)
    kept: list[Tensor] = []
    teacher = learner(policy, rows_per_micro_batch=size)
    count = teacher.count(rows.chosen)
    step = teacher.optimizer.step

    def record() -> None:
        kept.extend(p.grad.clone() for p in teacher.parameters if p.grad is not None)
        step()

    teacher.optimizer.step = record  # type: ignore[method-assign]

    def loss(part: Trajectories) -> tuple[Tensor, dict[str, Tensor]]:
        logp = policy.log_prob(part.obs, part.action, part.chosen)
        return total(nll(logp), part.chosen, count), {}

    teacher.step(loss, rows)
    return kept


@every_kind
@pytest.mark.parametrize("size", [1, 3])
def test_the_gradient_is_the_same_in_any_pieces(size: int, settings: Adapter) -> None:
    whole = gradients(None, settings)
    learns = [p for p in adapted(settings=settings).parameters() if p.requires_grad]
    assert len(whole) == len(learns)
    assert all(float(gradient.abs().max()) > 1e-3 for gradient in whole)
    for one, other in zip(gradients(size, settings), whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


@every_kind
@pytest.mark.parametrize("weights", FROZEN_WEIGHTS)
def test_the_engine_says_what_the_trainer_scores(weights: FrozenWeights, settings: Adapter) -> None:
    policy = adapted(weights, torch.float32, settings)
    move(policy)
    prompts = [[1, 4, 6], [1, 4, 7, 8]]
    said = generate(
        policy, prompts, max_new_tokens=6, stop=2, generator=seeded(2),
        engine=Engine(policy, slots=2),
    )  # fmt: skip
    for prompt, completion in zip(prompts, said, strict=True):
        row = torch.tensor([[*prompt, *completion.tokens]])
        logp = policy.log_prob(row, row[:, 1:])[0, len(prompt) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logp), logp, atol=1e-4, rtol=1e-4)


@every_kind
def test_a_checkpoint_holds_what_learns_and_no_more(settings: Adapter) -> None:
    policy = adapted("int8", torch.float32, settings)
    state = trained_state(policy)
    learns = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert learns <= state.keys()
    assert not any(".base." in name or name == "network.embedding.weight" for name in state)
    move(policy)
    kept = {name: x.clone() for name, x in trained_state(policy).items()}
    other = adapted("int8", torch.float32, settings)
    load_trained_state(other, kept)
    rows = batch()
    ask = (rows.obs, rows.action, rows.chosen)
    assert torch.equal(other.log_prob(*ask), policy.log_prob(*ask))
    with pytest.raises(RuntimeError, match="lacks"):
        load_trained_state(other, {})
    with pytest.raises(RuntimeError, match="no place"):
        load_trained_state(other, kept | {"more": torch.zeros(1)})


def test_dropout_in_float64_under_bfloat16_products() -> None:
    """Autocast rounds what is float32, and leaves float64 as it is."""
    policy = adapted("fp32", torch.float64, LoRA(3, 6.0, dropout=0.5))
    move(policy)
    policy.train()
    rows = batch()
    with torch.autocast("cpu", torch.bfloat16):
        logp = policy.log_prob(rows.obs, rows.action, rows.chosen)
    logp.sum().backward()
    for adapter in list_adapters(policy):
        assert adapter.up.grad is not None
        assert adapter.up.grad.dtype == torch.float64


def test_dropout_is_of_training_alone() -> None:
    policy = adapted(settings=LoRA(3, 6.0, dropout=0.5))
    move(policy)
    rows = batch()
    ask = (rows.obs, rows.action, rows.chosen)
    policy.eval()
    assert torch.equal(policy.log_prob(*ask), policy.log_prob(*ask))
    policy.train()
    assert not torch.equal(policy.log_prob(*ask), policy.log_prob(*ask))
    policy.network.eval()  # as it is loaded: the policy around it says nothing of it
    seen: list[bool] = []

    def loss(part: Trajectories) -> tuple[Tensor, dict[str, Tensor]]:
        seen.extend(adapter.training for adapter in list_adapters(policy))
        return policy.log_prob(part.obs, part.action, part.chosen).sum(), {}

    learner(policy).step(loss, rows)
    assert seen
    assert all(seen)
    assert not any(adapter.training for adapter in list_adapters(policy))
