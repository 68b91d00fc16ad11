"""Pairs of answers that are compared round by round, seed by seed, by several ways of choosing side
by side: what is learned is a linear reward over the answers' words (score/pair_words.py), judged
on pairs whose prompts are held out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.likelihood.bradley_terry import RewardPosterior, fit_bradley_terry
from fledge.errors import UserError
from fledge.recipes.studies.query_fields import QueryConfig
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.preferences import Preference, read_preference
from fledge.score.pair_choice import choose_pairs
from fledge.score.pair_words import find_common_words
from fledge.seeds import generator_for
from fledge.splits import place_of
from fledge.text.files import json_rows

HELD_OUT = 0.2  # of the prompts: of one in twenty, 7,650 pairs would leave ±5 points
MOST_KINDS = 20  # of rows, that are learned apart


class AskingPairs:
    """Round by round, seed by seed. accuracy: [seeds, methods, rounds + 1] on held-out pairs.
    asked: of this seed, [n] for each way.
    """

    unfinished = None

    def __init__(self, config: QueryConfig, methods: tuple[str, ...]) -> None:
        self.config, self.methods = config, methods
        self.d, self.held_out, self.kinds = read_pair_pool(config)
        wanted = config.first + config.rounds * config.labels_per_round
        if len(self.d) < wanted:
            raise UserError(
                f"{wanted} pairs were to be asked about and {config.data} has {len(self.d)} that "
                "are not held out: give fewer rounds, or fewer labels a round."
            )
        shape = (config.seeds, len(methods), config.rounds + 1)
        self.accuracy = torch.full(shape, torch.nan, dtype=torch.float64)
        self.step = 0
        self.asked: list[Tensor] = []
        self.weights: list[Tensor] = []

    @property
    def sizes(self) -> tuple[int, int]:
        """Pairs to ask about, and held out."""
        return len(self.d), len(self.held_out)

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        config = self.config
        number, round_ = divmod(self.step, config.rounds + 1)
        seed = config.seed + number
        answer = torch.ones(len(self.d), 1, dtype=torch.float64)
        if config.shuffle_labels:
            generator = generator_for(seed, "noise", "labels")
            answer = torch.randint(2, answer.shape, generator=generator).double() * 2 - 1
        if round_ == 0:
            first = torch.randperm(len(self.d), generator=generator_for(seed, "data", "first"))
            self.asked = [first[: config.first]] * len(self.methods)
            self.weights = [torch.zeros(self.d.shape[1], dtype=torch.float64)] * len(self.methods)
        known: RewardPosterior | None = None
        for i, method in enumerate(self.methods):
            mine = self.asked[i]
            if round_ or known is None:  # all begin with the same pairs
                said = self.d[mine] * answer[mine]
                known = fit_bradley_terry(said, config.strength, self.weights[i])
            self.weights[i] = known.mean
            self.accuracy[number, i, round_] = measure_accuracy(self.held_out @ known.mean)
            if round_ < config.rounds:
                generator = generator_for(seed, "noise", f"{method} {round_}")
                count = config.labels_per_round
                chosen = choose_pairs(
                    method, self.d, known.mean, known.covariance, mine, count, generator
                )
                self.asked[i] = torch.cat([mine, chosen])
        self.step += 1
        here = self.accuracy[number, :, round_].tolist()
        return {f"{name}_accuracy": value for name, value in zip(self.methods, here, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy.clone(), "step": self.step,
            "asked": list(self.asked), "weights": list(self.weights),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.accuracy, self.step = state["accuracy"].clone(), state["step"]
        self.asked, self.weights = list(state["asked"]), list(state["weights"])


def measure_accuracy(lead: Tensor) -> Tensor:
    """The share of pairs ranked as they were judged; a tie is half right.  [N] -> []"""
    return ((lead > 0).double() + 0.5 * (lead == 0).double()).mean()


def read_pair_pool(config: QueryConfig) -> tuple[Tensor, Tensor, list[str]]:
    """The better answer's words less the other's, of pairs to ask about and of pairs held out,
    [N, D] each; and the kinds of rows that are learned apart. Raises UserError for a file of no
    pairs, or of too few prompts.
    """
    pairs, kinds = read_plain_pairs(config)
    texts = [(pair.preferred["content"], pair.rejected["content"]) for pair in pairs]
    d = find_common_words(texts).compare(texts)
    names = sorted(set(kinds))
    if len(names) > MOST_KINDS:
        raise UserError(
            f"by={config.by} has {len(names)} different values in {config.data}, and {MOST_KINDS} "
            "at the most are learned apart: name a key with fewer."
        )
    if len(names) > 1:
        # What is good for all, and what it is for each kind beside that (Daumé 2007).
        kind = torch.tensor([names.index(each) for each in kinds])
        d = torch.cat([d, *(d * (kind == i)[:, None] for i in range(len(names)))], 1)
    place = torch.tensor([place_of(repr(pair.prompt)) for pair in pairs])
    held = place >= 1 - HELD_OUT
    if not held.any() or held.all():
        raise UserError(f"{config.data} has too few prompts to hold some out: give more pairs.")
    return d[~held], d[held], names


def read_plain_pairs(config: QueryConfig) -> tuple[list[Preference], list[str]]:
    """The pairs of a file, and what each row has under `by`."""
    census = Census(config.data, Reading(bad_rows="skip"), rows="pairs")
    pairs: list[Preference] = []
    kinds: list[str] = []
    for line, row in json_rows(Path(config.data)):
        census.read += 1
        where = f"line {line} of {config.data}"
        if config.by is not None and config.by not in row:
            raise UserError(f"{where} has no `{config.by}`, which by= names: name a key of all.")
        try:
            pairs.append(read_preference(row, where, census))
        except Unusable as fault:
            census.leave_out(fault.reason, line)
            continue
        kinds.append("" if config.by is None else str(row[config.by]))
    census.settle()
    return pairs, kinds
