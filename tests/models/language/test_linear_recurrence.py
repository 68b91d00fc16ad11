"""h_t = a_t h_{t−1} + b_t, all at once, is what a loop says, and so is its derivative."""

from __future__ import annotations

import pytest
import torch

from fledge.models.language.linear_recurrence import recur
from tests.subjects import seeded


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 13])
def test_all_steps_at_once_are_the_loop(steps: int) -> None:
    random = seeded(steps)
    a, b = (torch.rand(2, steps, 3, dtype=torch.float64, generator=random) for _ in range(2))
    a[0, steps // 2] = 0.0  # begins anew, exactly
    h = before = torch.rand(2, 3, dtype=torch.float64, generator=random)
    said = recur(a, b, before)
    for t in range(steps):
        h = a[:, t] * h + b[:, t]
        torch.testing.assert_close(said[:, t], h, atol=1e-14, rtol=1e-14)
    assert said[0, steps // 2].tolist() == b[0, steps // 2].tolist()


def test_the_derivative_is_that_of_finite_differences() -> None:
    random = seeded(1)
    a, b = (torch.rand(2, 7, 3, dtype=torch.float64, generator=random) for _ in range(2))
    start = torch.rand(2, 3, dtype=torch.float64, generator=random)
    given = tuple(x.requires_grad_() for x in (a, b, start))
    assert torch.autograd.gradcheck(recur, given)
