"""What the codes of a VAE hold, as sheets and as figures: reconstructions, the manifold of two
latents, each latent traversed, and what lies between two pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fledge.algorithms.images.protocol import Sheet
from fledge.images.pictures import PictureSet
from fledge.models.images.likelihoods import show_levels
from fledge.models.images.vae import VAE
from fledge.models.normal_codes import kl_to_standard
from fledge.trajectories import spread_evenly

SHOWN = 32
GRID = 15  # a side of the manifold
STEPS = 9  # from one end of a traversal, or from one picture to another
ROWS = 8  # of traversals and of interpolations, at the most
FAR = 2.5  # deviations of the prior, where a traversal ends
ACTIVE = 0.01  # variance of a latent's mean over pictures (Burda et al. 2016, §5.2)


class Units(NamedTuple):
    """kl: nats of each latent, a mean over pictures. active: the places of those whose mean varies
    from picture to picture, the most informed first.
    """

    kl: list[float]
    active: list[int]


@torch.no_grad()
def measure_units(model: VAE, given: PictureSet) -> Units:
    mean, log_deviation = model.encode(given.rows.x)
    kl = kl_to_standard(mean, log_deviation).mean(0)
    varies = mean.var(0, unbiased=False) > ACTIVE
    order = kl.argsort(descending=True).tolist()
    return Units(kl.tolist(), [place for place in order if varies[place]])


@torch.no_grad()
def draw_code_sheets(model: VAE, held_out: PictureSet) -> list[Sheet]:
    """Of held-out pictures; the manifold only where there are two latents."""
    shown, some = show_levels(model.shape.levels), held_out.rows.spread(SHOWN).x
    sheets = [
        Sheet(
            "reconstructions", "Reconstructed",
            "held-out pictures, each beside what its code gives",
            pair_up(some, model.reconstruct(some), model),
            shown, 8,
        )
    ]  # fmt: skip
    if model.latents == 2:
        sheets.append(
            Sheet(
                "manifold", "The manifold",
                f"both latents through {GRID} equally likely values of the prior, each",
                model.show(lay_manifold(GRID)), shown, GRID,
            )
        )  # fmt: skip
    mean = model.encode(held_out.rows.x)[0]
    active = measure_units(model, held_out).active[:ROWS]
    if active:
        sheets.append(
            Sheet(
                "traversals", "Traversals",
                f"a row a latent, the most informed first, from −{FAR} to {FAR} with the others "
                "as the first held-out picture has them",
                model.show(traverse(mean[0], active)), shown, STEPS,
            )
        )  # fmt: skip
    pairs = min(ROWS, len(mean) // 2)
    if pairs:
        between = interpolate(*mean[spread_evenly(len(mean), 2 * pairs)].chunk(2))
        sheets.append(
            Sheet(
                "interpolations", "Interpolations",
                "a row leads from the code of one held-out picture to that of another",
                model.show(between), shown, STEPS,
            )
        )  # fmt: skip
    return sheets


def pair_up(x: Tensor, made: Tensor, model: VAE) -> Tensor:
    """Each picture, then what was made of it; of `show_levels` levels.  -> [2B, C, H, W]"""
    levels = model.shape.levels
    given = (x.float() * ((show_levels(levels) - 1) / (levels - 1))).round().to(torch.uint8)
    return torch.stack([given, made], 1).flatten(0, 1)


def lay_manifold(side: int) -> Tensor:
    """The middles of `side` equally likely intervals of a standard normal, each with each: the
    first latent falls from row to row, the second rises along it (Kingma & Welling 2014, appendix
    A).  -> [side², 2]
    """
    values = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    return torch.cartesian_prod(values.flip(0), values)


def traverse(mean: Tensor, latents: Sequence[int]) -> Tensor:
    """mean: [Z].  -> [len(latents) · STEPS, Z]"""
    rows = mean.repeat(len(latents), STEPS, 1)
    for row, latent in zip(rows, latents, strict=True):
        row[:, latent] = torch.linspace(-FAR, FAR, STEPS)
    return rows.flatten(0, 1)


def interpolate(a: Tensor, b: Tensor) -> Tensor:
    """[N, Z] twice -> [N · STEPS, Z], straight from each of a to that of b, both included"""
    place = torch.linspace(0, 1, STEPS)[:, None]
    return torch.lerp(a[:, None], b[:, None], place).flatten(0, 1)
