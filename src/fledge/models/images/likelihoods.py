"""How likely a level is, of numbers that a network gives for it: by Bernoulli for two levels, by a
discretised logistic for more.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.images.pictures import centre

NARROWEST = -7.0  # of the logarithm of a scale: below it one level has all mass in float32


def count_outputs(levels: int) -> int:
    """Numbers that a network gives for each of a picture's."""
    return 1 if levels == 2 else 2


def log_prob_of_levels(x: Tensor, given: Tensor, levels: int) -> Tensor:
    """x: [B, C, H, W] uint8. given: [B, K·C, H, W], K of `count_outputs`.  -> log p of each number,
    [B, C, H, W] float32

    The logistic is that of Kingma et al. (2016, arXiv:1606.04934, §5.2): a level has the mass of
    the interval of its width, and the outermost ones all that lies beyond.
    """
    given = given.float()
    if levels == 2:
        return -F.binary_cross_entropy_with_logits(given, x.float(), reduction="none")
    mean, log_scale = given.chunk(2, 1)
    log_scale = log_scale.clamp(min=NARROWEST)
    half = 1 / (levels - 1)
    z, width = (centre(x, levels) - mean) * (-log_scale).exp(), half * (-log_scale).exp()
    above, below = z + width, z - width
    # log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^{b−a}), which nothing cancels in.
    inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-2 * width))
    lowest, highest = F.logsigmoid(above), F.logsigmoid(-below)
    return torch.where(x == 0, lowest, torch.where(x == levels - 1, highest, inside))


def fit_alone(x: Tensor, levels: int) -> Tensor:
    """What a network would give for every number if it saw nothing: the log-odds of two levels, one
    added to each count; of more the mean, and the scale of a logistic of their deviation.  [N, C,
    H, W] uint8 -> [K·C, H, W]
    """
    if levels == 2:
        return torch.logit((x.double().sum(0) + 1) / (len(x) + 2)).float()
    numbers = centre(x, levels)
    deviation = numbers.std(0, unbiased=False).clamp(min=1 / (levels - 1))
    return torch.cat([numbers.mean(0), (deviation * math.sqrt(3) / math.pi).log()])


def draw_levels(given: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    """A draw of that distribution.  [B, K·C, H, W] -> [B, C, H, W] uint8"""
    given = given.float()
    if levels == 2:
        uniform = torch.rand(given.shape, generator=generator)
        return (uniform < given.sigmoid()).to(torch.uint8)
    mean, log_scale = given.chunk(2, 1)
    uniform = torch.rand(mean.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    x = mean + log_scale.clamp(min=NARROWEST).exp() * torch.logit(uniform)
    return ((x + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).to(torch.uint8)


def middle_levels(given: Tensor, levels: int) -> Tensor:
    """The middle of that distribution, with nothing drawn: of two levels its probability of 1, in
    255ths, which `show_levels` says.  [B, K·C, H, W] -> [B, C, H, W] uint8
    """
    given = given.float()
    if levels == 2:
        return (given.sigmoid() * 255).round().to(torch.uint8)
    mean = given.chunk(2, 1)[0]
    return ((mean + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).to(torch.uint8)


def show_levels(levels: int) -> int:
    """Of how many levels what `middle_levels` gives is."""
    return 256 if levels == 2 else levels
