"""A flow whose velocity is known exactly: that of normal data."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.flow import Flow, carry

DEVIATION = 0.5
SETTINGS: dict[str, Any] = {
    "network": "layers", "width": 8, "layers": 1, "by_label": False, "solver": "heun",
    "sampling_steps": 50, "guidance": 1.0, "judged_steps": 100,
}  # fmt: skip


def speed(x: Tensor, t: Tensor) -> Tensor:
    """E[ε − x₀ | x_t] of x₀ ∼ N(0, s²), x_t = (1 − t) x₀ + t ε."""
    t = t.double()
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    return ((t - (1 - t) * DEVIATION**2) / variance).to(x) * x


class Exact(torch.nn.Module):
    def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        t = 1 / (1 + (log_snr.double() / 2).exp())
        return speed(x, t.view(-1, 1, 1, 1))


def model_of(shape: PictureShape, **changes: Any) -> Flow:
    model = Flow(shape, SETTINGS | changes)
    model.network = Exact()
    model.anchor = torch.nn.Parameter(torch.zeros(()))  # says on which device
    return model


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_falls_with_the_steps_at_the_order_of_the_solver(solver: Any, order: int) -> None:
    """The flow of normal data keeps the place among all: x₀ = s ε."""
    start = torch.tensor([-1.5, 0.2, 0.9], dtype=torch.float64)
    errors = []
    for steps in (50, 100, 200):
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        reached = carry(speed, start, times, solver)
        errors.append(float((reached - DEVIATION * start).abs().max()))
    rates = [math.log2(a / b) for a, b in pairwise(errors)]
    assert rates == pytest.approx([order] * 2, abs=0.1)


def test_the_density_is_that_of_the_data() -> None:
    """Each cell's −log p at the place drawn in it, which the same generator says."""
    model = model_of(PictureShape(1, 2, 1, 256))
    x = torch.tensor([[[[10], [200]]], [[[128], [90]]]], dtype=torch.uint8)
    rows = Pictures(x, torch.full((2,), -1))
    nats = model.nats(rows, torch.Generator().manual_seed(0))
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    place = ((x + uniform) / 128 - 1).double()
    normal = 0.5 * (place / DEVIATION) ** 2 + math.log(DEVIATION * math.sqrt(2 * math.pi))
    wanted = (normal - math.log(2 / 256)).flatten(1).sum(1)
    torch.testing.assert_close(nats, wanted, rtol=0, atol=2e-3)


def test_the_divergence_by_signs_is_right_in_expectation() -> None:
    """Of a velocity whose numbers depend on each other, A x: exp(A) widens by tr A, whatever else
    it does. 2,000 vectors of signs; five standard errors.
    """
    matrix = torch.tensor([[0.3, 0.5], [-0.2, 0.1]])

    class Turned(torch.nn.Module):
        def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
            return (x.flatten(1) @ matrix.T).view_as(x)

    model = model_of(PictureShape(1, 2, 1, 4), judged_steps=20)
    model.network = Turned()
    x = torch.tensor([[[[1], [3]]]], dtype=torch.uint8).expand(2000, 1, 2, 1)
    nats = model.nats(Pictures(x, torch.full((2000,), -1)), torch.Generator().manual_seed(1))
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    place = ((x + uniform) / 2 - 1).flatten(1).double()
    reached = place @ torch.linalg.matrix_exp(matrix.double()).T
    density = -0.5 * (reached**2 + math.log(2 * math.pi)).sum(1) + 0.4 + 2 * math.log(0.5)
    off = nats + density
    assert abs(float(off.mean())) < 5 * float(off.std()) / math.sqrt(2000) + 1e-3


def test_levels_are_cells_that_numbers_fall_into() -> None:
    model = model_of(PictureShape(1, 1, 17, 17))
    x = torch.arange(17, dtype=torch.uint8).view(1, 1, 1, 17)
    for u in (0.001, 0.5, 0.999):
        assert torch.equal(model.to_pictures(model.to_numbers(x, torch.full(x.shape, u))), x)


def test_what_is_drawn_has_the_deviation_of_the_data() -> None:
    """40,000 numbers: the deviation to five standard errors of it."""
    model = model_of(PictureShape(1, 1, 1, 256))
    drawn = model.sample(40_000, torch.Generator().manual_seed(2)).double()
    place = (drawn + 0.5) / 128 - 1
    # numbers beyond ±2 deviations are cut to the outermost levels
    normal = DEVIATION * torch.randn(400_000, generator=torch.Generator().manual_seed(3)).double()
    wanted = ((normal.clamp(-1, 1 - 1e-9) + 1) * 128).floor() / 128 + 1 / 256 - 1
    assert float(place.std()) == pytest.approx(float(wanted.std()), rel=5 / math.sqrt(2 * 40_000))
