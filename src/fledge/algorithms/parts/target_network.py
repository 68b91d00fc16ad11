"""A copy of a network that lags behind it: what is learned from does not move with what learns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn


class TargetNetwork:
    """θ⁻, begun as a copy of θ. Nothing is differentiated through it; buffers are followed like
    parameters.

    A part without parameters is not copied but shared: observations are normalised as they are for
    θ, not as they were.
    """

    def __init__(self, network: nn.Module) -> None:
        shared = {
            id(part): part for part in network.modules() if next(part.parameters(), None) is None
        }
        self.network = copy.deepcopy(network, shared).requires_grad_(False)
        held = zip(
            chain(self.network.parameters(), self.network.buffers()),
            chain(network.parameters(), network.buffers()),
            strict=True,
        )
        # The same memory, without history; a shared part stands where its owner moves it.
        pairs = [(mine.detach(), theirs.detach()) for mine, theirs in held if mine is not theirs]
        self.mine, self.theirs = ([pair[i] for pair in pairs] for i in (0, 1))

    @torch.no_grad()
    def catch_up(self) -> None:
        """θ⁻ ← θ (Mnih et al. 2015, algorithm 1)"""
        torch._foreach_copy_(self.mine, self.theirs)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """θ⁻ ← rate·θ + (1 − rate)·θ⁻ (Lillicrap et al. 2016, algorithm 1; Polyak's average)"""
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            self.mine, self.theirs, rate
        )

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state)
