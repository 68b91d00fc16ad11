"""What each layer of a language model says of a row of tokens: the features of ELMo (Peters et al.
2018, §3.2), which weighs them by a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError


def list_layers(network: nn.Module) -> list[nn.Module]:
    """The embedding, then cells or blocks. Raises UserError for a network without layers."""
    stacked: Any = getattr(network, "cells", None) or getattr(network, "blocks", None)
    if stacked is None:
        raise UserError(
            f"a {type(network).__name__} has no layers to be features: give a recurrent model or a "
            "transformer."
        )
    return [network.get_submodule("embedding"), *stacked]


@torch.no_grad()
def read_layers(network: nn.Module, read: Callable[[], Any]) -> Tensor:
    """What the layers say while `read` has the network read rows [B, T].  -> [B, T, L + 1, D]"""
    said: list[Tensor] = []

    def keep(module: nn.Module, given: Any, out: Any) -> None:
        said.append(out[0] if isinstance(out, tuple) else out)  # of a cell, without its last state

    hooks = [layer.register_forward_hook(keep) for layer in list_layers(network)]
    try:
        read()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(said, 2)
