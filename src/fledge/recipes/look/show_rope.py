"""`fledge show rope`: how rotary positions turn queries and keys, and what theta and scaling change
(Su et al. 2021, arXiv:2104.09864).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import load_model
from fledge.models.language.positions import rotary_table, rotate
from fledge.report.show_page import check_show_page, write_show_page
from fledge.report.show_rope import Curves, draw_rope
from fledge.runs.show import Show

PLACES = (0, 17, 101)  # where the same distance is measured again: the product sees nothing else


class ShowRopeConfig(BaseModel):
    """Draw how rotary positions turn: angles by pair of dimensions, the product of query and key by
    distance, and both with another theta and with positions scaled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path | None = Field(
        default=None,
        description="a run or model folder whose head width, theta and context are taken",
    )
    head_width: int = Field(
        default=64, ge=2, le=1024, multiple_of=2, description="numbers in a query or key"
    )
    theta: float = Field(
        default=10_000.0, gt=1, description="the slowest pairs turn 1/theta a step"
    )
    other_theta: float = Field(default=500_000.0, gt=1, le=1e12, description="to compare with")
    scale: float = Field(
        default=4.0,
        ge=1,
        le=1e6,
        description="positions divided by it, as a model is stretched to read on",
    )
    context: int = Field(default=2048, ge=8, le=131_072, description="positions that are drawn")
    out: Path = Field(default=Path("rope.html"), description="the page to write")


def show_rope(config: ShowRopeConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that is not there or does not turn its positions."""
    check_show_page(config.out)
    width, theta, context = config.head_width, config.theta, config.context
    if config.base is not None:
        width, theta, context = read_sizes(config.base)
    distances = list_distances(context)
    scaled = f"theta {theta:,g}, positions / {config.scale:g}"
    products = {
        f"theta {theta:,g}": measure_product(width, theta, distances),
        f"theta {config.other_theta:,g}": measure_product(width, config.other_theta, distances),
        scaled: measure_product(width, theta, distances, scale=config.scale),
    }
    wavelengths = {
        f"theta {theta:,g}": find_wavelengths(width, theta),
        f"theta {config.other_theta:,g}": find_wavelengths(width, config.other_theta),
        scaled: config.scale * find_wavelengths(width, theta),
    }
    apart = measure_places(width, theta, distances, context)
    never = int((wavelengths[f"theta {theta:,g}"] > context).sum())
    source = "built-in sizes" if config.base is None else str(config.base)
    curves = Curves(distances, products, wavelengths)
    table = rotary_table(min(context, 256), width, theta)
    write_show_page(config.out, draw_rope(source, width, theta, context, table, curves, apart))
    waves = wavelengths[f"theta {theta:,g}"]
    show.line(
        f"{width // 2} pairs of dimensions: the fastest turns once in {waves[0]:.1f} tokens, the "
        f"slowest in {waves[-1]:,.0f}; {never} of them do not turn once in {context:,} tokens."
    )
    show.line(
        f"The product of query and key depends on their distance alone: measured from positions "
        f"{', '.join(map(str, PLACES))} it differs by {apart:.0e}."
    )
    show.line(f"Page: {config.out}")
    return {
        "base": config.base and str(config.base),
        "head_width": width,
        "theta": theta,
        "context": context,
        "wavelengths": {name: each.tolist() for name, each in wavelengths.items()},
        "distances": distances.tolist(),
        "products": {name: each.tolist() for name, each in products.items()},
        "differs_by_place": apart,
        "page": str(config.out),
    }


def read_sizes(base: Path) -> tuple[int, float, int]:
    """Head width, theta and context of a model."""
    sizes = load_model(base).network.config
    if not hasattr(sizes, "rope_theta"):
        raise UserError(f"{base} has no rotary positions to draw: leave base out, or give another.")
    return sizes.head_width, float(sizes.rope_theta), min(sizes.context, 131_072)


def list_distances(context: int) -> Tensor:
    """Every distance below 64, then ever fewer: they are drawn on a scale of powers.  -> [N]"""
    near = torch.arange(min(64, context))
    if context <= 64:
        return near
    far = torch.logspace(math.log10(64), math.log10(context - 1), 400, dtype=torch.float64)
    return torch.cat([near, far.round().long()]).unique()


def find_wavelengths(width: int, theta: float) -> Tensor:
    """Tokens until each pair has turned once, 2π/θ_i, from the table's own angles at position 1.
    -> [width / 2]
    """
    cos, sin = (half.double() for half in rotary_table(2, width, theta))
    half = width // 2
    return 2 * math.pi / torch.atan2(sin[1, half:], cos[1, :half])


def measure_product(
    width: int, theta: float, distances: Tensor, *, scale: float = 1.0, place: int = 0
) -> Tensor:
    """q · k, the same unit vector at `place` and `distances` further on, every pair with an equal
    share: the mean of cos(distance · θ_i / scale).  [N] -> [N]
    """
    unit = torch.full((1, width), width**-0.5)
    query = rotate(unit, *turn(torch.tensor([place]), width, theta, scale))
    return (query * rotate(unit, *turn(place + distances, width, theta, scale))).sum(-1)


def turn(positions: Tensor, width: int, theta: float, scale: float) -> tuple[Tensor, Tensor]:
    """cos and sin at `positions` / `scale`, as `rotary_table` has them.  [N] -> [N, width] twice"""
    if scale == 1:
        cos, sin = rotary_table(int(positions.max()) + 1, width, theta)
        return cos[positions], sin[positions]
    # Between two positions of the table.
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = (positions.double() / scale)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1).float(), torch.cat([-sin, sin], -1).float()


def measure_places(width: int, theta: float, distances: Tensor, context: int) -> float:
    """How far the products at the same distance differ by place."""
    fitting = distances[distances < max(2, context - max(PLACES))]
    each = torch.stack([measure_product(width, theta, fitting, place=place) for place in PLACES])
    return float((each - each[0]).abs().max())
