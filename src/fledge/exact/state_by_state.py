"""Value iteration one state at a time, each new value used at once: in turn (Gauss–Seidel) or the most urgent first.

Gauss–Seidel: Puterman 1994, section 6.3.3. Prioritised sweeping: Moore & Atkeson 1993, with the model known.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import torch

from fledge.exact.bellman import Approach, Solution, account
from fledge.worlds.mdp import MDP


class Place(NamedTuple):
    """A state, with what a backup of it reads."""

    reward: np.ndarray  # [A]
    chance: np.ndarray  # [A, K], times γ
    after: np.ndarray  # [K]: the states that may follow one of the actions

    def backup(self, value: np.ndarray) -> float:
        """max_a (R + γ P V) here.  [S] -> number"""
        return (self.reward + self.chance @ value[self.after]).max()


def places(mdp: MDP) -> list[Place]:
    """All states. -> S places"""
    row, after, chance = (x.numpy() for x in mdp.entries())
    action, state = np.divmod(row, mdp.states)
    order = np.argsort(state, kind="stable")
    ends = np.searchsorted(state[order], np.arange(mdp.states + 1))
    reward = mdp.reward.numpy()
    found = []
    for s in range(mdp.states):
        own = order[ends[s] : ends[s + 1]]
        following, column = np.unique(after[own], return_inverse=True)
        table = np.zeros((mdp.actions, len(following)))
        table[action[own], column] = mdp.gamma * chance[own]
        found.append(Place(reward[s], table, following))
    return found


def gauss_seidel(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """V(s) ← max_a (R + γ P V) for one state after the other, there and back in turn, until V is within `tolerance` of V*.

    A sweep changes V by no less than a (1 − γ)th of what is still wrong, as one of value iteration does. Raises UserError if the
    tolerance cannot be reached.
    """
    every = list(enumerate(places(mdp)))
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
            return account(mdp, torch.from_numpy(value), sweeps)


def prioritised_sweeping(mdp: MDP, tolerance: float = 1e-8) -> Solution:
    """The state whose value is most wrong by its own equation is backed up next, until none is wrong by more than `tolerance` allows.

    Worth it where few states change at a time. Raises UserError if the tolerance cannot be reached.
    """
    every = places(mdp)
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
        if approach.near(wrong[s], largest, backups / mdp.states):
            break
        value[s] = every[s].backup(value)
        backups, largest = backups + 1, max(largest, abs(value[s]))
        wrong[s] = 0.0
        for t in before[s]:
            error = abs(every[t].backup(value) - value[t])
            if error > 0 and error != wrong[t]:
                heapq.heappush(queue, (-error, t))
            wrong[t] = error
    return account(mdp, torch.from_numpy(value), backups / mdp.states)
