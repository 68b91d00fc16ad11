"""What `fledge query` is asked: of which data, by which ways of choosing, in how many rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.score.acquisition import METHODS
from fledge.score.pair_choice import PAIR_METHODS

PENALTY = {"pictures": 0.1, "pairs": 1.0}


class QueryConfig(BaseModel):
    """Label pictures, or compare answers, a few at a time, chosen by what a classifier or a reward
    makes of them (active learning): its accuracy over what was asked for, by every way of
    choosing, over several seeds. random is always among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(
        default="digits",
        description="labelled pictures, as `fledge imagine` reads them; or with kind=pairs a "
        ".jsonl with `prompt`, `chosen` and `rejected`",
    )
    kind: Literal["pictures", "pairs"] = Field(
        default="pictures",
        description="pictures: which one to label; pairs: which two answers to compare, for a "
        "linear reward over their words",
    )
    by: str | None = Field(
        default=None,
        description="with kind=pairs: a key of the rows, such as subset; what is good is learned "
        "for each of its values too, beside what is good for all",
    )
    methods: str | None = Field(
        default=None,
        description=f"ways of choosing, with commas between; by default all: {', '.join(METHODS)}; "
        f"of pairs {', '.join(PAIR_METHODS)}",
    )
    first: int = Field(default=20, ge=1, description="labels that all begin with, by chance")
    labels_per_round: int = Field(default=10, ge=1, description="labels that are asked for at once")
    rounds: int = Field(default=10, ge=1, description="of asking")
    seeds: int = Field(default=10, ge=2, description="first labels anew, the same for all ways")
    draws: int = Field(default=200, ge=2, description="of the classifier's weights, for bald")
    power: float = Field(
        default=1.0,
        ge=0,
        description="of pictures: a round's are drawn with chances ∝ score^power, so that they are "
        "not all alike; 1000 takes the highest scores",
    )
    penalty: float | None = Field(
        default=None,
        gt=0,
        description=f"λ of ½ λ |W|²; by default {PENALTY['pictures']:g}, of pairs "
        f"{PENALTY['pairs']:g}",
    )
    shuffle_labels: bool = Field(
        default=False, description="labels of no meaning: nothing should help then"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the first seed")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/query, runs/query-2, …",
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")

    @property
    def strength(self) -> float:
        """λ"""
        return PENALTY[self.kind] if self.penalty is None else self.penalty

    @property
    def steps(self) -> int:
        return self.seeds * (self.rounds + 1)

    @property
    def evaluate_every(self) -> int:
        return 0


def read_methods(config: QueryConfig) -> tuple[str, ...]:
    """random first, then those that are asked for.  Raises UserError for one that there is not."""
    known = METHODS if config.kind == "pictures" else PAIR_METHODS
    given = ",".join(known) if config.methods is None else config.methods
    asked = [name.strip() for name in given.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise UserError(
                f"there is no method {name!r} of {config.kind}: give some of {', '.join(known)}."
            )
    return tuple(dict.fromkeys(["random", *asked]))
