"""Riccati's controller beside one long least-squares problem."""

from __future__ import annotations

import torch

from fledge.exact.linear_quadratic import riccati


def test_the_gain_solves_the_whole_problem_at_once() -> None:
    """Three states, two actions, four steps: all costs as one square form in all eight numbers,
    whose minimum is linear algebra without a recursion.
    """
    random = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=random)  # noqa: E731
    A, B, H = draw(3, 3) * 0.6, draw(3, 2), 4
    root, other, last = draw(3, 3), draw(2, 2), draw(3, 3)
    Q, R, final = root @ root.T, other @ other.T + torch.eye(2), last @ last.T
    gain, cost = riccati(A, B, Q, R, final, H)
    s = draw(3)
    free = [torch.linalg.matrix_power(A, t) @ s for t in range(H + 1)]
    moved = torch.zeros(H + 1, 3, 2 * H, dtype=torch.float64)
    for t in range(1, H + 1):
        for k in range(t):
            moved[t, :, 2 * k : 2 * k + 2] = torch.linalg.matrix_power(A, t - 1 - k) @ B
    square = torch.block_diag(*[R] * H)
    slope, constant = torch.zeros(2 * H).double(), torch.zeros(()).double()
    for t, weight in enumerate([Q] * H + [final]):
        square = square + moved[t].T @ weight @ moved[t]
        slope = slope + moved[t].T @ weight @ free[t]
        constant = constant + free[t] @ weight @ free[t]
    best = -torch.linalg.solve(square, slope)
    torch.testing.assert_close(-gain @ s, best[:2])
    torch.testing.assert_close(s @ cost @ s, constant + best @ slope)
