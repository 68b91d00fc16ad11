"""The settings that a diffusion and a flow share: their network, their labels, their average."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.pictures import PictureShape

OF_LEARNING = {"ema", "hide_label", "weighting", "snr_cap", "base"}


def split_numbers(given: Any) -> Any:
    """1,2,2 as a list of three."""
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given


Multiples = Annotated[tuple[int, ...], BeforeValidator(split_numbers)]


class NetworkSettings(AlgorithmSettings):
    network: Literal["unet", "layers"] = Field(
        default="unet", description="unet (convolutions) or layers (fully connected)"
    )
    width: int = Field(
        default=32, ge=4, description="channels of the U-Net's highest level, or of every layer"
    )
    multiples: Multiples = Field(
        default=(1, 2),
        min_length=1,
        description="of the width, for each level of the U-Net; every level has half of the side",
    )
    blocks: int = Field(default=1, ge=1, description="residual blocks a level of the U-Net")
    attention_levels: int = Field(
        default=1, ge=0, description="lowest levels of the U-Net whose places attend to each other"
    )
    layers: int = Field(default=3, ge=1, description="with network=layers: how many")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in each block of the U-Net")
    by_label: bool = Field(
        default=False, description="learn to draw what a label asks for, and without one"
    )
    hide_label: float = Field(
        default=0.1, ge=0, le=1, description="with by_label: share of pictures whose label is hid"
    )
    ema: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="of the averaged weights, which are judged and kept: what a step leaves of "
        "them, less at first",
    )

    def check_labels(self, shape: PictureShape) -> None:
        """Raises UserError for labels that are wanted and not there."""
        if self.by_label and not shape.names:
            raise UserError(
                "by_label=true was given, and the pictures have no labels: leave it out, or give a "
                "folder with a folder a label, or an IDX file with its labels beside it."
            )

    def for_model(self, name: str) -> dict[str, Any]:
        """What the model is made of, as JSON holds it."""
        return self.model_dump(mode="json", exclude=OF_LEARNING)
