"""The value of a policy, by linear algebra and by sweeps, and policy iteration on it (Howard 1960;
Sutton & Barto 2018, section 4.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.bellman import (
    TIE,
    Approach,
    Solution,
    account,
    action_values,
    as_probabilities,
    find_way_to_end,
    policy_backup,
)
from fledge.worlds.mdp import MDP

MOST_STATES = 10_000  # whose S² numbers fit in 0.8 GB, and are solved in half a minute


def policy_value(mdp: MDP, policy: Tensor) -> Tensor:
    """V^π = (I − γ P_π)⁻¹ R_π, over the states that are not terminal.  [S] actions or [S, A]
    chances -> [S]

    Raises UserError at γ = 1 if π does not end from everywhere, naming a state, and for more than
    10,000 states.
    """
    if mdp.states > MOST_STATES:
        raise UserError(
            f"a linear solve in {mdp.states} states wants {mdp.states}² numbers: it takes "
            f"{MOST_STATES} states at most. Use policy_value_by_sweeps."
        )
    chance = as_probabilities(mdp, policy)  # [S, A]
    row, after, moves = mdp.entries()
    action, state = row // mdp.states, row % mdp.states
    under = torch.zeros(mdp.states, mdp.states, dtype=torch.float64)  # P_π
    under.index_put_((state, after), chance[state, action] * moves, accumulate=True)
    open_ = ~mdp.terminal
    if mdp.gamma == 1:
        _check_ends(under, mdp.terminal)
    inside = under[open_][:, open_]
    value = torch.zeros(mdp.states, dtype=torch.float64)
    value[open_] = torch.linalg.solve(
        torch.eye(len(inside), dtype=torch.float64) - mdp.gamma * inside,
        (chance * mdp.reward).sum(1)[open_],
    )
    return value


def _check_ends(under: Tensor, terminal: Tensor) -> None:
    """I − P_π is singular just where a terminal state is out of reach, whatever the digits say.
    [S, S], [S]
    """
    ends = terminal
    while True:
        further = ends | (under @ ends.double() > 0)
        if bool((further == ends).all()):
            break
        ends = further
    if not bool(ends.all()):
        raise UserError(
            f"from state {int((~ends).nonzero()[0])} this policy never ends: at gamma = 1 its "
            "value is no solution of a linear equation. Give a gamma below 1, or a policy that "
            "reaches a terminal state from everywhere."
        )


def policy_value_by_sweeps(mdp: MDP, policy: Tensor, tolerance: float = 1e-10) -> Tensor:
    """V ← R_π + γ P_π V from 0 until it is within `tolerance`, as `Approach` has it.  [S] actions
    or [S, A] chances -> [S]

    Raises UserError if that cannot be reached.
    """
    chance, approach = as_probabilities(mdp, policy), Approach(mdp.gamma, tolerance)
    value, sweeps = torch.zeros(mdp.states, dtype=torch.float64), 0
    while True:
        better = policy_backup(mdp, chance, value)
        residual, value, sweeps = float((better - value).abs().max()), better, sweeps + 1
        if approach.near(residual, float(value.abs().max()), sweeps):
            return value


def policy_iteration(mdp: MDP) -> Solution:
    """π ← greedy for V^π until none is better; it begins with a policy that ends, so that γ = 1 has
    a value from the start.

    Raises UserError as `policy_value` does.
    """
    (policy, _), tried = find_way_to_end(mdp), 0
    while True:
        value, tried = policy_value(mdp, policy), tried + 1
        q = action_values(mdp, value)  # [S, A]
        best = q.amax(1)
        own = q.gather(1, policy[:, None]).squeeze(1)
        better = best > own + TIE * best.abs().clamp(min=1)
        if not bool(better.any()):
            return account(mdp, value, tried)
        policy = torch.where(better, q.argmax(1), policy)
