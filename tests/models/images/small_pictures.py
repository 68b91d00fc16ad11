"""Every kind of autoregressive model at its smallest, with weights or counts of its own, and every
picture that there is of a small shape.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape, make_set
from fledge.models.images.autoregressive import Autoregressive
from fledge.models.images.counted import ChowLiu, Histogram, PictureTable, count_pairs
from fledge.models.images.made import MADE
from fledge.models.images.nade import NADE
from fledge.models.images.pixel_lstm import PixelLSTM
from fledge.models.images.pixel_transformer import PixelTransformer
from fledge.models.images.pixelcnn import PixelCNN
from fledge.models.images.wavenet import WaveNet

TRANSFORMER = {
    "width": 8, "heads": 2, "layers": 2, "attention": "full", "stride": 0, "summary": 1,
    "palette": 512,
}  # fmt: skip
MADE_SETTINGS = {"width": 20, "layers": 2, "masks": 1, "shuffled": False}
KINDS: dict[str, tuple[type[Autoregressive], dict[str, Any]]] = {
    "histogram": (Histogram, {"add": 0.5}),
    "picture_table": (PictureTable, {"add": 0.5}),
    "chow_liu": (ChowLiu, {"add": 0.5}),
    "nade": (NADE, {"width": 7}),
    "made": (MADE, MADE_SETTINGS),
    "made, three masks, shuffled": (MADE, {**MADE_SETTINGS, "masks": 3, "shuffled": True}),
    "wavenet": (WaveNet, {"width": 6, "blocks": 2}),
    "pixelcnn": (PixelCNN, {"width": 6, "layers": 3, "reach": 1, "by_label": False}),
    "pixelcnn, by label": (PixelCNN, {"width": 6, "layers": 2, "reach": 2, "by_label": True}),
    "pixel_lstm": (PixelLSTM, {"width": 6, "layers": 2}),
    "pixel_transformer": (PixelTransformer, TRANSFORMER),
    "strided": (PixelTransformer, {**TRANSFORMER, "attention": "strided"}),
    "fixed": (PixelTransformer, {**TRANSFORMER, "attention": "fixed"}),
}


def every_picture(shape: PictureShape) -> Pictures:
    """Of label 1, where there are labels."""
    rows = list(itertools.product(range(shape.levels), repeat=shape.numbers))
    x = torch.tensor(rows, dtype=torch.uint8).view(-1, *shape.size)
    return make_set(x, torch.ones(len(x)), shape.levels, "ab", "all").rows


def make(name: str, shape: PictureShape) -> Autoregressive:
    """With weights far enough from 0 that what is seen where shows."""
    kind, settings = KINDS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind(shape, settings)
        x = torch.randint(shape.levels, (40, *shape.size), dtype=torch.uint8)
        if isinstance(model, Histogram | PictureTable):
            model.count_in(model.to_row(x))
        elif isinstance(model, ChowLiu):
            model.settle(count_pairs(x.permute(0, 2, 3, 1).flatten(1).long(), shape.levels))
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.3 * torch.randn(weight.shape))
    return model.eval()


def label_of(model: Autoregressive, count: int) -> Tensor | None:
    return torch.arange(count) % 2 if model.by_label else None
