"""Random processes and what their best values are, by trying every policy in NumPy: what all exact
methods are held to.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from fledge.worlds.mdp import MDP


def random_process(
    states: int, actions: int, gamma: float, ends: int, share: float, seed: int
) -> MDP:
    """The last `ends` states are terminal. Of all outcomes a `share` is possible; at γ = 1 every
    step ends with chance 0.05 or more.
    """
    draw = np.random.default_rng(seed)
    chance = draw.random((actions, states, states)) * (
        draw.random((actions, states, states)) < share
    )
    chance[..., 0] += 0.01
    chance /= chance.sum(-1, keepdims=True)
    if gamma == 1:
        chance *= 0.95
        chance[..., -1] += 0.05
    reward = draw.normal(size=(states, actions)) * draw.choice([0.01, 1.0, 100.0])
    terminal = np.arange(states) >= states - ends
    chance[:, terminal] = np.eye(states)[terminal]
    reward[terminal] = 0
    return MDP(
        torch.from_numpy(chance),
        torch.from_numpy(reward),
        gamma,
        terminal=torch.from_numpy(terminal),
    )


def best_values(mdp: MDP) -> np.ndarray:
    """max over all A^S deterministic policies of (I − γ P_π)⁻¹ R_π, which one of them attains
    everywhere.  -> [S]
    """
    open_ = np.flatnonzero(~mdp.terminal.numpy())
    chance, reward = mdp.dense().numpy(), mdp.reward.numpy()
    best = np.full(len(open_), -np.inf)
    for choice in itertools.product(range(mdp.actions), repeat=len(open_)):
        step = chance[choice, open_][:, open_]
        best = np.maximum(
            best, np.linalg.solve(np.eye(len(open_)) - mdp.gamma * step, reward[open_, choice])
        )
    value = np.zeros(mdp.states)
    value[open_] = best
    return value


def sparse(mdp: MDP) -> MDP:
    """The same tables, listed."""
    return MDP(
        mdp.dense().to_sparse_coo(), mdp.reward, mdp.gamma, terminal=mdp.terminal, start=mdp.start
    )
