"""The average of a network's weights over the steps, which draws better than the last ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fledge.algorithms.parts.target_network import TargetNetwork


class Averaged(TargetNetwork):
    """θ̄ ← d θ̄ + (1 − d) θ after every step, d = min(decay, (1 + n) / (10 + n)) at step n, so that
    it forgets its start (Ho et al. 2020, appendix B, has 0.9999; the rise is TensorFlow's).
    """

    network: Any

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay = decay
        self.network.eval()

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """rate: how many steps have been made. What is no number to be averaged is copied."""
        share = 1 - min(self.decay, (1 + rate) / (10 + rate))
        for mine, theirs in zip(self.mine, self.theirs, strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)
