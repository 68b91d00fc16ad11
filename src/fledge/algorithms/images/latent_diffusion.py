"""Latent diffusion (Rombach et al. 2022, arXiv:2112.10752): diffusion whose pictures are codes, of
an autoencoder that another run has trained and that is not trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from fledge.algorithms.images.diffusion import Diffusion
from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.latent_diffusion import LatentDiffusion as Model
from fledge.models.images.picture_model import is_picture_model, load_picture_model
from fledge.runs.model_files import check_model, find_standing_model
from fledge.seeds import generator_for


class LatentDiffusion(Diffusion):
    class Settings(Diffusion.Settings):
        base: Path | None = Field(
            default=None, description="the run of model=vae or vq whose codes are diffused; needed"
        )
        network: Literal["unet", "layers"] = Field(
            default="layers", description="layers, or unet for codes that have places, as vq's"
        )
        width: int = Field(default=256, ge=4, description="of every layer; 32 suits a unet")
        noise_steps: int = Field(
            default=0, ge=0, description="of the chain from code to noise; 0: continuous time"
        )

    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 4000, "rows_per_step": 128, "learning_rate": 1e-3, "warmup_steps": 100,
    }  # fmt: skip
    trained: Any

    @classmethod
    def build(cls, settings: Any, shape: PictureShape) -> Any:
        settings.check_labels(shape)
        autoencoder = load_base(settings.base)
        if autoencoder.shape.size != shape.size or autoencoder.shape.levels != shape.levels:
            raise UserError(
                f"base={settings.base} is of pictures of {autoencoder.shape.describe()}, and the "
                f"data of {shape.describe()}: give a base that was trained on such pictures."
            )
        own = settings.for_model(Model.name) | {"autoencoder": autoencoder.card()}
        model = Model(shape, own)
        model.autoencoder.load_state_dict(autoencoder.state_dict())
        return model

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        if self.learner.steps + self.learner.skipped == 0:
            generator = generator_for(self.seed, "noise", "codes")
            self.trained.measure_codes(batch.x.to(self.trained.shift.device), generator)
            self.average.catch_up()
        return super().update(batch, between_steps)


def load_base(base: Path | None) -> Any:
    """Raises UserError where there is none, or it is no model of pictures."""
    if base is None:
        raise UserError(
            "model=latent_diffusion diffuses the codes of another model: give base=RUN, of "
            "`fledge imagine model=vae`."
        )
    place = Path(base).expanduser()
    for folder in (find_standing_model(place / "model"), place):
        if is_picture_model(folder):
            check_model(folder)
            return load_picture_model(folder)
    raise UserError(f"base={base} holds no model of `fledge imagine`: give a run of model=vae.")
