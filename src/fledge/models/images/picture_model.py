"""What every model of pictures can be asked, and how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.json_file import read_json
from fledge.runs.atomic import write_text
from fledge.tensor_file import write_tensors

Measure = Literal["exact", "bound", "estimate", "none"]
"""What `nats` is of −log p(x): it itself; not less than it; near it, of an expectation that is
sampled; or nothing, for a model that has no density.
"""
MEASURES: tuple[Measure, ...] = get_args(Measure)


class PictureModel(nn.Module):
    """Of pictures of one shape. A subclass says its `name` and `measure`, is made of `settings`
    that JSON can hold, and adds what it can do. sampling: those of the settings that say how it
    draws, which may be others whenever it does.
    """

    name: str
    measure: Measure
    sampling: ClassVar[type[BaseModel] | None] = None

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.shape, self.settings = shape, dict(settings)

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        """Of each picture, as `measure` says; in float32 or finer.  -> [B]"""
        raise NotImplementedError(f"{self.name} has no density")

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        """Pictures drawn out of the model. label: [count], of a model that draws by label.  ->
        [count, C, H, W] uint8
        """
        raise NotImplementedError(f"{self.name} draws nothing")

    @property
    def can_sample(self) -> bool:
        """Whether it draws pictures at all."""
        return True

    @property
    def by_label(self) -> bool:
        """Whether it draws what a label asks for."""
        return False

    @property
    def remark(self) -> str:
        """What must be said beside its nats; "" where there is nothing."""
        return ""

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def card(self) -> dict[str, Any]:
        return {"model": self.name, "shape": self.shape.card(), "settings": self.settings}

    @classmethod
    def restore(cls, card: Mapping[str, Any]) -> Self:
        """As it was made, its weights yet to be read."""
        return cls(PictureShape.restore(card["shape"]), card["settings"])


def find_kinds() -> dict[str, type[PictureModel]]:
    """Every kind by its name."""
    from fledge.models.images.classifier import Classifier
    from fledge.models.images.counted import ChowLiu, Histogram, PictureTable
    from fledge.models.images.diffusion import Diffusion
    from fledge.models.images.encoder import PictureEncoder
    from fledge.models.images.energy_gan import EnergyGAN
    from fledge.models.images.flow import Flow
    from fledge.models.images.gan import GAN
    from fledge.models.images.latent_diffusion import LatentDiffusion
    from fledge.models.images.made import MADE
    from fledge.models.images.nade import NADE
    from fledge.models.images.next_frame import NextFrame
    from fledge.models.images.own_model import OwnPictures
    from fledge.models.images.pixel_lstm import PixelLSTM
    from fledge.models.images.pixel_transformer import PixelTransformer
    from fledge.models.images.pixelcnn import PixelCNN
    from fledge.models.images.programs import Programs
    from fledge.models.images.vae import VAE
    from fledge.models.images.vq import VQ
    from fledge.models.images.wavenet import WaveNet

    kinds: tuple[type[PictureModel], ...] = (
        OwnPictures, VAE, VQ, Classifier, GAN, EnergyGAN,
        Histogram, PictureTable, ChowLiu, NADE, MADE, WaveNet, PixelCNN, PixelLSTM,
        PixelTransformer, Diffusion, LatentDiffusion, Flow, PictureEncoder, NextFrame,
        Programs,
    )  # fmt: skip
    return {kind.name: kind for kind in kinds}


def save_picture_model(folder: Path, model: PictureModel) -> None:
    """config.json and model.safetensors."""
    write_text(folder / "config.json", json.dumps(model.card(), indent=2) + "\n")
    tensors = {name: x.detach().contiguous() for name, x in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", tensors)


def is_picture_model(folder: Path) -> bool:
    """Whether a model folder holds one, by its config.json."""
    try:
        card = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and "shape" in card and card.get("model") in find_kinds()


def read_kind(folder: Path) -> type[PictureModel]:
    """Of a folder that `is_picture_model`."""
    return find_kinds()[read_json(folder / "config.json", dict[str, Any])["model"]]


def load_picture_model(folder: Path) -> PictureModel:
    """Ready to be asked.  Raises UserError for a folder that holds none."""
    card = read_json(folder / "config.json", dict[str, Any], mend="train the model again")
    try:
        kind = find_kinds()[card["model"]]
        model = kind.restore(card)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (KeyError, SafetensorError, OSError, TypeError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{folder} holds no model of `fledge imagine` ({error}): train it again, or give "
            "another."
        ) from error
    return model.eval()
