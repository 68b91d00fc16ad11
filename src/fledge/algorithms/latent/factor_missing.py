"""A step of EM for factors where values are missing: each column is regressed on what the factors
are expected to be, over the points that have a value of it. The mean moves too: what is seen of a
column need not be spread around it.

Rubin & Thayer 1982, with sums over what is seen; Little & Rubin 2002, §11.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.models.latent.factors import BLOCK, Factors


def step_seen(
    model: Factors, x: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, float]:
    """The likeliest mean and loadings given q(h), and the noise that they leave, before any floor;
    and Σ_n w_n log p(x_n) under the model as it was.  x: [N, D] -> [D], [D, q], [D], nats

    For every column d, over the points that have it: [W μ]_d = Σ x_d E[h 1]ᵀ (Σ E[h 1][h 1]ᵀ)⁻¹.
    """
    D, q = model.loading.shape
    second = x.new_zeros(D, (q + 1) ** 2)
    across, square, count = x.new_zeros(D, q + 1), x.new_zeros(D), x.new_zeros(D)
    density = 0.0
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        w = part.new_ones(len(part)) if weight is None else weight[start : start + BLOCK]
        h, spread, log_p = model.infer_seen(part)
        one = torch.column_stack([h, torch.ones(len(h), dtype=h.dtype)])
        both = one[:, :, None] * one[:, None, :]
        both[:, :q, :q] += spread
        seen = ~part.isnan()
        there, y = seen * w[:, None], torch.where(seen, part - model.mean, 0.0)
        second += there.T @ both.flatten(1)
        across += (y * w[:, None]).T @ one
        square += w @ y.square()
        count += there.sum(0)
        density += float(log_p @ w)
    second = second.view(D, q + 1, q + 1)
    made = torch.linalg.solve(second, across)  # [D, q + 1]
    noise = (square - (made * across).sum(1)) / count
    if model.kind == "ppca":
        noise = ((noise * count).sum() / count.sum()).expand(D)
    return model.mean + made[:, q], made[:, :q], noise, density
