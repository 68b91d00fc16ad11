"""`fledge show rope`: how rotary positions turn queries and keys, and what theta and scaling change
(Su et al. 2021, arXiv:2104.09864).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import load_model
from fledge.models.language.positions import rotary_table, rotate
from fledge.models.language.rope_scaling import UNSCALED, RopeScaling
from fledge.models.language.transformer_config import TransformerConfig
from fledge.recipes.family_field import FamilyField
from fledge.report.show_page import check_show_page, write_show_page
from fledge.report.show_rope import RopeCurves, draw_rope
from fledge.runs.show import Show

MOST = 131_072  # positions
PLACES = (0, 17, 101)  # where the same distance is measured again: the product sees nothing else


class ShowRopeConfig(FamilyField):
    """Draw how rotary positions turn: angles by pair of dimensions, the product of query and key by
    distance, and both with another theta and with positions scaled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path | None = Field(
        default=None,
        description="a run or model folder whose head width, theta, scaling and context are taken",
    )
    head_width: int = Field(
        default=64, ge=2, le=1024, multiple_of=2, description="numbers in a query or key"
    )
    theta: float = Field(
        default=10_000.0, gt=1, description="the slowest pairs turn 1/theta a step"
    )
    other_theta: float = Field(default=500_000.0, gt=1, le=1e12, description="to compare with")
    scaling: Literal["linear", "llama3", "yarn"] = Field(
        default="linear", description="how frequencies are scaled, to compare with"
    )
    factor: float = Field(
        default=4.0, ge=1, le=1e6, description="so much longer texts the scaled positions are for"
    )
    context: int = Field(default=2048, ge=8, le=MOST, description="positions that are drawn")
    out: Path = Field(default=Path("rope.html"), description="the page to write")


@dataclass(frozen=True)
class Turning:
    """How positions turn: what `rotary_table` is made of."""

    width: int
    theta: float
    scaling: RopeScaling = UNSCALED
    long: bool = False

    def table(self, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin.  -> [length, width] twice"""
        return rotary_table(length, self.width, self.theta, self.scaling, long=self.long)

    def __str__(self) -> str:
        kind, factor = self.scaling.kind, self.scaling.factor
        return f"theta {self.theta:,g}{'' if kind == 'none' else f', {kind} × {factor:g}'}"


def show_rope(config: ShowRopeConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that is not there or does not turn its positions."""
    check_show_page(config.out)
    config.use_family()
    own, context = Turning(config.head_width, config.theta), config.context
    if config.base is not None:
        own, context = read_turning(config.base)
    scaled = RopeScaling(config.scaling, config.factor, original=context)
    others = (Turning(own.width, config.other_theta), Turning(own.width, own.theta, scaled))
    turnings = {str(own): own}
    for each in others:
        turnings.setdefault(str(each), each)
    distances = list_distances(context)
    products = {name: measure_product(each, distances) for name, each in turnings.items()}
    wavelengths = {name: find_wavelengths(each) for name, each in turnings.items()}
    apart = measure_places(own, distances, context)
    source = "built-in sizes" if config.base is None else str(config.base)
    waves = wavelengths[str(own)]
    curves = RopeCurves(distances, products, wavelengths)
    page = draw_rope(source, str(own), context, own.table(min(context, 256)), curves, apart)
    write_show_page(config.out, page)
    show.line(
        f"{own.width // 2} pairs of dimensions: the fastest turns once in {waves[0]:.1f} tokens, "
        f"the slowest in {waves[-1]:,.0f}; {int((waves > context).sum())} of them do not turn once "
        f"in {context:,} tokens."
    )
    show.line(
        "The product of query and key depends on their distance alone: measured from positions "
        f"{', '.join(map(str, PLACES))} it differs by {apart:.0e}."
    )
    show.line(f"Page: {config.out}")
    return {
        "base": config.base and str(config.base),
        "head_width": own.width,
        "theta": own.theta,
        "context": context,
        "wavelengths": {name: each.tolist() for name, each in wavelengths.items()},
        "distances": distances.tolist(),
        "products": {name: each.tolist() for name, each in products.items()},
        "differs_by_place": apart,
        "page": str(config.out),
    }


def read_turning(base: Path) -> tuple[Turning, int]:
    """Of a model, in rows as long as its context; and the context."""
    sizes = load_model(base).network.config
    if not isinstance(sizes, TransformerConfig) or sizes.learned_positions:
        raise UserError(f"{base} has no rotary positions to draw: leave base out, or give another.")
    context = min(sizes.context, MOST)
    long = sizes.scaling.kind == "longrope" and context > sizes.scaling.original
    return Turning(sizes.turned, sizes.rope_theta, sizes.scaling, long), context


def list_distances(context: int) -> Tensor:
    """Every distance below 64, then ever fewer: they are drawn on a scale of powers.  -> [N]"""
    near = torch.arange(min(64, context))
    if context <= 64:
        return near
    far = torch.logspace(math.log10(64), math.log10(context - 1), 400, dtype=torch.float64)
    return torch.cat([near, far.round().long()]).unique()


def find_wavelengths(turning: Turning) -> Tensor:
    """Tokens until each pair has turned once, 2π/θ_i, from the table's own angles at position 1.
    -> [width / 2]
    """
    cos, sin = (each.double() for each in turning.table(2))
    half = turning.width // 2
    return 2 * math.pi / torch.atan2(sin[1, half:], cos[1, :half])


def measure_product(turning: Turning, distances: Tensor, *, place: int = 0) -> Tensor:
    """q · k, the same unit vector at `place` and `distances` further on, every pair with an equal
    share: the mean of cos(distance · θ_i).  [N] -> [N]
    """
    cos, sin = turning.table(place + int(distances.max()) + 1)
    unit = torch.full((1, turning.width), turning.width**-0.5)
    there = place + distances
    return (rotate(unit, cos[place], sin[place]) * rotate(unit, cos[there], sin[there])).sum(-1)


def measure_places(turning: Turning, distances: Tensor, context: int) -> float:
    """How far the products at the same distance differ by place."""
    fitting = distances[distances < max(2, context - max(PLACES))]
    each = torch.stack([measure_product(turning, fitting, place=place) for place in PLACES])
    return float((each - each[0]).abs().max())
