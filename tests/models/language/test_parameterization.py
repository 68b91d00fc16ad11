"""µP held against its table 8: the same network with multipliers in the forward pass and one
initial scale, written down here, learns the same in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fledge.models.language.parameterization import choose_rates, widen_
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.optimizers import RATE, adamw, muon
from tests.subjects import seeded

RATE_OF_STEP, DECAY, STEPS = 0.01, 0.1, 3


def sizes(width: int, heads: int, **others: Any) -> TransformerConfig:
    return TransformerConfig(
        vocab_size=13, context=12, layers=2, width=width, heads=heads, kv_heads=heads, **others
    )


def make(config: TransformerConfig) -> Transformer:
    return Transformer(config, generator=seeded(1)).double()


TOKENS = torch.randint(13, (3, 12), generator=seeded(2))


def learn(network: Transformer, multiplier: float, optimizer: Any, steps: int) -> list[Tensor]:
    """Logits before each step and after the last.  multiplier: of the output"""
    said = []
    for _ in range(steps + 1):
        logits = multiplier * (network(TOKENS) @ network.unembedding.T)
        said.append(logits.detach())
        functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return said


@pytest.mark.parametrize(
    "others", [{}, {"tied": False}, {"qk_norm": True}, {"qk_norm": True, "qk_norm_whole": True}]
)
def test_it_learns_as_table_8_does_with_multipliers_in_the_forward_pass(
    others: dict[str, Any],
) -> None:
    """Width 128 in two heads of 64, so that scores, too, want another factor."""
    config = sizes(128, 2, **others)
    own, reference = make(config), make(config)
    widen_(own)
    rates = choose_rates(config)
    mine = adamw(eps=1e-30, weight_decay=DECAY, rates=rates)(list(own.named_parameters()), 1.0)
    for group in mine.param_groups:
        group["lr"] = RATE_OF_STEP * group.get(RATE, 1.0)

    wider, base_head = 128 / 64, 16
    for block in reference.blocks:  # attention 1/d, as 1/√d at the base's heads
        scaled = replace(config, score_scale=base_head**0.5 / 64)
        block.attention.config = scaled
    groups: dict[str, list[Any]] = {"inputs": [], "hidden": [], "vectors": []}
    with torch.no_grad():
        for name, weight in reference.named_parameters():
            if weight.ndim == 1:
                groups["vectors"].append(weight)
            elif name in ("embedding.weight", "head.weight"):
                weight.mul_(wider**0.5)  # initial variance 1 in the width
                groups["inputs"].append(weight)
            else:  # initial variance 1 / fan-in, as it is
                groups["hidden"].append(weight)
    eta = RATE_OF_STEP
    theirs = torch.optim.AdamW(
        [
            {"params": groups["inputs"], "lr": eta, "weight_decay": DECAY},
            {"params": groups["hidden"], "lr": eta / wider, "weight_decay": DECAY * wider},
            {"params": groups["vectors"], "lr": eta, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95), eps=1e-30,
    )  # fmt: skip
    said = learn(own, 1.0, mine, STEPS)
    wanted = learn(reference, 1 / wider, theirs, STEPS)
    for a, b in zip(said, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    assert float((said[0] - said[-1]).abs().max()) > 0.01


def test_at_the_bases_sizes_it_is_the_usual_network_and_everywhere_an_ordinary_one() -> None:
    base = sizes(64, 4)
    usual, begun = make(base), make(base)
    widen_(begun)
    for (name, a), (_, b) in zip(usual.named_parameters(), begun.named_parameters(), strict=True):
        assert torch.equal(a, b), name
        assert choose_rates(base)(name) == choose_rates(base, "muon")(name) == 1.0
    wide = make(sizes(128, 2))
    before = wide.config
    widen_(wide)
    assert wide.config == before  # what is written to config.json: no multiplier beside the weights


def moved(optimizer: Callable[[TransformerConfig], Any], width: int) -> float:
    """The spectral norm of a first step of W_gate and W_up, over √(fan-out / fan-in)."""
    config = sizes(width, width // 16)
    network = make(config)
    weight = network.blocks[0].gate_up.weight
    before = weight.detach().clone()
    made = optimizer(config)(list(network.named_parameters()), 1.0)
    for group in made.param_groups:
        group["lr"] = RATE_OF_STEP * group.get(RATE, 1.0)
    learn(network, 1.0, made, 0)
    out, into = weight.shape
    return float(torch.linalg.matrix_norm(weight.detach() - before, 2)) / (out / into) ** 0.5


def test_a_step_is_as_large_at_every_width_in_the_spectral_norm() -> None:
    """Yang, Simon & Bernstein 2023, condition 1, for Muon, whose singular values lie within 0.7 and
    1.2 of one size; at one rate for all the quotient would be 2.
    """
    narrow, wide = (
        moved(lambda c: muon(weight_decay=0.0, rates=choose_rates(c, "muon")), width)
        for width in (64, 256)
    )
    assert 0.75 < wide / narrow < 1.35
