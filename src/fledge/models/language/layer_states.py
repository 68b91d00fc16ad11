"""What each layer of a language model says of a row of tokens: the features of ELMo (Peters et al.
2018, §3.2), which weighs them by a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.language.encoder import Encoder


def list_layers(network: nn.Module) -> list[nn.Module]:
    """The embedding, then cells or blocks; of an encoder, whose embedding may be of another width,
    blocks alone. Raises UserError for a network without layers.
    """
    stacked: Any = getattr(network, "cells", None) or getattr(network, "blocks", None)
    if stacked is None:
        raise UserError(
            f"a {type(network).__name__} has no layers to be features: give a recurrent model or a "
            "transformer."
        )
    first = [] if isinstance(network, Encoder) else [network.get_submodule("embedding")]
    return [*first, *stacked]


@torch.no_grad()
def read_layers(network: nn.Module, read: Callable[[], Any], rows: int) -> Tensor:
    """What L layers say while `read` has the network read so many rows; those of an encoder, which
    lays them end to end, are of one length.  -> [B, T, L, D]
    """
    said: list[Tensor] = []

    def keep(module: nn.Module, given: Any, out: Any) -> None:
        hidden = out[0] if isinstance(out, tuple) else out  # of a cell, without its last state
        said.append(hidden.reshape(rows, -1, hidden.shape[-1]))

    hooks = [layer.register_forward_hook(keep) for layer in list_layers(network)]
    try:
        read()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(said, 2)
