"""The fields of `fledge selfplay`, beside those of the algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from fledge.algorithms.policy.alphazero import SelfPlaySettings
from fledge.algorithms.registry import Subject, names_of
from fledge.errors import UserError
from fledge.recipes.algorithm_fields import AlgorithmFields


class SelfplayConfig(AlgorithmFields):
    """Learn a game of two players by playing against oneself: a search teaches the network that it
    asks. Judged in matches against UCT and against what it was at the evaluation before.
    """

    subject: ClassVar[Subject] = "games"

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    game: str = Field(
        default="connect4",
        description="tictactoe, connect4, connect4:COLUMNSxROWS, othello (6 × 6), dice, "
        "spiel:NAME of open_spiel or pettingzoo:NAME",
    )
    algorithm: str = Field(
        default="alphazero",
        description="alphazero: searches by the rules; muzero: in a model that is learned with it",
    )
    steps: int = Field(default=100, ge=1, description="batches of games, each with its updates")
    games: int = Field(default=64, ge=1, description="of a batch, side by side")
    channels: int = Field(default=32, ge=1, description="of the network's convolutions")
    blocks: int = Field(default=2, ge=0, description="residual blocks, of two convolutions each")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every random number in the run")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/selfplay, runs/selfplay-2, …",
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="of the learning rate after its rise"
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="optimizer steps over which the learning rate rises"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="on matrices only")
    clip: float = Field(
        default=1.0, ge=0, description="the gradient is scaled down to this norm; 0 never"
    )
    evaluate_every: int | None = Field(
        default=None,
        ge=0,
        description="batches between evaluations; 0: only before and after; none: a fifth of all",
    )
    match_games: int = Field(
        default=40, ge=2, description="of each match of an evaluation, in pairs from one opening"
    )
    opening_moves: int = Field(
        default=2, ge=0, description="of a match that are drawn at random, so that games differ"
    )
    match_simulations: int = Field(
        default=64, ge=1, description="of the network's search for each move of a match"
    )
    rollouts: int = Field(
        default=200, ge=1, description="random games for each move of UCT, whom it is rated by"
    )
    samples: int = Field(
        default=2, ge=0, description="games against itself that the report shows, move by move"
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """With the defaults that suit the game."""
        composed = super().compose(given)
        game = str(given.get("game", "connect4")).partition(":")[0]
        usual = dict(USUAL.get(game, {}))
        if given.get("algorithm") == "muzero":
            usual |= LEARNED.get(game, {})
        changed: dict[str, Any] = {}
        for name, value in usual.items():
            if name in composed.model_fields:
                info = composed.model_fields[name]
                merged = FieldInfo.merge_field_infos(info, default=value)
                changed[name] = (info.annotation, merged)
        again = create_model(composed.__name__, __base__=composed, **changed)
        again.chosen = composed.chosen
        return again

    @property
    def self_play(self) -> SelfPlaySettings:
        """The algorithm's own fields. Raises UserError for one that is not of games."""
        settings = self.settings
        if not isinstance(settings, SelfPlaySettings):
            raise UserError(
                f"algorithm={self.algorithm} has no settings of games against itself: give one of "
                f"{', '.join(names_of('games'))}."
            )
        return settings

    @property
    def batches_between_evaluations(self) -> int:
        fifth = max(1, self.steps // 5)
        return fifth if self.evaluate_every is None else self.evaluate_every


# What each game wants otherwise. Connect four's is meant for an hour of one core.
USUAL: Mapping[str, Mapping[str, Any]] = {
    "connect4": {
        "steps": 360, "games": 256, "rule": "gumbel", "simulations": 32, "random_moves": 6,
        "buffer": 150_000, "updates_per_step": 60, "warmup_steps": 200,
    },
    "tictactoe": {
        "steps": 40, "simulations": 32, "temperature_moves": 4, "opening_moves": 1,
        "learning_starts": 200,
    },
    "dice": {"steps": 20, "simulations": 32, "temperature_moves": 6, "learning_starts": 200},
    "othello": {"temperature_moves": 10},
}  # fmt: skip

# The same where the rules are learned too: of what good play never comes to the model would know
# nothing, and many optimizer steps are cheaper than games.
LEARNED: Mapping[str, Mapping[str, Any]] = {
    "tictactoe": {
        "random_moves": 6, "updates_per_step": 40, "rows_per_update": 128, "learning_rate": 5e-3,
    },
}  # fmt: skip
