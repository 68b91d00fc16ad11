"""`fledge sample` of a model of sentences: draw some, say some again, find those between two, move
one as others differ, or change it by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, create_model
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.sentence_model import (
    SentenceModel,
    is_sentence_model,
    load_sentence_model,
)
from fledge.recipes.constraint_fields import Texts
from fledge.runs.model_files import check_model, find_standing_model
from fledge.runs.show import Show
from fledge.seeds import generator_for
from fledge.text.sentences import read_sentences


class SentenceFields(BaseModel):
    """What is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder that speaks")
    samples: int = Field(default=8, ge=1, description="how many are drawn, or changed by chance")
    temperature: float = Field(
        default=1.0,
        ge=0,
        description="of the words of those that are drawn; 0 takes the likeliest, as everything "
        "else does",
    )
    between: Texts = Field(
        default=(), description='a sentence to begin from, or both: ["one", "another"]'
    )
    steps: int = Field(default=7, ge=2, description="sentences from one to the other, both counted")
    again: Texts = Field(default=(), description="sentences to say again, each out of its vector")
    vary: str | None = Field(default=None, description="a sentence to change by chance")
    noise: float = Field(
        default=0.4, ge=0, le=1, description="of vary: 0 leaves it as it is, 1 forgets it"
    )
    edit: str | None = Field(
        default=None, description="a sentence to move from what `less` is to what `more` is"
    )
    more: Texts = Field(default=(), description="a sentence, several, or a .txt or .jsonl of them")
    less: Texts = Field(default=(), description="the same, of what it is to be less like")
    scale: float = Field(default=1.0, description="of edit: how far it is moved")
    seed: int = Field(default=0, ge=0, description="of the draws")


# `and` is a word that no Python class can have as a field's name.
SampleSentencesConfig: Any = create_model(
    "SampleSentencesConfig",
    __base__=SentenceFields,
    __doc__="Ask a model of sentences of `fledge imagine`: unless told otherwise it draws some.",
    **{"and": (str | None, Field(default=None, description="of between: the other sentence"))},  # type: ignore[call-overload]
)


def find_sentence_folder(base: Any) -> Path | None:
    """Where a run or model folder has a model of sentences; None where it has none."""
    if not isinstance(base, str | Path):
        return None
    place = Path(base).expanduser()
    for folder in (find_standing_model(place / "model"), place):
        if is_sentence_model(folder):
            return folder
    return None


@torch.no_grad()
def sample_sentences(config: Any, show: Show) -> dict[str, Any]:
    """Raises UserError for things that are asked at once, and for a sentence that is too long."""
    asked = [name for name in ("between", "again", "vary", "edit") if getattr(config, name)]
    if len(asked) > 1:
        raise UserError(
            f"{' and '.join(f'{name}=' for name in asked)} were given: ask for one at a time."
        )
    folder = find_sentence_folder(config.base)
    assert folder is not None
    check_model(folder)
    model = load_sentence_model(folder)
    marks, said = answer(model, asked[0] if asked else "", config)
    for mark, text in zip(marks, said, strict=True):
        show.line(f"{mark} {text}".lstrip())
    return {"base": str(config.base), "sentences": said} | ({"given": marks} if asked else {})


def answer(model: SentenceModel, asked: str, config: Any) -> tuple[list[str], list[str]]:
    """What stands before each sentence, and the sentences."""
    generator = generator_for(config.seed, "samples", "sentences")
    if asked == "between":
        z = model.between(*find_ends(model, config), config.steps)
        return [f"[{x:.2f}]" for x in torch.linspace(1, 0, config.steps).tolist()], model.say(z)
    if asked == "again":
        return [f"{text} →" for text in config.again], model.say(model.embed(config.again))
    if asked == "vary":
        z = model.embed([config.vary]).expand(config.samples, -1)
        return [""] * config.samples, model.say(model.vary(z, config.noise, generator))
    if asked == "edit":
        z = model.embed([config.edit]) + config.scale * find_direction(model, config)
        return [f"{config.edit} →"], model.say(model.settle(z))
    return [""] * config.samples, model.sample(config.samples, generator, config.temperature)


def find_ends(model: SentenceModel, config: Any) -> tuple[Tensor, Tensor]:
    """The vectors of the two sentences.  -> [Z] twice"""
    other = getattr(config, "and")
    texts = [*config.between, *([other] if other else [])]
    if len(texts) != 2:
        raise UserError(
            f"between= has {len(texts)} sentence{'' if len(texts) == 1 else 's'} with and=: give "
            'two, as between="…" and="…".'
        )
    first, second = model.embed(texts)
    return first, second


def find_direction(model: SentenceModel, config: Any) -> Tensor:
    """From the mean of one kind of sentences to that of another.  -> [Z]"""
    for name in ("more", "less"):
        if not getattr(config, name):
            raise UserError(
                f"edit= was given without {name}=: say by sentences which way it is to be moved, "
                'as more="…" less="…".'
            )
    more, less = (model.embed(read_texts(texts)).mean(0) for texts in (config.more, config.less))
    return more - less


def read_texts(given: Sequence[str]) -> Sequence[str]:
    """The sentences, or those of the file that is named."""
    if len(given) == 1 and given[0].endswith((".txt", ".jsonl", ".txt.gz", ".jsonl.gz")):
        return read_sentences(given[0]).texts
    return given
