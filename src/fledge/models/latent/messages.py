"""Forward and backward messages of a Markov chain that is not seen: what the past and the future
say of every step's state, for all sequences at once.

Rabiner 1989, §III.A and V.A (scaling); Bishop 2006, §13.2.4. α_t(k) ∝ p(x_1…x_t, z_t = k) and
β_t(k) ∝ p(x_{t+1}… | z_t = k), divided by a number of their own every few steps. Where that would
lose digits, a sequence is done again with logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fledge.models.latent.cut_pieces import LOST, STRIDE, enter_pieces, leave_pieces, pass_matrices
from fledge.models.latent.log_messages import pass_in_logs
from fledge.models.latent.step_order import StepOrder, rows_of, sequence_of, time_of

BLOCK = 2_048  # rows that are combined at a time
LOST_PRODUCT = 1e-150  # the same of Σ_k α β


@dataclass(frozen=True)
class Observed:
    """What each step's observation says of its state; rows in the order time by time.

    share: p(x_t | z_t = k) / exp(top_t), the largest of a row 1 [N, K]. top: [N]. logs: of some
    rows log p(x_t | z_t = k), none of which has underflowed [n] -> [n, K].
    """

    share: np.ndarray
    top: np.ndarray
    logs: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Posterior:
    """What the sequences say, under one set of parameters; rows in the order time by time.

    state: p(z_t = k | x), γ [N, K], a view of a buffer. pairs: Σ_t p(z_t = i, z_{t+1} = j | x), ξ
    [K, K]. log_p: of every sequence log p(x), in nats [S].
    """

    state: np.ndarray
    pairs: np.ndarray
    log_p: np.ndarray


class Messages:
    """Buffers for the messages of the same sequences, over and over."""

    def __init__(self, steps: StepOrder, K: int) -> None:
        self.steps, self.K, N = steps, K, len(steps.order)
        self.alpha, self.beta, self.right = (np.empty((N, K)) for _ in range(3))
        self.state = self.beta  # γ = α β takes its place
        self.sequence = sequence_of(steps)
        offsets = steps.offsets.tolist()
        self.times = [slice(*each) for each in pairwise(offsets)]  # the rows of every time
        # of the rows of the time before those that are of the same sequences: made once, for a
        # step of the recursion takes hardly longer than making them
        self.later = [self.alpha[rows] for rows in self.times]
        self.earlier = [
            self.alpha[low : low + high - middle]
            for low, middle, high in zip(offsets, offsets[1:], offsets[2:], strict=False)
        ]

    def infer(self, start: np.ndarray, transition: np.ndarray, observed: Observed) -> Posterior:
        """start: π [K]. transition: A [K, K], A_ij = p(z_{t+1} = j | z_t = i)."""
        log_p, scale, lost, transfer = self._filter(start, transition, observed)
        lost |= self.pass_backward(transition, observed.share, transfer) < LOST
        total, pairs = self._combine(scale)
        lost |= ~(total > LOST_PRODUCT)
        again = np.flatnonzero(np.bincount(self.sequence[lost], minlength=len(log_p)))
        if len(again):
            self.right[np.isin(self.sequence, again)] = 0
            pairs = self.alpha[self.steps.before].T @ self.right[self.steps.follows]
        pairs *= transition
        for s in again.tolist():
            own = rows_of(self.steps, s)
            self.state[own], more, log_p[s] = pass_in_logs(start, transition, observed.logs(own))
            pairs += more
        return Posterior(self.state, pairs, log_p)

    def measure(self, start: np.ndarray, transition: np.ndarray, observed: Observed) -> np.ndarray:
        """log p(x) of every sequence, in nats.  -> [S]"""
        log_p, _, lost, _ = self._filter(start, transition, observed)
        again = np.flatnonzero(np.bincount(self.sequence[lost], minlength=len(log_p)))
        for s in again.tolist():
            own = rows_of(self.steps, s)
            log_p[s] = pass_in_logs(start, transition, observed.logs(own))[2]
        return log_p

    def _combine(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ_k α β of every row [N], and ξ / A [K, K]; `state` becomes γ. A block of rows at a time,
        which the cache still holds when it is needed again.
        """
        N, follows, before = len(scale), self.steps.follows, self.steps.before
        total, pairs = np.empty(N), np.zeros((self.K, self.K))
        for low in range(0, N, BLOCK):
            rows = slice(low, low + BLOCK)
            alpha, beta, right = self.alpha[rows], self.beta[rows], self.right[rows]
            np.einsum("nk,nk->n", alpha, beta, out=total[rows])
            safe = np.where(total[rows] > LOST_PRODUCT, total[rows], 1.0)
            state = np.multiply(alpha, beta, out=beta)
            state *= (1 / safe)[:, None]
            right *= (1 / (safe * scale[rows]))[:, None]
            if self.steps.even:
                shift = len(self.steps.chains)
                first = max(low, shift)  # a sequence's first step has none before it
                past = self.alpha[first - shift : low + len(alpha) - shift]
                if len(past):
                    pairs += past.T @ self.right[first : low + len(alpha)]
            else:
                own = slice(*np.searchsorted(follows, [low, low + BLOCK]))
                pairs += self.alpha[before[own]].T @ self.right[follows[own]]
        return total, pairs

    def _filter(
        self, start: np.ndarray, transition: np.ndarray, observed: Observed
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """α; log p(x) [S]; scale [N], α_t = (α_{t−1} A ∘ e_t) / scale_t; rows where digits may be
        lost [N]; and what each piece makes of its beginning, where sequences are cut.
        """
        steps, alpha = self.steps, self.alpha
        lost = np.zeros(len(alpha), dtype=bool)
        enter, transfer = np.tile(start, (len(steps.piece_rows), 1)), None
        if steps.cut:
            transfer = pass_matrices(transition, observed.share, steps)
            enter, thin = enter_pieces(start, transition, transfer, steps)
            lost[steps.piece_rows[thin, 0]] = True
        scale = self.pass_forward(enter, transition, observed.share)
        lost |= scale < LOST
        if steps.cut:  # the row before a piece's first is in another piece
            inner = steps.follows < len(steps.piece_rows)
            rows, before = steps.follows[inner], steps.before[inner]
            scale[rows] *= (alpha[before] @ transition).sum(1)
        lost |= ~(scale > LOST_PRODUCT)
        scale[lost] = 1.0
        if min(transition.min(), start.min()) < LOST:
            lost |= find_lost_states(start, transition, alpha, steps)
        sums = alpha[steps.last].sum(1)
        lost[steps.last] |= ~(sums > 0)
        logs = observed.top + np.log(scale)
        log_p = np.bincount(self.sequence, weights=logs, minlength=len(sums))
        return log_p + np.log(np.where(sums > 0, sums, 1.0)), scale, lost, transfer

    def pass_forward(
        self, enter: np.ndarray, transition: np.ndarray, share: np.ndarray
    ) -> np.ndarray:
        """α of all rows; what each was divided by, mostly 1.  -> [N]

        enter: p(z | the past) at the first step of every piece [P, K].
        """
        matmul, multiply, times = np.matmul, np.multiply, self.times
        scale = np.ones(len(self.alpha))
        multiply(enter, share[times[0]], out=self.later[0])
        for t, (past, new) in enumerate(zip(self.earlier, self.later[1:], strict=True), 1):
            matmul(past, transition, out=new)
            multiply(new, share[times[t]], out=new)
            if not t % STRIDE:
                total = scale[times[t]] = new.sum(1)
                new /= np.where(total > 0, total, 1.0)[:, None]
        return scale

    def pass_backward(
        self, transition: np.ndarray, share: np.ndarray, transfer: np.ndarray | None
    ) -> np.ndarray:
        """β of all rows, each up to a factor of its own, and e ∘ β (`right`); what was divided by,
        mostly 1.  -> [N]
        """
        matmul, multiply, beta, right = np.matmul, np.multiply, self.beta, self.right
        steps, divisor = self.steps, np.ones(len(beta))
        back = np.ascontiguousarray(transition.T)
        leave = 1.0 if transfer is None else leave_pieces(transition, transfer, steps)
        beta[steps.piece_rows[:, 1]] = leave
        for t in range(len(self.times) - 1, 0, -1):
            rows, begin = self.times[t], self.times[t - 1].start
            past = slice(begin, begin + rows.stop - rows.start)
            weighed, old = right[rows], beta[past]
            multiply(beta[rows], share[rows], out=weighed)
            matmul(weighed, back, out=old)
            if not t % STRIDE:
                total = divisor[past] = old.sum(1)
                old /= np.where(total > 0, total, 1.0)[:, None]
        first = self.times[0]
        multiply(beta[first], share[first], out=right[first])
        return divisor


def find_lost_states(
    start: np.ndarray, transition: np.ndarray, alpha: np.ndarray, steps: StepOrder
) -> np.ndarray:
    """Rows where a state that can be reached has come to 0: a chain that cannot always come back to
    it would never miss it.  -> [N] of bool
    """
    time = time_of(steps)
    reached = np.empty((int(time.max()) + 1, len(start)), dtype=bool)
    reached[0] = start > 0
    can = transition > 0
    for t in range(1, len(reached)):
        reached[t] = reached[t - 1] @ can
    return ((alpha == 0) & reached[time]).any(1)
