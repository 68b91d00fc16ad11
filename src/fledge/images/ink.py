"""Strokes as ink on paper: how likely each pixel is black, given where the pen went.

A pen that moves leaves drops along its way, each spread by a normal: the expected number on a
pixel is λ = Σ_m w_m N(pixel; b_m, σ²), with beads b_m along the strokes, each standing for w_m of
the length. Black is a pixel with a drop on it, 1 − e^−λ, and with chance ε another than that: the
blur and the noise of Lake, Salakhutdinov & Tenenbaum (2015, supplement §2.2), with their
convolutions done in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PAPER = 105  # pixels of a side, Omniglot's
BLUR = 1.5  # pixels, σ: with INK what makes lines as wide as Omniglot's, 4 to 5 pixels
INK = 8.0  # drops for each pixel of length
NOISE = 1e-3  # ε
DOT = 4.0  # pixels of length, whose ink a pen leaves that stands still
SPACING = 1.0  # pixels between beads
BLURS, NOISES = (1.0, 1.5, 2.25), (1e-3, 3e-3, 1e-2, 3e-2)  # of which those that fit are taken


def space_beads(path: Tensor, spacing: float = SPACING) -> tuple[Tensor, Tensor]:
    """Points along a path, evenly, and the length that each stands for. A dot is one, of length
    `DOT`.  [L, 2] -> [M, 2], [M]
    """
    path = path.to(torch.get_default_dtype())
    if len(path) < 2:
        return path, path.new_full((1,), DOT)
    run = torch.cat([path.new_zeros(1), (path[1:] - path[:-1]).norm(dim=1).cumsum(0)])
    length = float(run[-1].detach())
    if length < BLUR:
        return path.mean(0, keepdim=True), path.new_full((1,), DOT)
    pieces = max(1, round(length / spacing))
    place = (torch.arange(pieces) + 0.5) * (length / pieces)
    after = torch.searchsorted(run.detach(), place).clamp(1, len(path) - 1)
    part = (place - run[after - 1]) / (run[after] - run[after - 1]).clamp(min=1e-9)
    beads = path[after - 1] + part[:, None] * (path[after] - path[after - 1])
    return beads, path.new_full((pieces,), length / pieces)


def expect_ink(beads: Tensor, lengths: Tensor, blur: float = BLUR, side: int = PAPER) -> Tensor:
    """λ of each pixel, which the beads' gradient goes through.  [M, 2], [M] -> [side, side]"""
    grid = torch.arange(side, dtype=beads.dtype)
    across, down = (
        torch.exp(-((grid - beads[:, axis, None]) ** 2) / (2 * blur**2)) for axis in (0, 1)
    )
    return (down * (INK * lengths)[:, None]).T @ across / (2 * math.pi * blur**2)


def blacken(expected: Tensor, noise: float = NOISE) -> Tensor:
    """The probability that a pixel is black."""
    return noise + (1 - 2 * noise) * -torch.expm1(-expected)


def log_likelihood(picture: Tensor, black: Tensor) -> Tensor:
    """log p(picture | ink), by Bernoulli for each pixel.  [H, W] of 0 and 1, [H, W] -> nats"""
    return torch.where(picture > 0, black.log(), (1 - black).log()).sum()


def string_ink(paths: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The beads of all strokes, and their lengths.  each [L, 2] -> [M, 2], [M]"""
    beads, lengths = zip(*(space_beads(path) for path in paths), strict=True)
    return torch.cat(beads), torch.cat(lengths)


def explain_ink(picture: Tensor, paths: Sequence[Tensor]) -> float:
    """log p(picture | strokes) with the blur and the noise under which it is likeliest, as they are
    fitted to each picture (Lake et al. 2015, supplement §3).  [PAPER, PAPER], each [L, 2] -> nats
    """
    beads, lengths = string_ink(paths)
    black = [expect_ink(beads, lengths, blur) for blur in BLURS]
    return max(
        float(log_likelihood(picture, blacken(each, noise))) for each in black for noise in NOISES
    )


def render(paths: Sequence[Tensor], blur: float = BLUR, noise: float = NOISE) -> Tensor:
    """The probability of black of all strokes together.  each [L, 2] -> [PAPER, PAPER]"""
    return blacken(expect_ink(*string_ink(paths), blur), noise)


def draw_ink(paths: Sequence[Tensor]) -> Tensor:
    """The likeliest picture.  -> [PAPER, PAPER] uint8, 1 is black"""
    return (render(paths) > 0.5).to(torch.uint8)
