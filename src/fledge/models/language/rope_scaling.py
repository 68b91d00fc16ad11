"""How rotary frequencies are changed for rows longer than those a model was first trained on: one
record of numbers, and the frequencies it makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

ScalingKind = Literal["none", "linear", "dynamic", "llama3", "yarn", "longrope"]


@dataclass(frozen=True)
class RopeScaling:
    """kind: the name that Hugging Face's `rope_type` has for it.

    dynamic changes nothing within a model's context, and beyond it no row is read.
    """

    kind: ScalingKind = "none"
    factor: float = 1.0
    original: int = 0  # tokens, of the rows first trained on
    # llama3: wavelengths below original / high stay, those above original / low are divided
    low: float = 1.0
    high: float = 4.0
    # yarn: frequencies that turn more often than fast in `original` stay, those below slow divided
    fast: float = 32.0
    slow: float = 1.0
    whole: bool = True  # yarn: the two ends of the ramp are rounded to whole dimensions
    # longrope: a divisor for each frequency, in rows of up to `original` tokens and in longer ones
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()
    attention_factor: float = 1.0  # of turned queries and of turned keys


UNSCALED = RopeScaling()


def scale_frequencies(frequency: Tensor, theta: float, scaling: RopeScaling, long: bool) -> Tensor:
    """The frequencies that are used in place of these.  [d / 2] -> [d / 2]

    linear: Chen et al. 2023, §2.2. llama3: Grattafiori et al. 2024, §3.4.3. yarn: Peng et al. 2023,
    §3.2. longrope: Ding et al. 2024, §3. long: the row is longer than `original`.
    """
    if scaling.kind == "linear":
        return frequency / scaling.factor
    if scaling.kind == "longrope":
        factors = scaling.long_factors if long else scaling.short_factors
        return frequency / torch.tensor(factors, dtype=frequency.dtype)
    if scaling.kind == "llama3":
        turns = frequency * scaling.original / (2 * math.pi)
        kept = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
        return torch.lerp(frequency / scaling.factor, frequency, kept)
    if scaling.kind == "yarn":
        kept = 1 - _ramp(len(frequency), theta, scaling).to(frequency)
        return torch.lerp(frequency / scaling.factor, frequency, kept)
    return frequency


def _ramp(count: int, theta: float, scaling: RopeScaling) -> Tensor:
    """0 for the dimensions that turn often, 1 for those that turn seldom.  -> [count]"""

    def dimension(turns: float) -> float:
        """The one that turns so often in `original` positions."""
        return count * math.log(scaling.original / (turns * 2 * math.pi)) / math.log(theta)

    first, last = dimension(scaling.fast), dimension(scaling.slow)
    if scaling.whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * count - 1)
    width = last - first if last != first else 0.001
    return ((torch.arange(count, dtype=torch.float64) - first) / width).clamp(0, 1)
