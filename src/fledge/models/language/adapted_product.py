"""The product of rows with a frozen matrix and its low-rank adapters, as one differentiable step:
it keeps its input once and what the adapters make of it, and nothing as wide as the matrix. Of an
input that is hidden units of an MLP it keeps what these are made of, which is kept anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fledge.models.language.frozen_weights import FrozenMatrix
from fledge.models.language.hidden_units import HiddenUnits


class Update(NamedTuple):
    """One adapter's s·B A, on rows of the matrix."""

    rows: slice
    scale: float  # s
    down: Tensor  # A [r, I]
    up: Tensor  # B [O', r]


def adapted_product(
    x: Tensor, matrix: FrozenMatrix, updates: Sequence[Update], hidden: HiddenUnits | None = None
) -> Tensor:
    """x Wᵀ, and on the rows of each update s·(x Aᵀ) Bᵀ beside it (Hu et al. 2022, eq. 3).  [..., I]
    -> [..., O]

    hidden: in place of x, what it makes of x. Under autocast in its precision, sums in float32.
    """
    if not updates:
        return matrix(x if hidden is None else hidden(x))
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    with torch.autocast(x.device.type, enabled=False):
        places = tuple((update.rows, update.scale) for update in updates)
        factors = (*(u.down for u in updates), *(u.up for u in updates))
        flat: Any = _AdaptedProduct.apply(x.flatten(0, -2), hidden, matrix, places, *factors)
    return flat.view(*x.shape[:-1], flat.shape[-1])


class _AdaptedProduct(torch.autograd.Function):
    """y = x Wᵀ + s·l Bᵀ with l = x Aᵀ; of g = ∂/∂y: ∂/∂l = s·g B, ∂/∂B = s·gᵀ l, ∂/∂A = (∂/∂l)ᵀ x,
    ∂/∂x = g W + (∂/∂l) A. The A's of all adapters are one matrix.
    """

    @staticmethod
    def forward(
        ctx: Any,
        source: Tensor,
        hidden: HiddenUnits | None,
        matrix: FrozenMatrix,
        places: Sequence[tuple[slice, float]],
        *factors: Tensor,
    ) -> Tensor:
        """source: x [N, I], or what the hidden units are made of.  -> [N, O]"""
        x = source if hidden is None else hidden(source)
        downs, ups = factors[: len(places)], factors[len(places) :]
        low = x @ torch.cat(downs).to(x.dtype).T  # [N, Σ r]
        y = x @ matrix.restore(x.dtype).T
        parts = low.split([len(down) for down in downs], dim=1)
        for (rows, scale), up, part in zip(places, ups, parts, strict=True):
            y[:, rows].addmm_(part, up.to(x.dtype).T, alpha=scale)
        ctx.save_for_backward(source, low, *factors)
        ctx.hidden, ctx.matrix, ctx.places = hidden, matrix, places
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        source, low, *factors = ctx.saved_tensors
        x = source if ctx.hidden is None else ctx.hidden(source)
        places, n = ctx.places, len(ctx.places)
        downs, ups = factors[:n], factors[n:]
        sizes = [len(down) for down in downs]
        g_parts, g_ups = [], []
        for (rows, scale), up, part in zip(places, ups, low.split(sizes, dim=1), strict=True):
            own = g[:, rows]
            g_parts.append((own @ up.to(g.dtype)).mul_(scale))
            g_ups.append((own.T @ part).to(up.dtype).mul_(scale))
        g_low = torch.cat(g_parts, 1)  # [N, Σ r]
        g_downs = (g_low.T @ x).to(downs[0].dtype).split(sizes)
        g_x = None
        if ctx.needs_input_grad[0]:
            g_x = g @ ctx.matrix.restore(g.dtype)
            g_x.addmm_(g_low, torch.cat(downs).to(g.dtype))
            if ctx.hidden is not None:
                g_x = ctx.hidden.pull_back(source, g_x)
        return g_x, None, None, None, *g_downs, *g_ups
