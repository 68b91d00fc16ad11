"""Messages along a sequence that is cut into pieces: what each piece makes of its beginning is a
matrix, and these lead from piece to piece, so that all pieces can be worked on side by side.
"""

from __future__ import annotations

import numpy as np

from fledge.models.latent.step_order import StepOrder

STRIDE = 16  # steps between divisions: each costs as much as the product of a step
LOST = 1e-100  # a sum that falls below it within a stride may have lost a state that matters


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
