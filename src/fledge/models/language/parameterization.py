"""The maximal update parametrization (µP) of a transformer: initial scales and learning rates by
weight with which the best learning rate of a narrow network is that of a wide one (Yang et al.
2022, arXiv:2203.03466, tables 3 and 8).

Multipliers in the forward pass would make a network of a kind that nobody else reads. So each is
moved into the weights beside it: a weight that starts c times as large, and learns at c times the
rate, does under Adam what c before it would (table 8 is table 3 in that sense). The output's
1/width lies in the scale of the last norm, so that tied embeddings are no special case; what makes
scores fall as 1/head width and not as its root lies in queries and keys. At the base's sizes all
of it is 1: the usual network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from fledge.models.language.transformer import Transformer, TransformerConfig

# Of the `nano` preset. They say only where the two parametrizations agree: ratios of widths are
# what a rate is carried over.
BASE_WIDTH, BASE_HEAD_WIDTH = 64, 16

Optimizing = Literal["adamw", "muon"]


@dataclass(frozen=True)
class Scale:
    """Of one weight: its initial value over the usual one, and its rate over `learning_rate`."""

    initial: float
    rate: float


def find_scales(sizes: TransformerConfig, optimizer: Optimizing = "adamw") -> dict[str, Scale]:
    """By a weight's name: the last part of it, or the last two. What is not named has 1 and 1.

    Adam moves every number of a matrix by as much, in step with what enters, so that its product
    moves by width times that: hidden matrices learn at 1/width. Muon's steps are orthogonal, as
    large as Adam's in the mean, and their product moves by √width times that (Yang, Simon &
    Bernstein 2023, condition 1).
    """
    wider = sizes.width / BASE_WIDTH
    hidden = 1 / wider if optimizer == "adamw" else wider**-0.5
    # scores are q·k / √d, and wanted is √d_base · q·k / d: the factor's root in each of the two
    score = (BASE_HEAD_WIDTH / sizes.head_width) ** 0.25
    fused = 1.0 if sizes.qk_norm else score
    scales = {
        # as large at every width: usually they shrink as 1/√width
        "embedding.weight": Scale(wider**0.5, 1.0),
        "head.weight": Scale(wider**0.5, 1.0),
        "qkv.weight": Scale(fused, hidden * fused),
        # values lie in the same matrix as queries and keys, and what reads them makes up for it
        "out.weight": Scale(1 / fused, hidden / fused),
        "gate_up.weight": Scale(1.0, hidden),
        "down.weight": Scale(1.0, hidden),
        "norm.weight": Scale(1 / wider, 1 / wider),
    }
    if sizes.qk_norm:
        scales |= {f"{name}_norm.weight": Scale(score, score) for name in "qk"}
    return scales


def choose_rates(
    sizes: TransformerConfig, optimizer: Optimizing = "adamw"
) -> Callable[[str], float]:
    """What a learning rate is multiplied by, from a weight's name."""
    scales = find_scales(sizes, optimizer)
    return lambda name: scale_of(name, scales).rate


def scale_of(name: str, scales: Mapping[str, Scale]) -> Scale:
    """name: of a parameter of the network, or of what holds it."""
    return scales.get(".".join(name.split(".")[-2:]), Scale(1.0, 1.0))


@torch.no_grad()
def widen_(network: Transformer) -> None:
    """A fresh network's usual initial weights become those of µP."""
    scales = find_scales(network.config)
    for name, weight in network.named_parameters():
        weight.mul_(scale_of(name, scales).initial)
