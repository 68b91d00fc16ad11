"""Pictures that are labelled round by round, seed by seed, by several ways of choosing side by
side; judged on pictures that are held out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.likelihood.softmax_regression import draw_weights, fit_softmax
from fledge.errors import UserError
from fledge.images.reading import read_pictures
from fledge.recipes.studies.query_fields import QueryConfig
from fledge.score.acquisition import choose
from fledge.seeds import generator_for

MOST_WEIGHTS = 8_000  # their Hessian takes half a gigabyte


class AskingLabels:
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

    @property
    def sizes(self) -> tuple[int, int]:
        """Pictures to label, and held out."""
        return len(self.pool), len(self.truth)

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
                self.pool[mine], label[mine], self.weights[i], config.strength
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
                chosen = choose(method, self.pool, mine, count, said, generator, config.power)
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
