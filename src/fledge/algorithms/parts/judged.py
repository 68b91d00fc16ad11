"""Trajectories that a critic has judged: how much better each step was than it expected, and
what it is to expect from now on.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fledge.trajectories import Weighed


@dataclass(frozen=True, kw_only=True)
class Judged(Weighed):
    """`weight` is the advantage."""

    target: Tensor  # [B, T]: of the critic
