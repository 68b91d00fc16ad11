"""`fledge draw`: a language model that writes pictures as tokens is asked for some, as a PNG."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.images.sheet import encode_sheet
from fledge.log_prob import Decoding
from fledge.recipes.images.phrases import ASK, name_label
from fledge.recipes.look.sound_model import load_sound_model
from fledge.runs.atomic import write_bytes
from fledge.runs.show import Show
from fledge.sample.generate import generate
from fledge.score.drawings import Drawings
from fledge.seeds import generator_for
from fledge.text.asking import encode_prompt

WORDS = 24  # tokens beside those of a picture that an answer may have


class DrawConfig(BaseModel):
    """Ask a model that was tuned on `fledge spell` for pictures: by a prompt of yours, or for each
    label in turn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder that speaks")
    pictures: Path = Field(description="the folder of `fledge spell` whose tokens it writes")
    prompt: str | None = Field(
        default=None, description="what is asked for; by default each label in turn"
    )
    samples: int = Field(default=8, ge=1, description="answers to the prompt, or to each label")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    out: Path = Field(default=Path("drawn.png"), description="where the sheet is written")
    seed: int = Field(default=0, ge=0, description="of the draws")


def draw(config: DrawConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a base that draws nothing, and a sheet that is no .png."""
    if config.out.suffix != ".png":
        raise UserError(f"out={config.out} was given: a sheet of pictures is a .png.")
    drawings = Drawings(config.pictures)
    model = load_sound_model(config.base)
    labels = list(drawings.model.shape.names)
    asked = [ASK[0].format(name_label(label)) for label in labels]
    prompts = asked if config.prompt is None else [config.prompt]
    answers = generate(
        model.policy().with_rule(Decoding(config.temperature)),
        [encode_prompt(model.tokenizer, prompt) for prompt in prompts],
        max_new_tokens=drawings.model.places + WORDS,
        stop=model.tokenizer.ends,
        generator=generator_for(config.seed, "samples", "drawn"),
        samples=config.samples,
    )
    texts = [model.tokenizer.decode(completion.tokens) for completion in answers]
    drawn, owners = drawings.draw(texts)
    if not owners:
        raise UserError(
            f"{config.base} answered {texts[0]!r} and drew nothing: give a model tuned on "
            f"{config.pictures}/rows.jsonl."
        )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    # An answer that is no picture is an empty place, so that a row is what was asked for.
    sheet = torch.zeros(len(texts), *drawn.shape[1:], dtype=torch.uint8)
    sheet[owners] = drawn
    columns = config.samples if config.prompt is None else None
    write_bytes(config.out, encode_sheet(sheet, drawings.model.shape.levels, columns))
    names = drawings.name(drawn)
    summary: dict[str, Any] = {
        "out": str(config.out), "answers": len(texts), "pictures": len(owners),
        "read_as": dict(Counter(names).most_common()),
    }  # fmt: skip
    line = f"{len(owners)} pictures in {len(texts)} answers → {config.out}"
    if config.prompt is None:
        wanted = [labels[place // config.samples] for place in owners]
        right = sum(a == b for a, b in zip(names, wanted, strict=True)) / len(texts)
        label = torch.tensor([labels.index(name) for name in wanted])
        pleased = float((drawings.worth(drawn, label) == 1).sum()) / len(texts)
        summary |= {"read_right": right, "judges_pleased": pleased}
        line += (
            f"; {right:.1%} of the answers are read as what was asked for by a reader that rewards "
            f"nothing, {pleased:.1%} by both that reward"
        )
    else:
        said = ", ".join(f"{count} × {name}" for name, count in Counter(names).most_common())
        line += f"; a reader that rewards nothing takes them for {said}"
    show.line(line)
    return summary
