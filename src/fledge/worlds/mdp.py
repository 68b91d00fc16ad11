"""A Markov decision process as tables, checked as they come in: solvers read it, `MDPWorld` plays
it.

Sutton & Barto 2018, eqs. 3.2 to 3.5; partly observed: Kaelbling, Littman & Cassandra 1998, section
3.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from fledge.errors import UserError

ROUNDING = 1e-9  # how far from 1 the chances of one row may add up


class MDP:
    """P[a, s, s′], R[s, a], γ, where it ends and where it starts: S states, A actions, all numbers
    in float64.

    transition: [A, S, S], dense or torch's sparse COO, or CSR [A·S, S] with row a·S + s for P[a,
    s]: the shape in which it is kept, in `rows`, sparse (CSR) where it came so. reward: [S, A], or
    what each outcome pays, [A, S, S] dense or COO: then `reward` is its expectation and `payments`
    knows each. terminal: [S] bool, states that stay where they are and pay nothing; none unless
    given. start: [S], the chance of each first state; even over what is not terminal unless given.
    The return is Σ γ^k r_{t+k}.

    Raises UserError, naming the entry, for what is no process.
    """

    def __init__(
        self,
        transition: Tensor,
        reward: Tensor,
        gamma: float,
        *,
        terminal: Tensor | None = None,
        start: Tensor | None = None,
    ) -> None:
        self.actions, self.states = _sizes(transition)
        self.rows = _as_rows(transition.double(), self.actions, self.states)  # [A·S, S]
        self.gamma = float(gamma)
        if not 0 <= self.gamma <= 1:
            raise UserError(f"gamma is {gamma}: give a number from 0 to 1.")
        self._check_chances()
        # [S]
        self.terminal = torch.zeros(self.states, dtype=torch.bool) if terminal is None else terminal
        if self.terminal.shape != (self.states,) or self.terminal.dtype != torch.bool:
            raise UserError(
                f"terminal is {self.terminal.dtype} {tuple(self.terminal.shape)}: give bool "
                f"[{self.states}]."
            )
        self._outcome = None if reward.ndim == 2 else reward.double()
        if reward.layout == torch.sparse_coo and self._outcome is not None:
            self._outcome = self._outcome.coalesce()
        self.reward = self._expected(reward)  # [S, A]
        self._check_reward()
        self.start = self._check_start(start)  # [S]

    @property
    def sparse(self) -> bool:
        return self.rows.layout == torch.sparse_csr

    def dense(self) -> Tensor:
        """P, all of it.  -> [A, S, S]"""
        return (self.rows.to_dense() if self.sparse else self.rows).view(
            self.actions, self.states, self.states
        )

    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where P is not 0, in the order of rows.  -> row a·S + s, state after it, chance: [N]
        each
        """
        if not self.sparse:
            row, after = self.rows.nonzero(as_tuple=True)
            return row, after, self.rows[row, after]
        begins = self.rows.crow_indices().long()
        row = torch.repeat_interleave(torch.arange(len(begins) - 1), begins.diff())
        possible = self.rows.values() > 0
        return row[possible], self.rows.col_indices().long()[possible], self.rows.values()[possible]

    def payments(self) -> Tensor:
        """What each outcome pays, in the order of `entries`; its expectation where only that is
        known.  -> [N] float64
        """
        row, after, _ = self.entries()
        action, state = row // self.states, row % self.states
        if self._outcome is None:
            return self.reward[state, action]
        if self._outcome.layout == torch.strided:
            return self._outcome[action, state, after]
        known, wanted = (
            (a * self.states + s) * self.states + t
            for a, s, t in (self._outcome.indices(), (action, state, after))
        )
        # The place of each outcome among those that are listed; one that is not pays 0, as does the
        # one put behind them all.
        known = torch.cat([known, known.new_full((1,), 2**62)])
        place = torch.searchsorted(known, wanted)
        listed = torch.cat([self._outcome.values(), torch.zeros(1, dtype=torch.float64)])
        return torch.where(known[place] == wanted, listed[place], 0.0)

    def _expected(self, reward: Tensor) -> Tensor:
        """R[s, a] of whatever was given; in memory action by action, as `rows` are."""
        S, A = self.states, self.actions
        if reward.shape not in ((S, A), (A, S, S)):
            raise UserError(
                f"the reward is {tuple(reward.shape)}: give [S, A] = ({S}, {A}), or [A, S, S] = "
                f"({A}, {S}, {S}) for each outcome."
            )
        if self._outcome is None:
            return reward.double().T.contiguous().T
        given = (
            self._outcome.values() if self._outcome.layout == torch.sparse_coo else self._outcome
        )
        wrong = (~given.isfinite()).nonzero()
        if len(wrong):
            place = self._outcome.indices()[:, wrong[0, 0]] if given.ndim == 1 else wrong[0]
            raise UserError(
                f"the reward{place.tolist()} (action, state, next) is no number: give a finite one."
            )
        row, _, chance = self.entries()
        worth = chance * self.payments()
        return worth.new_zeros(A * S).index_add_(0, row, worth).view(A, S).T

    def _check_chances(self) -> None:
        chance = self.rows.values() if self.sparse else self.rows
        wrong = (~(chance >= 0) | chance.isinf()).nonzero()
        if len(wrong):
            place = wrong[0]
            value = float(chance[tuple(place)])
            if self.sparse:
                row = torch.searchsorted(self.rows.crow_indices().long(), place, right=True) - 1
                place = torch.cat([row, self.rows.col_indices()[place]])
            a, s = divmod(int(place[0]), self.states)
            raise UserError(
                f"P[{a}, {s}, {int(place[1])}] is {value:g}: a chance is a number from 0 to 1."
            )
        total = self.rows @ chance.new_ones(self.states)
        wrong = ((total - 1).abs() > ROUNDING).nonzero()
        if len(wrong):
            a, s = divmod(int(wrong[0]), self.states)
            raise UserError(
                f"P[{a}, {s}] adds up to {float(total[wrong[0]]):.12g}: the chances of what "
                f"follows action {a} in state {s} must add up to 1. Divide the row by its sum, in "
                "float64."
            )

    def _check_reward(self) -> None:
        wrong = (~self.reward.isfinite()).nonzero()
        if len(wrong):
            raise UserError(
                f"R{wrong[0].tolist()} (state, action) is no number: give a finite one."
            )
        row, after, _ = self.entries()
        leaves = self.terminal[row % self.states] & (after != row % self.states)
        if bool(leaves.any()):
            a, s = divmod(int(row[leaves][0]), self.states)
            raise UserError(
                f"state {s} is terminal, but P[{a}, {s}] leaves it: a terminal state stays where "
                f"it is, P[{a}, {s}, {s}] = 1."
            )
        pays = ((self.reward != 0) & self.terminal[:, None]).nonzero()
        if len(pays):
            raise UserError(
                f"R{pays[0].tolist()} is {float(self.reward[tuple(pays[0])]):g}, but state "
                f"{int(pays[0, 0])} is terminal and pays nothing: pay on the way into it."
            )

    def _check_start(self, start: Tensor | None) -> Tensor:
        if bool(self.terminal.all()):
            raise UserError("every state is terminal: there is nothing to decide. Leave one open.")
        if start is None:
            return (~self.terminal).double() / (~self.terminal).sum()
        if (
            start.shape != (self.states,)
            or not bool((start >= 0).all())
            or abs(float(start.sum()) - 1) > ROUNDING
        ):
            raise UserError(
                f"start is {tuple(start.shape)} and adds up to {float(start.sum()):.12g}: give a "
                f"distribution over the {self.states} states."
            )
        if bool(start[self.terminal].any()):
            over = int((start * self.terminal).argmax())
            raise UserError(
                f"start[{over}] is {float(start[over]):g}, but state {over} is terminal: nothing "
                "starts there."
            )
        return start.double()


