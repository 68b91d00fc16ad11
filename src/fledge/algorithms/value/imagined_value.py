"""What a value is taught by fitted value iteration in a world that is imagined: from each situation
the best of several sequences of actions, and the value of where it leads.

Lowrey et al. 2019, "Plan Online, Learn Offline", section 3 and eq. 6, with sequences drawn evenly.
Of what was really done a value learns how well that went: of a cart that drifts to one side, that
every other way is as bad (docs/planning.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.algorithms.value.sequence_kernel import weigh_sequences
from fledge.plan.proposals import propose_anything
from fledge.plan.rolling_out import Dynamics, TerminalValue
from fledge.trajectories import Rows
from fledge.worlds.world import Space


@dataclass(frozen=True)
class AimedRows(Rows):
    """N situations and what their value is taught to be."""

    obs: Tensor  # [N, *O]
    target: Tensor  # [N]


@torch.no_grad()
def imagine_best(
    dynamics: Dynamics,
    action: Space,
    obs: Tensor,
    *,
    steps: int,
    candidates: int,
    gamma: float,
    generator: torch.Generator,
    final: TerminalValue,
) -> Tensor:
    """max over sequences of Σ_{t<k} γ^t G_t r_t + γ^k G_k V(s_k), as `roll_out` has it, k `steps`,
    of `candidates` that are drawn anew for each situation.  [N, *O] -> [N] float32

    Raises UserError as `propose_anything` does.
    """
    sequences = propose_anything(action, len(obs), steps).draw(candidates, generator)
    worth = weigh_sequences(dynamics, obs, sequences, gamma, generator, final)
    return worth.max(1).values.float()
