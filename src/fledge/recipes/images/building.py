"""What learns in a run of `fledge imagine`, made afresh from its settings and its data."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fledge.models.images.picture_model import PictureModel
from fledge.recipes.images.config import ImagineConfig
from fledge.seeds import seed_for


def build_model(config: ImagineConfig, kind: Any, train: Any) -> PictureModel:
    """By the process's own generator, which the run's seed is given. train: the training part, for
    one that must see what it will learn from.
    """
    torch.manual_seed(seed_for(config.seed, "weights"))
    build_for: Any = getattr(kind, "build_for", None)
    if build_for is not None:
        return build_for(config.settings, train)
    return kind.build(config.settings, train.shape)


class Learns(nn.Module):
    """A model where a policy is asked for: what learns is its network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