class Pomdp:
    """A process of which only signs are seen: O[s, o] is the chance of sign o in state s.

    emission: [S, O]. Raises UserError, naming the row, where it is no distribution.
    """

    def __init__(self, mdp: MDP, emission: Tensor) -> None:
        if emission.ndim != 2 or emission.shape[0] != mdp.states:
            raise UserError(
                f"the emission is {tuple(emission.shape)}: give [S, O] with S = {mdp.states}."
            )
        wrong = (
            (~(emission >= 0)).any(1) | ((emission.double().sum(1) - 1).abs() > ROUNDING)
        ).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise UserError(
                f"O[{row}] is no distribution, it adds up to "
                f"{float(emission[row].double().sum()):.12g}: its entries must be 0 or more and "
                "add up to 1. Divide the row by its sum, in float64."
            )
        self.mdp, self.emission = mdp, emission.double()

    @property
    def signs(self) -> int:
        return self.emission.shape[1]

    def first_belief(self, sign: Tensor) -> Tensor:
        """b(s) ∝ O[s, o] · start(s).  [n] -> [n, S]. Raises UserError for a sign that cannot come
        first.
        """
        return self._given(self.mdp.start.expand(len(sign), -1), sign)

    def next_belief(self, belief: Tensor, action: Tensor, sign: Tensor) -> Tensor:
        """b′(s′) ∝ O[s′, o] Σ_s P[a, s, s′] b(s)   (Kaelbling et al. 1998, section 3.3).  [n, S],
        [n], [n] -> [n, S]

        Raises UserError for a sign that cannot follow.
        """
        before = belief.new_zeros(len(belief), self.mdp.actions, self.mdp.states)
        before[torch.arange(len(belief)), action] = belief
        return self._given(before.flatten(1) @ self.mdp.rows, sign)

    def _given(self, prior: Tensor, sign: Tensor) -> Tensor:
        joint = prior * self.emission.T[sign]  # [n, S]
        chance = joint.sum(1, keepdim=True)
        if not bool((chance > 0).all()):
            row = int((~(chance > 0)).nonzero()[0, 0])
            raise UserError(
                f"sign {int(sign[row])} in row {row} cannot be seen there: its chance is 0 under "
                "the belief."
            )
        return joint / chance


