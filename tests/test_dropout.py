"""Dropout of a row is the same wherever it is computed, and is what chance would do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.preference.dpo import DPO
from fledge.dropout import drop, drop_by_row
from fledge.models.language.adapters import LoRA, Target, adapt_network
from fledge.models.language.recurrent import Recurrent, RecurrentConfig
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs
from tests.every_rank import on_ranks
from tests.subjects import Gradients, learner, policy_of, rollouts, seeded, transformer

P = 0.25


def test_the_mask_is_what_independent_draws_give() -> None:
    """Of every row, position and unit as often as p says, and of no two neighbours together more
    often than by chance, nor of four at the corners of a rectangle, of which a mask that is made of
    one number a row and one a unit would show it.
    """
    with drop_by_row(3, torch.arange(64)):
        x = drop(torch.ones(64, 100, 128, dtype=torch.float64), P, 5)
        assert torch.equal(x, drop(torch.ones_like(x), P, 5))
        layer = drop(torch.ones_like(x), P, 6)
    with drop_by_row(4, torch.arange(64)):
        step = drop(torch.ones_like(x), P, 5)
    assert set(x.unique().tolist()) == {0.0, 1 / (1 - P)}
    z = ((x == 0).double() - P) / (P * (1 - P)) ** 0.5  # mean 0, variance 1
    for kept in ((1, 2), (0, 2), (0, 1), (0,), (1,), (2,), (0, 1, 2)):
        mean = z.mean(kept)
        number = z.numel() // max(mean.numel(), 1)
        assert float((mean * number**0.5).abs().max()) < 5
    corner = z[1:, :, 1:] * z[:-1, :, 1:] * z[1:, :, :-1] * z[:-1, :, :-1]
    turned = z[:, 1:, 1:] * z[:, :-1, 1:] * z[:, 1:, :-1] * z[:, :-1, :-1]
    others = [((y == 0).double() - P) / (P * (1 - P)) ** 0.5 for y in (layer, step)]
    pairs = [z[1:] * z[:-1], z[:, 1:] * z[:, :-1], z[..., 1:] * z[..., :-1], corner, turned]
    for product in (*pairs, *(z * y for y in others)):
        assert abs(float(product.mean())) * product.numel() ** 0.5 < 5


def adapted(dropout: float) -> TokenPolicy:
    """Every matrix of the blocks, of the fused ones each part by itself."""
    network = transformer(0, dtype=torch.float64)
    cuts = {
        "attention.qkv": (16, 24, 32),
        "attention.out": (16,),
        "gate_up": (24, 48),
        "down": (16,),
    }
    chosen = {}
    for layer in range(2):
        for name, ends in cuts.items():
            starts = (0, *ends[:-1])
            chosen[f"blocks.{layer}.{name}"] = [
                Target(f"{layer} {name} {start}", start, end)
                for start, end in zip(starts, ends, strict=True)
            ]
    adapt_network(network, chosen, settings=LoRA(rank=2, dropout=dropout), weights="fp32")
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=seeded(p.numel()), dtype=p.dtype))
    return policy_of(network, chunk=7)


def differentiate(
    micro: int | None, dropout: float = 0.3, again: bool = False
) -> list[torch.Tensor]:
    """The gradients of adapters in two steps on texts and in one on pairs, and those of a recurrent
    network.
    """
    gradients = []
    texts = rollouts(policy_of(transformer(0, dtype=torch.float64)))
    pairs = Pairs(texts[0::2], texts[1::2])
    sizes = RecurrentConfig(vocab_size=11, cell="gru", context=24, width=6, dropout=dropout)
    recurrent = TokenPolicy(Recurrent(sizes, generator=seeded(3)).double())
    for kind in ("texts", "pairs", "recurrent"):
        policy = recurrent if kind == "recurrent" else adapted(dropout)
        policy.network.gradient_checkpointing = again
        fit = learner(policy, rows_per_micro_batch=micro, seed=7)
        laid_open = Gradients(fit)
        if kind == "pairs":
            DPO(policy, fit, Stopwatch(), reference=policy.frozen_copy()).update(pairs)
        else:
            supervised = Supervised(policy, fit, Stopwatch())
            supervised.update(texts)
            gradients.append(laid_open.flat)
            supervised.update(texts)
        gradients.append(laid_open.flat)
    return gradients


def test_a_row_is_dropped_alike_in_any_micro_batch_and_on_any_rank(tmp_path: Path) -> None:
    alone = differentiate(None)
    plain = differentiate(None, dropout=0.0)
    for step, without in zip(alone, plain, strict=True):
        assert not torch.allclose(step, without, rtol=0.1)
    assert not torch.allclose(alone[0], alone[1], rtol=0.1)  # each step has masks of its own
    assert not torch.allclose(alone[3], alone[4], rtol=0.1)
    torch.testing.assert_close(differentiate(3), alone, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(differentiate(5, again=True), alone, rtol=1e-8, atol=1e-10)
    for world in (2, 3):
        for each in on_ranks(world, lambda: differentiate(3), tmp_path / f"{world}"):
            torch.testing.assert_close(each, alone, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("p", [0.0, 1 - 1e-12])
def test_the_ends_of_p(p: float) -> None:
    x = drop(torch.ones(2, 3, 4, dtype=torch.float64), p, 1)
    assert bool((x == (0.0 if p else 1.0)).all())
