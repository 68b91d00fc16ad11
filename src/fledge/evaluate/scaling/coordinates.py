"""The coordinate check: how large what a transformer computes is, layer by layer, over widths and
the first steps (Yang et al. 2022, arXiv:2203.03466, appendix D.1).

With the right initial scales and rates nothing that a layer gives grows with the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fledge.models.language.parameterization import choose_rates, widen_
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.optimizers import RATE, adamw, same
from fledge.seeds import generator_for

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """names: of what a network computes, from the embedding to the logits. size: the mean of |x|
    over rows, positions and numbers, before the first step and after each.  [widths, steps + 1,
    names]. change: the same of what the steps have added to x.  [widths, steps, names]. Both are
    geometric means over the seeds.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    size: Array
    change: Array

    def slope(self, values: Array) -> Array:
        """Of log values over log width, by least squares.  [widths, …] -> […]"""
        x = np.log(np.array(self.widths, float))
        x -= x.mean()
        return np.tensordot(x, np.log(values), 1) / (x @ x)


def check_coordinates(
    sizes: TransformerConfig,
    widths: Sequence[int],
    *,
    mup: bool,
    steps: int,
    learning_rate: float,
    rows: int = 8,
    seeds: Sequence[int] = (0,),
) -> Coordinates:
    """Networks of `sizes`, but of other widths with heads of one width, learn one batch by AdamW.

    Its tokens are drawn by Zipf's law, a row of `sizes.context` each: of steps so few the size of
    what is learned says enough, and what it is says nothing.
    """
    logs: list[Array] = []
    names: tuple[str, ...] = ()
    for width in widths:
        heads = max(1, sizes.heads * width // sizes.width)
        own = replace(
            sizes, width=width, heads=heads, kv_heads=heads, head_width=0, mlp_width=0
        )  # fmt: skip
        each = []
        for seed in seeds:
            names, numbers = _learn(own, mup, steps, learning_rate, rows, seed)
            each.append(numbers)
        logs.append(np.log(np.array(each)).mean(0))
    means = np.exp(np.stack(logs))
    return Coordinates(names, tuple(widths), means[:, : steps + 1], means[:, steps + 1 :])


def _learn(
    sizes: TransformerConfig, mup: bool, steps: int, rate: float, rows: int, seed: int
) -> tuple[tuple[str, ...], list[list[float]]]:
    """-> names, and of each its size before and after every step, then its changes."""
    network = Transformer(sizes, generator=generator_for(seed, "weights"))
    tokens = draw_tokens(sizes.vocab_size, (rows, sizes.context + 1), seed)
    if mup:
        widen_(network)
    rates = choose_rates(sizes) if mup else same
    optimizer = adamw(weight_decay=0.0, rates=rates)(list(network.named_parameters()), rate)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RATE, 1.0)
    first: dict[str, Tensor] = {}
    size: list[list[float]] = []
    change: list[list[float]] = []
    for _ in range(steps + 1):
        seen = _look(network, tokens[:, :-1])
        now = {name: x.detach() for name, x in seen.items()}
        size.append([float(x.abs().mean()) for x in now.values()])
        if first:
            change.append([float((x - first[name]).abs().mean()) for name, x in now.items()])
        if len(size) > steps:
            break
        first = first or now
        logits = seen["logits"].flatten(0, 1)
        functional.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return tuple(first), size + change


def _look(network: Transformer, tokens: Tensor) -> dict[str, Tensor]:
    """What each part gives, in the order of computing."""
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, part in (
        ("embedding", network.embedding),
        *((f"attention {n}", block.attention.out) for n, block in enumerate(network.blocks, 1)),
        *((f"MLP {n}", block.down) for n, block in enumerate(network.blocks, 1)),
        *((f"block {n}", block) for n, block in enumerate(network.blocks, 1)),
    ):
        hooks.append(
            part.register_forward_hook(lambda _, __, x, name=name: seen.__setitem__(name, x))
        )
    hidden = network(tokens)
    for hook in hooks:
        hook.remove()
    seen["logits"] = hidden @ network.unembedding.T
    return seen


def draw_tokens(vocabulary: int, shape: tuple[int, int], seed: int) -> Tensor:
    """The k-th token as often as 1/k (Zipf's law)."""
    often = 1 / torch.arange(1, vocabulary + 1, dtype=torch.float64)
    drawn = torch.multinomial(
        often, shape[0] * shape[1], replacement=True, generator=generator_for(seed, "data")
    )
    return drawn.view(shape)
