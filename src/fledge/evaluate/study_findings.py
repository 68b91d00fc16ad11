"""What a study of prompts comes to: the size of its effect, an interval, and how often chance alone
does as much.

p is that of a permutation test over sets of examples: exact under its null hypothesis whatever the
model, for these questions. The intervals resample sets and questions (two-way bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

RESAMPLES = 1_000
PERMUTATIONS = 2_000
ALPHA = 0.01  # a study that finds nothing says so wrongly once in a hundred
ENUMERATED = 12  # sets, up to which all signs of their differences are gone through
Said = Mapping[str, np.ndarray]  # by condition, the label said [S, Q]; −1 where it is none


@dataclass(frozen=True)
class Condition:
    """mean: of the measure, with its 95 %
    interval; of an order study from the worst order to the best."""

    name: str
    mean: float
    low: float
    high: float
    right: float  # accuracy


@dataclass(frozen=True)
class Finding:
    """effect: its size, in `unit`, with its 95 % interval; p: how often chance alone does as much.
    by_chance: of a size that is never below 0, what chance alone comes to.
    """

    conditions: list[Condition]
    measure: str  # what the conditions' means are
    effect: float
    low: float
    high: float
    p: float
    unit: str  # of what it is a share
    by_chance: float = 0.0
    least: float = 0.0  # p can be no smaller with so few sets

    @property
    def seen(self) -> bool:
        """By the sets, and of effects with a sign by other questions too."""
        return self.p < ALPHA and (self.by_chance > 0 or self.low > 0 or self.high < 0)


def judge_order(said: Said, wanted: np.ndarray, random: np.random.Generator) -> Finding:
    """The spread of accuracy over the orders of a set, beside its spread when each question's
    answers are dealt to the orders by lot: all deals are alike where the order does not matter.
    """
    right = np.stack([each == wanted for each in said.values()]).astype(float)  # [S, P, Q]
    seen = right.mean(2)  # [S, P]
    chance = np.empty((PERMUTATIONS, len(right)))
    spread = np.empty(PERMUTATIONS)
    for i in range(PERMUTATIONS):
        dealt = random.permuted(right, axis=1).mean(2)
        chance[i], spread[i] = dealt.var(1), np.ptp(dealt, axis=1).mean()
    p = (1 + np.count_nonzero(chance.sum(1) >= seen.var(1).sum() - 1e-12)) / (1 + PERMUTATIONS)
    # Of sets alone: resampled questions would spread further than those that were asked.
    spreads = np.ptp(seen, axis=1)
    resampled = spreads[random.integers(len(spreads), size=(RESAMPLES, len(spreads)))].mean(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    conditions = [
        Condition(name, float(row.mean()), float(row.min()), float(row.max()), float(row.mean()))
        for name, row in zip(said, seen, strict=True)
    ]
    return Finding(
        conditions, "accuracy, from the worst order to the best",
        float(spreads.mean()), float(low), float(high), float(p),
        "between the best order and the worst", float(spread.mean()),
    )  # fmt: skip


def judge_balance(said: Said, wanted: np.ndarray, random: np.random.Generator) -> Finding:
    shares = np.array([read_share(name) for name in said])
    value = {name: (each == 0).astype(float) for name, each in said.items()}
    return _judge_slope(
        said, wanted, value, shares, random, "how often the first label is said",
        "more often said, from none of the examples to all",
    )  # fmt: skip


def read_share(name: str) -> float:
    """Of a condition called "2 of 8": of few examples quarters are no whole numbers."""
    first, _, of = name.partition(" of ")
    return int(first) / int(of)


def judge_coverage(said: Said, wanted: np.ndarray, random: np.random.Generator) -> Finding:
    covered = np.linspace(0, 1, len(said))
    value = {name: (each == wanted).astype(float) for name, each in said.items()}
    return _judge_slope(
        said, wanted, value, covered, random, "accuracy", "of accuracy, from one label to all",
    )  # fmt: skip


def _judge_slope(
    said: Said,
    wanted: np.ndarray,
    value: Said,
    x: np.ndarray,
    random: np.random.Generator,
    measure: str,
    unit: str,
) -> Finding:
    """Least squares over the sets' means; the null deals the sets to the conditions by lot."""
    cube = np.stack(list(value.values()))  # [C, S, Q]
    middle = x - x.mean()

    def slope(means: np.ndarray) -> float:  # [C, S] -> of x from 0 to 1
        return float(middle @ means.mean(1) / (middle @ middle))

    means = cube.mean(2)
    effect = slope(means)
    flat = means.ravel()
    chance = [slope(random.permutation(flat).reshape(means.shape)) for _ in range(PERMUTATIONS)]
    p = (1 + np.count_nonzero(np.abs(chance) >= abs(effect) - 1e-12)) / (1 + PERMUTATIONS)
    resampled = [slope(each.mean(2)) for each in _resample(cube, random)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    conditions = _describe(said, wanted, value, random)
    return Finding(conditions, measure, effect, float(low), float(high), float(p), unit)


def judge_random(said: Said, wanted: np.ndarray, random: np.random.Generator) -> Finding:
    """Paired by set: where labels do not matter the two of a pair can change places."""
    value = {name: (each == wanted).astype(float) for name, each in said.items()}
    pair = value["own labels"] - value["random labels"]  # [S, Q]
    gaps = pair.mean(1)
    effect = float(gaps.mean())
    if len(gaps) <= ENUMERATED:
        signs = np.array(list(product([1.0, -1.0], repeat=len(gaps))))
        beyond = np.abs((signs * gaps).mean(1)) >= abs(effect) - 1e-12
        p = float(beyond.mean())
    else:
        signs = random.choice([-1.0, 1.0], size=(PERMUTATIONS, len(gaps)))
        beyond = np.abs((signs * gaps).mean(1)) >= abs(effect) - 1e-12
        p = (1 + np.count_nonzero(beyond)) / (1 + PERMUTATIONS)
    resampled = [each.mean() for each in _resample(pair[None], random)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Finding(
        _describe(said, wanted, value, random), "accuracy", effect, float(low), float(high), p,
        "of accuracy by the examples' own labels", least=2 / 2 ** len(gaps),
    )  # fmt: skip


def _describe(
    said: Said, wanted: np.ndarray, value: Said, random: np.random.Generator
) -> list[Condition]:
    conditions: list[Condition] = []
    for name, each in said.items():
        means = [one.mean() for one in _resample(value[name][None], random)]
        low, high = np.quantile(means, [0.025, 0.975])
        right = float((each == wanted).mean())
        conditions.append(
            Condition(name, float(value[name].mean()), float(low), float(high), right)
        )
    return conditions


def _resample(cube: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Sets (of each condition) and questions with replacement.  [C, S, Q], some times"""
    conditions, sets, questions = cube.shape
    for _ in range(RESAMPLES):
        s = random.integers(sets, size=(conditions, sets))
        q = random.integers(questions, size=questions)
        yield cube[np.arange(conditions)[:, None], s][:, :, q]
