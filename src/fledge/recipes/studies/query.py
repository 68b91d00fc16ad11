"""`fledge query`: which labels to ask a person for, so that few are enough; every way of choosing
beside choosing nothing, at equal labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fledge.algorithms.likelihood.softmax_regression import draw_weights, fit_softmax
from fledge.errors import UserError
from fledge.evaluate.intervals import mean_interval, paired_difference
from fledge.evaluate.judge import Judge
from fledge.images.reading import read_pictures
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.minds.telling import Table, write_table
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.iterations import Iterations
from fledge.score.acquisition import METHODS, choose
from fledge.seeds import generator_for

MOST_WEIGHTS = 8_000  # their Hessian takes half a gigabyte


class QueryConfig(BaseModel):
    """Label pictures a few at a time, chosen by what a classifier makes of them (active learning):
    its accuracy over the labels that were asked for, by every way of choosing, over several seeds.
    random is always among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(
        default="digits", description="labelled pictures, as `fledge imagine` reads them"
    )
    methods: str = Field(
        default=",".join(METHODS), description="ways of choosing, with commas between"
    )
    first: int = Field(default=20, ge=1, description="labels that all begin with, by chance")
    labels_per_round: int = Field(default=10, ge=1, description="labels that are asked for at once")
    rounds: int = Field(default=10, ge=1, description="of asking")
    seeds: int = Field(default=10, ge=2, description="first labels anew, the same for all ways")
    draws: int = Field(default=20, ge=2, description="of the classifier's weights, for bald")
    penalty: float = Field(default=0.1, gt=0, description="λ of ½ λ |W|²")
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
    def steps(self) -> int:
        return self.seeds * (self.rounds + 1)

    @property
    def evaluate_every(self) -> int:
        return 0


