"""Value iteration: all states at once, on V and on Q; one at a time, in turn (Gauss–Seidel); and
the most urgent state first.

Bellman 1957 (Sutton & Barto 2018, eq. 4.10); Gauss–Seidel: Puterman 1994, section 6.3.3;
prioritised sweeping: Moore & Atkeson 1993, with the model known. Large maps: grid_iteration.py.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import torch

from fledge.plan.bellman import (
    Approach,
    Solution,
    account,
    action_values,
    check_endless,
    error_bound,
    greedy,
    optimal_backup,
)
from fledge.worlds.mdp import MDP


def value_iteration(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """V ← max_a (R + γ P V) from 0 until V is within `tolerance` of V*, as `Approach` has it.

    One product of P with V a sweep, sparse where P is. Raises UserError if the tolerance cannot be
    reached.
    """
    return _sweep(mdp, torch.zeros(mdp.states, dtype=torch.float64), 0, tolerance)


def _sweep(mdp: MDP, value: torch.Tensor, sweeps: float, tolerance: float) -> Solution:
    """Sweeps from here on, after so many.  [S] -> Solution"""
    approach = Approach(mdp.gamma, tolerance)
    while True:
        better = optimal_backup(mdp, value)
        residual, value, sweeps = float((better - value).abs().max()), better, sweeps + 1
        if approach.near(residual, float(value.abs().max()), sweeps):
            return account(mdp, value, sweeps, tolerance)


def q_value_iteration(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """Q ← R + γ P max_a′ Q from 0: what Q-learning does, with the expectation in place of a sample.
    V* is its maximum.

    Raises UserError if the tolerance cannot be reached.
    """
    q, sweeps = torch.zeros(mdp.states, mdp.actions, dtype=torch.float64), 0
    approach = Approach(mdp.gamma, tolerance)
    while True:
        better = action_values(mdp, q.amax(1))
        residual, q, sweeps = float((better - q).abs().max()), better, sweeps + 1
        largest = float(q.abs().max())
        if approach.near(residual, largest, sweeps):
            return Solution(
                q.amax(1),
                greedy(mdp, q, tolerance),
                sweeps,
                error_bound(residual, largest, mdp.gamma),
            )


class BackedUpState(NamedTuple):
    """A state, with what a backup of it reads."""

    reward: np.ndarray  # [A]
    chance: np.ndarray  # [A, K], times γ
    after: np.ndarray  # [K]: the states that may follow one of the actions

    def backup(self, value: np.ndarray) -> float:
        """max_a (R + γ P V) here.  [S] -> number"""
        return (self.reward + self.chance @ value[self.after]).max()


def list_places(mdp: MDP) -> list[BackedUpState]:
    """All states. -> S places"""
    row, after, chance = (x.numpy() for x in mdp.entries())
    action, state = np.divmod(row, mdp.states)
    order = np.argsort(state, kind="stable")
    ends = np.searchsorted(state[order], np.arange(mdp.states + 1))
    reward = mdp.reward.numpy()
    listed = []
    for s in range(mdp.states):
        own = order[ends[s] : ends[s + 1]]
        following, column = np.unique(after[own], return_inverse=True)
        table = np.zeros((mdp.actions, len(following)))
        table[action[own], column] = mdp.gamma * chance[own]
        listed.append(BackedUpState(reward[s], table, following))
    return listed


def gauss_seidel(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """V(s) ← max_a (R + γ P V) for one state after the other, there and back in turn, until V is
    within `tolerance` of V*.

    A sweep is a γ-contraction towards V*, as one of value iteration is, so that the same bound
    holds for what it changed. Raises UserError if the tolerance cannot be reached.
    """
    every = list(enumerate(list_places(mdp)))
    value, sweeps, approach = np.zeros(mdp.states), 0, Approach(mdp.gamma, tolerance)
    while True:
        change = 0.0
        for s, place in every:
            new = place.backup(value)
            change = max(change, abs(new - value[s]))
            value[s] = new
        every.reverse()
        sweeps += 1
        if approach.near(change, float(np.abs(value).max()), sweeps):
            return account(mdp, torch.from_numpy(value), sweeps, tolerance)


def prioritised_sweeping(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """The state whose value is most wrong by its own equation is backed up next, until none is
    wrong by more than `tolerance` allows.

    Worth it where few states change at a time. At γ = 1 whole sweeps follow, for only they show how
    much is still to come. Raises UserError if the tolerance cannot be reached.
    """
    every = list_places(mdp)
    before: list[list[int]] = [[] for _ in every]  # the states that may lead here
    for s, place in enumerate(every):
        for t in place.after:
            before[t].append(s)
    value, approach = np.zeros(mdp.states), Approach(mdp.gamma, tolerance)
    wrong = [abs(place.backup(value)) for place in every]  # |TV − V|
    queue = [(-error, s) for s, error in enumerate(wrong)]
    heapq.heapify(queue)
    backups, largest = 0, 0.0
    while queue:
        error, s = heapq.heappop(queue)
        if -error != wrong[s]:
            continue  # out of date: the state is in the queue again, or has been seen to
        if mdp.gamma == 1:
            check_endless(wrong[s], backups / mdp.states)
            if wrong[s] <= tolerance:
                break
        elif approach.near(wrong[s], largest, backups / mdp.states):
            break
        value[s] = every[s].backup(value)
        backups, largest = backups + 1, max(largest, abs(value[s]))
        wrong[s] = 0.0
        for t in before[s]:
            error = abs(every[t].backup(value) - value[t])
            if error > 0 and error != wrong[t]:
                heapq.heappush(queue, (-error, t))
            wrong[t] = error
    values = torch.from_numpy(value)
    if mdp.gamma == 1:
        return _sweep(mdp, values, backups / mdp.states, tolerance)
    return account(mdp, values, backups / mdp.states, tolerance)
