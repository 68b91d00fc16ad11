"""Two chains in which what pays lies at the end of a way that nobody goes by chance: a river to be
swum up, and a deep sea.
"""

from __future__ import annotations

import torch

from fledge.errors import UserError
from fledge.worlds.mdp import MDP

RIVER_STATES, RIVER_STEPS = 6, 100
DEEPEST = 60  # 3,601 states


def river_swim(gamma: float) -> MDP:
    """Six places. Action 0 drifts down, to where 0.005 is paid; action 1 swims up, to where 1 is
    paid, and mostly stays or is driven back: 0.35 up, 0.6 stays, 0.05 back; at the lower end 0.6
    up, 0.4 stays; at the upper end 0.6 stays, 0.4 back (Strehl & Littman 2008, figure 3; the
    chances as Osband, Russo & Van Roy 2013 have them). It begins at the lower end.
    """
    n = RIVER_STATES
    chance = torch.zeros(2, n, n, dtype=torch.float64)
    for s in range(n):
        chance[0, s, max(0, s - 1)] = 1.0
        if s == 0:
            chance[1, s, 0], chance[1, s, 1] = 0.4, 0.6
        elif s == n - 1:
            chance[1, s, s - 1], chance[1, s, s] = 0.4, 0.6
        else:
            chance[1, s, s - 1], chance[1, s, s], chance[1, s, s + 1] = 0.05, 0.6, 0.35
    reward = torch.zeros(n, 2, dtype=torch.float64)
    reward[0, 0], reward[n - 1, 1] = 0.005, 1.0
    start = torch.zeros(n, dtype=torch.float64)
    start[0] = 1.0
    return MDP(chance, reward, gamma, start=start)


def deep_sea(depth: int, gamma: float) -> MDP:
    """A grid of depth × depth, one row down a step; action 1 goes right as well and costs
    0.01/depth, action 0 goes left. Only who always goes right comes to the 1 in the corner: of
    2^depth ways one (Osband et al. 2019, "Deep Exploration via Randomized Value Functions", section
    4). State depth² is the end.

    Raises UserError for a depth that is none.
    """
    if not 2 <= depth <= DEEPEST:
        raise UserError(f"a sea {depth} deep was asked for: give deep_sea:2 to deep_sea:{DEEPEST}.")
    end = depth * depth
    action, row, column = (
        x.flatten()
        for x in torch.meshgrid(
            torch.arange(2), torch.arange(depth), torch.arange(depth), indexing="ij"
        )
    )
    beside = (column + 2 * action - 1).clamp(0, depth - 1)
    after = torch.where(row == depth - 1, end, (row + 1) * depth + beside)
    every = torch.stack([action, row * depth + column, after])
    stays = torch.tensor([[0, 1], [end, end], [end, end]])
    index = torch.cat([every, stays], 1)
    chance = torch.sparse_coo_tensor(
        index,
        torch.ones(index.shape[1], dtype=torch.float64),
        (2, end + 1, end + 1),
        check_invariants=True,
    )
    reward = torch.zeros(end + 1, 2, dtype=torch.float64)
    reward[:end, 1] = -0.01 / depth
    reward[end - 1, 1] += 1.0
    start = torch.zeros(end + 1, dtype=torch.float64)
    start[0] = 1.0
    return MDP(chance, reward, gamma, terminal=torch.arange(end + 1) == end, start=start)
