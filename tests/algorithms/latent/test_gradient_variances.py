"""What is measured of an estimator is its variance: that of a score whose law is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.latent.gradient_variances import REPEATS, measure_variances
from fledge.errors import UserError
from fledge.models.latent.normal_families import IndependentNormals
from fledge.rows.points import Points, from_array

NONE = from_array(torch.zeros(3, 1, dtype=torch.float64))


class Line:
    """log p = c z − ½ (1 + log 2π): with q standard normal log p − log q = ½ z² + c z − ½."""

    width, names = 1, ("z",)

    def log_joint(self, z: Tensor, points: Points) -> Tensor:
        return 2.0 * z[:, 0] - 0.5 * (1 + torch.tensor(2 * torch.pi).log())

    def terms(self, z: Tensor, points: Points) -> Any:
        raise UserError("there are none")


def test_the_variances_are_the_closed_forms() -> None:
    """q = N(0, 1), c = 2, S samples. By the path ∇ = (c + z − z, …): −∇_μ = c in every sample and
    ∇_log σ adds cε + 1: variance c² / S. By the score (½z² + cz − ½)(z, z² − 1): moments of z.
    """
    q, S = IndependentNormals(1), 400
    made = [measure_variances(q, Line(), NONE, S, seed) for seed in range(30)]
    assert set(made[0]) == {"score", "score less baseline", "pathwise"}
    path = torch.tensor([each["pathwise"] for each in made]).mean()
    error = (2 / (REPEATS * 30)) ** 0.5  # of a normal's variance
    assert float(path) == pytest.approx(4 / S, rel=6 * error)
    # E z^{2, 4, 6, 8} = 1, 3, 15, 105
    m = {0: 1, 2: 1, 4: 3, 6: 15, 8: 105}
    weight = {2: 0.5, 1: 2.0, 0: -0.5}

    def moment(*factors: dict[int, float]) -> float:
        product = {0: 1.0}
        for factor in factors:
            step: dict[int, float] = {}
            for a, u in product.items():
                for b, v in factor.items():
                    step[a + b] = step.get(a + b, 0.0) + u * v
            product = step
        return sum(value * m.get(power, 0) for power, value in product.items())

    wanted = 0.0
    for score in ({1: 1.0}, {2: 1.0, 0: -1.0}):
        mean = moment(weight, score)
        wanted += moment(weight, weight, score, score) - mean**2
    plain = torch.tensor([each["score"] for each in made]).mean()
    assert float(plain) == pytest.approx(wanted / S, rel=6 * error)
