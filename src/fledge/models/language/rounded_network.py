"""A whole transformer rounded to few bits, matrix after matrix, each for the inputs that those
rounded before it give (Frantar et al. 2022, §4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fledge.models.language.calibration import watch_inputs
from fledge.models.language.quantisation import (
    INT8,
    Grid,
    Rounded,
    fits_blocks,
    measure_error,
    round_by_inputs,
    round_to_nearest,
)

Rounding = Literal["nearest", "gptq"]
# Read at every token, and not by products that many tokens share: they keep 8 bits.
_OUTSIDE = ("embedding.weight", "head.weight")
# Places of tokens, and routers, whose choices hang on small differences: few numbers.
_EXACT = ("place.weight", "mixture.router.weight")


class Rows(NamedTuple):
    """Rows of calibration.  tokens [B, T]; real [B, T] bool: what is no padding."""

    tokens: Tensor
    real: Tensor

    def to(self, network: Any) -> Rows:
        """Where the network is."""
        device = network.unembedding.device
        return Rows(self.tokens.to(device), self.real.to(device))


class RoundedNetwork(NamedTuple):
    """matrices: by the network's names. errors: Σ ((w − ŵ)·x)² / Σ (w·x)² over the inputs of those
    that were seen with some.
    """

    matrices: dict[str, Rounded]
    errors: dict[str, float]


@torch.no_grad()
def round_network(
    network: Any,
    grid: Grid,
    rows: Rows | None = None,
    rounding: Rounding = "nearest",
    tell: Callable[[int, float], None] = lambda number, error: None,
) -> RoundedNetwork:
    """In place. Matrices whose rows are no whole blocks become float16; experts of a mixture, whose
    inputs are not seen, are rounded to the nearest.

    rounding: gptq needs rows. tell: called with the number of each matrix seen and its error.
    """
    done = RoundedNetwork({}, {})

    def see(name: str, linear: nn.Linear, x: Tensor) -> None:
        if not fits_blocks(linear.weight):
            return
        products = x.T @ x
        rounded = (
            round_by_inputs(linear.weight, products, grid)
            if rounding == "gptq" else round_to_nearest(linear.weight, grid)
        )  # fmt: skip
        name = f"{name}.weight"
        now = rounded.restore()
        lost = measure_error(linear.weight, now, products).sum()
        whole = measure_error(linear.weight, torch.zeros_like(now), products).sum()
        done.matrices[name], done.errors[name] = rounded, float(lost / whole.clamp(min=1e-300))
        linear.weight.copy_(now)
        tell(len(done.errors), done.errors[name])

    seen = set() if rows is None else set(list_seen(network))
    for name, weight in network.named_parameters():  # first, since matrices read what these say
        if weight.ndim < 2 or name in seen or name.endswith(_EXACT):
            continue
        if fits_blocks(weight):
            done.matrices[name] = round_to_nearest(weight, INT8 if name in _OUTSIDE else grid)
            weight.copy_(done.matrices[name].restore())
        else:
            weight.copy_(weight.half())
    if rows is not None:
        watch_inputs(network, rows.tokens, rows.real, see)
    return done


def list_seen(network: Any) -> list[str]:
    """The matrices that `round_network` sees with inputs, where it is given rows."""
    return [
        f"blocks.{name}.weight" for name, part in network.blocks.named_modules()
        if isinstance(part, nn.Linear) and fits_blocks(part.weight)
        and not name.endswith("mixture.router")
    ]  # fmt: skip
