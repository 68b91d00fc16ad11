"""Forward and backward messages of a Markov chain that is not seen: what the past and the future
say of every step's state, for all sequences at once.

Rabiner 1989, §III.A and V.A (scaling); Bishop 2006, §13.2.4. α_t(k) ∝ p(x_1…x_t, z_t = k) and
β_t(k) ∝ p(x_{t+1}… | z_t = k), divided by a number of their own every few steps. Where that would
lose digits, a sequence is done again with logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.models.latent.log_messages import pass_in_logs
from fledge.models.latent.step_order import StepOrder, order_steps

STRIDE = 8  # steps between divisions: each costs as much as the product of a step
LOST = 1e-100  # a sum that falls below it within a stride may have lost a state that matters
LOST_PRODUCT = 1e-150  # the same of Σ_k α β


@dataclass(frozen=True)
class Posterior:
    """What the sequences say, under one set of parameters; rows in the order time by time.

    state: p(z_t = k | x), γ [N, K]. pairs: Σ_t p(z_t = i, z_{t+1} = j | x), ξ [K, K]. log_p: of
    every sequence log p(x), in nats [S].
    """

    state: np.ndarray
    pairs: np.ndarray
    log_p: np.ndarray


def infer_states(
    start: np.ndarray, transition: np.ndarray, log_emission: np.ndarray, steps: StepOrder
) -> Posterior:
    """start: π [K]. transition: A [K, K], A_ij = p(z_{t+1} = j | z_t = i). log_emission:
    log p(x_t | z_t = k) [N, K], rows as `steps` has them.
    """
    filtered = filter_states(start, transition, log_emission, steps)
    beta, least = pass_backward(transition, filtered.emission, steps, filtered.transfer)
    joint = filtered.alpha * beta
    total = joint.sum(1)
    lost = filtered.lost | (least < LOST) | ~(total > LOST_PRODUCT)
    safe = np.where(total > 0, total, 1.0)
    joint /= safe[:, None]
    right = filtered.emission * beta
    share = safe * filtered.scale
    rows = ~lost
    if lost.any():  # whole sequences
        number = sequence_of(steps)
        again = np.zeros(len(steps.chains), dtype=bool)
        again[number[lost]] = True
        rows = ~again[number]
        right[~rows] = 0
    right /= share[:, None]
    pairs = transition * (filtered.alpha[steps.before].T @ right[steps.follows])
    log_p = filtered.log_p
    if not rows.all():
        log_p = log_p.copy()
        for s in np.flatnonzero(again):
            own = rows_of(steps, s)
            state, more, log_p[s] = pass_in_logs(start, transition, log_emission[own])
            joint[own], pairs = state, pairs + more
    return Posterior(joint, pairs, log_p)


@dataclass(frozen=True)
class Filtered:
    """alpha: ∝ p(z_t | x_1…x_t) [N, K]. scale: α_t = (α_{t−1} A ∘ e_t) / scale_t [N]. emission:
    e_t ∝ p(x_t | z_t), the largest of a row 1 [N, K]. log_p: [S]. lost: rows where digits may be
    [N] of bool. transfer: of every piece, where sequences are cut.
    """

    alpha: np.ndarray
    scale: np.ndarray
    emission: np.ndarray
    log_p: np.ndarray
    lost: np.ndarray
    transfer: np.ndarray | None


def filter_states(
    start: np.ndarray, transition: np.ndarray, log_emission: np.ndarray, steps: StepOrder
) -> Filtered:
    """The forward messages, and log p(x) of every sequence."""
    top = log_emission.max(1)
    emission = np.exp(log_emission - top[:, None])
    transfer = pass_matrices(transition, emission, steps) if steps.cut else None
    enter = np.broadcast_to(start, (len(steps.piece_rows), len(start)))
    lost = np.zeros(len(emission), dtype=bool)
    if transfer is not None:
        enter, thin = enter_pieces(start, transition, transfer, steps)
        lost[steps.piece_rows[thin, 0]] = True
    alpha, scale, least = pass_forward(enter, transition, emission, steps)
    lost |= least < LOST
    if steps.cut:  # the row before a piece's first is in another piece
        firsts = np.zeros(len(emission), dtype=bool)
        firsts[steps.piece_rows[:, 0]] = True
        inner = firsts[steps.follows]
        rows, before = steps.follows[inner], steps.before[inner]
        scale[rows] *= (alpha[before] @ transition).sum(1)
    if min(transition.min(), start.min()) < LOST:
        lost |= find_lost_states(start, transition, alpha, steps)
    sums = alpha[steps.last].sum(1)
    lost[steps.last] |= ~(sums > 0)
    log_p = np.log(np.where(sums > 0, sums, 1.0))
    number = sequence_of(steps)
    with np.errstate(divide="ignore"):
        logs = np.log(scale)
    log_p += np.bincount(number, weights=top + logs, minlength=len(log_p))
    return Filtered(alpha, scale, emission, log_p, lost, transfer)


def pass_forward(
    enter: np.ndarray, transition: np.ndarray, emission: np.ndarray, steps: StepOrder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """α of all rows; what each was divided by; and the sums that were divided by, 1 elsewhere.

    enter: p(z | the past) at the first step of every piece [P, K].
    """
    matmul, multiply = np.matmul, np.multiply
    alpha = np.empty_like(emission)
    scale = np.ones(len(emission))
    offsets = steps.offsets.tolist()
    first = offsets[1]
    multiply(enter, emission[:first], out=alpha[:first])
    low = first
    for t in range(1, len(offsets) - 1):
        high = offsets[t + 1]
        new = alpha[low:high]
        matmul(alpha[offsets[t - 1] : offsets[t - 1] + high - low], transition, out=new)
        multiply(new, emission[low:high], out=new)
        if not t % STRIDE:
            total = new.sum(1)
            scale[low:high] = total
            new /= np.where(total > 0, total, 1.0)[:, None]
        low = high
    least = scale.copy()
    scale[scale == 0] = 1.0
    return alpha, scale, least


def pass_backward(
    transition: np.ndarray, emission: np.ndarray, steps: StepOrder, transfer: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """β of all rows, each up to a factor of its own; and what was divided by, 1 elsewhere."""
    matmul, multiply = np.matmul, np.multiply
    beta, weighed = np.empty_like(emission), np.empty_like(emission)
    least = np.ones(len(emission))
    back = np.ascontiguousarray(transition.T)
    leave = np.ones((len(steps.piece_rows), len(transition)))
    if transfer is not None:
        leave = leave_pieces(transition, transfer, steps)
    beta[steps.piece_rows[:, 1]] = leave
    offsets = steps.offsets.tolist()
    for t in range(len(offsets) - 2, 0, -1):
        low, high = offsets[t], offsets[t + 1]
        multiply(beta[low:high], emission[low:high], out=weighed[low:high])
        old = beta[offsets[t - 1] : offsets[t - 1] + high - low]
        matmul(weighed[low:high], back, out=old)
        if not t % STRIDE:
            top = old.max(1)
            least[offsets[t - 1] : offsets[t - 1] + high - low] = top
            old /= np.where(top > 0, top, 1.0)[:, None]
    return beta, least


def pass_matrices(transition: np.ndarray, emission: np.ndarray, steps: StepOrder) -> np.ndarray:
    """diag(e_1) A diag(e_2) … A diag(e_L) of every piece, the largest entry 1.  -> [P, K, K]"""
    offsets = steps.offsets.tolist()
    K = len(transition)
    product = np.eye(K) * emission[: offsets[1], None, :]
    for t in range(1, len(offsets) - 1):
        low, high = offsets[t], offsets[t + 1]
        own = product[: high - low]
        own[:] = (own.reshape(-1, K) @ transition).reshape(own.shape)
        own *= emission[low:high, None, :]
        if not t % STRIDE:
            top = own.max((1, 2), keepdims=True)
            own /= np.where(top > 0, top, 1.0)
    top = product.max((1, 2), keepdims=True)
    return product / np.where(top > 0, top, 1.0)


def enter_pieces(
    start: np.ndarray, transition: np.ndarray, transfer: np.ndarray, steps: StepOrder
) -> tuple[np.ndarray, np.ndarray]:
    """p(z | the past) at the first step of every piece [P, K], and the pieces at whose end little
    was left of it.
    """
    enter = np.tile(start, (len(transfer), 1))
    thin = np.zeros(len(transfer), dtype=bool)
    for chain in steps.chains:
        past = start
        for piece in chain:
            enter[piece] = past
            past = past @ transfer[piece]
            thin[piece] = not past.sum() > LOST
            past = past @ transition
            past = past / (past.sum() or 1.0)
    return enter, thin


def leave_pieces(transition: np.ndarray, transfer: np.ndarray, steps: StepOrder) -> np.ndarray:
    """β at the last step of every piece.  -> [P, K]"""
    leave = np.ones(transfer.shape[:2])
    for chain in steps.chains:
        future = leave[chain[-1]]
        for piece in chain[::-1]:
            leave[piece] = future
            future = transition @ (transfer[piece] @ future)
            future = future / (future.max() or 1.0)
    return leave


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


def sequence_of(steps: StepOrder) -> np.ndarray:
    """The number of the sequence that each row is of.  -> [N]"""
    piece = np.empty(len(steps.piece_rows), dtype=np.int64)
    for number, chain in enumerate(steps.chains):
        piece[chain] = number
    return piece[_piece_of(steps)]


def time_of(steps: StepOrder) -> np.ndarray:
    """The number of each row's step within its sequence, from 0.  -> [N]"""
    begin = np.empty(len(steps.chains), dtype=np.int64)
    number = sequence_of(steps)
    begin[number[steps.first]] = steps.order[steps.first]
    return steps.order - begin[number]


def rows_of(steps: StepOrder, sequence: int) -> np.ndarray:
    """The rows of one sequence, in the order of its steps.  -> [T]"""
    rows = np.flatnonzero(sequence_of(steps) == sequence)
    return rows[np.argsort(steps.order[rows])]


def _piece_of(steps: StepOrder) -> np.ndarray:
    counts = np.diff(steps.offsets)
    return np.arange(len(steps.order)) - np.repeat(steps.offsets[:-1], counts)


__all__ = ["Filtered", "Posterior", "filter_states", "infer_states", "order_steps"]
