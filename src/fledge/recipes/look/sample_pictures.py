"""`fledge sample` of a model that makes pictures: a sheet of them, as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from fledge.errors import UserError
from fledge.images.sheet import encode_sheet
from fledge.models.images.picture_model import (
    PictureModel,
    is_picture_model,
    load_picture_model,
    read_kind,
)
from fledge.runs.atomic import write_bytes
from fledge.runs.model_files import check_model, find_standing_model
from fledge.runs.show import Show
from fledge.sample.drawn_pictures import draw_pictures
from fledge.seeds import generator_for


class SamplePicturesConfig(BaseModel):
    """Draw pictures out of a model of `fledge imagine`, onto one sheet."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder that draws")
    out: Path = Field(default=Path("samples.png"), description="where the sheet is written")
    samples: int = Field(default=64, ge=1, description="how many pictures")
    label: str | None = Field(
        default=None, description="of a model that draws by label: which; by default each in turn"
    )
    columns: int | None = Field(default=None, ge=1, description="of the sheet; by default square")
    seed: int = Field(default=0, ge=0, description="of the draws")

    @classmethod
    def compose_for(cls, folder: Path) -> type[SamplePicturesConfig]:
        """With the fields that say how this model draws; by default as it was told in training."""
        sampling = read_kind(folder).sampling
        if sampling is None:
            return cls
        fields: dict[str, Any] = {}
        for name, info in sampling.model_fields.items():
            said = f"{info.description}; by default as the model was trained"
            optional = FieldInfo.merge_field_infos(info, default=None, description=said)
            fields[name] = (info.annotation | None, optional)  # type: ignore[operator]
        return create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, **fields)


def find_picture_folder(base: Any) -> Path | None:
    """Where a run or model folder has a model of pictures; None where it has none."""
    if not isinstance(base, str | Path):
        return None
    place = Path(base).expanduser()
    for folder in (find_standing_model(place / "model"), place):
        if is_picture_model(folder):
            return folder
    return None


@torch.no_grad()
def sample_pictures(config: SamplePicturesConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a label that there is not, and a sheet that is no .png."""
    if config.out.suffix != ".png":
        raise UserError(f"out={config.out} was given: a sheet of pictures is a .png.")
    folder = find_picture_folder(config.base)
    assert folder is not None
    check_model(folder)
    model = load_picture_model(folder)
    choose_sampling(model, config)
    if not model.can_sample:
        raise UserError(f"{config.base} is a model that draws nothing: it has no samples.")
    label = choose_labels(model, config)
    generator = generator_for(config.seed, "samples", "sheet")
    drawn = draw_pictures(model, config.samples, generator, label)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    columns = config.columns
    if columns is None and config.label is None and label is not None:
        columns = len(model.shape.names)
    write_bytes(config.out, encode_sheet(drawn, model.shape.levels, columns))
    show.line(f"{config.samples} pictures of {model.shape.describe()} → {config.out}")
    return {"base": str(config.base), "out": str(config.out), "samples": config.samples}


def choose_sampling(model: PictureModel, config: SamplePicturesConfig) -> None:
    """What the config says of how the model draws, in place of what its training said."""
    names = model.sampling.model_fields if model.sampling else ()
    given = {name: getattr(config, name, None) for name in names}
    model.settings.update({name: value for name, value in given.items() if value is not None})


def choose_labels(model: PictureModel, config: SamplePicturesConfig) -> torch.Tensor | None:
    """[N]: the one that is asked for, or each in turn."""
    names = model.shape.names
    if not model.by_label:
        if config.label is not None:
            raise UserError(
                f"label={config.label} was given, and this model draws without labels: leave "
                "it out."
            )
        return None
    if config.label is None:
        return torch.arange(config.samples) % len(names)
    if config.label not in names:
        raise UserError(f"there is no label {config.label}: it is one of {', '.join(names)}.")
    return torch.full((config.samples,), names.index(config.label))
