"""What sequences of actions are worth in a world that is imagined: rewards along the way while it
goes on, and a terminal value where the looking ahead stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from fledge.models.control.imagined import Imagined


class Dynamics(Protocol):
    """A world to look ahead in: the true one, or one that was learned."""

    def begin(self, obs: Tensor, candidates: int) -> Any:
        """Each of B situations so many times, side by side.  [B, *O] -> a state of R = B·N rows"""
        ...

    def step(self, state: Any, action: Tensor, generator: torch.Generator) -> Imagined:
        """action: [R] of choices or [R, A] of numbers."""
        ...

    def observe(self, state: Any) -> Tensor:
        """What is seen there.  -> [M, R, *O]"""
        ...


# observations [M, R, *O] -> [M, R], what is still to come from there
TerminalValue = Callable[[Tensor], Tensor]


def roll_out(
    dynamics: Dynamics,
    obs: Tensor,
    sequences: Tensor,
    gamma: float,
    generator: torch.Generator,
    final: TerminalValue | None = None,
) -> Tensor:
    """Σ_{t<H} γ^t G_t r_t + γ^H G_H V(s_H), G_t the chance that it still goes on at step t; the
    mean over the worlds that are thought possible.  [B, *O], [B, N, H, *A] -> [B, N]
    """
    B, N, H = sequences.shape[:3]
    steps = sequences.flatten(0, 1).unbind(1)  # H times [R, *A]
    state: Any = dynamics.begin(obs, N)
    worth: Tensor | float = 0.0
    going: Tensor | float = 1.0
    for t, action in enumerate(steps):
        state, reward, goes_on = dynamics.step(state, action, generator)
        worth = worth + gamma**t * going * reward
        going = going * goes_on
    if final is not None:
        worth = worth + gamma**H * going * final(dynamics.observe(state))
    assert isinstance(worth, Tensor)
    return worth.mean(0).view(B, N)