def _sizes(transition: Tensor) -> tuple[int, int]:
    """A and S of what was given as P."""
    shape = tuple(transition.shape)
    if (
        transition.layout == torch.sparse_csr
        and len(shape) == 2
        and shape[1]
        and shape[0]
        and not shape[0] % shape[1]
    ):
        return shape[0] // shape[1], shape[1]
    if (
        transition.layout != torch.sparse_csr
        and len(shape) == 3
        and shape[1] == shape[2]
        and math.prod(shape)
    ):
        return shape[0], shape[1]
    raise UserError(
        f"P is {transition.layout} {shape}: give [A, S, S] dense or COO, or CSR [A·S, S]."
    )


def _as_rows(transition: Tensor, actions: int, states: int) -> Tensor:
    """[A·S, S]; CSR with 32-bit places where they suffice, which are read one and a half times as
    fast.
    """
    if transition.layout == torch.strided:
        return transition.reshape(actions * states, states)
    if transition.layout == torch.sparse_csr:
        begins, after, chance = (
            transition.crow_indices(),
            transition.col_indices(),
            transition.values(),
        )
    else:
        listed = transition.coalesce()
        action, state, after = listed.indices()
        begins = torch.searchsorted(action * states + state, torch.arange(actions * states + 1))
        chance = listed.values()
    small = torch.int32 if len(chance) < 2**31 else torch.int64
    with warnings.catch_warnings():  # torch says once that CSR is young
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            begins.to(small),
            after.to(small),
            chance,
            (actions * states, states),
            check_invariants=True,
        )
