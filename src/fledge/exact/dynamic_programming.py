"""Value iteration over all states at once, on V and on Q (Bellman 1957; Sutton & Barto 2018, eq. 4.10).

The same with new values used as soon as they are there: state_by_state.py; on large maps: grid_iteration.py.
"""

from __future__ import annotations

import torch

from fledge.exact.bellman import Approach, Solution, account, action_values, error_bound, optimal_backup
from fledge.worlds.mdp import MDP


def value_iteration(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """V ← max_a (R + γ P V) from 0 until V is within `tolerance` of V*, as `Approach` has it.

    One product of P with V a sweep, sparse where P is. Raises UserError if the tolerance cannot be reached.
    """
    value, sweeps, approach = torch.zeros(mdp.states, dtype=torch.float64), 0, Approach(mdp.gamma, tolerance)
    while True:
        better = optimal_backup(mdp, value)
        residual, value, sweeps = float((better - value).abs().max()), better, sweeps + 1
        if approach.near(residual, float(value.abs().max()), sweeps):
            return account(mdp, value, sweeps)


def q_value_iteration(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """Q ← R + γ P max_a′ Q from 0: what Q-learning does, with the expectation in place of a sample. V* is its maximum.

    Raises UserError if the tolerance cannot be reached.
    """
    q, sweeps = torch.zeros(mdp.states, mdp.actions, dtype=torch.float64), 0
    approach = Approach(mdp.gamma, tolerance)
    while True:
        better = action_values(mdp, q.amax(1))
        residual, q, sweeps = float((better - q).abs().max()), better, sweeps + 1
        largest = float(q.abs().max())
        if approach.near(residual, largest, sweeps):
            return Solution(q.amax(1), q.argmax(1), sweeps, error_bound(residual, largest, mdp.gamma))
