"""Says which label a picture has: what judges drawings, trained apart from what draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fledge.images.pictures import PictureShape, centre
from fledge.json_file import read_json
from fledge.models.images.convolutions import count_halvings, stack_down
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.remembering_readers import KernelReader, NeighbourReader


class Reader(PictureModel):
    """settings: channels. A small convolutional network."""

    name = "reader"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        channels, halvings = self.settings["channels"], count_halvings(shape)
        numbers = channels * (shape.height >> halvings) * (shape.width >> halvings)
        self.network = nn.Sequential(
            stack_down(shape.channels, channels, halvings), nn.Flatten(),
            nn.Linear(numbers, len(shape.names)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """log p(label | x).  [B, C, H, W] uint8 -> [B, L]"""
        return self.network(centre(x, self.shape.levels)).float().log_softmax(1)


KINDS: Mapping[str, type[PictureModel]] = {
    kind.name: kind for kind in (Reader, NeighbourReader, KernelReader)
}


def load_reader(folder: Path) -> PictureModel:
    """What `save_picture_model` wrote of one."""
    card = read_json(folder / "config.json", dict[str, Any], mend="write the folder again")
    reader = KINDS[card["model"]].restore(card)
    reader.load_state_dict(load_file(folder / "model.safetensors"))
    return reader.eval()


@torch.no_grad()
def count_right(reader: PictureModel, x: Tensor, label: Tensor) -> float:
    """The share of pictures of which the likeliest label is the true one."""
    return float((reader(x).argmax(1) == label).double().mean())
