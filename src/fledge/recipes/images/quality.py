"""A trained model's samples beside real pictures: when a run ends, and by `fledge evaluate`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fledge.algorithms.images.protocol import Sheet
from fledge.errors import UserError
from fledge.evaluate.picture_encoder import describe_encoder, halve, kind_for, make_encoder
from fledge.evaluate.picture_quality import (
    FEWEST,
    Quality,
    Yardstick,
    describe_quality,
    judge_samples,
)
from fledge.images.pictures import UNKNOWN, PictureSet
from fledge.models.images.classifier import Classifier
from fledge.models.images.picture_model import (
    PictureModel,
    is_picture_model,
    load_picture_model,
    save_picture_model,
)
from fledge.seeds import generator_for
from fledge.splits import Split

ENCODER = "encoder"  # the folder of a run that keeps it
DRAWN_AT_ONCE = 128
PAIRS = 32  # on the sheet of nearest pictures, half of which are the nearest of all


@dataclass(frozen=True)
class Judged:
    """summary: as the run keeps it; lines: as a terminal has it. sheet: pairs of what was drawn and
    the nearest training picture.
    """

    summary: dict[str, Any]
    lines: list[str]
    sheet: Sheet | None


def check_count(judged_samples: int) -> None:
    """Raises UserError for fewer than figures can be made of."""
    if 0 < judged_samples < FEWEST:
        raise UserError(
            f"judged_samples={judged_samples} was given: so few say nothing. Give {FEWEST} or "
            "more, or 0 to judge none."
        )


@torch.no_grad()
def judge_model(
    model: PictureModel, parts: Mapping[Split, PictureSet], count: int, seed: int, run: Path | None
) -> Judged:
    """count: pictures that are drawn for it. run: the folder that keeps the encoder, or has it."""
    train = parts["train"]
    yardstick = Yardstick(find_encoder(train, run), train, parts["validation"].join(parts["test"]))
    if not yardstick.enough:
        few = f"samples are not judged: there are fewer than {FEWEST} real pictures to hold against"
        return Judged({}, [few], None)
    generator = generator_for(seed, "samples", "judged")
    asked = None
    if model.by_label:  # as often as the data has them
        known = train.rows.label[train.rows.label != UNKNOWN]
        asked = known[torch.randint(len(known), (count,), generator=generator)]
    places = torch.arange(count).split(DRAWN_AT_ONCE)
    x = torch.cat(
        [
            model.sample(len(some), generator, None if asked is None else asked[some]).cpu()
            for some in places
        ]
    )
    drawn, real = judge_samples(yardstick, x, asked)
    summary = {
        "encoder": describe_encoder(train.shape), "drawn": drawn.figures, "held_out": real.figures,
    }  # fmt: skip
    lines = describe_quality(drawn.figures, real.figures)
    return Judged(summary, lines, pair_with_nearest(x, drawn, train))


def find_encoder(train: PictureSet, run: Path | None) -> Classifier | None:
    """The one that the run keeps, if it was made of these pictures; else made, and kept there."""
    if kind_for(train.shape) == "numbers":
        return None
    learned, _ = halve(train)
    content = hashlib.sha256(learned.rows.x.numpy().tobytes())
    content.update(learned.rows.label.numpy().tobytes())
    made_of = content.hexdigest()
    if run is not None and is_picture_model(run / ENCODER):
        kept = load_picture_model(run / ENCODER)
        if isinstance(kept, Classifier) and kept.settings.get("made_of") == made_of:
            return kept
    encoder = make_encoder(learned)
    if encoder is not None and run is not None:
        encoder.settings["made_of"] = made_of
        (run / ENCODER).mkdir(exist_ok=True)
        save_picture_model(run / ENCODER, encoder)
    return encoder


def pair_with_nearest(x: torch.Tensor, drawn: Quality, train: PictureSet) -> Sheet:
    order = drawn.nearest.distance.argsort(stable=True)[: PAIRS // 2]
    shown = torch.cat([order, torch.arange(min(PAIRS // 2, len(x)))])
    nearest = train.rows.x[drawn.nearest.place[shown]]
    pairs = torch.stack([x[shown], nearest], 1).flatten(0, 1)
    return Sheet(
        "nearest", "Nearest training pictures",
        "what was drawn, each beside the training picture nearest to it; the upper half are the "
        "nearest of all, the lower half not chosen", pairs, train.shape.levels, 8,
    )  # fmt: skip
