"""What the matrices of a transformer are given to read, on rows of calibration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fledge.models.language.rope_scaling import UNSCALED

See = Callable[[str, nn.Linear, Tensor], None]


@torch.no_grad()
def watch_inputs(network: Any, tokens: Tensor, real: Tensor, see: See) -> None:
    """Read rows once, all together; before a matrix of a block is used, `see` hears its name, the
    matrix and its inputs [N, I]. What it changes of the matrix is used in the rest of the pass: the
    next one is seen with inputs as they then are.

    tokens [B, T]. real [B, T] bool: what is no padding; of nothing else inputs are given. The rows
    must be no longer than `longest_row`.
    """

    def before(name: str, linear: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(linear, nn.Linear)
        see(name, linear, given[0][real])

    hooks = [
        part.register_forward_pre_hook(partial(before, f"blocks.{name}"))
        for name, part in network.blocks.named_modules()
        if isinstance(part, nn.Linear) and not name.endswith("mixture.router")
    ]
    try:
        network(tokens, network.document_mask(tokens))
    finally:
        for hook in hooks:
            hook.remove()


def longest_row(network: Any) -> int:
    """Up to how many tokens a row is read in one pass."""
    c = network.config
    scaling = getattr(c, "scaling", UNSCALED)  # which a network without angles has not
    return scaling.original if scaling.kind == "longrope" else c.context
