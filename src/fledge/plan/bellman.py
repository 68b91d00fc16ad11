"""The Bellman operators of a table, and how far from its fixed point a value can be (Sutton & Barto
2018, eqs. 4.1 and 4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.mdp import MDP

ROUNDING = 8 * torch.finfo(torch.float64).eps  # of a backup, relative to the largest value
TIE = 1e-12  # an action this little better, relative to the value, is no better
UNDISCOUNTED_SWEEPS = (
    100_000  # after so many at γ = 1 a value that still moves is taken to have no end
)


@dataclass(frozen=True)
class Solution:
    """V*, and how it was come by."""

    value: Tensor  # [S] float64, 0 in terminal states
    # [S] long: the first of the best actions; at γ = 1, where those never end, of them one that
    # does
    policy: Tensor
    sweeps: float  # how often every state was looked at: passes, policies tried, or backups / S
    # no value is farther than this from V*, but for rounding; infinite at γ = 1, where no residual
    # can tell
    error_bound: float


def action_values(mdp: MDP, value: Tensor) -> Tensor:
    """Q = R + γ P V.  [S] -> [S, A]"""
    following = (mdp.rows @ value).view(mdp.actions, mdp.states)
    return torch.add(
        mdp.reward.T, following, alpha=mdp.gamma
    ).T  # in the order of memory: twice as fast


def optimal_backup(mdp: MDP, value: Tensor) -> Tensor:
    """TV = max_a (R + γ P V).  [S] -> [S]"""
    return action_values(mdp, value).amax(1)


def policy_backup(mdp: MDP, policy: Tensor, value: Tensor) -> Tensor:
    """Σ_a π(a|s) Q(s, a).  policy [S, A], value [S] -> [S]"""
    return (policy * action_values(mdp, value)).sum(1)


def error_bound(residual: float, largest: float, gamma: float) -> float:
    """How far TV can be from V*: γ/(1 − γ) · ‖TV − V‖ (Puterman 1994, theorem 6.3.3), and what
    rounding makes of values up to `largest`.
    """
    return math.inf if gamma == 1 else (gamma * residual + ROUNDING * largest) / (1 - gamma)


class Approach:
    """Watches sweeps come closer to the fixed point, and says when they are there or never will
    be.
    """

    def __init__(self, gamma: float, tolerance: float) -> None:
        self.gamma, self.tolerance = gamma, tolerance
        self.residuals: list[float] = []  # of every sweep, at γ = 1

    def near(self, residual: float, largest: float, sweeps: float) -> bool:
        """Whether ‖TV − V‖ = residual is within the tolerance: for certain below γ = 1; there by
        `to_come`.

        Raises UserError where more sweeps would not help: when values of that size have no such
        digits, and at γ = 1 when there is no end to them.
        """
        if not math.isfinite(residual):
            raise UserError(
                "the values grew beyond all numbers: the rewards must add up to something finite."
            )
        if self.gamma == 1:
            check_endless(residual, sweeps)
            self.residuals.append(residual)
            return residual <= ROUNDING * largest or self.to_come() <= self.tolerance
        bound = error_bound(residual, largest, self.gamma)
        finest = error_bound(0.0, largest, self.gamma)
        if finest > self.tolerance or (
            bound > self.tolerance and self.gamma ** (sweeps / 2) < ROUNDING
        ):
            raise UserError(
                f"a tolerance of {self.tolerance:g} is finer than float64 can tell of values "
                f"around {largest:.3g}: give {4 * finest:.1g} or more."
            )
        return bound <= self.tolerance

    def to_come(self) -> float:
        """What later sweeps will add at γ = 1 if the residual r goes on falling as in the last half
        of them, by a factor f: r/(1 − f).

        An estimate: there is no bound. Infinite before there are two sweeps, and while the residual
            does not fall.
        """
        last, half = self.residuals[-1], len(self.residuals) // 2
        earlier = self.residuals[-1 - half]
        factor = (last / earlier) ** (1 / half) if half and earlier > 0 else 1.0
        return last * max(len(self.residuals), 1 / (1 - factor)) if factor < 1 else math.inf


def check_endless(residual: float, sweeps: float) -> None:
    """Raises UserError when so many sweeps at γ = 1 have come to nothing."""
    if sweeps > UNDISCOUNTED_SWEEPS:
        raise UserError(
            f"after {sweeps:.0f} sweeps at gamma = 1 values still change by {residual:.3g}: from "
            "every state a terminal one must be within reach, and no loop may pay. Give a gamma "
            "below 1, or a larger tolerance."
        )


def account(mdp: MDP, value: Tensor, sweeps: float, tolerance: float = 0.0) -> Solution:
    """What V, which is within the tolerance of V*, gives after one more backup, with a bound on its
    error.  [S] -> Solution
    """
    q = action_values(mdp, value)
    better = q.amax(1)
    residual, largest = float((better - value).abs().max()), float(better.abs().max())
    return Solution(
        better, greedy(mdp, q, tolerance), sweeps, error_bound(residual, largest, mdp.gamma)
    )


def greedy(mdp: MDP, q: Tensor, tolerance: float = 0.0) -> Tensor:
    """The first of the best actions. At γ = 1 those may wait for ever: then, of the actions as good
    within the tolerance, one that leads to an end, where there is one.  [S, A] -> [S] long
    """
    policy = q.argmax(1)
    if mdp.gamma < 1:
        return policy
    best = q.amax(1, keepdim=True)
    first = torch.nn.functional.one_hot(policy, mdp.actions).bool()
    _, ends = find_way_to_end(mdp, first)
    if bool(ends.all()):
        return policy
    as_good = q >= best - TIE * best.abs().clamp(min=1) - tolerance
    leading, ends = find_way_to_end(mdp, as_good)
    return torch.where(ends, leading, policy)


def find_way_to_end(mdp: MDP, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """In each state an action that may bring it one step nearer to a terminal one, 0 where none
    does; and whether one does.

    allowed: [S, A] bool, the actions that are asked.  -> [S] long, [S] bool
    """
    policy = torch.zeros(mdp.states, dtype=torch.long)
    reached = mdp.terminal
    while True:
        leads = (mdp.rows @ reached.double()).view(mdp.actions, mdp.states) > 0  # [A, S]
        leads = leads if allowed is None else leads & allowed.T
        new = leads.any(0) & ~reached
        if not bool(new.any()):
            return policy, reached
        policy = torch.where(new, leads.int().argmax(0), policy)
        reached = reached | new


def as_probabilities(mdp: MDP, policy: Tensor) -> Tensor:
    """One action for each state, [S] long, or π(a|s), [S, A], as the latter in float64. Raises
    UserError for what is neither.
    """
    if policy.shape == (mdp.states,) and not policy.is_floating_point():
        if bool(((policy < 0) | (policy >= mdp.actions)).any()):
            raise UserError(
                f"the policy has actions from {int(policy.min())} to {int(policy.max())}: give 0 "
                f"to {mdp.actions - 1}."
            )
        return torch.nn.functional.one_hot(policy.long(), mdp.actions).double()
    if policy.shape != (mdp.states, mdp.actions):
        raise UserError(
            f"the policy is {policy.dtype} {tuple(policy.shape)}: give [S] = [{mdp.states}] "
            f"actions, or chances [S, A] = [{mdp.states}, {mdp.actions}]."
        )
    wrong = (~(policy >= 0)).any(1) | ((policy.double().sum(1) - 1).abs() > 1e-9)
    if bool(wrong.any()):
        raise UserError(
            f"the policy in state {int(wrong.nonzero()[0])} is no distribution: its chances must "
            "be 0 or more and add up to 1."
        )
    return policy.double()