class Asking:
    """Round by round, seed by seed, all ways of choosing side by side.

    accuracy: [seeds, methods, rounds + 1] on held-out pictures. labelled: of this seed, [n] for
    each way.
    """

    unfinished = None

    def __init__(self, config: QueryConfig, methods: tuple[str, ...]) -> None:
        self.config, self.methods = config, methods
        self.pool, self.label, self.held_out, self.truth, self.classes = read_pool(config)
        wanted = config.first + config.rounds * config.labels_per_round
        if len(self.pool) < wanted:
            raise UserError(
                f"{wanted} labels were asked for and {config.data} has {len(self.pool)} pictures "
                "to label: give fewer rounds, or fewer labels a round."
            )
        numbers = self.pool.shape[1] * self.classes
        if numbers > MOST_WEIGHTS:
            raise UserError(
                f"{self.pool.shape[1]:,} numbers a picture and {self.classes} labels are "
                f"{numbers:,} weights, of which {MOST_WEIGHTS:,} can be fitted by Newton's method: "
                "give smaller pictures, or fewer labels."
            )
        shape = (config.seeds, len(methods), config.rounds + 1)
        self.accuracy = torch.full(shape, torch.nan, dtype=torch.float64)
        self.step = 0
        self.labelled: list[Tensor] = []
        self.weights: list[Tensor] = []

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        config = self.config
        number, round_ = divmod(self.step, config.rounds + 1)
        seed = config.seed + number
        label = self.label
        if config.shuffle_labels:
            order = torch.randperm(len(label), generator=generator_for(seed, "noise", "labels"))
            label = label[order]
        if round_ == 0:
            first = torch.randperm(len(label), generator=generator_for(seed, "data", "first"))
            self.labelled = [first[: config.first]] * len(self.methods)
            zero = torch.zeros(self.pool.shape[1], self.classes, dtype=torch.float64)
            self.weights = [zero] * len(self.methods)
        for i, method in enumerate(self.methods):
            generator = generator_for(seed, "noise", f"{method} {round_}")
            mine = self.labelled[i]
            self.weights[i], hessian = fit_softmax(
                self.pool[mine], label[mine], self.weights[i], config.penalty
            )
            guess = (self.held_out @ self.weights[i]).argmax(-1)
            self.accuracy[number, i, round_] = (guess == self.truth).double().mean()
            if round_ < config.rounds:
                every = self.weights[i][None]
                if method == "bald":
                    drawn = draw_weights(self.weights[i], hessian, config.draws, generator)
                    every = torch.cat([every, drawn])
                said = (self.pool @ every).softmax(-1)
                count = config.labels_per_round
                chosen = choose(method, self.pool, mine, count, said, generator)
                self.labelled[i] = torch.cat([mine, chosen])
        self.step += 1
        here = self.accuracy[number, :, round_].tolist()
        return {f"{name}_accuracy": value for name, value in zip(self.methods, here, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy.clone(), "step": self.step,
            "labelled": list(self.labelled), "weights": list(self.weights),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.accuracy, self.step = state["accuracy"].clone(), state["step"]
        self.labelled, self.weights = list(state["labelled"]), list(state["weights"])


def read_pool(config: QueryConfig) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Pictures as rows of numbers from 0 to 1 and a 1, with their labels: those that may be
    labelled, and those that are held out.  Raises UserError for pictures without labels.
    """
    given = read_pictures(config.data)
    parts = given.split()
    if parts is None or not given.shape.names:
        raise UserError(
            f"{config.data} has too few pictures to hold some out, or no labels: give labelled "
            "pictures, such as a folder with a folder for each label."
        )
    shown = [flatten(parts[part].rows.x, given.shape.levels) for part in ("train", "validation")]
    shown.append(flatten(parts["test"].rows.x, given.shape.levels))
    labels = [parts[part].rows.label for part in ("train", "validation", "test")]
    held_out, truth = torch.cat(shown[1:]), torch.cat(labels[1:])
    return shown[0], labels[0], held_out, truth, len(given.shape.names)


def flatten(x: Tensor, levels: int) -> Tensor:
    """[N, C, H, W] -> [N, C·H·W + 1]"""
    rows = x.flatten(1).double() / (levels - 1)
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)


def read_methods(text: str) -> tuple[str, ...]:
    """random first, then those that are asked for.  Raises UserError for one that there is not."""
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in METHODS:
            raise UserError(f"there is no method {name!r}: give some of {', '.join(METHODS)}.")
    return tuple(dict.fromkeys(["random", *asked]))


def query(config: QueryConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for pictures that cannot be read, or have no labels."""
    start = Start("query", show, run)
    methods = read_methods(config.methods)
    asking = Asking(config, methods)
    with start.begin(config, data=[config.data]) as course:
        course.say(
            f"{len(asking.pool):,} pictures of {config.data} to label, {len(asking.truth):,} held "
            f"out, {len(methods)} ways of choosing, {config.seeds} seeds"
        )
        judge = Judge(lambda part, step: {"labels": float(config.first)}, ranks="labels")
        course.fit(asking, Iterations(), [judge], figure="random_accuracy")
        return conclude(course, config, asking)


def conclude(course: Course, config: QueryConfig, asking: Asking) -> Summary:
    """Means over seeds with their intervals, and each way's paired difference to random."""
    labels = [config.first + r * config.labels_per_round for r in range(config.rounds + 1)]
    rows, curves = [], {}
    differences: dict[str, Any] = {}
    areas = asking.accuracy.mean(-1)  # over rounds: the area under the curve
    for i, name in enumerate(asking.methods):
        each = asking.accuracy[:, i]
        ends = [mean_interval(column.tolist()) for column in each.T]
        curves[name] = {
            "x": labels, "y": each.mean(0).tolist(), "low": [low for low, _ in ends],
            "high": [high for _, high in ends],
        }  # fmt: skip
        told = ""
        if i:
            one = paired_difference(areas[:, 0].tolist(), areas[:, i].tolist(), config.seed)
            differences[name] = vars(one)
            told = f"{100 * one.difference:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"
        last = each[:, -1].mean()
        rows.append([name, f"{100 * float(last):.1f} %", told])
    note = (
        f"accuracy with {labels[-1]} labels; then points more than random over all rounds, with "
        f"a paired 95 % interval over {config.seeds} seeds"
    )
    table = Table("Ways of choosing", note, ["", "in the end", "more than random"], rows)
    own = {"tables": [vars(table)], "budget_curves": curves, "differences": differences}
    return course.finish(
        own, then=write_command("report", run=course.run.folder), lines=write_table(table),
        test={}, figures={},
    )  # fmt: skip
