"""The best controller of a linear world whose costs are squares, by Riccati's recursion from the
end (Bertsekas 2017, "Dynamic Programming and Optimal Control", section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor


def riccati(
    A: Tensor, B: Tensor, Q: Tensor, R: Tensor, final: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """s′ = A s + B a, each step costs sᵀ Q s + aᵀ R a, the end sᵀ F s. The first gain K, for the
    action −K s, and the matrix P of what is then to be paid, sᵀ P s.

    A: [S, S], B: [S, A], Q, final: [S, S], R: [A, A].  -> [A, S], [S, S]
    """
    cost, gain = final, torch.zeros(B.shape[1], A.shape[0], dtype=A.dtype)
    for _ in range(steps):
        gain = torch.linalg.solve(R + B.T @ cost @ B, B.T @ cost @ A)
        cost = Q + A.T @ cost @ (A - B @ gain)
    return gain, cost
